//! How often a site may upload.
//!
//! Invariant: the answer to one site depends on its own uploads alone; a site that was not heard
//! for as long as its whole burst takes to come back costs no memory. The limit is this process's:
//! a site that is spread over several gateways may send as many times more. What it is not: it
//! knows no answer, and nothing that it refuses counts at the door.

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::HashMapStateStore,
};
use heliograph_domain::SiteId;
use std::num::NonZeroU32;

/// The limit of every site.
pub struct SiteRate {
    per_second: NonZeroU32,
    limiter: RateLimiter<SiteId, HashMapStateStore<SiteId>, DefaultClock>,
    clock: DefaultClock,
}

/// A site uploads too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOften {
    pub per_second: u32,
    /// After so long the next one is taken, if no other comes before.
    pub retry_after_secs: u64,
}

impl SiteRate {
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let clock = DefaultClock::default();
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Self { per_second, limiter, clock }
    }

    /// An upload of `site` comes.
    ///
    /// # Errors
    /// [`TooOften`].
    pub fn check(&self, site: &SiteId) -> Result<(), TooOften> {
        self.limiter.check_key(site).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            // The header counts whole seconds.
            let retry_after_secs = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
            TooOften { per_second: self.per_second.get(), retry_after_secs }
        })
    }

    /// Forgets the sites that may send a whole burst again.
    pub fn forget_idle(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    /// How many sites are remembered.
    #[cfg(test)]
    fn sites(&self) -> usize {
        self.limiter.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn n(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    #[test]
    fn a_burst_is_taken_then_the_site_waits_and_no_other_does() {
        let (a, b) = (SiteId::parse("a").unwrap(), SiteId::parse("b").unwrap());
        let rate = SiteRate::new(n(1), n(3));
        for _ in 0..3 {
            assert_eq!(rate.check(&a), Ok(()));
        }
        assert_eq!(rate.check(&a), Err(TooOften { per_second: 1, retry_after_secs: 1 }));
        assert_eq!(rate.check(&b), Ok(()));
    }

    #[test]
    fn who_has_not_been_heard_is_forgotten() {
        let (slow, fast) = (SiteRate::new(n(1), n(1)), SiteRate::new(n(1_000_000_000), n(1)));
        let site = SiteId::parse("a").unwrap();
        for (rate, left) in [(slow, 1), (fast, 0)] {
            rate.check(&site).unwrap();
            rate.forget_idle();
            assert_eq!(rate.sites(), left);
        }
    }
}
