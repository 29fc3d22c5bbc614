//! When to try again: exponential backoff, capped, with full jitter.
//!
//! Pure: the jitter is an argument. Source of the jitter's shape: "Exponential Backoff And
//! Jitter" (AWS Architecture Blog, 2015), "full jitter". The shells that wait use the `backoff`
//! crate behind `heliograph_service::retry`; this is what answers carry (`Retry-After`).

use crate::Violation;
use std::time::Duration;

/// A validated range for a jittered `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    min: Duration,
    max: Duration,
}

impl RetryAfter {
    /// # Errors
    /// When `min` is under one second (the header counts whole seconds) or `max` is under `min`.
    pub fn try_new(min: Duration, max: Duration) -> Result<Self, Violation> {
        if min < Duration::from_secs(1) {
            return Err(Violation::new("retry_after_min", format_args!("{min:?}"), "at least 1s"));
        }
        if max < min {
            let want = format!("at least retry_after_min ({min:?})");
            return Err(Violation::new("retry_after_max", format_args!("{max:?}"), want));
        }
        Ok(Self { min, max })
    }

    /// Whole seconds between min and max, `jitter` in `[0, 1)` spreading them evenly.
    pub fn secs(&self, jitter: f64) -> u64 {
        let span = (self.max - self.min).as_secs_f64();
        (self.min.as_secs_f64() + span * jitter.clamp(0.0, 1.0)).ceil() as u64
    }

    pub fn max(&self) -> Duration {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_stays_in_its_range(min in 1u64..100, more in 0u64..100, jitter in 0.0f64..1.0) {
            let policy = RetryAfter::try_new(
                Duration::from_secs(min), Duration::from_secs(min + more)).unwrap();
            let secs = policy.secs(jitter);
            prop_assert!(secs >= min && secs <= min + more);
        }
    }

    #[test]
    fn a_policy_that_makes_no_sense_is_refused() {
        assert!(RetryAfter::try_new(Duration::ZERO, Duration::from_secs(1)).is_err());
        assert!(RetryAfter::try_new(Duration::from_secs(2), Duration::from_secs(1)).is_err());
    }
}
