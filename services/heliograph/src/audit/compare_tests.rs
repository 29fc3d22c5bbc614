use super::super::{buckets::Bucket, facts::SiteFacts, rollups::StoredBucket};
use super::*;
use heliograph_contract::v1;
use proptest::prelude::*;

const QUARTER_MS: i64 = 900_000;
/// 2022-01-02 00:00 at UTC−7.
const T0: i64 = 1_641_106_800_000;

fn zone() -> Option<TimeZone> {
    Some(TimeZone::get("Etc/GMT+7").unwrap())
}

fn horizon() -> Horizon {
    let dead = HashMap::from([((0, 99), "refused_by_store".to_owned())]);
    Horizon { partitions: BTreeMap::from([(0, (10, 100))]), dead }
}

fn reading(device: &str, ts_ms: i64, value: f64, quality: i32) -> v1::Reading {
    v1::Reading { device: device.into(), metric: "m".into(), ts_ms, value, quality }
}

/// The log: five quarters of two devices at offset 20, one corrected at 30, one bad.
fn log() -> SiteLog {
    let mut facts = SiteFacts::default();
    for device in ["a", "b"] {
        for n in 0..5 {
            let quality = if n == 4 { 3 } else { 1 };
            facts.add(&reading(device, T0 + n * QUARTER_MS, n as f64, quality), 20, 0, false);
        }
    }
    facts.add(&reading("a", T0, 9.5, 1), 30, 0, false);
    facts.resolve(|_, _, _| {})
}

fn rows() -> Vec<StoredRow<'static>> {
    let log = log();
    let row = |f: &Fact| StoredRow {
        device: if log.series[f.series as usize].0 == "a" { "a" } else { "b" },
        metric: "m",
        ts_ms: f.ts_ms,
        value: f.value,
        quality: f.quality,
        partition: 0,
        offset: f.offset,
    };
    log.facts.iter().map(row).collect()
}

/// The rollups as they must be, computed from `rows` in the plainest way.
fn rollups<'r>(rows: &[StoredRow<'r>], step: Step) -> Vec<StoredBucket<'r>> {
    let mut days = Recompute::new(zone());
    let mut groups: BTreeMap<(&'r str, i64), Vec<StoredRow<'r>>> = BTreeMap::new();
    for r in rows.iter().filter(|r| r.quality != 3) {
        let bucket = days.bucket(step, r.ts_ms).unwrap();
        groups.entry((r.device, bucket)).or_default().push(*r);
    }
    let bucket = |((device, bucket), rows): ((&'r str, i64), Vec<StoredRow<'r>>)| {
        let values: Vec<f64> = rows.iter().map(|r| r.value).collect();
        let (first, last) = (rows[0], rows[rows.len() - 1]);
        StoredBucket {
            device,
            metric: "m",
            version: rows.iter().map(|r| r.offset).max().unwrap(),
            row: Bucket {
                series: 0,
                bucket,
                count: rows.len() as u64,
                sum: values.iter().sum(),
                sum_abs: 0.0,
                min: values.iter().copied().fold(f64::INFINITY, f64::min),
                max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                first: first.value,
                last: last.value,
                first_ts_ms: first.ts_ms,
                last_ts_ms: last.ts_ms,
            },
        }
    };
    groups.into_iter().map(bucket).collect()
}

fn compare(log: SiteLog, rows: &[StoredRow<'_>], tables: [Vec<StoredBucket<'_>>; 3]) -> Report {
    let (horizon, mut report) = (horizon(), Report::default());
    let mut site = SiteCompare::new("s", log, Some(0), zone(), &horizon, true, &mut report);
    rows.iter().for_each(|r| site.row(*r));
    let mut rollups = site.rows_end();
    for (step, table) in Step::ALL.into_iter().zip(tables) {
        let mut compare = rollups.step(step);
        table.into_iter().for_each(|b| compare.row(b));
        compare.end();
    }
    report
}

fn tables<'r>(rows: &[StoredRow<'r>]) -> [Vec<StoredBucket<'r>>; 3] {
    Step::ALL.map(|step| rollups(rows, step))
}

