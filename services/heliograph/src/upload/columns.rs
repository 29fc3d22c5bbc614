//! Which column of a CSV file is which series.
//!
//! Without instructions a header is taken as a metric's name, in its usual spelling: `INV1 AC Power
//! [kW]` is `ac_power` in kW of device `inv1`. What cannot be told so is kept under its own name; the
//! command shows what it took each column for before anything is sent.

use heliograph_domain::{DeviceId, MetricName, Violation, unit};

/// One column: its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Position in a row, from 0.
    pub at: usize,
    pub header: String,
    pub device: DeviceId,
    pub metric: MetricName,
    pub unit: Option<String>,
}

/// The columns to upload: those that `wanted` names, or all but the one with the times.
///
/// # Errors
/// A [`Violation`] when `wanted` names no column or has no sound form, or a header makes no name.
pub fn columns(
    headers: &[String],
    time_at: usize,
    device: &DeviceId,
    wanted: &[String],
) -> Result<Vec<Column>, Violation> {
    if !wanted.is_empty() {
        return wanted.iter().map(|w| named(w, headers, device)).collect();
    }
    let others = headers.iter().enumerate().filter(|(at, _)| *at != time_at);
    others.map(|(at, header)| guessed(at, header, device)).collect()
}

/// `HEADER=DEVICE/METRIC[UNIT]`; device and unit may be left out.
fn named(wanted: &str, headers: &[String], device: &DeviceId) -> Result<Column, Violation> {
    let got = || format!("{wanted:?}");
    let form = "HEADER=DEVICE/METRIC[UNIT], such as 'AC Power=inv1/ac_power[kW]'";
    let wrong = || Violation::new("column", got(), form);
    let (header, series) = wanted.rsplit_once('=').ok_or_else(wrong)?;
    let at = headers.iter().position(|h| h == header).ok_or_else(|| {
        let want = format!("a column of the file: {}", headers.join(", "));
        Violation::new("column", format_args!("{header:?}"), want)
    })?;
    let (name, unit) = match series.strip_suffix(']').and_then(|s| s.split_once('[')) {
        Some((name, unit)) => (name, Some(unit.to_owned())),
        None => (series, None),
    };
    let (device, metric) = match name.rsplit_once('/') {
        Some((device, metric)) => (DeviceId::parse(device)?, metric),
        None => (device.clone(), name),
    };
    let metric = MetricName::parse(metric)?;
    unit::to_stored(metric.as_str(), 0.0, unit.as_deref())?;
    Ok(Column { at, header: header.to_owned(), device, metric, unit })
}

fn guessed(at: usize, header: &str, device: &DeviceId) -> Result<Column, Violation> {
    let (name, unit) = split_unit(header);
    let name = spelled(name);
    let column = |device, metric: &str, unit| {
        let metric = MetricName::parse(metric).map_err(|_| {
            let want = "a header with letters or digits; name the columns with --column";
            Violation::new(format!("column {}", at + 1), format_args!("{header:?}"), want)
        })?;
        Ok(Column { at, header: header.to_owned(), device, metric, unit })
    };
    let known = unit::STORED_UNITS.iter().map(|(metric, _)| *metric).find_map(|metric| {
        let prefix = name.strip_suffix(metric)?;
        let prefix = if prefix.is_empty() { prefix } else { prefix.strip_suffix('_')? };
        Some((metric, prefix))
    });
    match known {
        Some((metric, prefix)) => {
            let device = DeviceId::parse(prefix).unwrap_or_else(|_| device.clone());
            // Taken without its unit, the value would be wrong by a factor.
            unit::to_stored(metric, 0.0, unit).map_err(|v| {
                let want = format!("{}; or name the columns with --column", v.want);
                Violation::new(format!("column {header:?}: unit"), v.got, want)
            })?;
            column(device, metric, unit.map(str::to_owned))
        }
        // Nobody could convert the unit of a metric that is not known: it stays in the name.
        None => column(device.clone(), &spelled(header), None),
    }
}

/// `AC Power [kW]` → (`AC Power`, `kW`).
fn split_unit(header: &str) -> (&str, Option<&str>) {
    let header = header.trim();
    for (open, close) in [('[', ']'), ('(', ')')] {
        if let Some((name, unit)) = header.strip_suffix(close).and_then(|h| h.rsplit_once(open)) {
            return (name.trim(), Some(unit.trim()));
        }
    }
    (header, None)
}

/// A header as the name of a metric: lower case, anything but letters and digits is one `_`, and
/// without a trailing number behind two of them, as data bases append it (`ac_power__752`).
fn spelled(header: &str) -> String {
    let header = match header.rsplit_once("__") {
        Some((name, id)) if !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => header,
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(c: &Column) -> String {
        let unit = c.unit.as_ref().map(|u| format!("[{u}]")).unwrap_or_default();
        format!("{}/{}{unit}", c.device, c.metric)
    }

    #[test]
    fn a_header_is_a_name_in_its_usual_spelling() {
        let rows = [
            ("INV1 AC Power [kW]", "inv1/ac_power[kW]"),
            ("ac_power__752", "plant/ac_power"),
            ("module_temp_1__781", "plant/module_temp_1"),
            ("Module Temp [C]", "plant/module_temp[C]"),
            ("inv2_dc_voltage__1048", "inv2/dc_voltage"),
            ("Plane of array", "plant/plane_of_array"),
            ("POA [W/m²]", "plant/poa_w_m"),
            ("poa_irradiance", "plant/poa_irradiance"),
        ];
        let plant = DeviceId::parse("plant").unwrap();
        for (header, want) in rows {
            let headers = ["t".to_owned(), header.to_owned()];
            let got = columns(&headers, 0, &plant, &[]).unwrap();
            assert_eq!(got.iter().map(shown).collect::<Vec<_>>(), [want], "{header}");
        }
    }

    #[test]
    fn a_column_can_be_named() {
        let headers = ["t", "A=B", "P"].map(str::to_owned);
        let plant = DeviceId::parse("plant").unwrap();
        let rows = [
            ("P=inv1/ac_power[kW]", Ok("inv1/ac_power[kW]")),
            ("P=ac_power", Ok("plant/ac_power")),
            ("A=B=bus1/inv:2/frobs", Ok("bus1/inv:2/frobs")),
            ("P", Err("column")),
            ("Q=ac_power", Err("column")),
            ("P=a b/ac_power", Err("device")),
            ("P=", Err("metric")),
            ("P=ac_power[V]", Err("unit")),
        ];
        for (wanted, want) in rows {
            let got = columns(&headers, 0, &plant, &[wanted.to_owned()]);
            let got = got.map(|c| shown(&c[0])).map_err(|v| v.field);
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{wanted}");
        }
    }

    #[test]
    fn a_unit_that_a_known_metric_does_not_have_is_not_dropped() {
        let plant = DeviceId::parse("plant").unwrap();
        for header in ["AC Power (V)", "Module Temp [F]", "INV1 AC Power [GW]"] {
            let got = columns(&["t".to_owned(), header.to_owned()], 0, &plant, &[]).unwrap_err();
            assert!(got.field.contains(header) && got.want.contains("--column"), "{got}");
        }
    }

    #[test]
    fn a_header_without_a_letter_is_no_name() {
        let headers = ["t", "発電"].map(str::to_owned);
        let got = columns(&headers, 0, &DeviceId::parse("plant").unwrap(), &[]).unwrap_err();
        assert!(got.field == "column 2" && got.want.contains("--column"), "{got}");
    }
}
