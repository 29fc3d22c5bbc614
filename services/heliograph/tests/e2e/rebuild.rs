//! The log is the truth: tables that were spoilt come back from it, equal to the bit.

use crate::support::{Installation, OnLog, data_dir, heliograph, on_either_log, text};
use anyhow::{Context, ensure};
use serde_json::Value;

on_either_log!(spoilt_tables_come_back_equal_whether_up_runs_or_not,);

fn checksums(report: &Value, side: &str) -> anyhow::Result<Vec<(String, String)>> {
    let text = |v: &Value| v.as_str().map(str::to_owned).context("a text");
    let tables = report["tables"].as_array().with_context(|| report.to_string())?;
    tables.iter().map(|t| Ok((text(&t["table"])?, text(&t[format!("checksum_{side}")])?))).collect()
}

async fn spoilt_tables_come_back_equal_whether_up_runs_or_not(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    let tokens = dir.path().join("tokens.json").display().to_string();
    let summary = dir.path().join("summary.json");
    let samples = up.command(&["site", "samples", "--sites", "5", "--tokens", &tokens])?;
    ensure!(samples.status.success(), "{}", String::from_utf8_lossy(&samples.stderr));
    let path = summary.display().to_string();
    let shares = ["--late", "0.1", "--resend", "0.1", "--correct", "0.1", "--bad", "0.1"];
    let args = ["simulate", "--sites", "5", "--days", "3", "--json", "--summary", &path];
    up.json(&[&args[..], &shares[..]].concat())?;
    ensure!(up.audit(&[&summary])?["missing"] == 0, "not all is stored");

    let first = up.json(&["rebuild", "--json"])?;
    let want = checksums(&first, "before")?;
    ensure!(want.len() == 4, "{first}");
    ensure!(checksums(&first, "after")? == want, "a rebuild changed the tables: {first}");

    // Rows lost, a rollup that drifted, another gone: what a rebuild is for.
    let store = clickhouse::Client::default()
        .with_url(&up.clickhouse)
        .with_database("heliograph")
        .with_compression(clickhouse::Compression::None);
    for spoil in [
        "DELETE FROM readings WHERE site_id = 'serf-west'",
        "INSERT INTO readings_15m SELECT * REPLACE (sum + 1 AS sum, version + 1 AS version) \
         FROM readings_15m FINAL",
        "TRUNCATE TABLE readings_1d",
    ] {
        store.query(spoil).execute().await?;
    }
    ensure!(up.audit(&[&summary])?["missing"] != 0, "the audit does not see lost rows");
    // Where one directory holds everything, also when nothing runs.
    let second = match on {
        OnLog::Kafka => {
            let report = up.json(&["rebuild", "--json"])?;
            up.stop()?;
            report
        }
        OnLog::Local => {
            up.stop()?;
            let output = heliograph(dir.path()).args(["rebuild", "--json"]).output()?;
            serde_json::from_slice(&output.stdout).with_context(|| text(&output))?
        }
    };
    ensure!(checksums(&second, "before")? != want, "nothing was spoilt: {second}");
    ensure!(checksums(&second, "after")? == want, "not as it was: {second}");

    let up = Installation::start(on, dir.path())?;
    let audit = up.audit(&[&summary])?;
    for field in ["missing", "duplicate", "rollup_mismatch"] {
        ensure!(audit[field] == 0, "{audit}");
    }
    up.stop()
}
