//! Every statement of the query service.
//!
//! Pure. Invariant: whatever comes from outside is a bound parameter (`{name:Type}`); the text is
//! put together from this file's own words alone. Every read of a replacing table says FINAL,
//! except where old versions of a row cannot change the answer. Every result has an order.

use crate::request::{Aggregate, Selection};
use crate::window::{Grain, Span, Window};
use heliograph_domain::Timestamp;
use serde::Serialize;

/// A statement and what is bound to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub text: String,
    pub params: Vec<(String, Param)>,
}

/// A bound value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Param {
    Text(String),
    Texts(Vec<String>),
    Int(i64),
    Ints(Vec<i64>),
}

impl Statement {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), params: Vec::new() }
    }

    fn with(mut self, name: impl Into<String>, value: Param) -> Self {
        self.params.push((name.into(), value));
        self
    }

    fn time(self, name: impl Into<String>, value: Timestamp) -> Self {
        self.with(name, Param::Int(value.as_ms()))
    }

    fn limit(self, rows_max: u64) -> Self {
        self.with("limit", Param::Int(i64::try_from(rows_max).unwrap_or(i64::MAX)))
    }

    fn site(self, site: &str) -> Self {
        self.with("site", Param::Text(site.to_owned()))
    }

    fn selection(self, of: &Selection) -> Self {
        let mut with = self.site(&of.site);
        if !of.devices.is_empty() {
            with = with.with("devices", Param::Texts(of.devices.clone()));
        }
        if !of.metrics.is_empty() {
            with = with.with("metrics", Param::Texts(of.metrics.clone()));
        }
        with
    }

    fn spans(mut self, spans: &[Span]) -> Self {
        for (at, span) in spans.iter().enumerate() {
            self = self
                .time(format!("from{at}_ms"), span.time.start)
                .time(format!("to{at}_ms"), span.time.end)
                .with(format!("from{at}"), Param::Int(span.buckets.start))
                .with(format!("to{at}"), Param::Int(span.buckets.end));
        }
        self
    }
}

/// Readings as they were measured; columns device, metric, at (ms), value, quality.
pub fn raw(of: &Selection, start: Timestamp, end: Timestamp, rows_max: u64) -> Statement {
    Statement::new(format!(
        "SELECT device, metric, toUnixTimestamp64Milli(ts) AS at, value, \
         toInt8(quality) AS quality \
         FROM readings FINAL \
         WHERE {} AND ts >= {} AND ts < {} \
         ORDER BY device, metric, ts LIMIT {{limit:UInt64}}",
        selected(of),
        ms("start_ms"),
        ms("end_ms"),
    ))
    .selection(of)
    .time("start_ms", start)
    .time("end_ms", end)
    .limit(rows_max)
}

/// The dirty 15-minute buckets of a site; column at (s).
pub fn dirty(site: &str, window: &Window) -> Statement {
    Statement::new(
        "SELECT toInt64(toUnixTimestamp(bucket)) AS at FROM dirty_buckets FINAL \
         WHERE site_id = {site:String} AND dirty = 1 \
         AND bucket >= toDateTime({from:Int64}, 'UTC') AND bucket < toDateTime({to:Int64}, 'UTC') \
         ORDER BY bucket",
    )
    .site(site)
    .with("from", Param::Int(window.time.start.as_ms() / 1_000))
    .with("to", Param::Int(window.time.end.as_ms() / 1_000))
}

/// How many points the rollups of a window hold, counted up to `rows_max`; column n.
pub fn count(of: &Selection, window: &Window, rows_max: u64) -> Statement {
    Statement::new(format!(
        "SELECT count() AS n FROM (SELECT 1 FROM {} FINAL \
         WHERE {} AND {} AND count > 0 LIMIT {{limit:UInt64}})",
        table(window.grain),
        selected(of),
        within(window.grain),
    ))
    .selection(of)
    .with("from", Param::Int(window.buckets.start))
    .with("to", Param::Int(window.buckets.end))
    .limit(rows_max)
}

