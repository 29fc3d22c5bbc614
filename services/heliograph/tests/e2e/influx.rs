//! What clients of InfluxDB send unchanged is stored: the official Python clients as they are, and
//! Telegraf's requests as they were recorded (`services/gateway/tests/fixtures/influx`).

use crate::support::{Installation, OnLog, data_dir, on_either_log, python, repository};
use anyhow::{Context, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use heliograph_contract::v1::{QueryReadingsRequest, Step};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

on_either_log!(
    the_client_of_influxdb_1_writes_unchanged,
    the_client_of_influxdb_2_writes_unchanged,
    the_client_of_influxdb_3_writes_unchanged,
    the_recorded_requests_of_telegraf_are_stored,
);

/// 2025-10-05T00:00:00Z: everything here was measured on that day.
const START_MS: i64 = 1_759_622_400_000;
const DAY_MS: i64 = 86_400_000;

/// (device, metric, ts_ms) → value.
type Readings = BTreeMap<(String, String, i64), f64>;

/// What is stored of the site, once everything acknowledged is.
async fn stored(up: &Installation, site: &str) -> anyhow::Result<Readings> {
    let audit = up.audit(&[])?;
    for field in ["missing", "duplicate", "rollup_mismatch"] {
        ensure!(audit[field] == 0, "{audit}");
    }
    let request = QueryReadingsRequest {
        site_id: site.into(),
        start_ms: START_MS,
        end_ms: START_MS + DAY_MS,
        step: Step::Raw.into(),
        ..Default::default()
    };
    let answer = up.queries().await?.query_readings(request).await?.into_inner();
    let mut readings = Readings::new();
    for series in answer.series {
        for (ts_ms, value) in series.ts_ms.iter().zip(&series.values) {
            readings.insert((series.device.clone(), series.metric.clone(), *ts_ms), *value);
        }
    }
    Ok(readings)
}

/// Runs a client's script of `tests/influx` and reads what it printed.
fn client(up: &Installation, token: &str, script: &str, what: &str) -> anyhow::Result<Value> {
    let script = repository().join("services/heliograph/tests/influx").join(script);
    let output = python()?
        .arg(&script)
        .arg(what)
        .env("HELIOGRAPH_URL", &up.gateway)
        .env("HELIOGRAPH_SITE_TOKEN", token)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {what}: {said}", script.display());
    serde_json::from_slice(&output.stdout).with_context(|| format!("{what}: {said}"))
}

/// The readings that a script says it wrote.
fn written(printed: &Value) -> anyhow::Result<Readings> {
    let rows: Vec<(String, String, i64, f64)> = serde_json::from_value(printed.clone())?;
    Ok(rows.into_iter().map(|(device, metric, ts, value)| ((device, metric, ts), value)).collect())
}

async fn writes_unchanged(on: OnLog, script: &str) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    let token = up.add_site("roof-7", "Asia/Tokyo")?;

    let wrote = written(&client(&up, &token, script, "write")?)?;
    ensure!(wrote.len() > 1440, "{script} wrote only {} readings", wrote.len());
    assert_eq!(stored(&up, "roof-7").await?, wrote);

    // A bad line beside a good one: the good one is stored, and the client's own exception says
    // which was bad and why.
    let raised = client(&up, &token, script, "partial")?;
    let text = raised["text"].as_str().unwrap_or_default();
    for part in ["400", "partial write: ", "line 2", "ac_power", "much"] {
        ensure!(text.contains(part), "{part:?} is missing: {raised}");
    }
    let mut now = wrote;
    now.insert(("good".into(), "ac_power".into(), START_MS), 1.5);
    assert_eq!(stored(&up, "roof-7").await?, now);

    let raised = client(&up, &token, script, "unauthorized")?;
    let text = raised["text"].as_str().unwrap_or_default();
    ensure!(text.contains("401") && text.contains("unauthorized"), "{raised}");
    assert_eq!(stored(&up, "roof-7").await?, now);
    up.stop()
}

async fn the_client_of_influxdb_1_writes_unchanged(on: OnLog) -> anyhow::Result<()> {
    writes_unchanged(on, "influxdb_v1.py").await
}

async fn the_client_of_influxdb_2_writes_unchanged(on: OnLog) -> anyhow::Result<()> {
    writes_unchanged(on, "influxdb_client_v2.py").await
}

async fn the_client_of_influxdb_3_writes_unchanged(on: OnLog) -> anyhow::Result<()> {
    writes_unchanged(on, "influxdb_v3.py").await
}

