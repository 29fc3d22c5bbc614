//! The audit's questions to ClickHouse. Rows are streamed: no answer is held as a whole.

use super::{
    buckets::{Bucket, Step},
    compare::StoredRow,
    rollups::StoredBucket,
};
use anyhow::Context;
use clickhouse::{Client, Row, query::RowCursor};
use serde::Deserialize;
use std::collections::BTreeSet;

#[derive(Row, Deserialize)]
struct ReadingRow<'a> {
    device: &'a str,
    metric: &'a str,
    ts_ms: i64,
    value: f64,
    quality_code: i8,
    log_partition: u32,
    log_offset: u64,
}

#[derive(Row, Deserialize)]
struct BucketRow<'a> {
    device: &'a str,
    metric: &'a str,
    bucket_number: i64,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    first: f64,
    last: f64,
    first_ts_ms: i64,
    last_ts_ms: i64,
    version: u64,
}

/// Every site that has rows in any table.
pub async fn sites(client: &Client) -> anyhow::Result<BTreeSet<String>> {
    let mut sites = BTreeSet::new();
    for table in ["readings", "readings_15m", "readings_1h", "readings_1d"] {
        let sql = format!("SELECT DISTINCT toString(site_id) AS site FROM {table}");
        let found: Vec<String> =
            client.query(&sql).fetch_all().await.with_context(|| format!("sites of {table}"))?;
        sites.extend(found);
    }
    Ok(sites)
}

/// How many buckets are behind their readings, of those that `which` (a condition) selects.
pub async fn dirty(client: &Client, which: &str) -> anyhow::Result<u64> {
    let sql = format!("SELECT count() FROM dirty_buckets FINAL WHERE dirty = 1 AND ({which})");
    client.query(&sql).fetch_one().await.context("dirty buckets")
}

/// 15-minute buckets (start in s) of a site that are dirty.
pub async fn dirty_of(client: &Client, site: &str) -> anyhow::Result<Vec<i64>> {
    let sql = "SELECT toInt64(toUnixTimestamp(bucket)) AS start_s FROM dirty_buckets FINAL \
               WHERE site_id = ? AND dirty = 1";
    client.query(sql).bind(site).fetch_all().await.with_context(|| format!("dirty of {site}"))
}

/// Streams a site's readings to `take`.
pub async fn readings(
    client: &Client,
    site: &str,
    mut take: impl FnMut(StoredRow<'_>),
) -> anyhow::Result<()> {
    let sql = "SELECT device, metric, toUnixTimestamp64Milli(ts) AS ts_ms, value, \
               toInt8(quality) AS quality_code, log_partition, log_offset \
               FROM readings FINAL WHERE site_id = ? ORDER BY device, metric, ts";
    let mut rows: RowCursor<ReadingRow<'_>> = client.query(sql).bind(site).fetch()?;
    while let Some(r) = rows.next().await.with_context(|| format!("readings of {site}"))? {
        take(StoredRow {
            device: r.device,
            metric: r.metric,
            ts_ms: r.ts_ms,
            value: r.value,
            quality: u8::try_from(r.quality_code).unwrap_or(0),
            partition: r.log_partition,
            offset: r.log_offset,
        });
    }
    Ok(())
}

/// Streams one rollup table of a site to `take`.
pub async fn buckets(
    client: &Client,
    site: &str,
    step: Step,
    mut take: impl FnMut(StoredBucket<'_>),
) -> anyhow::Result<()> {
    let number = match step {
        Step::Day => "toInt64(toUInt16(bucket))",
        Step::Minutes15 | Step::Hour => "toInt64(toUnixTimestamp(bucket))",
    };
    let sql = format!(
        "SELECT device, metric, {number} AS bucket_number, count, sum, min, max, first, last, \
         toUnixTimestamp64Milli(first_ts) AS first_ts_ms, \
         toUnixTimestamp64Milli(last_ts) AS last_ts_ms, version \
         FROM {} FINAL WHERE site_id = ? ORDER BY device, metric, bucket",
        step.table()
    );
    let mut rows: RowCursor<BucketRow<'_>> = client.query(&sql).bind(site).fetch()?;
    let what = || format!("{} of {site}", step.table());
    while let Some(r) = rows.next().await.with_context(what)? {
        take(StoredBucket {
            device: r.device,
            metric: r.metric,
            version: r.version,
            row: Bucket {
                series: 0,
                bucket: r.bucket_number,
                count: r.count,
                sum: r.sum,
                sum_abs: 0.0,
                min: r.min,
                max: r.max,
                first: r.first,
                last: r.last,
                first_ts_ms: r.first_ts_ms,
                last_ts_ms: r.last_ts_ms,
            },
        });
    }
    Ok(())
}
