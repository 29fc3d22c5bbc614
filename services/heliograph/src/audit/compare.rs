//! One site: the log's readings against ClickHouse's rows.
//!
//! Pure: rows are pushed in the order (device, metric, ts), and differences go into the [`Report`]. Invariants: the log decides what must be there; rows from before the log's first
//! offset are taken as they are; rows that came after the audit began are left alone, and so are
//! the buckets they change.

use super::{
    buckets::{Recompute, Step},
    facts::{Fact, Series, SiteLog},
    report::{Example, Report},
    rollups::{Previous, RollupCompare},
};
use jiff::tz::TimeZone;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Which offsets of `heliograph.uploads` this audit is about, and what of them is dead.
#[derive(Debug, Default)]
pub struct Horizon {
    /// partition → (first offset that is kept, offset at which the audit ends)
    pub partitions: BTreeMap<u32, (u64, u64)>,
    /// (partition, offset) → reason
    pub dead: HashMap<(u32, u64), String>,
}

/// Where a row stands against the audit's part of the log.
#[derive(Debug, PartialEq, Eq)]
enum Age {
    OlderThanLog,
    Within,
    NewerThanAudit,
}

impl Horizon {
    fn age(&self, partition: u32, offset: u64) -> Age {
        match self.partitions.get(&partition) {
            Some((first, _)) if offset < *first => Age::OlderThanLog,
            Some((_, end)) if offset >= *end => Age::NewerThanAudit,
            // A partition that the log does not have explains nothing.
            _ => Age::Within,
        }
    }
}

/// A row of `readings FINAL`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoredRow<'r> {
    pub device: &'r str,
    pub metric: &'r str,
    pub ts_ms: i64,
    pub value: f64,
    pub quality: u8,
    pub partition: u32,
    pub offset: u64,
}

/// The comparison of one site.
pub struct SiteCompare<'a> {
    site: &'a str,
    horizon: &'a Horizon,
    report: &'a mut Report,
    /// Without summaries everything on the log counts as promised.
    all_promised: bool,
    facts: Vec<Fact>,
    /// What [`Fact::series`] means.
    fact_series: Arc<[Series]>,
    next: usize,
    previous: Previous,
    /// Series of the log and those that only ClickHouse has, in the order in which they came.
    series: Vec<Series>,
    recompute: Recompute,
    /// 15-minute buckets that change while the audit runs.
    changing: BTreeSet<i64>,
    partition: Option<u32>,
}

impl<'a> SiteCompare<'a> {
    pub fn new(
        site: &'a str,
        log: SiteLog,
        partition: Option<u32>,
        zone: Option<TimeZone>,
        horizon: &'a Horizon,
        all_promised: bool,
        report: &'a mut Report,
    ) -> Self {
        Self {
            site,
            horizon,
            report,
            all_promised,
            facts: log.facts,
            fact_series: log.series.into(),
            next: 0,
            previous: Previous::default(),
            series: Vec::new(),
            recompute: Recompute::new(zone),
            changing: BTreeSet::new(),
            partition,
        }
    }

    /// A 15-minute bucket (start in s) is dirty by something that came after the audit began.
    pub fn bucket_is_changing(&mut self, start_s: i64) {
        self.changing.insert(start_s);
    }

    /// The next row of `readings FINAL`.
    pub fn row(&mut self, row: StoredRow<'_>) {
        if self.previous.repeats(row.device, row.metric, row.ts_ms) {
            self.report.duplicate(|| example(self.site, &row, "one row more", "one row"));
            return;
        }
        while self.fact_order(&row) == Some(Ordering::Less) {
            self.not_stored();
        }
        match self.fact_order(&row) {
            Some(Ordering::Equal) => self.both(&row),
            _ => self.only_stored(&row),
        }
        self.partition.get_or_insert(row.partition);
    }

