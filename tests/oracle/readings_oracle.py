#!/usr/bin/env python3
"""What QueryReadings must answer, calculated with pandas and nothing of heliograph.

Input is either the sample files (as `heliograph simulate --scale 1 --shift none` sends them), or
with --uploads the uploads that were sent, in the order in which they were accepted: a JSON list, or
JSON lines as `heliograph simulate --transcript` writes them.
A reading is (site, device, metric, ts in ms); sent again, the last one wins.

Output, JSON: one series per (site, device, metric, step) with points
    [ts_ms, avg, min, max, count, sum, first, last]      (step raw: and the quality as ninth)
in the order of time. Values are texts of floats (`repr`, every digit), so that no JSON parser
can round them; ts_ms and count are integers. Bad-quality readings stand in raw only.

It deliberately has its own table of columns and units, its own buckets and its own sums
(`math.fsum`: exact, rounded once), so that a mistake is not made twice.
"""

import argparse
import json
import math
import pathlib
import sys

import pandas as pd

SAMPLE_ZONE = "Etc/GMT+7"

# site: (file, column of the time, {column: (device, metric, factor to the stored unit)})
SAMPLES = {
    "nrel-rsf2": ("nrel_RSF_II.csv", "Unnamed: 0", {
        "ac_power_kw_1137": ("meter", "ac_power", 1000.0),
        "inv2_ac_power_w__1047": ("inv2", "ac_power", None),
        "inv2_dc_current__1049": ("inv2", "dc_current", None),
        "inv2_dc_power__1135": ("inv2", "dc_power", None),
        "inv2_dc_voltage__1048": ("inv2", "dc_voltage", None),
        "inv2_temp__1050": ("inv2", "cabinet_temp", None),
        "ambient_temp__1053": ("met", "ambient_temp", None),
        "module_temp__1056": ("met", "module_temp", None),
        "poa_irradiance__1055": ("met", "poa_irradiance", None),
        "wind_speed__1051": ("met", "wind_speed", None),
        "poa_irradiance_refcell__1054": ("refcell", "poa_irradiance", None),
        "refcell_temp__1052": ("refcell", "module_temp", None),
    }),
    "rmis-weather": ("rmis_weather_data.csv", "Unnamed: 0", {
        "Ambient Temperature": ("met", "ambient_temp", None),
        "Barometric Pressure": ("met", "air_pressure", None),
        "Diffuse Horizontal": ("met", "dhi", None),
        "Direct Normal": ("met", "dni", None),
        "Global Horizontal": ("met", "ghi", None),
        "Global Normal": ("met", "gni", None),
        "Plane of array": ("met", "poa_irradiance", None),
        "Relative Humidity": ("met", "relative_humidity", 0.01),
        "UV-A": ("met", "uv_a", None),
        "UV-B": ("met", "uv_b", None),
        "Wind Direction": ("met", "wind_direction", None),
        "Wind Speed": ("met", "wind_speed", None),
    }),
    "serf-east": ("serf_east_1min_ac_power.csv", "measured_on", {
        "ac_power__752": ("inv1", "ac_power", None),
    }),
    "serf-west": ("serf_west_15min.csv", "Unnamed: 0", {
        "ac_current__779": ("inv1", "ac_current", None),
        "ac_power__773": ("inv1", "ac_power", None),
        "ac_volts__778": ("inv1", "ac_voltage", None),
        "ambient_temp__780": ("met", "ambient_temp", None),
        "das_temperature__785": ("das", "das_temperature", None),
        "dc_neg_current__777": ("inv1/neg", "dc_current", None),
        "dc_neg_voltage__776": ("inv1/neg", "dc_voltage", None),
        "dc_pos_current__775": ("inv1/pos", "dc_current", None),
        "dc_pos_voltage__774": ("inv1/pos", "dc_voltage", None),
        "dc_power__772": ("inv1", "dc_power", None),
        "inveter_temp__784": ("inv1", "cabinet_temp", None),
        "module_temp_1__781": ("module1", "module_temp", None),
        "module_temp_2__782": ("module2", "module_temp", None),
        "module_temp_3__783": ("module3", "module_temp", None),
        "poa_irradiance__771": ("met", "poa_irradiance", None),
    }),
    "snow": ("snow_data.csv", "Timestamp", {
        "POA [W/m²]": ("met", "poa_irradiance", None),
        "INV1 CB2 Voltage [V]": ("inv1/cb2", "dc_voltage", None),
        "INV1 CB2 Current [A]": ("inv1/cb2", "dc_current", None),
        "INV1 AC Power [kW]": ("inv1", "ac_power", 1000.0),
        "Module Temp [C]": ("met", "module_temp", None),
        "Ambient Temp [C]": ("met", "ambient_temp", None),
    }),
}

# Units an upload may bring that are not the stored one; the rest is taken as it is.
FACTORS = {"kW": 1e3, "MW": 1e6, "kWh": 1e3, "MWh": 1e6, "kV": 1e3, "mA": 1e-3,
           "kW/m2": 1e3, "kW/m²": 1e3, "%": 1e-2, "kPa": 10.0}

