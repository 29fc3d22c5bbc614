//! How often one message may be said.
//!
//! Pure: told the time, it answers. A token bucket, kept as the time at which it is full again.

use std::time::Duration;
use tracing::Level;

/// So many lines at once, then one every so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub burst: u32,
    pub every: Duration,
}

/// For what is said unasked: a message that repeats for a day is about 40 MB.
const UNASKED: Rate = Rate { burst: 10, every: Duration::from_secs(1) };
/// For what somebody turned on to look closely.
const ASKED: Rate = Rate { burst: 1_000, every: Duration::from_millis(10) };

impl Rate {
    pub fn of(level: Level) -> Self {
        if level <= Level::INFO { UNASKED } else { ASKED }
    }
}

/// What one message may still use up.
#[derive(Debug, Default, Clone, Copy)]
pub struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// Whether a line may be said at `now`, counted from whenever, and then it is taken.
    pub fn take(&mut self, now: Duration, rate: Rate) -> bool {
        let full_at = self.full_at.max(now) + rate.every;
        let may = full_at - now <= rate.every * rate.burst;
        if may {
            self.full_at = full_at;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_said_in_a_burst_and_then_now_and_then() {
        let rate = Rate { burst: 3, every: Duration::from_secs(1) };
        let rows: [(&str, &[u64], &[bool]); 5] = [
            ("a burst", &[0, 0, 0], &[true; 3]),
            ("and no more at once", &[0, 0, 0, 0, 999], &[true, true, true, false, false]),
            ("then one a second", &[0, 0, 0, 1_000, 1_000], &[true, true, true, true, false]),
            (
                "what is left out costs nothing",
                &[0, 0, 0, 500, 1_000],
                &[true, true, true, false, true],
            ),
            (
                "after a pause a burst again, no larger",
                &[0, 0, 0, 90_000, 90_000, 90_000, 90_000],
                &[true, true, true, true, true, true, false],
            ),
        ];
        for (name, at_ms, want) in rows {
            let mut bucket = Bucket::default();
            let got: Vec<bool> =
                at_ms.iter().map(|ms| bucket.take(Duration::from_millis(*ms), rate)).collect();
            assert_eq!(got, want, "{name}");
        }
    }

    #[test]
    fn a_storm_of_a_day_is_a_line_a_second() {
        let mut bucket = Bucket::default();
        let storm = (0..86_400_000).step_by(10).map(Duration::from_millis);
        let said = storm.filter(|now| bucket.take(*now, Rate::of(Level::ERROR))).count();
        assert_eq!(said, 10 + 86_399);
    }

    #[test]
    fn what_was_asked_for_may_be_more() {
        for (level, want) in [
            (Level::ERROR, UNASKED),
            (Level::WARN, UNASKED),
            (Level::INFO, UNASKED),
            (Level::DEBUG, ASKED),
            (Level::TRACE, ASKED),
        ] {
            assert_eq!(Rate::of(level), want, "{level}");
        }
    }
}
