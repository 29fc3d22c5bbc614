//! Units as headers spell them: `kw`, `Deg C`, `W/m^2`, `Wm-2`.
//!
//! Invariant: what is returned is a unit that uploads take for this metric; a factor is never
//! guessed. `mW` is no `MW`.

use heliograph_domain::unit;

/// Other spellings, in lower case and without spaces.
const SPELLINGS: &[(&str, &str)] = &[
    ("celsius", "degc"),
    ("deg/c", "degc"),
    ("degcelsius", "degc"),
    ("℃", "degc"),
    ("f", "degf"),
    ("fahrenheit", "degf"),
    ("℉", "degf"),
    ("kelvin", "k"),
    ("percent", "%"),
    ("pct", "%"),
    ("degree", "deg"),
    ("degrees", "deg"),
    ("wm2", "w/m2"),
    ("wm-2", "w/m2"),
    ("kwm2", "kw/m2"),
    ("kwm-2", "kw/m2"),
    ("whm2", "wh/m2"),
    ("whm-2", "wh/m2"),
    ("kwhm2", "kwh/m2"),
    ("kwhm-2", "kwh/m2"),
    ("mjm-2", "mj/m2"),
    ("ms-1", "m/s"),
    ("mps", "m/s"),
    ("kmh", "km/h"),
    ("kph", "km/h"),
];

/// The unit of `metric` that `text` spells.
pub fn known_unit(metric: &str, text: &str) -> Option<&'static str> {
    let units = unit::units_of(unit::stored_unit(metric)?);
    if let Some(exact) = units.iter().find(|unit| **unit == text) {
        return Some(exact);
    }
    if text.starts_with("mW") {
        return None;
    }
    let wanted = plain(text);
    let wanted = SPELLINGS.iter().find(|(from, _)| *from == wanted).map_or(&*wanted, |s| s.1);
    units.into_iter().find(|unit| plain(unit) == wanted)
}

fn plain(text: &str) -> String {
    let text = text.replace('²', "2").replace('㎡', "m2");
    let kept = text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '^' | '.' | '·' | '_'));
    kept.collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_known_by_its_usual_spellings_and_no_other() {
        let rows = [
            ("ac_power", "kW", Some("kW")),
            ("ac_power", "kw", Some("kW")),
            ("ac_power", "MW", Some("MW")),
            ("ac_power", "mw", Some("MW")),
            ("ac_power", "mW", None),
            ("ac_power", "V", None),
            ("ac_power", "phase A", None),
            ("poa_irradiance", "W/m²", Some("W/m²")),
            ("poa_irradiance", "W/m^2", Some("W/m2")),
            ("poa_irradiance", "W m-2", Some("W/m2")),
            ("poa_irradiance", "w/m2", Some("W/m2")),
            ("poa_irradiance", "kWh/m2", None),
            ("poa_irradiation", "kWh/㎡", Some("kWh/m2")),
            ("module_temp", "Deg. C", Some("degC")),
            ("module_temp", "℃", Some("degC")),
            ("module_temp", "F", Some("degF")),
            ("dc_current", "mA", Some("mA")),
            ("relative_humidity", "pct", Some("%")),
            ("wind_speed", "m/s", Some("m/s")),
            ("frobs", "kW", None),
        ];
        for (metric, text, want) in rows {
            assert_eq!(known_unit(metric, text), want, "{metric} in {text}");
        }
    }
}
