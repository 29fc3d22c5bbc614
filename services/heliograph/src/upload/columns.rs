//! Which column of a CSV file is which series.
//!
//! A column that `--column` names is what it says; any other is what its header says without a
//! doubt, or is kept under its own name. Invariants: no two columns are one series; each column
//! knows how it came to its name, so that the command can show that before anything is sent.

use super::header::{Meaning, Series, meaning, own_name};
use heliograph_domain::{DeviceId, MetricName, Violation, unit};
use heliograph_service::meant::nearest;

/// One column: its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Position in a row, from 0.
    pub at: usize,
    pub header: String,
    pub device: DeviceId,
    pub metric: MetricName,
    pub unit: Option<String>,
    pub how: How,
}

/// How a column came to its name.
#[derive(Debug, Clone, PartialEq)]
pub enum How {
    /// `--column` says so.
    Named,
    /// Its header says so.
    Header,
    /// Its header says so, and its values tell the unit.
    ByValues,
    /// Its header says nothing for sure; what `--column` could say of it.
    OwnName(Option<String>),
}

/// What the arguments say about columns.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of columns that name none.
    pub device: &'a DeviceId,
    /// `HEADER=DEVICE/METRIC[UNIT]`
    pub named: &'a [String],
    /// Headers of columns to leave out.
    pub skipped: &'a [String],
    /// Leave out what is not named.
    pub only_named: bool,
}

/// The columns to upload, in the order of the file.
///
/// # Errors
/// A [`Violation`] when an argument names no column or has no sound form, a header makes no name,
/// or two columns are one series.
pub fn columns(
    headers: &[String],
    time_at: usize,
    wanted: &Wanted<'_>,
) -> Result<Vec<Column>, Violation> {
    let mut columns = Vec::new();
    for text in wanted.named {
        let column = named(text, headers, wanted.device)?;
        if columns.iter().any(|c: &Column| c.at == column.at) {
            let want = "each column named once";
            return Err(Violation::new("--column", format_args!("{text:?}"), want));
        }
        columns.push(column);
    }
    let skipped = wanted.skipped.iter().map(|header| position("--skip", header, headers));
    let skipped = skipped.collect::<Result<Vec<_>, _>>()?;
    if wanted.only_named && columns.is_empty() {
        return Err(Violation::new("--only", "no --column", "the columns to take by --column"));
    }
    for (at, header) in headers.iter().enumerate().filter(|_| !wanted.only_named) {
        let is_done = at == time_at || skipped.contains(&at) || columns.iter().any(|c| c.at == at);
        if !is_done {
            columns.push(guessed(at, header, wanted.device)?);
        }
    }
    columns.retain(|column| !skipped.contains(&column.at));
    columns.sort_by_key(|column| column.at);
    each_its_own(&columns)?;
    Ok(columns)
}

fn position(argument: &str, header: &str, headers: &[String]) -> Result<usize, Violation> {
    headers.iter().position(|h| h == header).ok_or_else(|| no_column(argument, header, headers))
}

/// Says which column was meant, or which there are.
pub fn no_column(argument: &str, header: &str, headers: &[String]) -> Violation {
    let want = match nearest(header, headers.iter().map(String::as_str)) {
        Some(near) => format!("a column of the file: did you mean {near:?}?"),
        None => format!("a column of the file: {}", headers.join(", ")),
    };
    Violation::new(argument, format_args!("{header:?}"), want)
}

/// `HEADER=DEVICE/METRIC[UNIT]`; device and unit may be left out.
fn named(text: &str, headers: &[String], device: &DeviceId) -> Result<Column, Violation> {
    let got = || format!("{text:?}");
    let form = "HEADER=DEVICE/METRIC[UNIT], such as 'AC Power=inv1/ac_power[kW]'";
    let wrong = || Violation::new("--column", got(), form);
    let (header, series) = text.rsplit_once('=').ok_or_else(wrong)?;
    let at = position("--column", header, headers)?;
    let (name, unit) = match series.strip_suffix(']').and_then(|s| s.split_once('[')) {
        Some((name, unit)) => (name, Some(unit.to_owned())),
        None => (series, None),
    };
    let (device, metric) = match name.rsplit_once('/') {
        Some((device, metric)) => (DeviceId::parse(device)?, metric),
        None => (device.clone(), name),
    };
    let metric = MetricName::parse(metric)?;
    unit::to_stored(metric.as_str(), 0.0, unit.as_deref()).map_err(|v| {
        let meant = near_metric(metric.as_str()).map(|near| format!("; did you mean {near}?"));
        let want = format!("{}{}", v.want, meant.unwrap_or_default());
        Violation::new(format!("--column {text:?}: {}", v.field), v.got, want)
    })?;
    Ok(Column { at, header: header.to_owned(), device, metric, unit, how: How::Named })
}

