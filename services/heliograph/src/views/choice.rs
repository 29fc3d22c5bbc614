//! Which of many series are drawn, and which only told in a line.
//!
//! Invariant: nothing is left out of both; what is drawn keeps the order of the answer. One series
//! of each metric comes before a second of any, and what a plant is judged by comes first.

use heliograph_contract::v1;

/// As many as one looks at without losing the first.
pub const DRAWN_MAX: usize = 4;

/// What a plant is judged by, the most telling first.
const TELLING: &[&str] = &[
    "ac_power",
    "poa_irradiance",
    "ac_energy_total",
    "dc_power",
    "module_temp",
    "ghi",
    "ambient_temp",
];

/// For each series whether it is drawn, at most so many.
pub fn drawn(series: &[v1::Series], drawn_max: usize) -> Vec<bool> {
    let rank = |at: usize| {
        let metric = &series[at].metric;
        let before = series[..at].iter().filter(|s| s.metric == *metric).count();
        let telling = TELLING.iter().position(|t| t == metric).unwrap_or(TELLING.len());
        // Known ones before names of somebody's own.
        (before, telling, series[at].unit.is_empty(), at)
    };
    let mut order: Vec<usize> = (0..series.len()).collect();
    order.sort_by_key(|at| rank(*at));
    let mut drawn = vec![false; series.len()];
    order.into_iter().take(drawn_max).for_each(|at| drawn[at] = true);
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_telling_series_are_drawn() {
        let series = |names: &[&str]| -> Vec<v1::Series> {
            let of = |name: &&str| {
                let (device, metric) = name.split_once('/').unwrap();
                let unit = if metric.contains('_') { "W" } else { "" };
                let (device, metric, unit) = (device.into(), metric.into(), unit.into());
                v1::Series { device, metric, unit, ..Default::default() }
            };
            names.iter().map(of).collect()
        };
        let rows: [(&str, &[&str], &[&str]); 4] = [
            ("few are all drawn", &["a/x", "b/ac_power"], &["a/x", "b/ac_power"]),
            (
                "power and irradiance before the rest, in the order of the answer",
                &["a/aoi", "a/dc_voltage", "a/zenith", "inv/ac_power", "m/poa_irradiance", "z/x"],
                &["a/aoi", "a/dc_voltage", "inv/ac_power", "m/poa_irradiance"],
            ),
            (
                "each metric before a second of any",
                &["i1/ac_power", "i2/ac_power", "i3/ac_power", "m/ghi", "m/wind_speed", "m/aoi"],
                &["i1/ac_power", "m/ghi", "m/wind_speed", "m/aoi"],
            ),
            (
                "then the next of the most telling",
                &["i1/ac_power", "i2/ac_power", "i3/ac_power", "i4/ac_power", "i5/ac_power"],
                &["i1/ac_power", "i2/ac_power", "i3/ac_power", "i4/ac_power"],
            ),
        ];
        for (name, all, want) in rows {
            let is_drawn = drawn(&series(all), DRAWN_MAX);
            let got: Vec<&str> =
                all.iter().zip(is_drawn).filter(|(_, is)| *is).map(|(n, _)| *n).collect();
            assert_eq!(got, want, "{name}");
        }
    }
}
