//! `heliograph readings SITE`: time series of one site.

use super::{Client, count, local_time, number, parse_time, table};
use crate::access::explain;
use heliograph_contract::v1;
use heliograph_domain::{Timestamp, Violation, rollup::zone};
use jiff::tz::TimeZone;
use std::io::Write;

/// What to show.
#[derive(Debug, Clone)]
pub struct Options {
    pub site: String,
    /// Only these devices; empty = all.
    pub devices: Vec<String>,
    /// Only these metrics; empty = all.
    pub metrics: Vec<String>,
    /// As [`super::parse_time`] reads it.
    pub from: String,
    pub to: String,
    pub step: v1::Step,
    pub aggregate: v1::Aggregate,
    /// At most so many rows of a series, the newest; the table says what it left out.
    pub rows_max: usize,
    /// One JSON object a line and point, with nothing left out or rounded: `site`, `device`,
    /// `metric`, `unit`, `step`, `ts` (RFC 3339, UTC), `value`, and for raw readings `quality`.
    pub json: bool,
}

#[cfg(test)]
impl Options {
    /// The last 24 hours of a site, as fine as will do.
    pub fn of_site(site: impl Into<String>) -> Self {
        Self {
            site: site.into(),
            devices: Vec::new(),
            metrics: Vec::new(),
            from: "-24h".into(),
            to: "now".into(),
            step: v1::Step::Unspecified,
            aggregate: v1::Aggregate::Unspecified,
            rows_max: 24,
            json: false,
        }
    }
}

/// Reads the name of a step.
///
/// # Errors
/// A [`Violation`] of `step` for any other word.
pub fn parse_step(text: &str) -> Result<v1::Step, Violation> {
    match text {
        "auto" => Ok(v1::Step::Unspecified),
        "raw" => Ok(v1::Step::Raw),
        "15m" => Ok(v1::Step::Step15Min),
        "1h" | "hour" => Ok(v1::Step::Hour),
        "1d" | "day" => Ok(v1::Step::Day),
        _ => Err(Violation::new("step", format_args!("{text:?}"), "auto, raw, 15m, 1h or 1d")),
    }
}

/// Reads the name of an aggregate.
///
/// # Errors
/// A [`Violation`] of `aggregate` for any other word.
pub fn parse_aggregate(text: &str) -> Result<v1::Aggregate, Violation> {
    let name = format!("AGGREGATE_{}", text.to_ascii_uppercase());
    match v1::Aggregate::from_str_name(&name) {
        Some(aggregate) if aggregate != v1::Aggregate::Unspecified => Ok(aggregate),
        _ => {
            let want = "avg, min, max, sum, count, first or last";
            Err(Violation::new("aggregate", format_args!("{text:?}"), want))
        }
    }
}

/// Prints the series that `options` ask for.
///
/// # Errors
/// When an option makes no sense, the service refuses, or `out` cannot be written.
pub async fn show(
    client: &mut Client,
    options: &Options,
    now: Timestamp,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let request = v1::GetSiteRequest { site_id: options.site.clone() };
    let site = client.get_site(request).await.map_err(|s| explain(&s))?.into_inner().site;
    let site = site.unwrap_or_default();
    let zone = zone(&site.zone)?;
    let request = v1::QueryReadingsRequest {
        site_id: site.site_id.clone(),
        devices: options.devices.clone(),
        metrics: options.metrics.clone(),
        start_ms: parse_time("from", &options.from, &zone, now)?.as_ms(),
        end_ms: parse_time("to", &options.to, &zone, now)?.as_ms(),
        step: options.step.into(),
        aggregate: options.aggregate.into(),
    };
    let range = (request.start_ms, request.end_ms);
    let response = client.query_readings(request).await.map_err(|s| explain(&s))?.into_inner();
    match options.json {
        true => print_json(&site, &response, out),
        false => print_tables(&site, &zone, range, options, &response, out),
    }
}

fn print_json(
    site: &v1::SiteSummary,
    response: &v1::QueryReadingsResponse,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let step = step_name(response.step());
    for series in &response.series {
        for (at, (ts_ms, value)) in series.ts_ms.iter().zip(&series.values).enumerate() {
            let mut point = serde_json::json!({
                "site": site.site_id, "device": series.device, "metric": series.metric,
                "unit": series.unit, "step": step,
                "ts": Timestamp::from_ms(*ts_ms).to_string(), "value": value,
            });
            if let Some(quality) = series.qualities.get(at) {
                point["quality"] = quality_name(*quality).into();
            }
            writeln!(out, "{point}")?;
        }
    }
    Ok(())
}

fn print_tables(
    site: &v1::SiteSummary,
    zone: &TimeZone,
    (start_ms, end_ms): (i64, i64),
    options: &Options,
    response: &v1::QueryReadingsResponse,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let shown = |ms| local_time(Timestamp::from_ms(ms), zone, "%Y-%m-%d %H:%M:%S");
    let points: usize = response.series.iter().map(|s| s.ts_ms.len()).sum();
    let name = match site.name.as_str() {
        "" => site.site_id.clone(),
        name => format!("{name} ({})", site.site_id),
    };
    writeln!(out, "{name} · {} · {} to {}", site.zone, shown(start_ms), shown(end_ms))?;
    let (step, series) = (step_name(response.step()), response.series.len());
    let aggregate = match response.step() {
        v1::Step::Raw => String::new(),
        _ => format!(" {}", aggregate_name(options.aggregate)),
    };
    writeln!(out, "step {step}{aggregate} · {series} series · {} points", count(points))?;
    if points == 0 {
        writeln!(out, "no readings in this range")?;
    }
    for series in &response.series {
        print_series(series, zone, response.step(), options.rows_max, out)?;
    }
    Ok(())
}

