//! `heliograph readings SITE`: time series of one site.

use super::{
    Client,
    chart::Style,
    choice::{DRAWN_MAX, drawn},
    count, local_time, number,
    panel::Panels,
    parse_time, table, unknown,
};
use crate::{access::explain, say::hint};
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
    /// A chart of each series, drawn so.
    pub charts: Option<Style>,
    /// Draw all series, not only a few.
    pub all: bool,
    /// A table of each series.
    pub has_tables: bool,
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
            charts: None,
            all: false,
            has_tables: true,
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
    let found = match client.get_site(request).await {
        Ok(found) => found.into_inner(),
        Err(status) => match unknown::site(client, &options.site, &status).await {
            Some(near) => anyhow::bail!("{:#}; did you mean {near}?", explain(&status)),
            None => return Err(explain(&status)),
        },
    };
    let site = found.site.unwrap_or_default();
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
    if range.1 <= range.0 {
        let want = format!("a time after --from, which is {:?}", options.from);
        return Err(Violation::new("to", format_args!("{:?}", options.to), want).into());
    }
    let asked = request.clone();
    let response = client.query_readings(request).await.map_err(|s| explain(&s))?.into_inner();
    for words in unknown::series(client, &asked, &response.series).await {
        hint(words);
    }
    match options.json {
        true => print_json(&site, &response, out),
        false => {
            let newest = found.last_reading.and_then(|last| last.reading);
            let page = Page { site: &site, zone: &zone, range, newest, options };
            page.print(&response, out)
        }
    }
}

/// What is printed for people, beside the series.
struct Page<'a> {
    site: &'a v1::SiteSummary,
    zone: &'a TimeZone,
    range: (i64, i64),
    /// The newest reading of the site, in whatever series and range.
    newest: Option<v1::Reading>,
    options: &'a Options,
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

impl Page<'_> {
    fn print(
        &self,
        response: &v1::QueryReadingsResponse,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let Self { site, zone, range: (start_ms, end_ms), options, .. } = *self;
        let shown = |ms| local_time(Timestamp::from_ms(ms), zone, "%Y-%m-%d %H:%M:%S");
        let points: usize = response.series.iter().map(|s| s.ts_ms.len()).sum();
        let name = match site.name.as_str() {
            name if name.is_empty() || name == site.site_id => site.site_id.clone(),
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
            writeln!(out, "no readings in this range; {}", self.where_to_look())?;
        }
        let step = response.step();
        let drawn_max = match options.charts {
            Some(_) if !options.all => DRAWN_MAX,
            _ => usize::MAX,
        };
        let is_drawn = drawn(&response.series, drawn_max);
        for (series, _) in response.series.iter().zip(&is_drawn).filter(|(_, is)| **is) {
            let points = series.ts_ms.len();
            writeln!(out, "\n{} {} · {} points", series.device, series.metric, count(points))?;
            if let Some(style) = options.charts {
                self.panels(step, style).print(series, out)?;
            }
            if options.has_tables {
                print_table(series, zone, step, options.rows_max, out)?;
            }
        }
        if let Some(style) = options.charts {
            let others = response.series.iter().zip(&is_drawn).filter(|(_, is)| !**is);
            let others: Vec<_> = others.map(|(series, _)| series).collect();
            self.print_others(&others, &self.panels(step, style), out)?;
        }
        if points > 0 && !options.has_tables {
            writeln!(out, "\nrows: --table · every point: --json · fewer: --device, --metric")?;
        }
        Ok(())
    }

    fn panels(&self, step: v1::Step, style: Style) -> Panels<'_> {
        let (start_ms, end_ms) = self.range;
        let interval_ms = i64::from(self.site.reading_interval_s) * 1_000;
        Panels { start_ms, end_ms, step, interval_ms, zone: self.zone, style }
    }

    /// A line each, and how to see them.
    fn print_others(
        &self,
        others: &[&v1::Series],
        panels: &Panels<'_>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        if others.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{} more, not drawn (--all draws them):", count(others.len()))?;
        let name = |series: &v1::Series| format!("{} {}", series.device, series.metric);
        let width = others.iter().map(|s| name(s).chars().count()).max().unwrap_or_default();
        for series in others {
            writeln!(out, "  {:width$}  {}", name(series), panels.in_short(series))?;
        }
        Ok(())
    }

    /// What to do when there is nothing to see.
    fn where_to_look(&self) -> String {
        let id = &self.site.site_id;
        let Some(newest) = &self.newest else {
            return format!(
                "{id} has sent none yet, or within the last second; its logger uploads them with \
                 the site's token"
            );
        };
        let date = |ms| local_time(Timestamp::from_ms(ms), self.zone, "%Y-%m-%d");
        let series = format!("{} {}", newest.device, newest.metric);
        if (self.range.0..self.range.1).contains(&newest.ts_ms) {
            return format!("{id} has others, such as {series}: try other --device and --metric");
        }
        let (day, after) = (date(newest.ts_ms), date(newest.ts_ms.saturating_add(86_400_000)));
        format!("the newest of {id} is {series} of {day}: try --from {day} --to {after}")
    }
}

fn print_table(
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
#[path = "readings_tests.rs"]
mod tests;
