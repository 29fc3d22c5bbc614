//! What a file is taken for, for a person to look at before anything is sent.
//!
//! Invariant: what was not certain says so, with an argument that can be pasted.

use super::{
    columns::{Column, How, argument, near_metric},
    overview::{Overview, Seen},
    plan::Plan,
    report::counted,
    times::{Order, ambiguous},
};
use crate::views::{local_time, number};
use heliograph_domain::unit;
use jiff::tz::TimeZone;
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (column, largest) in self.columns.iter().zip(&self.overview.largest) {
            writeln!(f, "{}, {}", line(column), at_most(column, *largest))?;
        }
        contents(self, f)?;
        assumed_units(&self.columns, f)?;
        own_names(&self.columns, f)
    }
}

/// How much there is, and of which times.
fn contents(plan: &Plan, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Overview { rows, readings, mistakes, span, .. } = &plan.overview;
    writeln!(f, "{} in {}", counted(*readings, "reading"), counted(*rows, "row"))?;
    if *mistakes > 0 {
        let cells = counted(*mistakes, "cell or row").replace("cell or rows", "cells or rows");
        writeln!(f, "{cells} cannot be used and will be left out; the upload names each")?;
    }
    let Some((first, last)) = span else { return Ok(()) };
    let zone = plan.times.zone.clone().unwrap_or(TimeZone::UTC);
    for (which, Seen { ts, text }) in [("first", first), ("last", last)] {
        let time = local_time(*ts, &zone, "%Y-%m-%dT%H:%M:%S%:z");
        writeln!(f, "{which} time: {text:?} is {time}")?;
    }
    let said_by = if plan.order_is_told { "as --date-order says" } else { "as the file tells" };
    match plan.times.order {
        _ if ambiguous(&first.text).is_none() => Ok(()),
        Order::MonthFirst => writeln!(f, "dates are month-first, {said_by}"),
        Order::DayFirst => writeln!(f, "dates are day-first, {said_by}"),
        Order::Unknown => Ok(()),
    }
}

/// The largest value as the file has it, and as it is stored.
fn at_most(column: &Column, largest: Option<f64>) -> String {
    let Some(value) = largest else { return "without a value".to_owned() };
    let metric = column.metric.as_str();
    let stored_unit = unit::stored_unit(metric).filter(|unit| *unit != "1");
    let with = |value: f64, unit: Option<&str>| match unit {
        Some(unit) => format!("{} {unit}", number(value)),
        None => number(value),
    };
    let unit = column.unit.as_deref();
    match unit::to_stored(metric, value, unit) {
        Ok(stored) if stored != value => {
            format!("at most {} → {}", with(value, unit), with(stored, stored_unit))
        }
        _ => format!("at most {}", with(value, unit.or(stored_unit))),
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
