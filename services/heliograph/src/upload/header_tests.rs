use super::*;

fn shown(series: &Series) -> String {
    let device = series.device.as_deref().map(|d| format!("{d}/")).unwrap_or_default();
    let unit = series.unit.map(|u| format!("[{u}]")).unwrap_or_default();
    format!("{device}{}{unit}", series.metric)
}

/// `=` known, `?` perhaps, `-` nothing to say, `!` a unit that it does not have.
fn said(header: &str) -> String {
    match meaning(header) {
        Meaning::Known(series) => format!("= {}", shown(&series)),
        Meaning::Unsure(Some(series)) => format!("? {}", shown(&series)),
        Meaning::Unsure(None) => "-".to_owned(),
        Meaning::WrongUnit(violation) => format!("! {}", violation.got),
    }
}

#[test]
fn a_header_that_leaves_no_doubt_is_known() {
    let rows = [
        ("INV1 AC Power [kW]", "= inv1/ac_power[kW]"),
        ("ac_power__752", "= ac_power"),
        ("ac_power_kw_1137", "= ac_power[kW]"),
        ("inv2_ac_power_w__1047", "= inv2/ac_power[W]"),
        ("inv2_dc_voltage__1048", "= inv2/dc_voltage"),
        ("ac_volts__778", "= ac_voltage"),
        ("module_temp_1__781", "= module1/module_temp"),
        ("Module Temp [C]", "= module_temp[C]"),
        ("Module Temp (°C)", "= module_temp[°C]"),
        ("Module Temperature deg C", "= module_temp[degC]"),
        ("Module Temperature °C", "= module_temp[C]"),
        ("module_temp_c", "= module_temp[C]"),
        ("POA [W/m²]", "= poa_irradiance[W/m²]"),
        ("POA (kWh/m2)", "= poa_irradiation[kWh/m2]"),
        ("poa_w_m2", "= poa_irradiance[W/m2]"),
        ("Plane of array", "= poa_irradiance"),
        ("Global Horizontal", "= ghi"),
        ("Ambient Temperature", "= ambient_temp"),
        ("Barometric Pressure", "= air_pressure"),
        ("Relative Humidity %", "= relative_humidity[%]"),
        ("Wind Speed (m/s)", "= wind_speed[m/s]"),
        ("PCS1 発電電力（kW）", "= pcs1/ac_power[kW]"),
        ("積算発電電力量[kWh]", "= ac_energy_total[kWh]"),
        ("日射強度 (kW/㎡)", "= poa_irradiance[kW/m2]"),
        ("外気温度(℃)", "= ambient_temp[degC]"),
    ];
    for (header, want) in rows {
        assert_eq!(said(header), want, "{header}");
    }
}

#[test]
fn a_header_with_a_doubt_is_a_suggestion_at_most() {
    let rows = [
        ("INV1 CB2 Voltage [V]", "? inv1_cb2/dc_voltage[V]"),
        ("dc_neg_current__777", "? neg/dc_current"),
        ("inv2_temp__1050", "? inv2/cabinet_temp"),
        ("refcell_temp__1052", "? refcell/module_temp"),
        ("poa_irradiance_refcell__1054", "? refcell/poa_irradiance"),
        ("Power [kW]", "? ac_power[kW]"),
        ("Energy (kWh)", "? ac_energy_total[kWh]"),
        ("max_ac_power", "? max/ac_power"),
        ("ac_current_a", "? ac_current[A]"),
        ("ac_current_b", "? b/ac_current"),
        ("ac_power_2_kw", "? inv2/ac_power[kW]"),
        ("inv1_dc_current_2", "? inv1/string2/dc_current"),
        ("発電電力最大", "? ac_power"),
        ("Humidity [g/m3]", "-"),
        ("das_temperature__785", "-"),
        ("apparent_zenith", "-"),
        ("P", "-"),
        ("", "-"),
    ];
    for (header, want) in rows {
        assert_eq!(said(header), want, "{header}");
    }
}

#[test]
fn a_unit_that_a_named_metric_does_not_have_is_said() {
    let rows = [
        ("AC Power (V)", "! \"V\""),
        ("Module Temp [R]", "! \"R\""),
        ("INV1 AC Power [GW]", "! \"GW\""),
        ("AC Power [mW]", "! \"mW\""),
    ];
    for (header, want) in rows {
        assert_eq!(said(header), want, "{header}");
    }
}

#[test]
fn a_name_that_nobody_knows_is_spelled_in_the_usual_way() {
    let rows = [
        ("UV-A", "uv_a"),
        ("das_temperature__785", "das_temperature"),
        ("INV1 CB2 Voltage [V]", "inv1_cb2_voltage_v"),
        ("発電", ""),
    ];
    for (header, want) in rows {
        assert_eq!(own_name(header), want);
    }
}
