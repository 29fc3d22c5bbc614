//! From rows to uploads: which readings go together, and when they are due.
//!
//! Invariant: each reading of the replay is in exactly one batch, in the order of time.

use super::{replay::Replay, sample::Column, sites::hash};
use std::{iter::Peekable, vec};

/// A reading as it is sent: in the unit of the file, not yet converted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sent {
    pub device: &'static str,
    pub metric: &'static str,
    pub ts_ms: i64,
    pub value: f64,
    pub unit: Option<&'static str>,
    pub quality: Option<&'static str>,
}

/// Readings that are uploaded together.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// When the logger uploads it, on the clock of the replay.
    pub due_ms: i64,
    pub readings: Vec<Sent>,
}

/// How a site's readings are made into batches.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    pub readings_max: usize,
    pub upload_interval_ms: i64,
    /// Each site uploads this much after the round time, so that a fleet does not come at once.
    pub phase_ms: i64,
    /// Up to here batches are filled to the brim; later ones are cut by the upload interval.
    pub full_until_ms: i64,
    pub factor: f64,
}

impl Packing {
    /// A fixed delay of the site behind the round time, within a fifth of its interval.
    pub fn phase_of(site: &str, upload_interval_ms: i64) -> i64 {
        (hash(&["phase", site]) % (upload_interval_ms / 5).max(1) as u64) as i64
    }

    /// The end of the upload interval that a row belongs to.
    fn due(&self, ts_ms: i64) -> i64 {
        let step = self.upload_interval_ms;
        ts_ms + (-ts_ms).rem_euclid(step) + self.phase_ms
    }
}

/// Yields the batches of one site.
#[derive(Debug)]
pub struct Batches {
    columns: &'static [Column],
    rows: Peekable<Rows>,
    packing: Packing,
    /// The rest of a row that did not fit into the batch before.
    rest: vec::IntoIter<Sent>,
    rest_due_ms: i64,
}

/// The replay as a plain iterator of owned rows.
#[derive(Debug)]
struct Rows(Replay);

impl Iterator for Rows {
    type Item = (i64, Vec<(usize, f64)>);
    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(ts_ms, row)| (ts_ms, row.cells.clone()))
    }
}

impl Batches {
    pub fn new(replay: Replay, columns: &'static [Column], packing: Packing) -> Self {
        let rest = Vec::new().into_iter();
        Self { columns, rows: Rows(replay).peekable(), packing, rest, rest_due_ms: 0 }
    }

    fn sent(&self, ts_ms: i64, (column, value): (usize, f64)) -> Sent {
        let Column { device, metric, unit, .. } = self.columns[column];
        let factor = if self.columns[column].scales() { self.packing.factor } else { 1.0 };
        Sent { device, metric, ts_ms, value: value * factor, unit, quality: None }
    }
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let max = self.packing.readings_max;
        let mut readings: Vec<Sent> = self.rest.by_ref().take(max).collect();
        let mut due_ms = (!readings.is_empty()).then_some(self.rest_due_ms);
        while readings.len() < max {
            let Some((ts_ms, _)) = self.rows.peek() else { break };
            let full = *ts_ms <= self.packing.full_until_ms;
            let row_due_ms = if full { *ts_ms } else { self.packing.due(*ts_ms) };
            if !full && due_ms.is_some_and(|due| due != row_due_ms) {
                break;
            }
            let Some((ts_ms, cells)) = self.rows.next() else { break };
            if cells.is_empty() {
                continue;
            }
            due_ms = Some(row_due_ms);
            let mut row: Vec<Sent> = cells.into_iter().map(|cell| self.sent(ts_ms, cell)).collect();
            let room = (max - readings.len()).min(row.len());
            self.rest = row.split_off(room).into_iter();
            readings.append(&mut row);
            self.rest_due_ms = row_due_ms;
        }
        due_ms.map(|due_ms| Batch { due_ms, readings })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{replay::Span, sample::FILES};
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn batches(file: usize, span: Span, packing: Packing) -> Vec<Batch> {
        let series = Arc::new(FILES[file].load(None).unwrap());
        Batches::new(Replay::new(series, span), FILES[file].columns, packing).collect()
    }

    fn packing(readings_max: usize, full_until_ms: i64) -> Packing {
        let upload_interval_ms = 900_000;
        Packing { readings_max, upload_interval_ms, phase_ms: 7_000, full_until_ms, factor: 1.0 }
    }

    proptest! {
        #[test]
        fn every_reading_is_in_one_batch_and_in_order(
            file in 0usize..5, readings_max in 1usize..700, split in 0i64..5,
        ) {
            let series = FILES[file].load(None).unwrap();
            let until = series.rows[0].ts_ms + split * 86_400_000;
            let got = batches(file, Span::AsItIs, packing(readings_max, until));
            let sent: Vec<(i64, f64)> =
                got.iter().flat_map(|b| &b.readings).map(|r| (r.ts_ms, r.value)).collect();
            let want: Vec<(i64, f64)> = series.rows.iter()
                .flat_map(|r| r.cells.iter().map(|(_, v)| (r.ts_ms, *v))).collect();
            prop_assert_eq!(sent, want);
            prop_assert!(got.iter().all(|b| (1..=readings_max).contains(&b.readings.len())));
            prop_assert!(got.windows(2).all(|w| w[0].due_ms <= w[1].due_ms));
        }
    }

    #[test]
    fn a_backfill_fills_its_uploads_and_live_ones_come_at_the_interval() {
        let series = FILES[2].load(None).unwrap();
        let (first, n) = (series.rows[0].ts_ms, series.rows.len());
        let full = batches(2, Span::AsItIs, packing(500, i64::MAX));
        assert_eq!(full.len(), n.div_ceil(500));
        let live = batches(2, Span::AsItIs, packing(500, first));
        for b in &live[1..] {
            assert_eq!((b.due_ms - 7_000) % 900_000, 0);
            assert!(b.readings.iter().all(|r| r.ts_ms + 7_000 <= b.due_ms));
            assert!(b.readings.len() <= 15);
        }
    }

    #[test]
    fn the_plants_size_scales_power_but_not_the_weather() {
        let scaled = Packing { factor: 2.0, ..packing(10_000, i64::MAX) };
        let (one, two) =
            (batches(3, Span::AsItIs, packing(10_000, i64::MAX)), batches(3, Span::AsItIs, scaled));
        for (a, b) in one[0].readings.iter().zip(&two[0].readings) {
            let factor =
                if matches!(a.metric, "ac_power" | "dc_power" | "ac_current" | "dc_current") {
                    2.0
                } else {
                    1.0
                };
            assert_eq!(a.value * factor, b.value, "{}", a.metric);
        }
    }

    #[test]
    fn loggers_do_not_all_come_at_once() {
        let phases: std::collections::BTreeSet<i64> =
            (0..100).map(|n| Packing::phase_of(&format!("s{n}"), 900_000)).collect();
        assert!(phases.len() > 90 && phases.iter().all(|p| (0..180_000).contains(p)));
    }
}