    /// No more rows: what the log still has is not stored. Goes on with the rollups.
    pub fn rows_end(mut self) -> RollupCompare<'a> {
        while self.next < self.facts.len() {
            self.not_stored();
        }
        let end = self.partition.and_then(|p| self.horizon.partitions.get(&p)).map(|(_, end)| *end);
        RollupCompare {
            site: self.site,
            report: self.report,
            series: self.series,
            recompute: self.recompute,
            changing: self.changing,
            end_offset: end.unwrap_or(u64::MAX),
        }
    }

    fn fact_order(&self, row: &StoredRow<'_>) -> Option<Ordering> {
        let fact = self.facts.get(self.next)?;
        let (device, metric) = &self.fact_series[fact.series as usize];
        let fact_key = (device.as_str(), metric.as_str(), fact.ts_ms);
        Some(fact_key.cmp(&(row.device, row.metric, row.ts_ms)))
    }

    fn both(&mut self, row: &StoredRow<'_>) {
        let fact = self.facts[self.next];
        self.next += 1;
        let series = (row.device, row.metric);
        self.count_acked(&fact);
        if self.horizon.age(row.partition, row.offset) == Age::NewerThanAudit {
            self.report.seen.newer_than_audit += 1;
            self.report.stored += 1;
            self.change(row.ts_ms);
            return;
        }
        self.report.stored += 1;
        let dead_one = self.horizon.dead.contains_key(&(row.partition, row.offset))
            && row.offset > fact.offset;
        if dead_one {
            return self.effective(series, row.ts_ms, row.value, row.quality);
        }
        if fact.value != row.value || fact.quality != row.quality {
            self.report.missing(|| Example {
                want: show(fact.value, fact.quality, fact.offset),
                ..example(self.site, row, &show(row.value, row.quality, row.offset), "")
            });
        } else if fact.offset != row.offset {
            self.report.seen.origin_differs += 1;
        }
        self.effective(series, fact.ts_ms, fact.value, fact.quality);
    }

    fn only_stored(&mut self, row: &StoredRow<'_>) {
        match self.horizon.age(row.partition, row.offset) {
            Age::NewerThanAudit => {
                self.report.seen.newer_than_audit += 1;
                return self.change(row.ts_ms);
            }
            Age::OlderThanLog => self.report.seen.older_than_log += 1,
            Age::Within if self.horizon.dead.contains_key(&(row.partition, row.offset)) => {}
            Age::Within => {
                let got = show(row.value, row.quality, row.offset);
                self.report.duplicate(|| example(self.site, row, &got, "no row: not on the log"));
                self.report.stored += 1;
                return;
            }
        }
        self.report.stored += 1;
        self.effective((row.device, row.metric), row.ts_ms, row.value, row.quality);
    }

    fn not_stored(&mut self) {
        let fact = self.facts[self.next];
        self.next += 1;
        self.count_acked(&fact);
        let names = Arc::clone(&self.fact_series);
        let (device, metric) = &names[fact.series as usize];
        // A dead letter keeps what could not be stored; but a 2xx promised more.
        if fact.dead && fact.run == 0 {
            self.report.seen.dead_lettered += 1;
            return;
        }
        self.report.missing(|| Example {
            site: self.site.to_owned(),
            device: device.clone(),
            metric: metric.clone(),
            at: show_ts(fact.ts_ms),
            got: if fact.dead { "no row, a dead letter" } else { "no row" }.to_owned(),
            want: show(fact.value, fact.quality, fact.offset),
        });
        if !fact.dead {
            self.effective((device, metric), fact.ts_ms, fact.value, fact.quality);
        }
    }

    fn count_acked(&mut self, fact: &Fact) {
        self.report.acked += u64::from(fact.run != 0 || (self.all_promised && !fact.dead));
    }

    fn change(&mut self, ts_ms: i64) {
        if let Some(bucket) = self.recompute.bucket(Step::Minutes15, ts_ms) {
            self.changing.insert(bucket);
        }
    }

    /// A reading that the rollups must be made of.
    fn effective(&mut self, (device, metric): (&str, &str), ts_ms: i64, value: f64, quality: u8) {
        if self.series.last().is_none_or(|(d, m)| d != device || m != metric) {
            self.series.push((device.to_owned(), metric.to_owned()));
        }
        let series = self.series.len() as u32 - 1;
        self.recompute.add(series, ts_ms, value, quality);
    }
}

fn show_ts(ts_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ts_ms).map_or_else(|_| ts_ms.to_string(), |t| t.to_string())
}

fn show(value: f64, quality: u8, offset: u64) -> String {
    let quality = ["?", "good", "suspect", "bad"].get(usize::from(quality)).unwrap_or(&"?");
    format!("{value:?} ({quality}) from offset {offset}")
}

fn example(site: &str, row: &StoredRow<'_>, got: &str, want: &str) -> Example {
    Example {
        site: site.to_owned(),
        device: row.device.to_owned(),
        metric: row.metric.to_owned(),
        at: show_ts(row.ts_ms),
        got: got.to_owned(),
        want: want.to_owned(),
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
