//! What a case found: a file of JSON for programs, a row of a table for people.
//!
//! Invariant: a case that lost or doubled something has the value 0, whatever it measured, and the
//! program that ran it fails. What it is not: a missed limit is no failure; it is printed.

use crate::{
    procs::Cpu,
    stats::{Spread, median, spread},
};
use anyhow::Context;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// Which side of the limit is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Want {
    AtLeast,
    AtMost,
}

/// One run of one side.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Side {
    pub value: f64,
    pub cpu_secs: Cpu,
    /// What was lost or doubled; empty when nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsound: Option<String>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Side {
    /// What counts: nothing, of a run that lost or doubled something.
    pub fn counted(&self) -> f64 {
        if self.unsound.is_some() { 0.0 } else { self.value }
    }
}

/// A run of each side, one after the other.
#[derive(Debug, Clone, Serialize)]
pub struct Pair {
    pub a: Side,
    pub b: Side,
}

/// What a case found, as it stands in its file.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub name: &'static str,
    pub value: f64,
    pub unit: &'static str,
    pub limit: f64,
    pub want: Want,
    /// Ours ÷ limit.
    pub ratio: f64,
    /// Of the ratios of all pairs or repetitions.
    pub spread: Spread,
    pub met: bool,
    /// How to measure it again.
    pub command: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unsound: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<Pair>,
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What is measured, before it was.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub name: &'static str,
    pub unit: &'static str,
    pub want: Want,
}

impl Measured {
    /// From pairs: the limit of each pair is what its B makes of it.
    ///
    /// # Errors
    /// When there are no pairs, or B did nothing.
    pub fn of_pairs(
        self,
        pairs: Vec<Pair>,
        limit_of: impl Fn(&Side) -> f64,
    ) -> anyhow::Result<Outcome> {
        let values: Vec<f64> = pairs.iter().map(|pair| pair.a.counted()).collect();
        let limits: Vec<f64> = pairs.iter().map(|pair| limit_of(&pair.b)).collect();
        let ratios: Vec<f64> = values.iter().zip(&limits).map(|(v, l)| v / l).collect();
        let limit = median(&limits).context("no pairs")?;
        let mut outcome = self.of_samples(&values, limit)?;
        let ratio = median(&ratios).context("no pairs")?;
        anyhow::ensure!(ratio.is_finite(), "{}: B did nothing: {limits:?}", self.name);
        outcome.spread = spread(&ratios).context("no pairs")?;
        outcome.set_ratio(ratio);
        let sides = pairs.iter().flat_map(|pair| [&pair.a, &pair.b]);
        outcome.unsound = sides.filter_map(|side| side.unsound.clone()).collect();
        outcome.met &= outcome.unsound.is_empty();
        outcome.pairs = pairs;
        Ok(outcome)
    }

    /// From repetitions against one limit: their median.
    ///
    /// # Errors
    /// When there are none.
    pub fn of_samples(self, samples: &[f64], limit: f64) -> anyhow::Result<Outcome> {
        let value = median(samples).with_context(|| format!("{}: no samples", self.name))?;
        let ratios: Vec<f64> = samples.iter().map(|sample| sample / limit).collect();
        let mut outcome = Outcome {
            name: self.name,
            value,
            unit: self.unit,
            limit,
            want: self.want,
            ratio: 0.0,
            spread: spread(&ratios).context("no samples")?,
            met: false,
            command: format!(
                "make bench CASE={}",
                self.name.split('.').next().unwrap_or(self.name)
            ),
            unsound: Vec::new(),
            pairs: Vec::new(),
            more: Map::new(),
        };
        outcome.set_ratio(value / limit);
        Ok(outcome)
    }
}

impl Outcome {
    fn set_ratio(&mut self, ratio: f64) {
        self.ratio = ratio;
        self.met = match self.want {
            Want::AtLeast => ratio >= 1.0,
            Want::AtMost => ratio <= 1.0,
        };
    }