fn counts(r: &Report) -> (u64, u64, u64, u64, u64) {
    (r.acked, r.stored, r.missing, r.duplicate, r.rollup_mismatch)
}

#[test]
fn equal_ledgers_agree() {
    let report = compare(log(), &rows(), tables(&rows()));
    assert_eq!(counts(&report), (10, 10, 0, 0, 0), "{report:?}");
    assert_eq!(report.seen.buckets, 8 + 2 + 2);
}

#[test]
fn every_difference_between_log_and_store_is_found() {
    type Change = fn(&mut Vec<StoredRow<'static>>);
    let rows_of: &[(&str, Change, (u64, u64))] = &[
        (
            "a row is gone",
            |r| {
                r.remove(3);
            },
            (1, 0),
        ),
        (
            "the first row is gone",
            |r| {
                r.remove(0);
            },
            (1, 0),
        ),
        (
            "the last row is gone",
            |r| {
                r.pop();
            },
            (1, 0),
        ),
        ("a correction was overwritten", |r| r[0].value = 0.0, (1, 0)),
        ("a quality is another", |r| r[1].quality = 2, (1, 0)),
        ("a row stands twice", |r| r.insert(3, r[2]), (0, 1)),
        ("a row that nobody sent", |r| r[2].ts_ms += 1, (1, 1)),
        ("a row of a partition that the log has not", |r| r.push(at(&r[9], 1, 9, 50)), (0, 1)),
        ("a row older than the log stays", |r| r.push(at(&r[9], 1, 0, 9)), (0, 0)),
        ("a row that came later is left alone", |r| r.push(at(&r[9], 1, 0, 100)), (0, 0)),
        ("a row of a dead letter was stored all the same", |r| r.push(at(&r[9], 1, 0, 99)), (0, 0)),
        ("a reading corrected later", |r| (r[0].value, r[0].offset) = (1.0, 100), (0, 0)),
        ("the right value from an earlier record", |r| r[0].offset = 11, (0, 0)),
        ("zero has no sign", |r| r[5].value = -0.0, (0, 0)),
    ];
    for (name, change, want) in rows_of {
        let mut rows = rows();
        change(&mut rows);
        let report = compare(log(), &rows, tables(&rows));
        assert_eq!((report.missing, report.duplicate), *want, "{name}: {report:?}");
        assert_eq!(report.is_clean(), *want == (0, 0) && report.rollup_mismatch == 0, "{name}");
    }
}

/// The row one hour later, from elsewhere.
fn at<'r>(row: &StoredRow<'r>, hours: i64, partition: u32, offset: u64) -> StoredRow<'r> {
    StoredRow { ts_ms: row.ts_ms + hours * 3_600_000, partition, offset, quality: 1, ..*row }
}

#[test]
fn the_log_decides_what_the_rollups_are_made_of() {
    let mut with_ghost = rows();
    with_ghost.push(at(&rows()[9], 1, 0, 50));
    let report = compare(log(), &with_ghost, tables(&rows()));
    assert_eq!((report.duplicate, report.rollup_mismatch), (1, 0), "{report:?}");
    let report = compare(log(), &rows()[1..], tables(&rows()));
    assert_eq!((report.missing, report.rollup_mismatch), (1, 0), "{report:?}");
    let mut older = rows();
    older.push(at(&rows()[9], 1, 0, 9));
    let report = compare(log(), &older, tables(&older));
    assert_eq!((report.seen.older_than_log, report.rollup_mismatch), (1, 0), "{report:?}");
    assert_eq!(compare(log(), &older, tables(&rows())).rollup_mismatch, 3, "older rows count");
}

