//! What the answers should be, computed the plain way from the rows of the test.

use clickhouse::Client;
use heliograph_contract::v1;
use std::collections::BTreeMap;

pub const QUARTER_MS: i64 = 900_000;
pub const HOUR_MS: i64 = 3_600_000;
pub const DAY_MS: i64 = 86_400_000;

/// A row of `readings`, of the one site of the test.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub device: &'static str,
    pub metric: &'static str,
    pub ts_ms: i64,
    pub value: f64,
    pub quality: &'static str,
    pub offset: u64,
    pub received_at_ms: i64,
}

pub fn row(device: &'static str, ts_ms: i64, value: f64, offset: u64) -> Row {
    Row {
        device,
        metric: "ac_power",
        ts_ms,
        value,
        quality: "good",
        offset,
        received_at_ms: ts_ms + 5_000,
    }
}

/// (device, metric) → (start of the point in ms, value).
pub type Series = BTreeMap<(String, String), Vec<(i64, f64)>>;

/// One row per identity: the one with the highest offset.
pub fn resolved(rows: &[Row]) -> Vec<Row> {
    let mut last: BTreeMap<(&str, &str, i64), &Row> = BTreeMap::new();
    for row in rows {
        let slot = last.entry((row.device, row.metric, row.ts_ms)).or_insert(row);
        if row.offset >= slot.offset {
            *slot = row;
        }
    }
    last.into_values().cloned().collect()
}

/// Cuts time into buckets: the start of the one that holds a time.
pub type Cut = fn(i64) -> i64;

pub fn quarters(ts_ms: i64) -> i64 {
    ts_ms - ts_ms.rem_euclid(QUARTER_MS)
}

pub fn hours(ts_ms: i64) -> i64 {
    ts_ms - ts_ms.rem_euclid(HOUR_MS)
}

/// Local days of Berlin around 2026-03-29T01:00:00Z, when clocks go from UTC+1 to UTC+2.
pub fn berlin_days(ts_ms: i64) -> i64 {
    const CHANGE_MS: i64 = 1_774_746_000_000;
    const SHORT_DAY_MS: i64 = 1_774_738_800_000; // 2026-03-28T23:00:00Z
    const NEXT_DAY_MS: i64 = 1_774_821_600_000; // 2026-03-29T22:00:00Z
    if ts_ms < SHORT_DAY_MS {
        (ts_ms + HOUR_MS).div_euclid(DAY_MS) * DAY_MS - HOUR_MS
    } else if ts_ms < NEXT_DAY_MS {
        assert_eq!(CHANGE_MS - SHORT_DAY_MS, 2 * HOUR_MS);
        SHORT_DAY_MS
    } else {
        (ts_ms + 2 * HOUR_MS).div_euclid(DAY_MS) * DAY_MS - 2 * HOUR_MS
    }
}

/// The usable readings of each bucket that has any, in the order of time.
pub fn buckets(rows: &[Row], cut: Cut) -> BTreeMap<(String, String, i64), Vec<Row>> {
    let mut buckets: BTreeMap<_, Vec<Row>> = BTreeMap::new();
    for row in resolved(rows).into_iter().filter(|row| row.quality != "bad") {
        let key = (row.device.to_owned(), row.metric.to_owned(), cut(row.ts_ms));
        buckets.entry(key).or_default().push(row);
    }
    buckets
}

pub fn aggregated(aggregate: v1::Aggregate, rows: &[Row]) -> f64 {
    let values = || rows.iter().map(|row| row.value);
    match aggregate {
        v1::Aggregate::Unspecified | v1::Aggregate::Avg => {
            values().sum::<f64>() / rows.len() as f64
        }
        v1::Aggregate::Min => values().fold(f64::INFINITY, f64::min),
        v1::Aggregate::Max => values().fold(f64::NEG_INFINITY, f64::max),
        v1::Aggregate::Sum => values().sum(),
        v1::Aggregate::Count => rows.len() as f64,
        v1::Aggregate::First => rows[0].value,
        v1::Aggregate::Last => rows[rows.len() - 1].value,
    }
}

/// The series that an answer should hold: buckets whose start lies in `[start, end)`.
pub fn expected(
    rows: &[Row],
    cut: Cut,
    aggregate: v1::Aggregate,
    (start_ms, end_ms): (i64, i64),
) -> Series {
    let mut series = Series::new();
    for ((device, metric, start), rows) in buckets(rows, cut) {
        if (start_ms..end_ms).contains(&start) {
            let value = aggregated(aggregate, &rows);
            series.entry((device, metric)).or_default().push((start, value));
        }
    }
    series
}

