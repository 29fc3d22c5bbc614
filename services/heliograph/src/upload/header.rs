//! What the header of a column says: metric, device and unit.
//!
//! Pure. A header is *known* only when its words name one metric and nothing else: `POA [W/m²]`,
//! `Module Temp (°C)`, `inv2_ac_power_w__1047`, `PCS1 発電電力 (kW)`. Whatever leaves a doubt, such
//! as `INV1 Voltage [V]` (AC or DC?) or `ac_power_max`, is at most a suggestion. What it is not: it
//! decides nothing about columns that no header names well (`columns`).

use super::units::known_unit;
use heliograph_domain::{Violation, unit};

/// A series as a header names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// `None` where the header names none.
    pub device: Option<String>,
    pub metric: &'static str,
    /// One that the metric is taken in.
    pub unit: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    Known(Series),
    /// It may be this one, if anything.
    Unsure(Option<Series>),
    /// The metric is named, in a unit that it does not have.
    WrongUnit(Violation),
}

/// Other words for a metric. Of several, the first that has the unit is meant.
const ALIASES: &[(&str, &[&str])] = &[
    ("poa", &["poa_irradiance", "poa_irradiation"]),
    ("poa_global", &["poa_irradiance", "poa_irradiation"]),
    ("plane_of_array", &["poa_irradiance", "poa_irradiation"]),
    ("plane_of_array_irradiance", &["poa_irradiance"]),
    ("global_horizontal", &["ghi"]),
    ("global_horizontal_irradiance", &["ghi"]),
    ("direct_normal", &["dni"]),
    ("direct_normal_irradiance", &["dni"]),
    ("diffuse_horizontal", &["dhi"]),
    ("diffuse_horizontal_irradiance", &["dhi"]),
    ("lifetime_energy", &["ac_energy_total"]),
    ("panel_temp", &["module_temp"]),
    ("air_temp", &["ambient_temp"]),
    ("wind_dir", &["wind_direction"]),
    ("windspeed", &["wind_speed"]),
    ("barometric_pressure", &["air_pressure"]),
    ("atmospheric_pressure", &["air_pressure"]),
    ("humidity", &["relative_humidity"]),
    ("rh", &["relative_humidity"]),
];

/// The same in Japanese; what holds another comes before it.
const JAPANESE: &[(&str, &str)] = &[
    ("積算発電電力量", "ac_energy_total"),
    ("発電電力", "ac_power"),
    ("日射強度", "poa_irradiance"),
    ("日射量", "poa_irradiation"),
    ("モジュール温度", "module_temp"),
    ("外気温度", "ambient_temp"),
    ("外気温", "ambient_temp"),
    ("直流電力", "dc_power"),
    ("直流電圧", "dc_voltage"),
    ("直流電流", "dc_current"),
    ("制御率", "curtailment_rate"),
];

/// Words that are spelled in several ways.
const WORDS: &[(&str, &str)] = &[
    ("temperature", "temp"),
    ("volt", "voltage"),
    ("volts", "voltage"),
    ("amp", "current"),
    ("amps", "current"),
];

/// A number of another kind than the metric's, not a device.
const STATISTICS: &[&str] = &[
    "avg", "average", "mean", "min", "minimum", "max", "maximum", "peak", "std", "sum", "total",
    "daily", "monthly", "rated", "nominal", "target", "setpoint", "expected", "forecast",
];

/// What a header says.
pub fn meaning(header: &str) -> Meaning {
    let (name, bracket) = split_unit(header);
    let (name, is_plain) = in_english(name);
    let name = without_id(&name);
    let splits = match bracket {
        Some(unit) => vec![(name.clone(), Some(unit.to_owned()))],
        None => splits(&name),
    };
    if is_plain {
        for (name, unit) in &splits {
            match (known(name, unit.as_deref()), bracket) {
                (Some(Ok(series)), _) => return Meaning::Known(series),
                (Some(Err(violation)), Some(_)) => return Meaning::WrongUnit(violation),
                _ => {}
            }
        }
    }
    let likely = splits.iter().rev().find_map(|(name, unit)| likely(name, unit.as_deref()));
    Meaning::Unsure(likely)
}