fn fixture(name: &str) -> anyhow::Result<Vec<u8>> {
    let path = repository().join("services/gateway/tests/fixtures/influx").join(name);
    fs::read(&path).with_context(|| path.display().to_string())
}

/// `bytes` with the only occurrence of `old` replaced.
fn replaced(bytes: &[u8], old: &str, new: &str) -> anyhow::Result<Vec<u8>> {
    let (old, new) = (old.as_bytes(), new.as_bytes());
    let found: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
    ensure!(found.len() == 1, "found {} times", found.len());
    Ok([&bytes[..found[0]], new, &bytes[found[0] + old.len()..]].concat())
}

/// Writes a recorded request into a socket as it is and reads status and body of the answer.
fn replay(up: &Installation, request: &[u8]) -> anyhow::Result<(u16, String)> {
    let address = up.gateway.strip_prefix("http://").context("the gateway's address")?;
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(request)?;
    let mut answer = BufReader::new(stream);
    let (mut line, mut body_bytes) = (String::new(), 0);
    answer.read_line(&mut line)?;
    let status = line.split(' ').nth(1).context("a status line")?.parse()?;
    while line != "\r\n" {
        line.clear();
        ensure!(answer.read_line(&mut line)? > 0, "the head of the answer broke off");
        if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            body_bytes = length.trim().parse()?;
        }
    }
    let mut body = vec![0; body_bytes];
    answer.read_exact(&mut body)?;
    Ok((status, String::from_utf8(body)?))
}

/// What the plant of the recordings measured, from the files that Telegraf read.
fn plant() -> anyhow::Result<Readings> {
    let mut readings = Readings::new();
    for line in String::from_utf8(fixture("plant.influx")?)?.lines() {
        let [series, fields, ts_ns] = line.split(' ').collect::<Vec<_>>()[..] else {
            anyhow::bail!("{line}");
        };
        let device = series.split_once("device=").context("a device")?.1;
        let ts_ms = ts_ns.parse::<i64>()? / 1_000_000;
        for field in fields.split(',') {
            let (metric, value) = field.split_once('=').context("a field")?;
            let value = match value {
                "false" => 0.0,
                "\"STARTING\"" => 3.0,
                "\"MPPT\"" => 4.0,
                number => number.trim_end_matches('i').parse()?,
            };
            readings.insert((device.into(), metric.into(), ts_ms), value);
        }
    }
    for (minute, line) in (0..).zip(String::from_utf8(fixture("meter.csv")?)?.lines().skip(1)) {
        let columns = line.split(',').skip(1);
        for (metric, value) in ["ac_power", "ac_voltage_l1", "cabinet_temp"].iter().zip(columns) {
            let ts_ms = START_MS + minute * 60_000;
            readings.insert(("meter-1".into(), (*metric).into(), ts_ms), value.parse()?);
        }
    }
    ensure!(readings.len() == 5 * (2 + 4 + 4 + 3), "{readings:?}");
    Ok(readings)
}

async fn the_recorded_requests_of_telegraf_are_stored(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    let token = up.add_site("roof-7", "Asia/Tokyo")?;
    let with_token = |name: &str| match name.contains("v2") {
        true => replaced(&fixture(name)?, "recorded-token", &token),
        false => {
            let recorded = BASE64_STANDARD.encode("roof-7:recorded-token");
            replaced(&fixture(name)?, &recorded, &BASE64_STANDARD.encode(format!("roof-7:{token}")))
        }
    };

    // As it was recorded, the token is nobody's.
    for name in ["telegraf-v2.http", "telegraf-v1.http"] {
        let (status, body) = replay(&up, &fixture(name)?)?;
        assert_eq!(status, 401, "{name}: {body}");
    }
    assert!(stored(&up, "roof-7").await?.is_empty());

    assert_eq!(replay(&up, &with_token("telegraf-v2.http")?)?, (204, String::new()));
    assert_eq!(stored(&up, "roof-7").await?, plant()?);

    // What the older output asks first has an answer that it can read; its lines are the same
    // readings once more, stored once.
    let (_, body) = replay(&up, &with_token("telegraf-v1-query.http")?)?;
    serde_json::from_str::<Value>(&body).with_context(|| format!("/query: {body:?}"))?;
    assert_eq!(replay(&up, &with_token("telegraf-v1.http")?)?, (204, String::new()));
    assert_eq!(stored(&up, "roof-7").await?, plant()?);
    up.stop()
}
