//! The statements that recompute rollups. Pure: text out of checked names and numbers.
//!
//! Sums are taken over values sorted by time, so that the same rows give the same bits in any
//! order of parts and threads; a rebuild can then be compared bit by bit.

use crate::{rows::SiteBucket, tables::Tables};
use heliograph_domain::{SiteId, Timestamp, rollup::BUCKET_15M_MS};
use heliograph_log::unguarded::{Guard, is_off};
use std::{collections::BTreeSet, fmt::Write};

const COLUMNS: &str = "site_id, device, metric, bucket, count, sum, min, max, first, last, \
                       first_ts, last_ts, version";

/// An order-independent checksum over whole rows: the sum of their 128-bit hashes, in hex.
pub const ROWS_CHECKSUM: &str = "hex(sumWithOverflow(reinterpretAsUInt128(sipHash128(tuple(*)))))";

/// Recomputes 15-minute buckets from `readings FINAL`. Bad readings are left out; a bucket that
/// holds nothing else gets count 0.
///
/// `scope` is the condition on (site_id, ts); see [`in_buckets`].
pub fn recompute_15m(tables: &Tables, scope: &str) -> String {
    format!(
        "INSERT INTO {to} ({COLUMNS}) \
         SELECT site_id, device, metric, b, length(v), arraySum(x), arrayMin(x), arrayMax(x), \
                x[1], x[-1], v[1].1, v[-1].1, newest \
         FROM (SELECT site_id, device, metric, toStartOfFifteenMinutes(ts) AS b, \
                      arraySort(groupArrayIf((ts, value), quality != 'bad')) AS v, \
                      arrayMap(p -> p.2, v) AS x, max(log_offset) AS newest \
               FROM {from} {resolved} WHERE {scope} \
               GROUP BY site_id, device, metric, b)",
        to = tables.rollup_15m,
        from = tables.readings,
        resolved = if is_off(Guard::Recompute) { "" } else { "FINAL" },
    )
}

/// Recomputes UTC hours from `readings_15m FINAL`; `scope` is on (site_id, bucket).
pub fn recompute_1h(tables: &Tables, scope: &str) -> String {
    insert(&tables.rollup_1h, &from_15m(&tables.rollup_15m, "toStartOfHour(bucket)", scope))
}

/// Recomputes local days of sites from `readings_15m FINAL`; each of `zones` brings its scope, on
/// (site_id, bucket). However many zones there are, it is one INSERT.
pub fn recompute_1d(tables: &Tables, zones: &[(&str, String)]) -> String {
    let of_zone = |(zone, scope): &(&str, String)| {
        from_15m(&tables.rollup_15m, &local_date("bucket", zone), scope)
    };
    let selects: Vec<String> = zones.iter().map(of_zone).collect();
    insert(&tables.rollup_1d, &selects.join(" UNION ALL "))
}

fn insert(to: &str, select: &str) -> String {
    format!("INSERT INTO {to} ({COLUMNS}) {select}")
}

fn from_15m(from: &str, bucket: &str, scope: &str) -> String {
    // p: 1 bucket, 2 count, 3 sum, 4 min, 5 max, 6 first, 7 last, 8 first_ts, 9 last_ts
    format!(
        "SELECT site_id, device, metric, b, arraySum(p -> p.2, v), arraySum(p -> p.3, v), \
                arrayMin(p -> p.4, v), arrayMax(p -> p.5, v), v[1].6, v[-1].7, v[1].8, v[-1].9, \
                newest \
         FROM (SELECT site_id, device, metric, {bucket} AS b, \
                      arraySort(groupArrayIf((bucket, count, sum, min, max, first, last, \
                                              first_ts, last_ts), count > 0)) AS v, \
                      max(version) AS newest \
               FROM {from} FINAL WHERE {scope} \
               GROUP BY site_id, device, metric, b)"
    )
}

/// The site's local calendar date of a time. The zone is checked, since it stands in the text.
pub fn local_date(expression: &str, zone: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+-/".contains(c);
    let zone: String = zone.chars().filter(|c| plain(*c)).collect();
    format!("toDate({expression}, '{zone}')")
}

