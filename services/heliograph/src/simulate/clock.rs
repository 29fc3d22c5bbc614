//! The fleet's clock, and when what the replay calls due is due in real time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Milliseconds since 1970, read once; from then on it goes by the monotonic clock, so that a
/// step of the system's clock neither holds up nor hurries a logger.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_ms: i64,
}

impl Clock {
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ms: to_ms(since) }
    }

    pub fn started_ms(&self) -> i64 {
        self.started_ms
    }

    pub fn now_ms(&self) -> i64 {
        self.started_ms + to_ms(self.started.elapsed())
    }

    /// The instant at which this clock shows `ms`; far away for times that it never will.
    pub fn instant(&self, ms: i64) -> Instant {
        const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);
        let ahead = u64::try_from(ms.saturating_sub(self.started_ms)).unwrap_or(0);
        self.started + Duration::from_millis(ahead).min(FAR)
    }
}

fn to_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How fast the replay goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// What is past at once, what is to come when it comes.
    AsFastAsItGoes,
    /// From `from_ms` on `factor` times as fast as it was, but never ahead of the present: nobody
    /// measures the future.
    Speed { from_ms: i64, factor: f64 },
}

impl Pace {
    /// When what the replay has at `due_ms` is due on a clock that was started at `started_ms`.
    pub fn due(self, due_ms: i64, started_ms: i64) -> i64 {
        match self {
            Self::AsFastAsItGoes => due_ms,
            Self::Speed { from_ms, factor } => {
                let played_ms = (due_ms - from_ms) as f64 / factor;
                due_ms.max(started_ms.saturating_add(played_ms as i64))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_decides_when_what_is_due_is_due() {
        let fast = Pace::Speed { from_ms: 1_000, factor: 10.0 };
        let rows = [
            ("the past comes at once", Pace::AsFastAsItGoes, 5, 5),
            ("at its speed the first comes at the start", fast, 1_000, 9_000),
            ("ten times as fast", fast, 2_000, 9_100),
            ("but the future when it comes", fast, 20_000, 20_000),
        ];
        for (name, pace, due_ms, want) in rows {
            assert_eq!(pace.due(due_ms, 9_000), want, "{name}");
        }
    }

    #[test]
    fn a_time_of_the_clock_is_an_instant() {
        let clock = Clock::start();
        let (start_ms, start) = (clock.started_ms(), clock.instant(clock.started_ms()));
        assert_eq!(clock.instant(start_ms + 1_500) - start, Duration::from_millis(1_500));
        assert_eq!(clock.instant(start_ms - 1), start, "the past is now");
        assert!(clock.instant(i64::MAX) > start, "the far future does not overflow");
        assert!(clock.now_ms() >= start_ms);
    }
}