    /// Something was lost or doubled.
    pub fn spoil(&mut self, what: String) {
        self.unsound.push(what);
        (self.value, self.met) = (0.0, false);
        self.ratio = 0.0;
    }

    /// Says one more thing in the file.
    pub fn note(&mut self, key: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.more.insert(key.to_owned(), value);
    }

    /// Replaces `NAME.json`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join(format!("{}.json", self.name));
        std::fs::write(&path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("write {}", path.display()))
    }
}

/// The table that is printed.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_header(["case", "value", "unit", "limit", "ours ÷ limit", "spread", ""]);
    for outcome in outcomes {
        let sign = match outcome.want {
            Want::AtLeast => "≥",
            Want::AtMost => "≤",
        };
        let verdict = match (outcome.unsound.is_empty(), outcome.met) {
            (false, _) => "LOST OR DOUBLED",
            (true, true) => "met",
            (true, false) => "missed",
        };
        table.add_row([
            outcome.name.to_owned(),
            short(outcome.value),
            outcome.unit.to_owned(),
            format!("{sign} {}", short(outcome.limit)),
            format!("{:.2}", outcome.ratio),
            format!("{:.2} … {:.2}", outcome.spread.min, outcome.spread.max),
            verdict.to_owned(),
        ]);
    }
    for at in [1, 3, 4, 5] {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// Three digits that mean something, or all of a whole number.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Measured = Measured { name: "x", unit: "rows/s", want: Want::AtLeast };

    fn side(value: f64) -> Side {
        Side { value, ..Side::default() }
    }

    fn pairs(values: &[(f64, f64)]) -> Vec<Pair> {
        values.iter().map(|(a, b)| Pair { a: side(*a), b: side(*b) }).collect()
    }

    #[test]
    fn a_ratio_is_the_median_of_the_pairs_and_not_of_the_sides() {
        // The machine was half as fast in the second pair.
        let all = pairs(&[(60.0, 100.0), (30.0, 50.0), (66.0, 100.0)]);
        let got = RATE.of_pairs(all, |b| b.value * 0.5).unwrap();
        assert!((got.ratio - 1.2).abs() < 1e-9 && got.met, "{}", got.ratio);
        assert_eq!((got.value, got.limit), (60.0, 50.0));
        assert!((got.spread.max - 1.32).abs() < 1e-9);
    }

    #[test]
    fn a_run_that_lost_something_counts_nothing() {
        let mut all = pairs(&[(60.0, 100.0)]);
        all[0].a.unsound = Some("1 row".into());
        let got = RATE.of_pairs(all, |b| b.value * 0.5).unwrap();
        assert_eq!((got.value, got.ratio, got.met), (0.0, 0.0, false));
        assert!(table(&[got]).contains("LOST"));
    }

    #[test]
    fn a_limit_from_above_is_met_from_below() {
        let time = Measured { want: Want::AtMost, ..RATE };
        for (value, met) in [(1.9, true), (2.0, true), (2.1, false)] {
            assert_eq!(time.of_samples(&[value], 2.0).unwrap().met, met, "{value}");
        }
        assert!(time.of_samples(&[], 2.0).is_err());
        assert!(RATE.of_pairs(pairs(&[(1.0, 0.0)]), |b| b.value).is_err());
    }

    #[test]
    fn the_file_has_what_is_promised() {
        let dir = tempfile::tempdir().unwrap();
        let mut outcome = RATE.of_samples(&[3.0, 1.0, 2.0], 4.0).unwrap();
        outcome.note("cores", 2);
        outcome.write(dir.path()).unwrap();
        let text = std::fs::read(dir.path().join("x.json")).unwrap();
        let got: Value = serde_json::from_slice(&text).unwrap();
        for key in ["name", "value", "unit", "limit", "ratio", "spread", "command", "cores"] {
            assert!(!got[key].is_null(), "{key}: {got}");
        }
        assert_eq!((got["value"].as_f64(), got["ratio"].as_f64()), (Some(2.0), Some(0.5)));
    }
}
