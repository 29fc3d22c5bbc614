//! One series for a first look: its chart, and its figures in one line.
//!
//! Figures are of what is drawn; points of bad quality are counted and left out of them.

use super::{
    chart::{self, Chart, Mark, Point, Style},
    count, local_time, number,
};
use heliograph_contract::v1;
use heliograph_domain::Timestamp;
use jiff::tz::TimeZone;
use std::io::Write;

/// What the panels of one answer share.
#[derive(Debug)]
pub struct Panels<'a> {
    pub start_ms: i64,
    pub end_ms: i64,
    pub step: v1::Step,
    /// How often the site's readings were said to come.
    pub interval_ms: i64,
    pub zone: &'a TimeZone,
    pub style: Style,
}

impl Panels<'_> {
    /// Prints one series.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn print(&self, series: &v1::Series, out: &mut impl Write) -> anyhow::Result<()> {
        let points = points(series);
        let drawing = Chart {
            points: &points,
            step_ms: step_ms(self.step),
            interval_ms: self.interval_ms,
            start_ms: self.start_ms,
            end_ms: self.end_ms,
            unit: &series.unit,
            zone: self.zone,
        };
        for line in chart::draw(&drawing, self.style) {
            writeln!(out, "{line}")?;
        }
        writeln!(out, "{}", self.figures(&points, &series.unit))?;
        Ok(())
    }

    /// The figures alone, without the last value.
    pub fn in_short(&self, series: &v1::Series) -> String {
        let figures = self.figures(&points(series), &series.unit);
        figures.split(" · last ").next().unwrap_or_default().to_owned()
    }

    fn figures(&self, points: &[Point], unit: &str) -> String {
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        let figure = |value: f64| format!("{}{unit}", number(value));
        let mut good = points.iter().filter(|p| !p.is_bad);
        let values = good.clone().map(|p| p.value);
        let mut parts = Vec::new();
        if let (Some(min), Some(max), Some(last)) =
            (values.clone().reduce(f64::min), values.clone().reduce(f64::max), good.next_back())
        {
            // Running, so that large values do not overflow their sum.
            let mean =
                values.enumerate().fold(0.0, |mean, (n, v)| mean + (v - mean) / (n + 1) as f64);
            let format = match self.step {
                v1::Step::Day => "%Y-%m-%d",
                _ => "%Y-%m-%d %H:%M",
            };
            let when = local_time(Timestamp::from_ms(last.ts_ms), self.zone, format);
            parts.push(format!("min {}", figure(min)));
            parts.push(format!("mean {}", figure(mean)));
            parts.push(format!("max {}", figure(max)));
            parts.push(format!("last {} at {when}", figure(last.value)));
        }
        let bad = points.iter().filter(|p| p.is_bad).count();
        if bad > 0 {
            parts.push(format!("{} of bad quality ({})", count(bad), self.style.mark(Mark::Bad)));
        }
        parts.join(" · ")
    }
}

fn points(series: &v1::Series) -> Vec<Point> {
    let is_bad = |at: usize| series.qualities.get(at) == Some(&(v1::Quality::Bad as i32));
    let point = |(at, (ts_ms, value)): (usize, (&i64, &f64))| Point {
        ts_ms: *ts_ms,
        value: *value,
        is_bad: is_bad(at),
    };
    series.ts_ms.iter().zip(&series.values).enumerate().map(point).collect()
}

/// How long a value of a step stands for; the length of a day of 24 hours will do for a drawing.
fn step_ms(step: v1::Step) -> Option<i64> {
    match step {
        v1::Step::Unspecified | v1::Step::Raw => None,
        v1::Step::Step15Min => Some(900_000),
        v1::Step::Hour => Some(3_600_000),
        v1::Step::Day => Some(86_400_000),
    }
}
