//! What senders were promised, against the log.
//!
//! Invariant: for every summary, each upload that got a 2xx must be on the log, and the last
//! values of their readings, in the order of the log, must have the summary's checksum. Other
//! uploads on the log (left without an answer, or of other runs) do not disturb this.

use super::{
    facts::{Fact, Series},
    report::{Example, Report},
};
use crate::simulate::{FleetSummary, SiteSummary};
use heliograph_domain::checksum::ReadingsChecksum;
use std::collections::{BTreeMap, HashMap};

/// What was found on the log of one run at one site.
#[derive(Debug, Default)]
struct Found {
    uploads: Vec<u64>,
    sum: ReadingsChecksum,
    /// The log's oldest records of the site's partition are gone.
    trimmed: bool,
}

/// The summaries, and what of them the log has.
#[derive(Debug, Default)]
pub struct Promises {
    summaries: Vec<FleetSummary>,
    /// (run, site) → (number of the run from 1, site's place in its summary)
    index: HashMap<String, (u16, HashMap<String, usize>)>,
    found: BTreeMap<(u16, String), Found>,
    any_trimmed: bool,
}

impl Promises {
    /// # Errors
    /// When two summaries are of one run.
    pub fn new(summaries: Vec<FleetSummary>) -> anyhow::Result<Self> {
        let mut index = HashMap::new();
        for (i, summary) in summaries.iter().enumerate() {
            let sites = summary.sites.iter().enumerate().map(|(at, s)| (s.site.clone(), at));
            let number = u16::try_from(i + 1)?;
            if index.insert(summary.run.clone(), (number, sites.collect())).is_some() {
                anyhow::bail!("two summaries of run {}: give the last one only", summary.run);
            }
        }
        Ok(Self { summaries, index, ..Self::default() })
    }

    pub fn is_empty(&self) -> bool {
        self.summaries.is_empty()
    }

    /// An upload stands on the log. The number of the run that got a 2xx for it, 0 for none.
    pub fn upload(&mut self, site: &str, upload_id: &str, log_first_offset: u64) -> u16 {
        let Some((run, seq)) = upload_id.rsplit_once('-') else { return 0 };
        let (Some((number, sites)), Ok(seq)) = (self.index.get(run), seq.parse::<u64>()) else {
            return 0;
        };
        let Some(at) = sites.get(site) else { return 0 };
        let promised = &self.summaries[usize::from(*number) - 1].sites[*at];
        if !contains(&promised.acked_uploads, seq) {
            return 0;
        }
        let found = self.found.entry((*number, site.to_owned())).or_default();
        found.uploads.push(seq);
        found.trimmed |= log_first_offset > 0;
        *number
    }

    /// A partition of the log does not begin at its beginning any more.
    pub fn log_is_trimmed(&mut self) {
        self.any_trimmed = true;
    }

    /// The value that `run` was promised last for a reading.
    pub fn reading(&mut self, run: u16, site: &str, (device, metric): &Series, fact: &Fact) {
        let found = self.found.entry((run, site.to_owned())).or_default();
        found.sum.add(site, device, metric, fact.ts_ms, fact.value);
    }

    /// Compares; returns how many promised readings are not on the log at all.
    pub fn compare(mut self, report: &mut Report) -> u64 {
        let mut lost = 0;
        for (i, summary) in self.summaries.iter().enumerate() {
            for site in &summary.sites {
                let found = self.found.remove(&(i as u16 + 1, site.site.clone()));
                let mut found = found
                    .unwrap_or_else(|| Found { trimmed: self.any_trimmed, ..Found::default() });
                found.uploads.sort_unstable();
                found.uploads.dedup();
                lost += compare_site(&summary.run, site, &found, report);
            }
        }
        lost
    }
}

fn compare_site(run: &str, site: &SiteSummary, found: &Found, report: &mut Report) -> u64 {
    let acked = || site.acked_uploads.iter().flat_map(|(first, last)| *first..=*last);
    let promised_uploads: u64 = site.acked_uploads.iter().map(|(a, b)| b - a + 1).sum();
    let on_log = found.uploads.len() as u64;
    if on_log < promised_uploads && found.trimmed {
        let oldest = found.uploads.first().copied().unwrap_or(u64::MAX);
        let newer_missing =
            promised_uploads - on_log > acked().take_while(|n| *n < oldest).count() as u64;
        if !newer_missing {
            report.note(format!(
                "{}: {} of {promised_uploads} promised uploads of run {run} are older than the log",
                site.site,
                promised_uploads - on_log
            ));
            return 0;
        }
    }
    for seq in acked().filter(|n| found.uploads.binary_search(n).is_err()).take(3) {
        report.promised_example(Example {
            site: site.site.clone(),
            got: "no record on the log".into(),
            want: format!("upload {run}-{seq}, which got a 2xx"),
            ..Example::default()
        });
    }
    let lost = site.readings.saturating_sub(found.sum.count);
    report.missing += lost;
    let same = found.sum.count == site.readings && found.sum.to_hex() == site.checksum;
    if !same || on_log < promised_uploads {
        // At least one, also where the number of readings is right and their values are not.
        report.missing += u64::from(lost == 0);
        report.promised_example(Example {
            site: site.site.clone(),
            got: format!(
                "on the log {} readings, checksum {}, in {on_log} uploads",
                found.sum.count,
                found.sum.to_hex()
            ),
            want: format!(
                "by run {run} {} readings, checksum {}, in {promised_uploads} uploads",
                site.readings, site.checksum
            ),
            ..Example::default()
        });
    }
    lost
}

