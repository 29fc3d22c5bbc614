//! Units: what is stored for a metric, and how an upload's unit is turned into it.
//!
//! Names and stored units: IEC 61724-1 and SunSpec, listed under "Units" in ARCHITECTURE.md.

use crate::Violation;

/// (metric, stored unit). Metrics that are not here are kept in the unit they came in, which
/// must then not be given: nobody could convert it.
pub const STORED_UNITS: &[(&str, &str)] = &[
    ("poa_irradiance", "W/m2"),
    ("poa_irradiation", "kWh/m2"),
    ("ghi", "W/m2"),
    ("dni", "W/m2"),
    ("dhi", "W/m2"),
    ("ac_power", "W"),
    ("ac_current", "A"),
    ("ac_voltage", "V"),
    ("ac_energy_total", "Wh"),
    ("dc_power", "W"),
    ("dc_voltage", "V"),
    ("dc_current", "A"),
    ("module_temp", "degC"),
    ("ambient_temp", "degC"),
    ("cabinet_temp", "degC"),
    ("operating_state", "enum"),
    ("curtailment_rate", "1"),
    ("wind_speed", "m/s"),
    ("wind_direction", "deg"),
    ("air_pressure", "hPa"),
    ("relative_humidity", "1"),
];

/// (unit as sent, stored unit, factor, offset): stored = sent × factor + offset.
const CONVERSIONS: &[(&str, &str, f64, f64)] = &[
    ("W", "W", 1.0, 0.0),
    ("kW", "W", 1e3, 0.0),
    ("MW", "W", 1e6, 0.0),
    ("Wh", "Wh", 1.0, 0.0),
    ("kWh", "Wh", 1e3, 0.0),
    ("MWh", "Wh", 1e6, 0.0),
    ("V", "V", 1.0, 0.0),
    ("kV", "V", 1e3, 0.0),
    ("A", "A", 1.0, 0.0),
    ("mA", "A", 1e-3, 0.0),
    ("W/m2", "W/m2", 1.0, 0.0),
    ("W/m²", "W/m2", 1.0, 0.0),
    ("kW/m2", "W/m2", 1e3, 0.0),
    ("kW/m²", "W/m2", 1e3, 0.0),
    ("kWh/m2", "kWh/m2", 1.0, 0.0),
    ("kWh/m²", "kWh/m2", 1.0, 0.0),
    ("Wh/m2", "kWh/m2", 1e-3, 0.0),
    ("Wh/m²", "kWh/m2", 1e-3, 0.0),
    ("MJ/m2", "kWh/m2", 1.0 / 3.6, 0.0),
    ("MJ/m²", "kWh/m2", 1.0 / 3.6, 0.0),
    ("degC", "degC", 1.0, 0.0),
    ("°C", "degC", 1.0, 0.0),
    ("C", "degC", 1.0, 0.0),
    ("K", "degC", 1.0, -273.15),
    ("degF", "degC", 5.0 / 9.0, -160.0 / 9.0),
    ("°F", "degC", 5.0 / 9.0, -160.0 / 9.0),
    ("1", "1", 1.0, 0.0),
    ("%", "1", 1e-2, 0.0),
    ("m/s", "m/s", 1.0, 0.0),
    ("km/h", "m/s", 1.0 / 3.6, 0.0),
    ("deg", "deg", 1.0, 0.0),
    ("°", "deg", 1.0, 0.0),
    ("hPa", "hPa", 1.0, 0.0),
    ("mbar", "hPa", 1.0, 0.0),
    ("Pa", "hPa", 1e-2, 0.0),
    ("kPa", "hPa", 1e1, 0.0),
    ("enum", "enum", 1.0, 0.0),
];

/// The unit a metric is stored in, or `None` for a metric we do not know.
pub fn stored_unit(metric: &str) -> Option<&'static str> {
    STORED_UNITS.iter().find(|(m, _)| *m == metric).map(|(_, unit)| *unit)
}

/// Turns `value` in `unit` into the stored unit of `metric`.
///
/// # Errors
/// A [`Violation`] of `unit` when the unit does not measure this metric, or the metric is unknown
/// and so has no stored unit to convert to.
pub fn to_stored(metric: &str, value: f64, unit: Option<&str>) -> Result<f64, Violation> {
    let Some(unit) = unit else { return Ok(value) };
    let Some(stored) = stored_unit(metric) else {
        return Err(Violation::new(
            "unit",
            format_args!("{unit:?}"),
            format!("no unit: {metric:?} is not a metric with a known unit, it is kept as sent"),
        ));
    };
    match CONVERSIONS.iter().find(|(from, to, _, _)| *from == unit && *to == stored) {
        Some((_, _, factor, offset)) => Ok(value * factor + offset),
        None => Err(Violation::new("unit", format_args!("{unit:?}"), one_of(&units_of(stored)))),
    }
}

/// The units that are turned into `stored`, itself among them.
pub fn units_of(stored: &str) -> Vec<&'static str> {
    CONVERSIONS.iter().filter(|c| c.1 == stored).map(|c| c.0).collect()
}

fn one_of(names: &[&str]) -> String {
    match names {
        [only] => format!("{only:?}"),
        _ => format!("one of {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the row says, metric, value, unit; the value in the stored unit, if it has one.
    type Row = (&'static str, &'static str, f64, Option<&'static str>, Option<f64>);

    #[test]
    fn units_are_turned_into_the_stored_one() {
        let rows: &[Row] = &[
            ("kW becomes W", "ac_power", 1.5, Some("kW"), Some(1500.0)),
            ("no unit means the stored one", "ac_power", 1.5, None, Some(1.5)),
            ("per cent becomes a share", "curtailment_rate", 40.0, Some("%"), Some(0.4)),
            ("kelvin becomes degrees Celsius", "module_temp", 300.15, Some("K"), Some(27.0)),
            ("freezing is freezing", "ambient_temp", 32.0, Some("°F"), Some(0.0)),
            ("a temperature is no power", "module_temp", 1.0, Some("kW"), None),
            ("an unknown metric has no unit", "frobs", 1.0, Some("kW"), None),
            ("an unknown metric is kept", "frobs", 1.0, None, Some(1.0)),
        ];
        for (name, metric, value, unit, want) in rows {
            let got = to_stored(metric, *value, *unit).ok();
            let close = match (got, want) {
                (Some(g), Some(w)) => (g - w).abs() < 1e-9,
                (None, None) => true,
                _ => false,
            };
            assert!(close, "{name}: got {got:?}");
        }
    }

    #[test]
    fn every_stored_unit_can_be_sent() {
        for (metric, unit) in STORED_UNITS {
            assert_eq!(to_stored(metric, 7.0, Some(unit)), Ok(7.0), "{metric}");
        }
    }
}