STEPS = ("raw", "15m", "1h", "1d")
COLUMNS = ["site", "device", "metric", "ts_ms", "value", "quality"]


def to_ms(times: pd.Series) -> pd.Series:
    """Milliseconds since 1970 UTC, finer cut towards the past."""
    utc = times.dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[ns]")
    return utc.astype("int64") // 1_000_000


def sample_readings(directory: pathlib.Path, site: str) -> pd.DataFrame:
    """One row per cell of the site's file that is not missing."""
    name, time_column, mapping = SAMPLES[site]
    # round_trip: the correctly rounded float of each text, as Rust and Python parse it.
    table = pd.read_csv(directory / name, float_precision="round_trip")
    times = pd.to_datetime(table[time_column], format="mixed", dayfirst=False)
    if times.dt.tz is None:
        times = times.dt.tz_localize(SAMPLE_ZONE)
    ts_ms = to_ms(times)
    parts = []
    for column, (device, metric, factor) in mapping.items():
        value = table[column].astype("float64")
        part = pd.DataFrame({
            "site": site, "device": device, "metric": metric, "ts_ms": ts_ms,
            "value": value if factor is None else value * factor, "quality": "good",
        })
        parts.append(part[value.notna()])
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def uploaded_readings(path: pathlib.Path) -> pd.DataFrame:
    """One row per accepted reading, in the order in which they were sent."""
    text = path.read_text(encoding="utf-8")
    uploads = json.loads(text) if text.startswith("[") else map(json.loads, text.splitlines())
    rows = []
    for upload in uploads:
        rejected = set(upload.get("rejected", ()))
        for index, reading in enumerate(upload["readings"]):
            if index in rejected:
                continue
            value = float(reading["value"])
            factor = FACTORS.get(reading.get("unit"))
            rows.append((upload["site"], reading["device"], reading["metric"], reading["ts"],
                         value if factor is None else value * factor,
                         reading.get("quality") or "good"))
    table = pd.DataFrame(rows, columns=COLUMNS)
    if not table.empty:
        times = pd.to_datetime(table["ts_ms"], format="ISO8601", utc=True)
        table["ts_ms"] = to_ms(times)
    return table


def last_wins(readings: pd.DataFrame) -> pd.DataFrame:
    """One row per identity, the last one sent, in the order of time."""
    key = ["site", "device", "metric", "ts_ms"]
    return readings.drop_duplicates(key, keep="last").sort_values(key, kind="stable")


def bucket_ms(ts_ms: pd.Series, step: str, zone: str) -> pd.Series:
    """Start of the step that holds each time."""
    if step == "raw":
        return ts_ms
    if step in ("15m", "1h"):
        length = {"15m": 900_000, "1h": 3_600_000}[step]
        return ts_ms - ts_ms % length
    local = pd.to_datetime(ts_ms, unit="ms", utc=True).dt.tz_convert(zone)
    return to_ms(local.dt.normalize())


def point(start: int, values: list) -> list:
    total = math.fsum(values)
    numbers = [total / len(values), min(values), max(values)]
    texts = [repr(float(n)) for n in numbers]
    return [int(start), *texts, len(values), repr(total), repr(values[0]), repr(values[-1])]


def series_points(part: pd.DataFrame, step: str, zone: str) -> list:
    if step == "raw":
        rows = zip(part["ts_ms"].tolist(), part["value"].tolist(), part["quality"].tolist())
        return [[*point(ts, [value]), quality] for ts, value, quality in rows]
    usable = part[part["quality"] != "bad"]
    if usable.empty:
        return []
    groups = usable.groupby(bucket_ms(usable["ts_ms"], step, zone), sort=True)["value"]
    return [point(start, values.tolist()) for start, values in groups]


def main() -> int:
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample-dir", type=pathlib.Path, default=root / "sample-data")
    parser.add_argument("--uploads", type=pathlib.Path,
                        help="JSON list or lines of the uploads sent, instead of the sample "
                             "files; an upload may bring \"rejected\": [index, …]")
    parser.add_argument("--site", action="append", help="only this site (may be repeated)")
    parser.add_argument("--zone", action="append", default=[], metavar="SITE=ZONE",
                        help=f"zone of a site's days; without it {SAMPLE_ZONE}")
    parser.add_argument("--step", action="append", choices=STEPS, help="only this step")
    parser.add_argument("--out", type=pathlib.Path, help="write here instead of stdout")
    args = parser.parse_args()

    if args.uploads:
        readings = uploaded_readings(args.uploads)
    else:
        sites = args.site or list(SAMPLES)
        readings = pd.concat([sample_readings(args.sample_dir, s) for s in sites])
    if args.site:
        readings = readings[readings["site"].isin(args.site)]
    zones = dict(pair.split("=", 1) for pair in args.zone)
    series = []
    for (site, device, metric), part in last_wins(readings).groupby(["site", "device", "metric"]):
        for step in args.step or STEPS:
            points = series_points(part, step, zones.get(site, SAMPLE_ZONE))
            if points:
                series.append({"site": site, "device": device, "metric": metric, "step": step,
                               "points": points})
    with (args.out.open("w", encoding="utf-8") if args.out else sys.stdout) as out:
        json.dump({"series": series}, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