fn contains(ranges: &[(u64, u64)], n: u64) -> bool {
    let at = ranges.partition_point(|(first, _)| *first <= n);
    at > 0 && ranges[at - 1].1 >= n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::Counts;

    fn sum_of(readings: &[(i64, f64)]) -> ReadingsChecksum {
        let mut sum = ReadingsChecksum::default();
        readings.iter().for_each(|(ts, value)| sum.add("s", "d", "m", *ts, *value));
        sum
    }

    fn summary(readings: &[(i64, f64)], acked_uploads: Vec<(u64, u64)>) -> FleetSummary {
        let sum = sum_of(readings);
        let site = SiteSummary {
            site: "s".into(),
            counts: Counts::default(),
            readings: sum.count,
            checksum: sum.to_hex(),
            acked_uploads,
        };
        FleetSummary::new("run".into(), true, vec![site], &[sum])
    }

    fn fact(ts_ms: i64, value: f64) -> Fact {
        Fact { ts_ms, offset: 0, value, series: 0, run: 1, quality: 1, dead: false }
    }

    /// Compares a log with uploads `on_log` and `readings` with a summary of uploads 0 to 2.
    fn compare(on_log: &[u64], readings: &[(i64, f64)], first_offset: u64) -> (u64, Report) {
        let promised = summary(&[(1, 1.0), (2, 2.0), (3, 3.0)], vec![(0, 2)]);
        let mut promises = Promises::new(vec![promised]).unwrap();
        for seq in on_log {
            assert_eq!(promises.upload("s", &format!("run-{seq}"), first_offset), 1);
        }
        for (ts, value) in readings {
            promises.reading(1, "s", &("d".into(), "m".into()), &fact(*ts, *value));
        }
        let mut report = Report::default();
        (promises.compare(&mut report), report)
    }

    #[test]
    fn what_was_promised_must_be_on_the_log() {
        let all = [(1, 1.0), (2, 2.0), (3, 3.0)];
        let changed = [(1, 1.0), (2, 2.0), (3, 9.0)];
        type Row<'a> = (&'a str, &'a [u64], &'a [(i64, f64)], u64, (u64, u64));
        // (readings not on the log, missing)
        let rows: &[Row] = &[
            ("all there", &[0, 1, 2], &all, 0, (0, 0)),
            ("sent twice is once", &[0, 1, 1, 2], &all, 0, (0, 0)),
            ("an upload is lost", &[0, 1], &all[..2], 0, (1, 1)),
            ("a value is another", &[0, 1, 2], &changed, 0, (0, 1)),
            ("an upload without a reading of its own is lost", &[0, 1], &all, 0, (0, 1)),
            ("all is lost", &[], &[], 0, (3, 3)),
            ("the oldest are older than the log", &[1, 2], &all[1..], 5, (0, 0)),
            ("the newest is never older than the log", &[0, 1], &all[..2], 5, (1, 1)),
        ];
        for (name, on_log, readings, first_offset, want) in rows {
            let (lost, report) = compare(on_log, readings, *first_offset);
            assert_eq!((lost, report.missing), *want, "{name}");
        }
    }

    #[test]
    fn only_uploads_with_a_2xx_are_promises() {
        let mut promises = Promises::new(vec![summary(&[], vec![(0, 1), (5, 6)])]).unwrap();
        let rows = [
            ("run-0", 1),
            ("run-2", 0),
            ("run-5", 1),
            ("run-7", 0),
            ("other-0", 0),
            ("run", 0),
            ("run-x", 0),
        ];
        for (id, want) in rows {
            assert_eq!(promises.upload("s", id, 0), want, "{id}");
        }
        assert_eq!(promises.upload("t", "run-0", 0), 0, "another site");
    }

    #[test]
    fn a_run_has_one_summary() {
        let twice = vec![summary(&[], vec![]), summary(&[], vec![])];
        assert!(Promises::new(twice).is_err());
    }
}
