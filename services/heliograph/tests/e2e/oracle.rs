//! What `QueryReadings` answers for the sample plants equals an independent calculation with
//! pandas (`tests/oracle`), for every series, step and aggregate.

use crate::support::{
    Authorized, Installation, OnLog, data_dir, on_either_log, python, repository,
};
use anyhow::{Context, ensure};
use heliograph_contract::v1::{
    Aggregate, Quality, QueryReadingsRequest, Series, Step,
    query_service_client::QueryServiceClient,
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

on_either_log!(
    the_sample_files_come_back_as_pandas_reads_them,
    late_corrected_and_repeated_readings_come_back_as_pandas_resolves_them,
);

/// The sample files lie in 2022.
const START_MS: i64 = 1_640_995_200_000 - 86_400_000;
const END_MS: i64 = START_MS + 120 * 86_400_000;
/// Sums are compared to within this; everything else exactly.
const SUM_RELATIVE_ERROR_MAX: f64 = 1e-12;

/// Aggregate and where the oracle's point has it.
const AGGREGATES: [(Aggregate, usize); 7] = [
    (Aggregate::Avg, 1),
    (Aggregate::Min, 2),
    (Aggregate::Max, 3),
    (Aggregate::Count, 4),
    (Aggregate::Sum, 5),
    (Aggregate::First, 6),
    (Aggregate::Last, 7),
];

#[derive(Debug, Deserialize)]
struct Oracle {
    series: Vec<Expected>,
}

#[derive(Debug, Deserialize)]
struct Expected {
    site: String,
    device: String,
    metric: String,
    step: String,
    /// `[ts_ms, avg, min, max, count, sum, first, last]`, raw: and the quality.
    points: Vec<Vec<Value>>,
}

fn oracle(args: &[&str]) -> anyhow::Result<Oracle> {
    let script = repository().join("tests/oracle/readings_oracle.py");
    let output = python()?.arg(script).args(args).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the oracle's answer")
}

fn number(value: &Value) -> anyhow::Result<f64> {
    match value {
        Value::String(text) => Ok(text.parse()?),
        other => other.as_f64().with_context(|| format!("{other} is no number")),
    }
}

/// Compares all series of one site in one step with every aggregate.
async fn compare(
    client: &mut QueryServiceClient<Authorized>,
    site: &str,
    step: &str,
    expected: &[&Expected],
) -> anyhow::Result<()> {
    let wire = match step {
        "raw" => Step::Raw,
        "15m" => Step::Step15Min,
        "1h" => Step::Hour,
        "1d" => Step::Day,
        other => anyhow::bail!("the oracle speaks of a step {other:?}"),
    };
    let aggregates: &[(Aggregate, usize)] = match wire {
        Step::Raw => &[(Aggregate::Unspecified, 1)],
        _ => &AGGREGATES,
    };
    for (aggregate, column) in aggregates {
        let request = QueryReadingsRequest {
            site_id: site.to_owned(),
            start_ms: START_MS,
            end_ms: END_MS,
            step: wire.into(),
            aggregate: (*aggregate).into(),
            ..Default::default()
        };
        let answer = client.query_readings(request).await?.into_inner();
        let names = |series: &Series| (series.device.clone(), series.metric.clone());
        let got: Vec<_> = answer.series.iter().map(names).collect();
        let want: Vec<_> = expected.iter().map(|e| (e.device.clone(), e.metric.clone())).collect();
        ensure!(got == want, "{site} {step}: got the series {got:?}, want {want:?}");
        for (series, expected) in answer.series.iter().zip(expected) {
            let what = format!("{site} {} {} {step} {aggregate:?}", series.device, series.metric);
            compare_points(&what, series, expected, *column)?;
        }
    }
    Ok(())
}

fn compare_points(
    what: &str,
    got: &Series,
    expected: &Expected,
    column: usize,
) -> anyhow::Result<()> {
    let want_ts: Vec<i64> = expected.points.iter().filter_map(|p| p[0].as_i64()).collect();
    ensure!(got.ts_ms == want_ts, "{what}: times differ");
    for (at, point) in expected.points.iter().enumerate() {
        let (value, want) = (got.values[at], number(&point[column])?);
        let is_sum = matches!(column, 1 | 5) && expected.step != "raw";
        let tolerance = if is_sum { SUM_RELATIVE_ERROR_MAX * want.abs().max(1.0) } else { 0.0 };
        ensure!(
            (value - want).abs() <= tolerance,
            "{what} at {}: got {value:?}, want {want:?}",
            got.ts_ms[at]
        );
        if let Some(quality) = point.get(8) {
            let name = Quality::try_from(got.qualities[at])?.as_str_name();
            let want = format!("QUALITY_{}", quality.as_str().unwrap_or_default().to_uppercase());
            ensure!(name == want, "{what} at {}: got {name}, want {want}", got.ts_ms[at]);
        }
    }
    Ok(())
}

/// Replays every sample file as it is, with `extra` arguments, and waits until all is stored.
fn replay(up: &Installation, extra: &[&str]) -> anyhow::Result<()> {
    let tokens = up.data_dir.join("tokens.json").display().to_string();
    let samples = up.command(&["site", "samples", "--sites", "5", "--tokens", &tokens])?;
    ensure!(samples.status.success(), "{}", String::from_utf8_lossy(&samples.stderr));
    let summary = up.data_dir.join("summary.json");
    let mut args = vec!["simulate", "--sites", "5", "--shift", "none", "--scale", "1", "--json"];
    let path = summary.display().to_string();
    args.extend(["--summary", &path]);
    args.extend(extra);
    let output = up.command(&args)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let audit = up.audit(&[Path::new(&path)])?;
    for field in ["missing", "duplicate", "rollup_mismatch"] {
        ensure!(audit[field] == 0, "{audit}");
    }
    Ok(())
}

async fn compare_all(up: &Installation, oracle: &Oracle) -> anyhow::Result<()> {
    let mut client = up.queries().await?;
    let mut groups: BTreeMap<(&str, &str), Vec<&Expected>> = BTreeMap::new();
    for series in &oracle.series {
        groups.entry((&series.site, &series.step)).or_default().push(series);
    }
    ensure!(groups.len() == 5 * 4, "the oracle knows {:?}", groups.keys());
    for ((site, step), expected) in groups {
        compare(&mut client, site, step, &expected).await?;
    }
    Ok(())
}

async fn the_sample_files_come_back_as_pandas_reads_them(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    replay(&up, &[])?;
    compare_all(&up, &oracle(&[])?).await
}

async fn late_corrected_and_repeated_readings_come_back_as_pandas_resolves_them(
    on: OnLog,
) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    let transcript = dir.path().join("transcript.jsonl").display().to_string();
    let shares = ["--late", "0.2", "--resend", "0.2", "--correct", "0.2", "--bad", "0.1"];
    let small = ["--readings-per-upload", "60", "--transcript", &transcript];
    replay(&up, &[&shares[..], &small[..]].concat())?;
    let uploads: Vec<Value> = fs::read_to_string(&transcript)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let list = dir.path().join("uploads.json");
    fs::write(&list, serde_json::to_vec(&uploads)?)?;
    compare_all(&up, &oracle(&["--uploads", &list.display().to_string()])?).await
}
