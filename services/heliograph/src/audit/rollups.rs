//! One site: the rollup tables against what its readings say, both ways.
//!
//! Pure: rows are pushed in the order (device, metric, bucket), and differences go into the
//! [`Report`]. Invariant: a bucket that changed after the audit began is left alone.

use super::{
    buckets::{Bucket, Recompute, Step},
    facts::Series,
    report::{Example, Report},
};
use std::{cmp::Ordering, collections::BTreeSet};

/// A row of a rollup table, read with FINAL.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoredBucket<'r> {
    pub device: &'r str,
    pub metric: &'r str,
    pub version: u64,
    /// Its `series` and `sum_abs` mean nothing.
    pub row: Bucket,
}

/// The key of the row before, so that a repeated one is seen. There are millions of rows and few
/// series: names are copied only where they change.
#[derive(Debug, Default)]
pub struct Previous {
    device: String,
    metric: String,
    /// Time or bucket; `None` before the first row.
    at: Option<i64>,
}

impl Previous {
    /// Takes the next key; whether it is the same again.
    pub fn repeats(&mut self, device: &str, metric: &str, at: i64) -> bool {
        let same_series = self.device == device && self.metric == metric;
        if !same_series {
            device.clone_into(&mut self.device);
            metric.clone_into(&mut self.metric);
        }
        self.at.replace(at) == Some(at) && same_series
    }
}

/// The rollups of one site against what its readings say.
pub struct RollupCompare<'a> {
    pub site: &'a str,
    pub report: &'a mut Report,
    /// In order; numbers of [`Bucket::series`].
    pub series: Vec<Series>,
    /// Has all of the site's readings.
    pub recompute: Recompute,
    /// 15-minute buckets that change while the audit runs.
    pub changing: BTreeSet<i64>,
    /// Where the audit's part of the log ends.
    pub end_offset: u64,
}

impl<'a> RollupCompare<'a> {
    /// The steps that can be compared: days only where the zone is known.
    pub fn has_days(&self) -> bool {
        self.recompute.has_days()
    }

    /// Begins with one table.
    pub fn step(&mut self, step: Step) -> StepCompare<'_, 'a> {
        let expected = self.recompute.take(step);
        let starts = std::mem::take(&mut self.changing);
        let to_bucket = |start_s: &i64| self.recompute.bucket(step, start_s * 1_000);
        let changing = starts.iter().filter_map(to_bucket).collect();
        self.changing = starts;
        let previous = Previous::default();
        StepCompare { of: self, step, expected, next: 0, changing, previous }
    }
}

/// One rollup table of one site.
pub struct StepCompare<'r, 'a> {
    of: &'r mut RollupCompare<'a>,
    step: Step,
    expected: Vec<Bucket>,
    next: usize,
    changing: BTreeSet<i64>,
    previous: Previous,
}

impl StepCompare<'_, '_> {
    /// The next row of the table.
    pub fn row(&mut self, stored: StoredBucket<'_>) {
        if self.previous.repeats(stored.device, stored.metric, stored.row.bucket) {
            let example = self.example(&stored, "one row more".into(), "one row".into());
            self.of.report.duplicate(|| example);
            return;
        }
        while self.order(&stored) == Some(Ordering::Less) {
            self.not_stored();
        }
        let expected = match self.order(&stored) {
            Some(Ordering::Equal) => self.expected.get(self.next).copied(),
            _ => None,
        };
        self.next += usize::from(expected.is_some());
        if stored.version >= self.of.end_offset || self.changing.contains(&stored.row.bucket) {
            self.of.report.seen.buckets_changing += 1;
            return;
        }
        self.of.report.seen.buckets += 1;
        let got = || match stored.row.count {
            0 => "an empty bucket".to_owned(),
            _ => stored.row.show(),
        };
        let example = match expected {
            Some(want) if want.equals(&stored.row) => return,
            Some(want) => self.example(&stored, got(), want.show()),
            // Nothing is left in it, and it says so.
            None if stored.row.count == 0 => return,
            None => self.example(&stored, got(), "no bucket".into()),
        };
        self.of.report.rollup_mismatch(|| example);
    }

    /// No more rows of this table.
    pub fn end(mut self) {
        while self.next < self.expected.len() {
            self.not_stored();
        }
    }

    fn order(&self, stored: &StoredBucket<'_>) -> Option<Ordering> {
        let expected = self.expected.get(self.next)?;
        let (device, metric) = &self.of.series[expected.series as usize];
        let key = (device.as_str(), metric.as_str(), expected.bucket);
        Some(key.cmp(&(stored.device, stored.metric, stored.row.bucket)))
    }

    fn not_stored(&mut self) {
        let expected = self.expected[self.next];
        self.next += 1;
        if self.changing.contains(&expected.bucket) {
            self.of.report.seen.buckets_changing += 1;
            return;
        }
        self.of.report.seen.buckets += 1;
        let (device, metric) = self.of.series[expected.series as usize].clone();
        let (site, at) = (self.of.site.to_owned(), self.step.show(expected.bucket));
        let (got, want) = ("no bucket".to_owned(), expected.show());
        self.of.report.rollup_mismatch(|| Example { site, device, metric, at, got, want });
    }

    fn example(&self, stored: &StoredBucket<'_>, got: String, want: String) -> Example {
        Example {
            site: self.of.site.to_owned(),
            device: stored.device.to_owned(),
            metric: stored.metric.to_owned(),
            at: self.step.show(stored.row.bucket),
            got,
            want,
        }
    }
}
