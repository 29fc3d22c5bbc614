//! The rows of a sample file as they come round again: shifted by whole days to any time.
//!
//! Invariant: what is measured at a time is a function of the file and that time alone, so runs
//! that overlap send equal values. Local time of day is kept, and so are the file's gaps.

use super::sample::{Row, SampleSeries, ZONE_OFFSET_MS};
use std::sync::Arc;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Where in time a file is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Once, with its own times.
    AsItIs,
    /// Again and again, with the times in `(after_ms, until_ms]`; for ever without an end.
    Cyclic { after_ms: i64, until_ms: Option<i64> },
}

/// Yields (time, row) in the order of time.
#[derive(Debug)]
pub struct Replay {
    series: Arc<SampleSeries>,
    /// Added to the file's own times in this pass.
    shift_ms: i64,
    next_row: usize,
    cyclic: bool,
    until_ms: i64,
}

impl Replay {
    pub fn new(series: Arc<SampleSeries>, span: Span) -> Self {
        match span {
            Span::AsItIs => {
                Self { series, shift_ms: 0, next_row: 0, cyclic: false, until_ms: i64::MAX }
            }
            Span::Cyclic { after_ms, until_ms } => {
                let shift_ms = pass_start(&series, after_ms) - series.first_midnight_ms;
                let next_row = series.rows.partition_point(|r| r.ts_ms + shift_ms <= after_ms);
                let until_ms = until_ms.unwrap_or(i64::MAX);
                Self { series, shift_ms, next_row, cyclic: true, until_ms }
            }
        }
    }

    /// The next row and the time at which it is measured now; `None` at the end of the span.
    pub fn next(&mut self) -> Option<(i64, &Row)> {
        if self.next_row == self.series.rows.len() {
            if !self.cyclic {
                return None;
            }
            self.next_row = 0;
            self.shift_ms += self.series.cycle_ms();
        }
        let row = &self.series.rows[self.next_row];
        let ts_ms = row.ts_ms + self.shift_ms;
        if ts_ms > self.until_ms {
            return None;
        }
        self.next_row += 1;
        Some((ts_ms, row))
    }
}

/// Local midnight at which the pass through the file begins that `at_ms` falls into. Passes are
/// counted from 1970, so that the same time is always the same place in the file.
fn pass_start(series: &SampleSeries, at_ms: i64) -> i64 {
    let local_day = (at_ms + ZONE_OFFSET_MS).div_euclid(DAY_MS);
    let first_day = local_day - local_day.rem_euclid(series.cycle_days);
    first_day * DAY_MS - ZONE_OFFSET_MS
}

#[cfg(test)]
mod tests {
    use super::super::sample::FILES;
    use super::*;
    use proptest::prelude::*;

    fn all(file: usize, span: Span) -> Vec<(i64, Row)> {
        let mut replay = Replay::new(Arc::new(FILES[file].load(None).unwrap()), span);
        let mut rows = Vec::new();
        while let Some((ts_ms, row)) = replay.next() {
            rows.push((ts_ms, row.clone()));
        }
        rows
    }

    #[test]
    fn as_it_is_means_once_and_with_its_own_times() {
        for (file, want) in [(0, 480), (1, 1_151), (2, 2_607), (3, 480), (4, 576)] {
            let rows = all(file, Span::AsItIs);
            assert_eq!(rows.len(), want);
            assert!(rows.iter().all(|(ts_ms, row)| *ts_ms == row.ts_ms));
        }
    }

    proptest! {
        #[test]
        fn a_replay_keeps_time_of_day_and_order_and_its_span(
            file in 0usize..5, after in 1_600_000_000_000i64..1_900_000_000_000, days in 1i64..9,
        ) {
            let until = after + days * DAY_MS;
            let rows = all(file, Span::Cyclic { after_ms: after, until_ms: Some(until) });
            prop_assert!(rows.windows(2).all(|w| w[0].0 < w[1].0));
            for (ts_ms, row) in &rows {
                prop_assert!(*ts_ms > after && *ts_ms <= until);
                prop_assert_eq!(ts_ms.rem_euclid(DAY_MS), row.ts_ms.rem_euclid(DAY_MS));
            }
        }

        #[test]
        fn the_same_time_is_always_the_same_row(
            file in 0usize..5, after in 1_600_000_000_000i64..1_900_000_000_000,
            earlier in 0i64..20 * DAY_MS,
        ) {
            let until = Some(after + 2 * DAY_MS);
            let late = all(file, Span::Cyclic { after_ms: after, until_ms: until });
            let mut early = all(file, Span::Cyclic { after_ms: after - earlier, until_ms: until });
            early.retain(|(ts_ms, _)| *ts_ms > after);
            prop_assert_eq!(late, early);
        }
    }

    #[test]
    fn the_newest_row_lies_at_now() {
        let now = 1_790_000_123_456;
        let span = Span::Cyclic { after_ms: now - DAY_MS, until_ms: Some(now) };
        let newest = all(0, span).last().unwrap().0;
        assert!(now - newest < 15 * 60 * 1_000, "{}", now - newest);
    }
}
