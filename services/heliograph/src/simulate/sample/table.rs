//! Which column of which sample file is which series: one declarative table.
//!
//! Invariant: every measured column stands here once, with the unit of the file; the gateway
//! converts. Computed columns (the solar position in `snow_data.csv`) do not stand here.

use super::{Column, SampleFile};

const fn col(
    header: &'static str,
    device: &'static str,
    metric: &'static str,
    unit: Option<&'static str>,
) -> Column {
    Column { header, device, metric, unit }
}

const W: Option<&str> = Some("W");
const KW: Option<&str> = Some("kW");
const V: Option<&str> = Some("V");
const A: Option<&str> = Some("A");
const W_M2: Option<&str> = Some("W/m²");
const DEG_C: Option<&str> = Some("°C");
const M_S: Option<&str> = Some("m/s");

const NREL_RSF_2: &[Column] = &[
    col("ac_power_kw_1137", "meter", "ac_power", KW),
    col("inv2_ac_power_w__1047", "inv2", "ac_power", W),
    col("inv2_dc_current__1049", "inv2", "dc_current", A),
    col("inv2_dc_power__1135", "inv2", "dc_power", W),
    col("inv2_dc_voltage__1048", "inv2", "dc_voltage", V),
    col("inv2_temp__1050", "inv2", "cabinet_temp", DEG_C),
    col("ambient_temp__1053", "met", "ambient_temp", DEG_C),
    col("module_temp__1056", "met", "module_temp", DEG_C),
    col("poa_irradiance__1055", "met", "poa_irradiance", W_M2),
    col("wind_speed__1051", "met", "wind_speed", M_S),
    col("poa_irradiance_refcell__1054", "refcell", "poa_irradiance", W_M2),
    col("refcell_temp__1052", "refcell", "module_temp", DEG_C),
];

const RMIS_WEATHER: &[Column] = &[
    col("Ambient Temperature", "met", "ambient_temp", DEG_C),
    col("Barometric Pressure", "met", "air_pressure", Some("hPa")),
    col("Diffuse Horizontal", "met", "dhi", W_M2),
    col("Direct Normal", "met", "dni", W_M2),
    col("Global Horizontal", "met", "ghi", W_M2),
    // No stored unit: these three are kept as they are sent.
    col("Global Normal", "met", "gni", None),
    col("UV-A", "met", "uv_a", None),
    col("UV-B", "met", "uv_b", None),
    col("Plane of array", "met", "poa_irradiance", W_M2),
    col("Relative Humidity", "met", "relative_humidity", Some("%")),
    col("Wind Direction", "met", "wind_direction", Some("°")),
    col("Wind Speed", "met", "wind_speed", M_S),
];

const SERF_EAST: &[Column] = &[col("ac_power__752", "inv1", "ac_power", W)];

const SERF_WEST: &[Column] = &[
    col("ac_current__779", "inv1", "ac_current", A),
    col("ac_power__773", "inv1", "ac_power", W),
    col("ac_volts__778", "inv1", "ac_voltage", V),
    col("dc_power__772", "inv1", "dc_power", W),
    col("inveter_temp__784", "inv1", "cabinet_temp", DEG_C),
    col("dc_neg_current__777", "inv1/neg", "dc_current", A),
    col("dc_neg_voltage__776", "inv1/neg", "dc_voltage", V),
    col("dc_pos_current__775", "inv1/pos", "dc_current", A),
    col("dc_pos_voltage__774", "inv1/pos", "dc_voltage", V),
    col("ambient_temp__780", "met", "ambient_temp", DEG_C),
    col("poa_irradiance__771", "met", "poa_irradiance", W_M2),
    col("module_temp_1__781", "module1", "module_temp", DEG_C),
    col("module_temp_2__782", "module2", "module_temp", DEG_C),
    col("module_temp_3__783", "module3", "module_temp", DEG_C),
    // In the source a copy of ac_power__773 and no temperature, so it gets no unit.
    col("das_temperature__785", "das", "das_temperature", None),
];

const SNOW: &[Column] = &[
    col("POA [W/m²]", "met", "poa_irradiance", W_M2),
    col("INV1 CB2 Voltage [V]", "inv1/cb2", "dc_voltage", V),
    col("INV1 CB2 Current [A]", "inv1/cb2", "dc_current", A),
    col("INV1 AC Power [kW]", "inv1", "ac_power", KW),
    col("Module Temp [C]", "met", "module_temp", DEG_C),
    col("Ambient Temp [C]", "met", "ambient_temp", DEG_C),
];

/// The sample files, in the order in which a fleet takes them. Rated powers are estimates from the
/// data (peak power over peak irradiance, rounded), not nameplate values.
pub const FILES: &[SampleFile] = &[
    SampleFile {
        file: "nrel_RSF_II.csv",
        embedded: include_str!("../../../../../sample-data/nrel_RSF_II.csv"),
        site: "nrel-rsf2",
        name: "NREL RSF II, Golden, Colorado",
        reading_interval_s: 900,
        upload_interval_s: 900,
        rated_power_w: 400_000.0,
        columns: NREL_RSF_2,
    },
    SampleFile {
        file: "rmis_weather_data.csv",
        embedded: include_str!("../../../../../sample-data/rmis_weather_data.csv"),
        site: "rmis-weather",
        name: "NREL RMIS weather station",
        reading_interval_s: 300,
        upload_interval_s: 300,
        // A weather station makes no power.
        rated_power_w: 0.0,
        columns: RMIS_WEATHER,
    },
    SampleFile {
        file: "serf_east_1min_ac_power.csv",
        embedded: include_str!("../../../../../sample-data/serf_east_1min_ac_power.csv"),
        site: "serf-east",
        name: "NREL SERF East",
        reading_interval_s: 60,
        upload_interval_s: 60,
        rated_power_w: 5_000.0,
        columns: SERF_EAST,
    },
    SampleFile {
        file: "serf_west_15min.csv",
        embedded: include_str!("../../../../../sample-data/serf_west_15min.csv"),
        site: "serf-west",
        name: "NREL SERF West",
        reading_interval_s: 900,
        upload_interval_s: 900,
        rated_power_w: 6_200.0,
        columns: SERF_WEST,
    },
    SampleFile {
        file: "snow_data.csv",
        embedded: include_str!("../../../../../sample-data/snow_data.csv"),
        site: "snow",
        name: "A plant under snow",
        reading_interval_s: 900,
        upload_interval_s: 900,
        rated_power_w: 45_000.0,
        columns: SNOW,
    },
];