pub fn answered(response: &v1::QueryReadingsResponse) -> Series {
    let points = |s: &v1::Series| {
        assert_eq!(s.ts_ms.len(), s.values.len());
        s.ts_ms.iter().copied().zip(s.values.iter().copied()).collect()
    };
    let series = response.series.iter();
    let all: Vec<_> = series.map(|s| ((s.device.clone(), s.metric.clone()), points(s))).collect();
    assert!(all.is_sorted_by(|a, b| a.0 < b.0), "series are in the order (device, metric)");
    all.into_iter().collect()
}

/// Equal names and times; values equal but for the order of additions.
pub fn assert_close(got: &Series, want: &Series, name: &str) {
    let times = |series: &Series| -> Vec<((String, String), Vec<i64>)> {
        series.iter().map(|(k, v)| (k.clone(), v.iter().map(|p| p.0).collect())).collect()
    };
    assert_eq!(times(got), times(want), "{name}");
    for (key, points) in want {
        for ((ts_ms, want), (_, got)) in points.iter().zip(&got[key]) {
            let close = (got - want).abs() <= 1e-9 * want.abs().max(1.0);
            assert!(close, "{name}: {key:?} at {ts_ms}: got {got}, want {want}");
        }
    }
}

/// Puts rows into `readings`.
pub async fn store(client: &Client, site: &str, rows: &[Row]) {
    let values = |r: &Row| {
        format!(
            "('{site}','{}','{}',fromUnixTimestamp64Milli({},'UTC'),{},'{}',0,{},\
             fromUnixTimestamp64Milli({},'UTC'))",
            r.device, r.metric, r.ts_ms, r.value, r.quality, r.offset, r.received_at_ms
        )
    };
    insert(client, "readings", rows.iter().map(values).collect()).await;
}

/// Marks the quarters of `rows` dirty or clean, as the writer does: before and after.
pub async fn mark(client: &Client, site: &str, rows: &[Row], dirty: bool) {
    let mut newest: BTreeMap<i64, u64> = BTreeMap::new();
    for row in rows {
        let offset = newest.entry(quarters(row.ts_ms)).or_default();
        *offset = row.offset.max(*offset);
    }
    let values = newest.into_iter().map(|(start, offset)| {
        let version = 2 * offset + u64::from(!dirty);
        format!("('{site}',toDateTime({},'UTC'),0,{version},{})", start / 1_000, u8::from(dirty))
    });
    insert(client, "dirty_buckets", values.collect()).await;
}

/// What a rollup's `bucket` is for a start, as SQL.
type Bucket = Box<dyn Fn(i64) -> String + Send + Sync>;

/// The tables of rollups with how each is cut and what its `bucket` is for a start.
pub fn rollups(days: Cut, offset_ms: i64) -> [(&'static str, Cut, Bucket); 3] {
    let seconds =
        || -> Bucket { Box::new(|start: i64| format!("toDateTime({},'UTC')", start / 1_000)) };
    // A local day starts within some hours of UTC midnight; its date is the one around its noon.
    let date = Box::new(move |start: i64| {
        format!("toDate({})", (start + offset_ms + DAY_MS / 2).div_euclid(DAY_MS))
    });
    [
        ("readings_15m", quarters, seconds()),
        ("readings_1h", hours, seconds()),
        ("readings_1d", days, date),
    ]
}

/// Writes the rollups of `rows`.
pub async fn roll_up(client: &Client, site: &str, rows: &[Row], days: Cut, offset_ms: i64) {
    for (table, cut, bucket) in rollups(days, offset_ms) {
        let values = buckets(rows, cut).into_iter().map(|((device, metric, start), rows)| {
            let of = |aggregate| aggregated(aggregate, &rows);
            let time = |ts_ms: i64| format!("fromUnixTimestamp64Milli({ts_ms},'UTC')");
            format!(
                "('{site}','{device}','{metric}',{},{},{},{},{},{},{},{},{},{})",
                bucket(start),
                rows.len(),
                of(v1::Aggregate::Sum),
                of(v1::Aggregate::Min),
                of(v1::Aggregate::Max),
                of(v1::Aggregate::First),
                of(v1::Aggregate::Last),
                time(rows[0].ts_ms),
                time(rows[rows.len() - 1].ts_ms),
                rows.iter().map(|row| row.offset).max().unwrap_or_default(),
            )
        });
        insert(client, table, values.collect()).await;
    }
}

pub async fn insert(client: &Client, table: &str, values: Vec<String>) {
    for chunk in values.chunks(1_000) {
        let sql = format!("INSERT INTO {table} VALUES {}", chunk.join(","));
        client.query_raw(&sql).execute().await.unwrap_or_else(|e| panic!("{table}: {e}"));
    }
}