fn print_series(
    series: &v1::Series,
    zone: &TimeZone,
    step: v1::Step,
    rows_max: usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let points = series.ts_ms.len();
    let left_out = points.saturating_sub(rows_max);
    let marked = series.qualities.iter().any(|q| *q != v1::Quality::Good as i32);
    let unit = Some(series.unit.as_str()).filter(|u| !u.is_empty());
    let value = unit.map_or_else(|| "value".to_owned(), |unit| format!("value [{unit}]"));
    let mut header = vec!["time", &value];
    if marked {
        header.push("quality");
    }
    let mut rows = table(&header);
    if let Some(column) = rows.column_mut(1) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    let format = match step {
        v1::Step::Day => "%Y-%m-%d",
        v1::Step::Raw if series.ts_ms.iter().any(|ms| ms % 1_000 != 0) => {
            "%Y-%m-%d %H:%M:%S%.3f%:z"
        }
        _ => "%Y-%m-%d %H:%M:%S%:z",
    };
    for at in left_out..points {
        let ts = Timestamp::from_ms(series.ts_ms[at]);
        let value = series.values.get(at).map(|v| number(*v)).unwrap_or_default();
        let mut row = vec![local_time(ts, zone, format), value];
        if marked {
            let quality = series.qualities.get(at).map(|q| quality_name(*q));
            row.push(quality.unwrap_or_default().to_owned());
        }
        rows.add_row(row);
    }
    writeln!(out, "\n{} {} · {} points", series.device, series.metric, count(points))?;
    if left_out > 0 {
        let left_out = count(left_out);
        writeln!(
            out,
            "({left_out} earlier points are not shown; a longer step or --json has all)"
        )?;
    }
    writeln!(out, "{rows}")?;
    Ok(())
}

fn step_name(step: v1::Step) -> &'static str {
    match step {
        v1::Step::Unspecified => "auto",
        v1::Step::Raw => "raw",
        v1::Step::Step15Min => "15m",
        v1::Step::Hour => "1h",
        v1::Step::Day => "1d",
    }
}

fn aggregate_name(aggregate: v1::Aggregate) -> String {
    match aggregate {
        v1::Aggregate::Unspecified => "avg".into(),
        other => other.as_str_name().trim_start_matches("AGGREGATE_").to_ascii_lowercase(),
    }
}

fn quality_name(quality: i32) -> &'static str {
    match v1::Quality::try_from(quality) {
        Ok(v1::Quality::Good) => "good",
        Ok(v1::Quality::Suspect) => "suspect",
        Ok(v1::Quality::Bad) => "bad",
        Ok(v1::Quality::Unspecified) | Err(_) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> v1::SiteSummary {
        v1::SiteSummary {
            site_id: "s1".into(),
            name: "屋上".into(),
            zone: "Asia/Tokyo".into(),
            ..Default::default()
        }
    }

    fn response(qualities: Vec<i32>) -> v1::QueryReadingsResponse {
        v1::QueryReadingsResponse {
            step: v1::Step::Raw.into(),
            series: vec![v1::Series {
                device: "inv1".into(),
                metric: "ac_power".into(),
                unit: "W".into(),
                ts_ms: vec![1_767_225_600_000, 1_767_225_660_000, 1_767_225_720_000],
                values: vec![-1.5, 0.0, 12_345.678],
                qualities,
            }],
        }
    }

    fn tables(response: &v1::QueryReadingsResponse, rows_max: usize) -> String {
        let zone = TimeZone::get("Asia/Tokyo").unwrap();
        let options = Options { rows_max, ..Options::of_site("s1") };
        let range = (1_767_225_600_000, 1_767_225_900_000);
        let mut out = Vec::new();
        print_tables(&site(), &zone, range, &options, response, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_has_a_header_and_the_newest_row_last() {
        let text = tables(&response(vec![1, 1, 1]), 2);
        for words in [
            "屋上 (s1) · Asia/Tokyo · 2026-01-01 09:00:00 to 2026-01-01 09:05:00",
            "step raw · 1 series · 3 points",
            "inv1 ac_power · 3 points",
            "1 earlier points are not shown",
            "value [W]",
            "2026-01-01 09:02:00+09:00",
            "12,345.7",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        assert!(!text.contains("-1.5"), "the earliest row is left out\n{text}");
        assert!(!text.contains("quality"), "all are good\n{text}");
        assert!(text.find("09:01:00+").unwrap() < text.find("09:02:00+").unwrap());
    }

    #[test]
    fn a_quality_that_is_not_good_is_shown() {
        let text = tables(&response(vec![1, 3, 2]), 9);
        assert!(text.contains("bad") && text.contains("suspect"), "{text}");
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let empty = v1::QueryReadingsResponse { step: v1::Step::Hour.into(), series: vec![] };
        let text = tables(&empty, 9);
        assert!(text.contains("step 1h avg · 0 series · 0 points"), "{text}");
        assert!(text.contains("no readings in this range"), "{text}");
    }

    #[test]
    fn json_has_every_point_unrounded() {
        let mut out = Vec::new();
        print_json(&site(), &response(vec![1, 3, 2]), &mut out).unwrap();
        let lines: Vec<serde_json::Value> = String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2]["value"], 12_345.678);
        assert_eq!(lines[1]["quality"], "bad");
        assert_eq!(lines[0]["ts"], "2026-01-01T00:00:00.000Z");
    }

    #[test]
    fn steps_and_aggregates_have_names() {
        assert_eq!(parse_step("1h"), Ok(v1::Step::Hour));
        assert!(parse_step("2h").is_err());
        assert_eq!(parse_aggregate("max"), Ok(v1::Aggregate::Max));
        assert!(parse_aggregate("unspecified").is_err());
        assert!(parse_aggregate("median").is_err());
    }
}