/// Points of a window; columns device, metric, at (the bucket's number), value. Buckets of `spans`
/// are computed from raw readings, all others are read from their rollup: each bucket comes from
/// exactly one of the two.
pub fn points(
    of: &Selection,
    window: &Window,
    spans: &[Span],
    aggregate: Aggregate,
    rows_max: u64,
) -> Statement {
    let clean = format!(
        "SELECT device, metric, {number} AS at, count AS n, sum AS total, min AS low, \
         max AS high, first AS head, last AS tail \
         FROM {table} FINAL \
         WHERE {selected} AND {within} AND count > 0{outside}",
        number = number(window.grain),
        table = table(window.grain),
        selected = selected(of),
        within = within(window.grain),
        outside = outside(window.grain, spans.len()),
    );
    let source = match spans {
        [] => clean,
        _ => format!("{clean} UNION ALL {}", recomputed(of, window.grain, spans.len())),
    };
    let mut statement = Statement::new(format!(
        "SELECT device, metric, at, {} AS value FROM ({source}) \
         ORDER BY device, metric, at LIMIT {{limit:UInt64}}",
        value(aggregate),
    ))
    .selection(of)
    .with("from", Param::Int(window.buckets.start))
    .with("to", Param::Int(window.buckets.end))
    .spans(spans)
    .limit(rows_max);
    if window.grain == Grain::Day && !spans.is_empty() {
        let days = window.days_in(spans);
        let starts = days.iter().map(|day| day.start.as_ms() / 1_000).collect();
        let numbers = days.iter().map(|day| day.days_since_epoch.into()).collect();
        statement = statement
            .with("day_starts", Param::Ints(starts))
            .with("day_numbers", Param::Ints(numbers));
    }
    statement
}

/// The same rows that the rollups would have, in the same way, down to the order of additions: a
/// point must not change when its bucket turns clean.
fn recomputed(of: &Selection, grain: Grain, spans: usize) -> String {
    let quarters = format!(
        "SELECT device, metric, toStartOfFifteenMinutes(ts) AS quarter, \
         arraySort(groupArray((ts, value))) AS v, arrayMap(p -> p.2, v) AS x, \
         length(x) AS n, arraySum(x) AS total, arrayMin(x) AS low, arrayMax(x) AS high, \
         x[1] AS head, x[-1] AS tail \
         FROM readings FINAL \
         WHERE {} AND quality != 'bad' AND ({}) \
         GROUP BY device, metric, quarter",
        selected(of),
        any_span(spans, |at| {
            let (from, to) = (ms(&format!("from{at}_ms")), ms(&format!("to{at}_ms")));
            format!("ts >= {from} AND ts < {to}")
        }),
    );
    let seconds = "toInt64(toUnixTimestamp(quarter))";
    let at = match grain {
        Grain::FifteenMinutes => {
            return format!(
                "SELECT device, metric, {seconds} AS at, n, total, low, high, head, tail \
                 FROM ({quarters})"
            );
        }
        Grain::Hour => format!("intDiv({seconds}, 3600) * 3600"),
        // The days are cut by our own calendar, which the rest of the answer is cut by too.
        Grain::Day => format!(
            "{{day_numbers:Array(Int64)}}\
             [arrayLastIndex(s -> s <= {seconds}, {{day_starts:Array(Int64)}})]"
        ),
    };
    // p: 1 quarter, 2 n, 3 total, 4 low, 5 high, 6 head, 7 tail
    format!(
        "SELECT device, metric, at, arraySum(p -> p.2, q), arraySum(p -> p.3, q), \
         arrayMin(p -> p.4, q), arrayMax(p -> p.5, q), q[1].6, q[-1].7 \
         FROM (SELECT device, metric, {at} AS at, \
               arraySort(groupArray((quarter, n, total, low, high, head, tail))) AS q \
               FROM ({quarters}) GROUP BY device, metric, at)"
    )
}

/// Where to look for a site's newest readings. A clean bucket holds all that ever came for it, and
/// its version says when something last came; what came since lies in dirty buckets. Columns:
/// clean_at (s), the newest clean bucket; from_at and to_at (s), the first and the last bucket that
/// can hold what came last. All 0 where nothing is known.
pub fn newest(site: &str) -> Statement {
    Statement::new(
        "WITH (SELECT max(version) FROM dirty_buckets FINAL \
         WHERE site_id = {site:String} AND dirty = 0) AS top \
         SELECT toInt64(toUnixTimestamp(maxIf(bucket, dirty = 0))) AS clean_at, \
         toInt64(toUnixTimestamp(minIf(bucket, dirty = 1 OR version = top))) AS from_at, \
         toInt64(toUnixTimestamp(maxIf(bucket, dirty = 1 OR version = top))) AS to_at \
         FROM dirty_buckets FINAL WHERE site_id = {site:String}",
    )
    .site(site)
}

/// The newest reading from `from` on, by the time it was measured; columns device, metric, at (ms),
/// value, quality, received_at (ms).
pub fn last_reading(site: &str, from: Timestamp) -> Statement {
    Statement::new(format!(
        "SELECT toString(device), toString(metric), toUnixTimestamp64Milli(ts) AS at, value, \
         toInt8(quality), toUnixTimestamp64Milli(received_at) \
         FROM readings FINAL \
         WHERE site_id = {{site:String}} AND ts >= {} \
         ORDER BY ts DESC, device, metric LIMIT 1",
        ms("from_ms"),
    ))
    .site(site)
    .time("from_ms", from)
}

