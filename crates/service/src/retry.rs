//! Waiting between tries: exponential, capped, with full jitter. The only module that knows the
//! `backoff` crate (unmaintained, RUSTSEC-2025-0012), so that a swap is this file.

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};
use std::time::Duration;

/// One series of tries. Never gives up by itself: who calls it decides when enough is enough.
#[derive(Debug)]
pub struct Backoff {
    inner: ExponentialBackoff,
    max: Duration,
}

impl Backoff {
    /// Delays grow from `initial` by doubling and stay at or below `max`.
    pub fn new(initial: Duration, max: Duration) -> Self {
        let inner = ExponentialBackoffBuilder::new()
            .with_initial_interval(initial / 2)
            // Full jitter: the delay is uniform between 0 and twice the interval.
            .with_randomization_factor(1.0)
            .with_multiplier(2.0)
            .with_max_interval(max / 2)
            .with_max_elapsed_time(None)
            .build();
        Self { inner, max }
    }

    /// How long to wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        self.inner.next_backoff().unwrap_or(self.max).min(self.max)
    }

    /// It went well: the next failure starts small again.
    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_capped_and_jittered() {
        let max = Duration::from_millis(400);
        let mut backoff = Backoff::new(Duration::from_millis(100), max);
        let delays: Vec<_> = (0..200).map(|_| backoff.next_delay()).collect();
        assert!(delays.iter().all(|d| *d <= max));
        assert!(delays.iter().any(|d| *d < max / 4), "full jitter reaches down to zero");
        assert!(delays.iter().any(|d| *d > max / 2), "and up to the cap");
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
