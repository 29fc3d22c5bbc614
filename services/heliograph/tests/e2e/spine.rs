//! The main job, from upload to query, and what happens when it is stopped.

use crate::support::{Installation, OnLog, data_dir, on_either_log};
use heliograph_contract::v1::{GetSiteRequest, QueryReadingsRequest, QueryReadingsResponse, Step};
use serde_json::{Value, json};

on_either_log!(an_upload_is_stored_once_and_comes_back_in_every_step,);

fn upload(readings: Value) -> Value {
    json!({ "site": "s1", "readings": readings })
}

fn reading(minute: u32, kilowatts: f64) -> Value {
    json!({ "device": "inv1", "metric": "ac_power", "unit": "kW",
            "ts": format!("2026-01-01T00:{minute:02}:00Z"), "value": kilowatts })
}

async fn readings(up: &Installation, step: Step) -> anyhow::Result<QueryReadingsResponse> {
    let start_ms = 1_767_225_600_000; // 2026-01-01T00:00:00Z
    let request = QueryReadingsRequest {
        site_id: "s1".into(),
        start_ms: start_ms - 86_400_000,
        end_ms: start_ms + 86_400_000,
        step: step.into(),
        ..Default::default()
    };
    Ok(up.queries().await?.query_readings(request).await?.into_inner())
}

async fn an_upload_is_stored_once_and_comes_back_in_every_step(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(on, dir.path())?;
    let token = up.add_site("s1", "Asia/Tokyo")?;

    let body = upload(json!([reading(1, 1.5), reading(2, 2.5), { "device": "inv1" }]));
    let (status, answer) = up.upload(&token, &body).await?;
    assert_eq!((status, &answer["accepted"]), (200, &json!(2)), "{answer}");
    assert_eq!(answer["rejected"][0]["index"], 2, "{answer}");
    // Sent again, with a correction, and late.
    up.upload(&token, &body).await?;
    up.upload(&token, &upload(json!([reading(2, 3.5)]))).await?;

    let audit = up.audit(&[])?;
    assert_eq!(audit["missing"], 0, "{audit}");
    assert_eq!(audit["duplicate"], 0, "{audit}");
    assert_eq!(audit["rollup_mismatch"], 0, "{audit}");
    let raw = readings(&up, Step::Raw).await?;
    assert_eq!(raw.series[0].values, [1500.0, 3500.0]);
    for step in [Step::Step15Min, Step::Hour, Step::Day] {
        assert_eq!(readings(&up, step).await?.series[0].values, [2500.0], "{step:?}");
    }
    let site = up.queries().await?.get_site(GetSiteRequest { site_id: "s1".into() }).await?;
    let last = site.into_inner().last_reading.and_then(|last| last.reading);
    assert_eq!(last.map(|last| last.value), Some(3500.0));

    // A second start goes on where the first stopped, also when that was not a stop.
    up.kill_all();
    let up = Installation::start(on, dir.path())?;
    assert_eq!(readings(&up, Step::Raw).await?.series[0].values, [1500.0, 3500.0]);
    assert_eq!(up.upload(&token, &upload(json!([reading(3, 4.5)]))).await?.0, 200);
    assert_eq!(up.audit(&[])?["missing"], 0);
    assert_eq!(readings(&up, Step::Raw).await?.series[0].values, [1500.0, 3500.0, 4500.0]);
    up.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_a_directory_and_commands_work_with_and_without_it() -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(OnLog::Local, dir.path())?;
    let token = up.add_site("s1", "Asia/Tokyo")?;
    up.upload(&token, &upload(json!([reading(1, 1.5)]))).await?;
    up.audit(&[])?;

    let second =
        crate::support::heliograph(dir.path()).args(["up", "--port-base", "0"]).output()?;
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&dir.path().display().to_string()), "{said}");

    let with = up.json(&["sites", "--json"])?;
    let data_dir = up.data_dir.clone();
    up.stop()?;
    let output = crate::support::heliograph(&data_dir).args(["sites", "--json"]).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let without: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(with["site"], "s1", "{with}");
    assert_eq!(without["site"], "s1", "{without}");

    let nowhere = tempfile::tempdir()?;
    let output = crate::support::heliograph(nowhere.path()).arg("sites").output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("heliograph up"), "{said}");
    Ok(())
}

/// ClickHouse as delivered refuses a block that fills more than a hundred monthly partitions.
#[tokio::test(flavor = "multi_thread")]
async fn one_upload_may_reach_over_many_years() -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(OnLog::Local, dir.path())?;
    let token = up.add_site("s1", "Asia/Tokyo")?;
    let months: Vec<Value> = (0..101)
        .map(|n| {
            let ts = format!("{}-{:02}-15T00:00:00Z", 2010 + n / 12, 1 + n % 12);
            json!({ "device": "inv1", "metric": "ac_power", "ts": ts, "value": n })
        })
        .collect();
    let (status, answer) = up.upload(&token, &upload(json!(months))).await?;
    assert_eq!((status, &answer["accepted"]), (200, &json!(101)), "{answer}");
    let audit = up.audit(&[])?;
    assert_eq!((&audit["stored"], &audit["missing"]), (&json!(101), &json!(0)), "{audit}");
    assert_eq!(audit["rollup_mismatch"], 0, "{audit}");
    assert_eq!(up.json(&["rebuild", "--json"])?["rows"], 101);
    up.stop()
}
