//! One series as a small chart of text.
//!
//! Invariant: missing is missing. Two points are joined only when nothing was due between them; a
//! gap stays empty, and a point of bad quality is a mark that no line touches and that does not
//! stretch the scale. The drawing has the size that was asked for, whatever the values are.
//!
//! Why not a library: of those that draw lines in text, `textplots` and `rasciigraph` join whatever
//! points they get and know no times; the chart of `ratatui` wants its screen and its loop; none
//! cuts an axis by a site's local days. What is here is the canvas; the axes are in `super::scale`.
//!
//! What it is not: it reads no environment and writes to no terminal; colour and glyphs are told.

use super::scale::{Tick, ValueAxis, time_axis};
use jiff::tz::TimeZone;

/// Of all points, joined ones are at most so many usual distances apart.
const JOINED_MAX: f64 = 1.5;
/// So many distances show how often readings come.
const ENOUGH_TO_SEE: usize = 4;
/// Axis, times, dates.
pub const ROWS_BELOW: usize = 3;

const CYAN: &str = "36";
const RED: &str = "31";

/// One value.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub ts_ms: i64,
    pub value: f64,
    pub is_bad: bool,
}

/// What is drawn.
#[derive(Debug)]
pub struct Chart<'a> {
    /// In order of time, within `start_ms` and `end_ms`.
    pub points: &'a [Point],
    /// How long each value stands for; `None` for readings of a moment.
    pub step_ms: Option<i64>,
    /// How often readings were said to come; 0 when nobody said. Believed until there are enough
    /// points to see it.
    pub interval_ms: i64,
    pub start_ms: i64,
    pub end_ms: i64,
    pub unit: &'a str,
    pub zone: &'a TimeZone,
}

/// A point that fills a cell of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Joined to no other: a single dot would be overlooked.
    Lone,
    /// Of bad quality.
    Bad,
}

/// How it is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Style {
    /// Columns of the whole, labels included; at least 40 are taken, at most 400.
    pub columns: usize,
    /// Rows of the drawing, without [`ROWS_BELOW`]; at least 3 are taken, at most 50.
    pub rows: usize,
    /// Braille and lines, or ASCII.
    pub is_unicode: bool,
    /// ANSI colours; the drawing says the same without.
    pub is_coloured: bool,
}

impl Style {
    /// Points that a cell can tell apart, across and down.
    fn dots(self) -> (usize, usize) {
        if self.is_unicode { (2, 4) } else { (1, 2) }
    }

    pub fn mark(self, mark: Mark) -> char {
        match (mark, self.is_unicode) {
            (Mark::Lone, true) => '•',
            (Mark::Lone, false) => '*',
            (Mark::Bad, true) => '×',
            (Mark::Bad, false) => 'x',
        }
    }

    /// The side, a tick on it, the corner, the floor, a tick on it.
    fn frame(self) -> [char; 5] {
        if self.is_unicode {
            ['│', '┤', '└', '─', '┬']
        } else {
            ['|', '+', '+', '-', '+']
        }
    }

    fn cell(self, dots: u8) -> char {
        match (dots, self.is_unicode) {
            (0, _) => ' ',
            (_, true) => char::from_u32(0x2800 + u32::from(dots)).unwrap_or('?'),
            (1, false) => '\'',
            (2, false) => '.',
            (_, false) => ':',
        }
    }

