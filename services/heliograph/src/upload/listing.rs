//! What a file is taken for, for a person to look at before anything is sent.
//!
//! Invariant: what was not certain says so, with an argument that can be pasted.

use super::{
    columns::{Column, How, argument, near_metric},
    plan::Plan,
    send::ReadingJson,
};
use heliograph_domain::unit;
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for column in &self.columns {
            writeln!(f, "{}", line(column))?;
        }
        if let Some(ReadingJson { device, metric, ts, value, .. }) = self.first.first() {
            writeln!(f, "first reading: {device}/{metric} = {value} at {ts}")?;
        }
        assumed_units(&self.columns, f)?;
        own_names(&self.columns, f)
    }
}

fn line(column: &Column) -> String {
    let Column { header, device, metric, unit, how, .. } = column;
    let stored = unit::stored_unit(metric.as_str());
    match (how, unit, stored) {
        (How::OwnName(_), ..) => format!("{header:?} is kept as {device}/{metric}, its own name"),
        (How::ByValues, Some(unit), _) => {
            format!("{header:?} is {device}/{metric} [{unit}]: its values are no shares of 1")
        }
        (_, Some(unit), _) => format!("{header:?} is {device}/{metric} [{unit}]"),
        (_, None, Some(stored)) => {
            format!("{header:?} is {device}/{metric}, without a unit: taken as {stored}")
        }
        (_, None, None) => match near_metric(metric.as_str()) {
            Some(near) => format!(
                "{header:?} is {device}/{metric}, a metric without a known unit; did you mean \
                 {near}?"
            ),
            None => format!("{header:?} is {device}/{metric}, a metric without a known unit"),
        },
    }
}

/// How to say another unit.
fn assumed_units(columns: &[Column], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let assumed = columns.iter().find_map(|c| {
        let stored = unit::stored_unit(c.metric.as_str()).filter(|_| c.unit.is_none())?;
        // Not the same by another sign, such as °C.
        let differs = |unit: &&str| unit::to_stored(c.metric.as_str(), 1.0, Some(unit)) != Ok(1.0);
        let other = unit::units_of(stored).into_iter().find(differs)?;
        Some((c, other))
    });
    let Some((Column { header, device, metric, .. }, other)) = assumed else { return Ok(()) };
    let argument = argument("--column", &format!("{header}={device}/{metric}[{other}]"));
    writeln!(f, "another unit than it is taken as? Add it, such as:\n  {argument}")
}

/// How to name what is not named for sure, and how to leave it out.
fn own_names(columns: &[Column], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let own: Vec<_> = columns
        .iter()
        .filter_map(|c| match &c.how {
            How::OwnName(maybe) => Some((c, maybe)),
            _ => None,
        })
        .collect();
    if own.is_empty() {
        return Ok(());
    }
    let count = match own.len() {
        1 => "1 column is kept under its own name, without a unit.".to_owned(),
        n => format!("{n} columns are kept under their own names, without a unit."),
    };
    writeln!(f, "{count} Metrics and units: `heliograph metrics`.")?;
    let maybes: Vec<&String> = own.iter().filter_map(|(_, maybe)| maybe.as_ref()).collect();
    if !maybes.is_empty() {
        writeln!(f, "if that is what they are, add:")?;
        maybes.iter().try_for_each(|maybe| writeln!(f, "  {maybe}"))?;
    }
    let others = own.iter().filter(|(_, maybe)| maybe.is_none());
    let skips: Vec<String> = others.map(|(c, _)| argument("--skip", &c.header)).collect();
    if skips.is_empty() {
        return Ok(());
    }
    writeln!(f, "to leave out what nobody needs (or name it by --column):")?;
    writeln!(f, "  {}", skips.join(" "))
}
