//! What loggers do wrong, on purpose and repeatably: late, repeated, corrected, malformed.
//!
//! Invariant: the same seed, site and options give the same mischief, whatever the server does.

use super::{
    batch::Sent,
    logger::{Correction, Plan},
    sites::hash,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Shares of uploads, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shares {
    /// Held back and sent later.
    pub late: f64,
    /// Sent again after the 2xx.
    pub resend: f64,
    /// Followed by other values for some of their readings.
    pub correct: f64,
    /// With a malformed reading among the good ones.
    pub bad: f64,
}

/// The longest an upload is held back, in later uploads.
const HOLD_MAX: u32 = 20;
/// The most readings of one upload that are corrected.
const CHANGES_MAX: usize = 3;

/// Readings that break a rule each, without breaking the upload.
fn malformed(like: &Sent, which: u32) -> Sent {
    match which % 5 {
        0 => Sent { device: "", ..*like },
        1 => Sent { metric: "not a name", ..*like },
        2 => Sent { unit: Some("furlong"), ..*like },
        3 => Sent { quality: Some("excellent"), ..*like },
        // 1999: nothing was measured by a logger then.
        _ => Sent { ts_ms: 915_148_800_000, ..*like },
    }
}

/// One site's source of mischief.
#[derive(Debug)]
pub struct Mischief {
    shares: Shares,
    rng: StdRng,
}

impl Mischief {
    pub fn new(shares: Shares, seed: u64, site: &str) -> Self {
        let seed = hash(&["mischief", &seed.to_string(), site]);
        Self { shares, rng: StdRng::seed_from_u64(seed) }
    }

    /// Decides about the next upload; may put a malformed reading among `readings`.
    pub fn plan(&mut self, readings: &mut Vec<Sent>) -> Plan {
        // Each decision draws its numbers whether it is needed or not: so one option does not
        // change what another one picks.
        let late = self.share(self.shares.late);
        let resend = self.share(self.shares.resend);
        let correct = self.share(self.shares.correct);
        let bad = self.share(self.shares.bad);
        let holds: [u32; 3] = std::array::from_fn(|_| self.rng.random_range(1..=HOLD_MAX));
        let changes = self.changes(readings);
        let (at, which) = (self.rng.random_range(0..=readings.len()), self.rng.random());
        let correct = correct && !changes.is_empty();
        let mut plan = Plan {
            late: late.then_some(holds[0]),
            resend: resend.then_some(holds[1]),
            correct: correct.then_some(Correction { after: holds[2], changes }),
        };
        if bad && let Some(like) = readings.first().copied() {
            readings.insert(at, malformed(&like, which));
            for (index, _) in plan.correct.iter_mut().flat_map(|c| &mut c.changes) {
                *index += usize::from(*index >= at);
            }
        }
        plan
    }

    fn share(&mut self, share: f64) -> bool {
        self.rng.random::<f64>() < share
    }

    fn changes(&mut self, readings: &[Sent]) -> Vec<(usize, f64)> {
        let picks: [f64; CHANGES_MAX] = std::array::from_fn(|_| self.rng.random());
        let count = self.rng.random_range(1..=CHANGES_MAX);
        let mut indexes: Vec<usize> =
            picks[..count].iter().map(|p| (p * readings.len() as f64) as usize).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let changed = |i: usize| readings.get(i).map(|r| (i, r.value + 1.0 + r.value.abs() / 64.0));
        indexes.into_iter().filter_map(changed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_domain::{
        Timestamp,
        upload::{RawReading, check_reading},
    };

    fn readings(n: usize) -> Vec<Sent> {
        (0..n)
            .map(|i| Sent {
                device: "inv1",
                metric: "ac_power",
                ts_ms: 1_700_000_000_000 + i as i64,
                value: i as f64,
                unit: Some("kW"),
                quality: None,
            })
            .collect()
    }

    fn is_good(r: &Sent) -> bool {
        let raw = RawReading {
            device: r.device,
            metric: r.metric,
            ts: Timestamp::from_ms(r.ts_ms),
            value: r.value,
            unit: r.unit,
            quality: r.quality,
        };
        check_reading(&raw, Timestamp::from_ms(1_700_000_000_000)).is_ok()
    }

    #[test]
    fn no_shares_mean_no_mischief() {
        let mut none = Mischief::new(Shares::default(), 1, "s");
        for _ in 0..200 {
            let mut sent = readings(5);
            assert_eq!(none.plan(&mut sent), Plan::default());
            assert_eq!(sent, readings(5));
        }
    }

    #[test]
    fn shares_are_kept_about() {
        let shares = Shares { late: 0.1, resend: 0.2, correct: 0.3, bad: 0.4 };
        let mut mischief = Mischief::new(shares, 1, "s");
        let mut got = [0; 4];
        for _ in 0..2_000 {
            let mut sent = readings(5);
            let plan = mischief.plan(&mut sent);
            let bad = sent.len() > 5;
            let hits = [plan.late.is_some(), plan.resend.is_some(), plan.correct.is_some(), bad];
            hits.iter().zip(&mut got).for_each(|(hit, n)| *n += i32::from(*hit));
            assert_eq!(sent.iter().filter(|r| !is_good(r)).count(), usize::from(bad));
            for (index, value) in plan.correct.iter().flat_map(|c| &c.changes) {
                assert!(is_good(&sent[*index]), "a malformed reading is never corrected");
                assert!(*value != sent[*index].value);
            }
        }
        for (n, want) in got.iter().zip([200, 400, 600, 800]) {
            assert!((n - want).abs() < 80, "{got:?}");
        }
    }

    #[test]
    fn the_same_seed_and_site_do_the_same() {
        let shares = Shares { late: 0.5, resend: 0.5, correct: 0.5, bad: 0.5 };
        let run = |seed, site| {
            let mut mischief = Mischief::new(shares, seed, site);
            (0..20).map(|_| mischief.plan(&mut readings(9))).collect::<Vec<_>>()
        };
        assert_eq!(run(1, "s"), run(1, "s"));
        assert_ne!(run(1, "s"), run(2, "s"));
        assert_ne!(run(1, "s"), run(1, "t"));
    }
}