    fn paint(self, text: &str, sgr: &str) -> String {
        match self.is_coloured && !text.trim().is_empty() {
            true => format!("\x1b[{sgr}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Draws: `rows` lines, the axis, the times, the dates. Empty without a finite value.
pub fn draw(chart: &Chart, style: Style) -> Vec<String> {
    let style =
        Style { columns: style.columns.clamp(40, 400), rows: style.rows.clamp(3, 50), ..style };
    let points: Vec<Point> = chart.points.iter().filter(|p| p.value.is_finite()).copied().collect();
    let scaled = |bad_too: bool| {
        let values = points.iter().filter(move |p| bad_too || !p.is_bad).map(|p| p.value);
        let min = values.clone().reduce(f64::min)?;
        Some((min, values.reduce(f64::max)?))
    };
    let Some((min, max)) = scaled(false).or_else(|| scaled(true)) else { return Vec::new() };
    let axis = ValueAxis::around(min, max, style.rows / 2);
    let labels = value_labels(&axis, style, chart.unit);
    let label_columns = labels.first().map_or(0, |label| label.chars().count());
    let columns = style.columns - label_columns;
    let mut canvas = Canvas::new(columns, style);
    canvas.plot(chart, &points, &axis);
    let ticks = time_axis(chart.start_ms, chart.end_ms, columns, chart.zone);
    let mut lines: Vec<String> =
        labels.iter().enumerate().map(|(row, label)| label.clone() + &canvas.row(row)).collect();
    lines.extend(below(chart, &ticks, style, label_columns, columns));
    lines
}

/// What stands left of each row: a value and a tick where there is one, from the top down. All
/// are equally wide.
fn value_labels(axis: &ValueAxis, style: Style, unit: &str) -> Vec<String> {
    let labels = axis.labels();
    let width = labels.iter().map(|(_, l)| l.chars().count()).max().unwrap_or(0);
    let unit = match unit {
        unit if unit.is_empty() || width + unit.chars().count() > style.columns / 3 => "".into(),
        unit => format!(" {unit}"),
    };
    let [side, tick, ..] = style.frame();
    let dots_down = style.rows * style.dots().1;
    let mut rows = vec![(String::new(), side); style.rows];
    for (place, label) in labels {
        let dot = dot_of(place, dots_down);
        rows[dot / style.dots().1] = (label + &unit, tick);
    }
    let width = width + unit.chars().count();
    rows.into_iter().map(|(label, mark)| format!("{label:>width$} {mark}")).collect()
}

/// The row of dots, from the top, of a place between bottom (0) and top (1).
fn dot_of(place: f64, dots_down: usize) -> usize {
    let last = dots_down - 1;
    last - ((place * last as f64).round() as usize).min(last)
}

fn below(
    chart: &Chart,
    ticks: &[Tick],
    style: Style,
    label_columns: usize,
    columns: usize,
) -> [String; ROWS_BELOW] {
    let [_, _, corner, floor, tick_mark] = style.frame();
    let mut axis = vec![floor; columns];
    let (mut times, mut dates) = (vec![' '; columns], vec![' '; columns]);
    // From the last to the first: a date that has no room is that of the first times.
    for tick in ticks.iter().rev() {
        let at = column_of(tick.ts_ms, chart, columns);
        axis[at] = tick_mark;
        write_at(&mut times, at, &tick.label);
        if let Some(above) = &tick.above {
            write_at(&mut dates, at, above);
        }
    }
    // The side of the chart is the last of the columns of the labels.
    let indent = " ".repeat(label_columns - 1);
    let text = |line: Vec<char>| line.into_iter().collect::<String>();
    [
        format!("{indent}{corner}{}", text(axis)),
        format!("{indent} {}", text(times)).trim_end().to_owned(),
        format!("{indent} {}", text(dates)).trim_end().to_owned(),
    ]
}

/// Whole or not at all, and never into or next to what stands there.
fn write_at(line: &mut [char], at: usize, text: &str) {
    let end = at + text.chars().count();
    let around = at.saturating_sub(1)..(end + 1).min(line.len());
    if end <= line.len() && line[around].iter().all(|c| *c == ' ') {
        line[at..end].iter_mut().zip(text.chars()).for_each(|(cell, c)| *cell = c);
    }
}

/// Which of `columns` a time falls into.
fn column_of(ts_ms: i64, chart: &Chart, columns: usize) -> usize {
    let span = (i128::from(chart.end_ms) - i128::from(chart.start_ms)).max(1);
    let at = (i128::from(ts_ms) - i128::from(chart.start_ms)) * columns as i128 / span;
    at.clamp(0, columns as i128 - 1) as usize
}

/// The cells of the drawing.
struct Canvas {
    columns: usize,
    style: Style,
    /// Bits of each cell, in the order of Unicode's braille, or of [`Style::cell`] in ASCII.
    dots: Vec<u8>,
    marks: Vec<Option<Mark>>,
}

impl Canvas {
    fn new(columns: usize, style: Style) -> Self {
        let cells = columns * style.rows;
        Self { columns, style, dots: vec![0; cells], marks: vec![None; cells] }
    }

    fn plot(&mut self, chart: &Chart, points: &[Point], axis: &ValueAxis) {
        let (bad, good): (Vec<Point>, Vec<Point>) = points.iter().partition(|p| p.is_bad);
        let joined_ms = joined_ms(chart, points);
        let is_joined = |a: &Point, b: &Point| b.ts_ms.saturating_sub(a.ts_ms) as f64 <= joined_ms;
        for run in good.chunk_by(is_joined) {
            match run {
                [lone] if chart.step_ms.is_none() => self.mark(chart, lone, axis, Mark::Lone),
                _ => self.joined(chart, run, axis),
            }
        }
        for point in &bad {
            self.mark(chart, point, axis, Mark::Bad);
        }
    }

    fn mark(&mut self, chart: &Chart, point: &Point, axis: &ValueAxis, mark: Mark) {
        let (_, down) = self.style.dots();
        let y = dot_of(axis.place(point.value), self.style.rows * down) / down;
        let x = column_of(point.ts_ms, chart, self.columns);
        self.marks[y * self.columns + x] = Some(mark);
    }

    fn joined(&mut self, chart: &Chart, run: &[Point], axis: &ValueAxis) {
        let (across, down) = self.style.dots();
        let (dots_across, dots_down) = (self.columns * across, self.style.rows * down);
        let mut before = None;
        for point in run {
            let y = dot_of(axis.place(point.value), dots_down);
            let x = column_of(point.ts_ms, chart, dots_across);
            // A value stands for its whole step, up to where the next one begins.
            let end_ms = chart.step_ms.map(|step| point.ts_ms.saturating_add(step));
            let x_end = match end_ms {
                Some(end) if end >= chart.end_ms => dots_across - 1,
                Some(end) => column_of(end, chart, dots_across).saturating_sub(1).max(x),
                None => x,
            };
            self.line(before.unwrap_or((x, y)), (x, y));
            self.line((x, y), (x_end, y));
            before = Some((x_end, y));
        }
    }

    fn dot(&mut self, x: usize, y: usize) {
        // Braille numbers its dots down the left column, then the right; the lowest came later.
        const BRAILLE: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let (across, down) = self.style.dots();
        let bit =
            if self.style.is_unicode { BRAILLE[y % down][x % across] } else { 1 << (y % down) };
        self.dots[y / down * self.columns + x / across] |= bit;
    }

    /// Every dot on the way, ends included.
    fn line(&mut self, from: (usize, usize), to: (usize, usize)) {
        let (dx, dy) = (to.0 as f64 - from.0 as f64, to.1 as f64 - from.1 as f64);
        let steps = dx.abs().max(dy.abs()).max(1.0);
        for i in 0..=steps as usize {
            let along = |from: usize, d: f64| (from as f64 + d * i as f64 / steps).round() as usize;
            self.dot(along(from.0, dx), along(from.1, dy));
        }
    }

    fn row(&self, row: usize) -> String {
        let cell = |i: usize| match self.marks[i] {
            Some(mark) => (mark == Mark::Bad, self.style.mark(mark)),
            None => (false, self.style.cell(self.dots[i])),
        };
        let mut cells: Vec<(bool, char)> =
            (row * self.columns..(row + 1) * self.columns).map(cell).collect();
        let used = cells.iter().rposition(|(_, c)| *c != ' ').map_or(0, |last| last + 1);
        cells.truncate(used);
        let mut text = String::new();
        for run in cells.chunk_by(|a, b| a.0 == b.0) {
            let cells: String = run.iter().map(|(_, c)| *c).collect();
            text += &self.style.paint(&cells, if run[0].0 { RED } else { CYAN });
        }
        text
    }
}

/// How far apart two points may be so that none was due between them.
fn joined_ms(chart: &Chart, points: &[Point]) -> f64 {
    let seen_ms = || {
        let mut apart: Vec<i64> =
            points.windows(2).map(|two| two[1].ts_ms.saturating_sub(two[0].ts_ms)).collect();
        apart.sort_unstable();
        let median = apart.get(apart.len() / 2).copied().unwrap_or(0);
        match chart.interval_ms {
            said if said > 0 && apart.len() < ENOUGH_TO_SEE => said.min(median),
            _ => median,
        }
    };
    chart.step_ms.unwrap_or_else(seen_ms) as f64 * JOINED_MAX
}

#[cfg(test)]
#[path = "chart_tests.rs"]
mod tests;