/// The known metric that an unknown one is like.
pub fn near_metric(metric: &str) -> Option<&'static str> {
    match unit::stored_unit(metric) {
        Some(_) => None,
        None => nearest(metric, unit::STORED_UNITS.iter().map(|(known, _)| *known)),
    }
}

fn guessed(at: usize, header: &str, usual: &DeviceId) -> Result<Column, Violation> {
    let column = |device, metric: &str, unit: Option<&str>, how| {
        let metric = MetricName::parse(metric).map_err(|_| {
            let want = format!(
                "a header with letters a to z or digits; or {}, or {}",
                argument("--column", &format!("{header}=DEVICE/METRIC[UNIT]")),
                argument("--skip", header)
            );
            Violation::new(format!("column {}", at + 1), format_args!("{header:?}"), want)
        })?;
        let (header, unit) = (header.to_owned(), unit.map(str::to_owned));
        Ok(Column { at, header, device, metric, unit, how })
    };
    let maybe = match meaning(header) {
        Meaning::Known(series) => match series.device.as_deref().map(DeviceId::parse) {
            None => return column(usual.clone(), series.metric, series.unit, How::Header),
            Some(Ok(device)) => return column(device, series.metric, series.unit, How::Header),
            Some(Err(_)) => Some(Series { device: None, ..series }),
        },
        Meaning::Unsure(maybe) => maybe,
        // Taken without its unit, the value would be wrong by a factor.
        Meaning::WrongUnit(v) => {
            let named = argument("--column", &format!("{header}=DEVICE/METRIC[UNIT]"));
            let want = format!("{}; or {named}, or {}", v.want, argument("--skip", header));
            return Err(Violation::new(format!("column {header:?}: unit"), v.got, want));
        }
    };
    // Nobody could convert the unit of a metric that is not known: it stays in the name.
    let maybe = maybe.map(|series| argument("--column", &instruction(header, &series, usual)));
    column(usual.clone(), &own_name(header), None, How::OwnName(maybe))
}

/// `HEADER=DEVICE/METRIC[UNIT]`
fn instruction(header: &str, series: &Series, usual: &DeviceId) -> String {
    let device = series.device.as_deref().unwrap_or(usual.as_str());
    let unit = series.unit.map(|unit| format!("[{unit}]")).unwrap_or_default();
    format!("{header}={device}/{}{unit}", series.metric)
}

/// An option as it can be pasted into a shell.
pub fn argument(option: &str, value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=".contains(c);
    match !value.is_empty() && value.chars().all(is_plain) {
        true => format!("{option} {value}"),
        false => format!("{option} '{}'", value.replace('\'', r"'\''")),
    }
}

/// Of two values for one reading only one would be stored.
fn each_its_own(columns: &[Column]) -> Result<(), Violation> {
    for (n, b) in columns.iter().enumerate() {
        let same = |a: &&Column| (&a.device, &a.metric) == (&b.device, &b.metric);
        if let Some(a) = columns.iter().take(n).find(same) {
            let unit = b.unit.as_ref().map(|unit| format!("[{unit}]")).unwrap_or_default();
            let other = format!("{}=DEVICE/{}{unit}", b.header, b.metric);
            return Err(Violation::new(
                format!("columns {:?} and {:?}", a.header, b.header),
                format!("{}/{} of both", b.device, b.metric),
                format!(
                    "two series: {}, or {}",
                    argument("--column", &other),
                    argument("--skip", &b.header)
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;