#[test]
fn every_difference_in_a_rollup_is_found() {
    type Change = fn(&mut [Vec<StoredBucket<'static>>; 3]);
    let rows_of: &[(&str, Change, u64)] = &[
        (
            "a bucket is gone",
            |t| {
                t[0].remove(2);
            },
            1,
        ),
        (
            "the last day is gone",
            |t| {
                t[2].pop();
            },
            1,
        ),
        ("a count is another", |t| t[1][0].row.count += 1, 1),
        ("a sum is another", |t| t[2][1].row.sum += 1e-3, 1),
        ("a first is another", |t| t[1][1].row.first += 1.0, 1),
        ("a bucket says that it is empty", |t| t[0][0].row.count = 0, 1),
        ("a bucket that has no readings", |t| t[0][3].row.bucket += 900, 2),
        (
            "an empty bucket where nothing is left",
            |t| {
                let e = empty(&t[0][7]);
                t[0].push(e)
            },
            0,
        ),
        ("a bucket that changed later", |t| (t[1][0].version, t[1][0].row.sum) = (100, 7.0), 0),
    ];
    for (name, change, want) in rows_of {
        let mut tables = tables(&rows());
        change(&mut tables);
        let report = compare(log(), &rows(), tables);
        assert_eq!(report.rollup_mismatch, *want, "{name}: {report:?}");
    }
}

fn empty<'r>(after: &StoredBucket<'r>) -> StoredBucket<'r> {
    let row = Bucket { bucket: after.row.bucket + 900, count: 0, ..after.row };
    StoredBucket { row, ..*after }
}

#[test]
fn buckets_that_change_meanwhile_are_left_alone_with_their_hour_and_day() {
    let (horizon, mut report) = (horizon(), Report::default());
    let mut site = SiteCompare::new("s", log(), Some(0), zone(), &horizon, true, &mut report);
    site.bucket_is_changing(T0 / 1_000);
    rows().into_iter().for_each(|r| site.row(r));
    let mut rollups = site.rows_end();
    // No row at all in any table: only what is changing may lack.
    Step::ALL.into_iter().for_each(|step| rollups.step(step).end());
    assert_eq!(report.seen.buckets_changing, 2 + 2 + 2, "both devices");
    assert_eq!(report.rollup_mismatch, 6, "the quarters 1 to 3 of both");
}

#[test]
fn a_dead_letter_excuses_what_was_not_promised() {
    let site_log = |run| {
        let mut facts = SiteFacts::default();
        facts.add(&reading("a", T0, 1.0, 1), 99, run, true);
        facts.resolve(|_, _, _| {})
    };
    let none = || [vec![], vec![], vec![]];
    let report = compare(site_log(0), &[], none());
    assert_eq!((report.missing, report.seen.dead_lettered), (0, 1));
    let report = compare(site_log(1), &[], none());
    assert_eq!((report.missing, report.seen.dead_lettered, report.acked), (1, 0, 1));
}

#[test]
fn a_site_without_a_zone_has_no_days_to_compare() {
    let (horizon, mut report) = (horizon(), Report::default());
    let site = SiteCompare::new("s", log(), Some(0), None, &horizon, true, &mut report);
    assert!(!site.rows_end().has_days());
}

proptest! {
    #[test]
    fn any_set_of_changed_rows_is_counted(
        gone in proptest::collection::btree_set(0usize..10, 0..10),
        changed in proptest::collection::btree_set(0usize..10, 0..10),
    ) {
        let mut rows = rows();
        changed.iter().for_each(|i| rows[*i].value += 0.25);
        let mut at = 0;
        rows.retain(|_| { at += 1; !gone.contains(&(at - 1)) });
        let report = compare(log(), &rows, tables(&self::rows()));
        let want = gone.union(&changed).count() as u64;
        prop_assert_eq!(report.missing, want);
        prop_assert_eq!(report.stored, 10 - gone.len() as u64);
        // The log decides what the rollups must be.
        prop_assert_eq!((report.duplicate, report.rollup_mismatch), (0, 0));
    }
}
