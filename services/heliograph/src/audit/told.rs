//! Whether what was told is what follows from the log. Pure.
//!
//! A record may be told again under its id, and then has the same bytes; the first of each id come
//! in the order in which they were decided, within a lane: of a site, of a partition's door, of the
//! incidents in one partition.

use heliograph_contract::event::{Encoded, HEADER_ID, header};
use heliograph_log::Record;
use serde::Serialize;
use std::collections::BTreeMap;

/// Of each kind of difference so many are shown.
const EXAMPLES_MAX: usize = 20;

/// What has to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Within it the order counts.
    pub lane: String,
    pub record: Encoded,
    /// Whether it must be there already.
    pub is_due: bool,
}

/// What was found; the first three of an installation that keeps its word are all zero.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Findings {
    /// Due, and not told.
    pub missing: u64,
    /// Told, and follows from nothing.
    pub unexpected: u64,
    /// Told with other bytes than it should have, or before what was decided before it.
    pub differing: u64,
    /// Told, each once.
    pub told: u64,
    /// Told again with the same bytes, as may happen after a crash.
    pub repeated: u64,
    pub examples: Vec<String>,
}

impl Findings {
    pub fn differences(&self) -> u64 {
        self.missing + self.unexpected + self.differing
    }

    pub fn add(&mut self, other: Self) {
        self.missing += other.missing;
        self.unexpected += other.unexpected;
        self.differing += other.differing;
        self.told += other.told;
        self.repeated += other.repeated;
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text);
        }
    }
}

/// Compares what was told with what is wanted, both in their order. `is_ours` says whether a record
/// that is not wanted should be: not where it was decided outside of what is judged.
pub fn compare(wanted: &[Wanted], told: &[Record], is_ours: impl Fn(&Record) -> bool) -> Findings {
    let ids = wanted.iter().enumerate().filter_map(|(n, w)| Some((id(&w.record.headers)?, n)));
    let by_id: BTreeMap<&str, usize> = ids.collect();
    let mut found = Findings::default();
    let mut is_told = vec![false; wanted.len()];
    let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
    for record in told {
        let at = format!("{} offset {}", record.at, record.offset);
        let Some(n) = id(&record.headers).and_then(|id| by_id.get(id).copied()) else {
            if is_ours(record) {
                found.unexpected += 1;
                found.example(format!("{at}: follows from nothing"));
            }
            continue;
        };
        let Wanted { lane, record: want, .. } = &wanted[n];
        if !is_same(record, want) {
            found.differing += 1;
            found.example(format!("{at}: other bytes than what follows ({lane})"));
        } else if is_told[n] {
            found.repeated += 1;
        } else {
            found.told += 1;
            if newest.insert(lane, n).is_some_and(|before| before > n) {
                found.differing += 1;
                found.example(format!("{at}: behind a later one ({lane})"));
            }
        }
        is_told[n] = true;
    }
    for (want, _) in wanted.iter().zip(is_told).filter(|(want, is_told)| want.is_due && !is_told) {
        found.missing += 1;
        let kind = header(&want.record.headers, heliograph_contract::event::HEADER_TYPE);
        found.example(format!("{}: no {}", want.lane, kind.unwrap_or_default()));
    }
    found
}

fn id(headers: &[heliograph_contract::event::Header]) -> Option<&str> {
    header(headers, HEADER_ID)
}

fn is_same(record: &Record, want: &Encoded) -> bool {
    record.key == want.key
        && record.headers == want.headers
        && record.value.as_ref() == Some(&want.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_contract::{
        alert::Alert,
        topic,
        v1::{SiteRecovered, SiteWentStale},
    };
    use heliograph_domain::Timestamp;
    use heliograph_log::TopicPartition;

    fn stale(offset: u64) -> Encoded {
        let stale = SiteWentStale { site_id: "s1".into(), offset, ..SiteWentStale::default() };
        Alert::WentStale(stale).encode()
    }

    fn back(offset: u64, stale_since_ms: i64) -> Encoded {
        let back =
            SiteRecovered { site_id: "s1".into(), offset, stale_since_ms, ..Default::default() };
        Alert::Recovered(back).encode()
    }

    fn want(record: Encoded) -> Wanted {
        Wanted { lane: "s1".into(), record, is_due: true }
    }

    fn told(records: Vec<Encoded>) -> Vec<Record> {
        let record = |(offset, e): (usize, Encoded)| Record {
            at: TopicPartition::new(topic::ALERTS, 0),
            offset: offset as u64,
            append_time: Timestamp::from_ms(0),
            key: e.key,
            headers: e.headers,
            value: Some(e.value),
        };
        records.into_iter().enumerate().map(record).collect()
    }

    #[test]
    fn what_was_told_by_rows() {
        // What it is, what was told; missing, unexpected, differing, told, repeated.
        type Row = (&'static str, Vec<Encoded>, [u64; 5]);
        let rows: Vec<Row> = vec![
            ("all of it", vec![stale(1), back(2, 1)], [0, 0, 0, 2, 0]),
            ("again, in order", vec![stale(1), back(2, 1), stale(1), back(2, 1)], [0, 0, 0, 2, 2]),
            ("again, behind another", vec![stale(1), stale(1), back(2, 1)], [0, 0, 0, 2, 1]),
            ("one is missing", vec![stale(1)], [1, 0, 0, 1, 0]),
            ("in the wrong order", vec![back(2, 1), stale(1)], [0, 0, 1, 2, 0]),
            ("other bytes", vec![stale(1), back(2, 7)], [0, 0, 1, 1, 0]),
            ("from nothing", vec![stale(1), stale(5), back(2, 1)], [0, 1, 0, 2, 0]),
        ];
        for (name, records, [missing, unexpected, differing, count, repeated]) in rows {
            let found = compare(&[want(stale(1)), want(back(2, 1))], &told(records), |_| true);
            let got =
                [found.missing, found.unexpected, found.differing, found.told, found.repeated];
            assert_eq!(got, [missing, unexpected, differing, count, repeated], "{name}");
            assert_eq!(found.examples.len() as u64, found.differences(), "{name}");
        }
        let early = [Wanted { is_due: false, ..want(stale(1)) }];
        assert_eq!(compare(&early, &[], |_| true), Findings::default(), "not due yet");
        assert_eq!(compare(&[], &told(vec![stale(9)]), |_| false), Findings::default());
    }
}