/// Exactly these 15-minute buckets, as a condition on `readings`. The plain conditions on site
/// and time are there for the primary key and the partitions.
pub fn in_buckets(buckets: &[&SiteBucket]) -> String {
    let pairs = buckets.iter().map(|b| (b.site.as_str(), b.start.as_ms() / 1_000));
    let span = span(buckets.iter().map(|b| (b.start, b.start.plus_ms(BUCKET_15M_MS))));
    let list = tuples(pairs);
    format!(
        "{sites} AND ts >= fromUnixTimestamp64Milli({lo}, 'UTC') \
         AND ts < fromUnixTimestamp64Milli({hi}, 'UTC') \
         AND (site_id, toUnixTimestamp(toStartOfFifteenMinutes(ts))) IN ({list})",
        sites = in_sites(buckets.iter().map(|b| &b.site)),
        lo = span.0.as_ms(),
        hi = span.1.as_ms(),
    )
}

/// Sites and starts of hours or days, as a condition on `readings_15m`. `key` gives the number
/// that a row is looked up by; each interval is (site, number, start, end).
pub fn in_intervals(
    key: &str,
    intervals: &BTreeSet<(SiteId, i64, Timestamp, Timestamp)>,
) -> String {
    let span = span(intervals.iter().map(|(_, _, start, end)| (*start, *end)));
    let list = tuples(intervals.iter().map(|(site, number, ..)| (site.as_str(), *number)));
    format!(
        "{sites} AND bucket >= toDateTime({lo}, 'UTC') AND bucket < toDateTime({hi}, 'UTC') \
         AND (site_id, {key}) IN ({list})",
        sites = in_sites(intervals.iter().map(|(site, ..)| site)),
        lo = span.0.as_ms() / 1_000,
        hi = span.1.as_ms() / 1_000,
    )
}

fn span(intervals: impl Iterator<Item = (Timestamp, Timestamp)>) -> (Timestamp, Timestamp) {
    intervals.fold(
        (Timestamp::from_ms(i64::MAX), Timestamp::from_ms(i64::MIN)),
        |(lo, hi), (start, end)| (lo.min(start), hi.max(end)),
    )
}

fn in_sites<'a>(sites: impl Iterator<Item = &'a SiteId>) -> String {
    let sites: BTreeSet<&SiteId> = sites.collect();
    let list: Vec<String> = sites.iter().map(|s| format!("'{s}'")).collect();
    format!("site_id IN ({})", list.join(", "))
}

fn tuples<'a>(pairs: impl Iterator<Item = (&'a str, i64)>) -> String {
    let mut list = String::new();
    for (site, number) in pairs {
        let comma = if list.is_empty() { "" } else { ", " };
        let _ = write!(list, "{comma}('{site}', {number})");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_stand_in_a_statement_cannot_leave_their_quotes() {
        assert!(SiteId::parse("a'b").is_err());
        assert_eq!(local_date("bucket", "Etc/GMT+7') --"), "toDate(bucket, 'Etc/GMT+7--')");
    }

    #[test]
    fn days_of_many_zones_are_one_insert() {
        let zones = [("Asia/Tokyo", "a".to_owned()), ("UTC", "b".to_owned())];
        let got = recompute_1d(&Tables::live(), &zones);
        assert_eq!(got.matches("INSERT INTO readings_1d").count(), 1, "{got}");
        assert_eq!(got.matches("UNION ALL SELECT").count(), 1, "{got}");
        let (tokyo, utc) = got.split_once(" UNION ALL ").unwrap();
        assert!(tokyo.contains("toDate(bucket, 'Asia/Tokyo')") && tokyo.contains("WHERE a"));
        assert!(utc.contains("toDate(bucket, 'UTC')") && utc.contains("WHERE b"));
    }

    #[test]
    fn a_scope_names_its_buckets_and_bounds_the_time() {
        let bucket = SiteBucket {
            site: SiteId::parse("s1").unwrap(),
            start: Timestamp::from_secs(1_700_000_100),
        };
        let got = in_buckets(&[&bucket]);
        assert!(got.starts_with("site_id IN ('s1') AND ts >= "), "{got}");
        assert!(got.ends_with("IN (('s1', 1700000100))"), "{got}");
    }
}