/// A header as the name of a metric that nobody knows; empty when it has no ASCII letter or digit.
pub fn own_name(header: &str) -> String {
    spelled(without_row_id(header))
}

/// `AC Power [kW]` → (`AC Power`, `kW`).
fn split_unit(header: &str) -> (&str, Option<&str>) {
    let header = without_row_id(header.trim());
    for (open, close) in [('[', ']'), ('(', ')'), ('（', '）'), ('［', '］')] {
        if let Some((name, unit)) = header.strip_suffix(close).and_then(|h| h.rsplit_once(open)) {
            return (name.trim(), Some(unit.trim()).filter(|unit| !unit.is_empty()));
        }
    }
    (header, None)
}

/// Without the number that data bases append behind two underscores (`ac_power__752`).
fn without_row_id(header: &str) -> &str {
    match header.rsplit_once("__") {
        Some((name, id)) if !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => header,
    }
}

/// The words of a name in ASCII, and whether those are all that it has.
fn in_english(name: &str) -> (String, bool) {
    let signs = [("²", "2"), ("℃", "c"), ("°", " "), ("%", " percent")];
    let mut name = signs.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
    for (japanese, metric) in JAPANESE {
        if name.contains(japanese) {
            name = name.replace(japanese, &format!(" {metric} "));
        }
    }
    let is_plain = !name.chars().any(|c| c.is_alphabetic() && !c.is_ascii());
    let spelled = spelled(&name);
    let word =
        |w: &str| WORDS.iter().find(|(from, _)| *from == w).map_or(w.to_owned(), |w| w.1.into());
    (spelled.split('_').map(word).collect::<Vec<_>>().join("_"), is_plain)
}

/// Lower case; anything but letters and digits is one `_`.
fn spelled(header: &str) -> String {
    let mut name = String::new();
    for c in header.trim().chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ if name.is_empty() || name.ends_with('_') => {}
            _ => name.push('_'),
        }
    }
    name.trim_end_matches('_').to_owned()
}

/// Without a last number of three digits or more: a row of some data base, too (`ac_power_kw_1137`).
fn without_id(name: &str) -> String {
    match name.rsplit_once('_') {
        Some((before, id)) if id.len() > 2 && id.bytes().all(|b| b.is_ascii_digit()) => before,
        _ => name,
    }
    .to_owned()
}

/// A name without brackets, whole or with its last one or two words as a unit.
fn splits(name: &str) -> Vec<(String, Option<String>)> {
    let words: Vec<&str> = name.split('_').collect();
    let mut splits = vec![(name.to_owned(), None)];
    for of_unit in 1..words.len().min(3) {
        let (name, unit) = words.split_at(words.len() - of_unit);
        splits.push((name.join("_"), Some(unit.join("/"))));
    }
    splits
}

/// Every phrase that names a metric: its own name, and the other words for it.
fn phrases() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let own = unit::STORED_UNITS.iter().map(|(metric, _)| (*metric, vec![*metric]));
    own.chain(ALIASES.iter().map(|(phrase, metrics)| (*phrase, metrics.to_vec())))
}

/// The longest phrase at the end of a name, and what stands before it.
fn phrase_at_end(name: &str) -> Option<(&'static str, Vec<&'static str>, &str)> {
    let fits = phrases().filter_map(|(phrase, metrics)| {
        let before = name.strip_suffix(phrase)?;
        let before = if before.is_empty() { before } else { before.strip_suffix('_')? };
        Some((phrase, metrics, before))
    });
    fits.max_by_key(|(phrase, ..)| phrase.len())
}

