//! What was rejected is listed, shown as it came, and put back once it passes.

use crate::support::{Installation, OnLog, data_dir, on_either_log, wait_for};
use anyhow::{Context, ensure};
use heliograph_domain::Timestamp;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

on_either_log!(a_rejected_reading_can_be_looked_at_and_put_back,);

fn lines(up: &Installation, args: &[&str]) -> anyhow::Result<Vec<Value>> {
    let output = up.command(args)?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| serde_json::from_str(line).context("a line of JSON")).collect()
}

async fn a_rejected_reading_can_be_looked_at_and_put_back(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    let token = up.add_site("roof-7", "Asia/Tokyo")?;
    // Three seconds too far ahead: soon it passes.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let ahead = Timestamp::from_ms(i64::try_from(since)? + 86_400_000 + 3_000).to_string();
    let reading =
        |ts: &str, value: Value| json!({"device":"inv1","metric":"ac_power","ts":ts,"value":value});
    let body = json!({"upload_id":"u1","readings":[
        reading(&ahead, json!(1.5)),
        reading("2026-01-01T00:00:00Z", Value::Null),
    ]});
    let (status, answer) = up.upload(&token, &body).await?;
    assert_eq!((status, &answer["accepted"]), (200, &json!(0)), "{answer}");

    let listed = lines(&up, &["dead-letters", "list", "--site", "roof-7", "--json"])?;
    let [letter] = &listed[..] else { anyhow::bail!("want one letter: {listed:?}") };
    assert_eq!(
        (&letter["reason"], &letter["upload_id"]),
        (&json!("rejected_readings"), &json!("u1"))
    );
    assert_eq!(letter["value"][0]["reading"], body["readings"][0]);
    assert_eq!(
        lines(&up, &["dead-letters", "list", "--site", "roof-8", "--json"])?,
        [json!(null); 0]
    );
    let offset = letter["offset"].to_string();
    assert_eq!(lines(&up, &["dead-letters", "show", &offset, "--json"])?, listed);

    let mut said = String::new();
    let replayed = wait_for(Duration::from_secs(60), || {
        let output = up.command(&["dead-letters", "replay", &offset]);
        said = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        said.contains("1 of 2 readings put back: heliograph.uploads/")
    });
    ensure!(replayed, "{said}");
    ensure!(said.contains("  reading 1: value: got nothing, want a finite number"), "{said}");
    up.audit(&[])?;
    // Three days from `date` on.
    let date = &ahead[..10];
    let end = Timestamp::from_ms(i64::try_from(since)? + 3 * 86_400_000).to_string();
    let args = ["readings", "roof-7", "--from", date, "--to", &end, "--step", "raw", "--json"];
    let points = lines(&up, &args)?;
    assert_eq!(points.len(), 1, "{points:?}");
    assert_eq!((&points[0]["ts"], &points[0]["value"]), (&json!(ahead), &json!(1.5)));

    let none = up.command(&["dead-letters", "show", "99"])?;
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    ensure!(!none.status.success() && said.contains("offset: got 99, want 0 to 0"), "{said}");
    let none = up.command(&["dead-letters", "replay", "99"])?;
    let said = String::from_utf8_lossy(&none.stdout).into_owned();
    ensure!(!none.status.success() && said.contains("99: offset: got 99"), "{said}");
    up.stop()
}