/// When something last came among the readings of `[from, to)`; columns rows, received_at (ms).
/// Without FINAL: a reading that was replaced came too.
pub fn last_arrival(site: &str, from: Timestamp, to: Timestamp) -> Statement {
    Statement::new(format!(
        "SELECT count() AS rows, toUnixTimestamp64Milli(max(received_at)) FROM readings \
         WHERE site_id = {{site:String}} AND ts >= {} AND ts < {}",
        ms("from_ms"),
        ms("to_ms"),
    ))
    .site(site)
    .time("from_ms", from)
    .time("to_ms", to)
}

/// Readings per series in two periods that both end at `now`; columns device, metric, today,
/// last_24h.
pub fn present(site: &str, today: Timestamp, day_ago: Timestamp, now: Timestamp) -> Statement {
    Statement::new(format!(
        "SELECT toString(device), toString(metric), countIf(ts >= {today}), \
         countIf(ts >= {day_ago}) \
         FROM readings FINAL \
         WHERE site_id = {{site:String}} AND ts >= least({today}, {day_ago}) AND ts < {now} \
         GROUP BY device, metric ORDER BY device, metric",
        today = ms("today_ms"),
        day_ago = ms("day_ago_ms"),
        now = ms("now_ms"),
    ))
    .site(site)
    .time("today_ms", today)
    .time("day_ago_ms", day_ago)
    .time("now_ms", now)
}

/// The series that had readings on or after a day (days since 1970); columns device, metric.
pub fn series_since(site: &str, day: i64) -> Statement {
    Statement::new(
        "SELECT DISTINCT toString(device) AS d, toString(metric) AS m FROM readings_1d FINAL \
         WHERE site_id = {site:String} AND bucket >= toDate({from:UInt16}) AND count > 0 \
         ORDER BY d, m",
    )
    .site(site)
    .with("from", Param::Int(day))
}

fn selected(of: &Selection) -> &'static str {
    match (of.devices.is_empty(), of.metrics.is_empty()) {
        (true, true) => "site_id = {site:String}",
        (false, true) => "site_id = {site:String} AND device IN {devices:Array(String)}",
        (true, false) => "site_id = {site:String} AND metric IN {metrics:Array(String)}",
        (false, false) => {
            "site_id = {site:String} AND device IN {devices:Array(String)} \
             AND metric IN {metrics:Array(String)}"
        }
    }
}

const fn table(grain: Grain) -> &'static str {
    match grain {
        Grain::FifteenMinutes => "readings_15m",
        Grain::Hour => "readings_1h",
        Grain::Day => "readings_1d",
    }
}

/// A bucket's number in its table.
const fn number(grain: Grain) -> &'static str {
    match grain {
        Grain::FifteenMinutes | Grain::Hour => "toInt64(toUnixTimestamp(bucket))",
        Grain::Day => "toInt64(toUInt16(bucket))",
    }
}

fn within(grain: Grain) -> String {
    format!("bucket >= {} AND bucket < {}", bucket(grain, "from"), bucket(grain, "to"))
}

fn outside(grain: Grain, spans: usize) -> String {
    if spans == 0 {
        return String::new();
    }
    let spans = any_span(spans, |at| {
        let (from, to) = (format!("from{at}"), format!("to{at}"));
        format!("bucket >= {} AND bucket < {}", bucket(grain, &from), bucket(grain, &to))
    });
    format!(" AND NOT ({spans})")
}

fn any_span(spans: usize, one: impl Fn(usize) -> String) -> String {
    (0..spans).map(|at| format!("({})", one(at))).collect::<Vec<_>>().join(" OR ")
}

/// A bucket's number as its column's type.
fn bucket(grain: Grain, param: &str) -> String {
    match grain {
        Grain::FifteenMinutes | Grain::Hour => format!("toDateTime({{{param}:Int64}}, 'UTC')"),
        Grain::Day => format!("toDate({{{param}:UInt16}})"),
    }
}

/// A time as the type of `ts`.
fn ms(param: &str) -> String {
    format!("fromUnixTimestamp64Milli({{{param}:Int64}}, 'UTC')")
}

const fn value(aggregate: Aggregate) -> &'static str {
    match aggregate {
        Aggregate::Avg => "total / n",
        Aggregate::Min => "low",
        Aggregate::Max => "high",
        Aggregate::Sum => "total",
        Aggregate::Count => "toFloat64(n)",
        Aggregate::First => "head",
        Aggregate::Last => "tail",
    }
}

#[cfg(test)]
#[path = "sql_tests.rs"]
mod tests;