/// `_1` to `_99` at the end.
fn split_number(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once('_') {
        Some((name, number)) if number.bytes().all(|b| b.is_ascii_digit()) => (name, Some(number)),
        _ => (name, None),
    }
}

/// The series of a name that leaves no doubt, or what is wrong with its unit.
fn known(name: &str, unit: Option<&str>) -> Option<Result<Series, Violation>> {
    let (name, number) = split_number(name);
    let (phrase, metrics, before) = phrase_at_end(name)?;
    // Amperes, or the first of three phases.
    if metrics == ["ac_current"] && unit == Some("a") {
        return None;
    }
    let device = match (before, number) {
        ("", None) => None,
        // Of modules alone it is usual to number the sensors.
        ("", Some(number)) if metrics == ["module_temp"] => Some(format!("module{number}")),
        (_, Some(_)) => return None,
        (before, None) if before.split('_').any(|w| STATISTICS.contains(&w)) => return None,
        (before, None) => Some(before.to_owned()),
    };
    match fitting(&metrics, unit) {
        Some((metric, unit)) => Some(Ok(Series { device, metric, unit })),
        // Under one of its other names it may be something else.
        None if metrics != [phrase] => None,
        None => unit::to_stored(phrase, 0.0, unit).err().map(Err),
    }
}

/// The first of the metrics that has the unit.
fn fitting(
    metrics: &[&'static str],
    unit: Option<&str>,
) -> Option<(&'static str, Option<&'static str>)> {
    match unit {
        None => metrics.first().map(|metric| (*metric, None)),
        Some(unit) => {
            metrics.iter().find_map(|metric| Some((*metric, Some(known_unit(metric, unit)?))))
        }
    }
}

/// What a name with doubts may be.
fn likely(name: &str, unit: Option<&str>) -> Option<Series> {
    let (plain, number) = split_number(name);
    let series = |metrics: &[&'static str], device: &str| {
        let (metric, unit) = fitting(metrics, unit)?;
        let numbered = number.map(|n| format!("{}{n}", usual_device(metric)));
        let parts = [Some(device.to_owned()).filter(|d| !d.is_empty()), numbered];
        let device: Vec<String> = parts.into_iter().flatten().collect();
        let device = (!device.is_empty()).then(|| device.join("/"));
        Some(Series { device, metric, unit })
    };
    if let Some((_, metrics, before)) = phrase_at_end(plain) {
        return series(&metrics, before);
    }
    let at_start = phrases().filter_map(|(phrase, metrics)| {
        let after = plain.strip_prefix(phrase)?.strip_prefix('_')?;
        Some((phrase, metrics, after))
    });
    if let Some((_, metrics, after)) = at_start.max_by_key(|(phrase, ..)| phrase.len()) {
        return series(&metrics, after);
    }
    let (before, quantity) = plain.rsplit_once('_').unwrap_or(("", plain));
    let has = |word: &str| before.split('_').any(|w| w == word);
    let metric = match quantity {
        "power" if has("dc") => "dc_power",
        "power" => "ac_power",
        "voltage" if has("ac") => "ac_voltage",
        "voltage" => "dc_voltage",
        "current" if has("ac") => "ac_current",
        "current" => "dc_current",
        "energy" => "ac_energy_total",
        "irradiance" => "poa_irradiance",
        "irradiation" => "poa_irradiation",
        "temp" if before.starts_with("inv") || before.starts_with("pcs") => "cabinet_temp",
        "temp" if before.contains("cell") => "module_temp",
        _ => return None,
    };
    let words = before.split('_').filter(|w| !matches!(*w, "ac" | "dc"));
    series(&[metric], &words.collect::<Vec<_>>().join("_"))
}

/// What is usually numbered where a metric is.
fn usual_device(metric: &str) -> &'static str {
    match metric {
        "module_temp" => "module",
        m if m.starts_with("ac_") || m == "cabinet_temp" => "inv",
        m if m.starts_with("dc_") => "string",
        _ => "met",
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
