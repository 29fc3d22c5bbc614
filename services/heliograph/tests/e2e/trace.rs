//! One trace from the upload over the log to the block, as who looks for a lost upload would.

use crate::support::{Installation, OnLog, Setup, data_dir, on_either_log, wait_for};
use anyhow::{Context, ensure};
use futures::TryStreamExt;
use heliograph_contract::v1::{ReadLogRequest, admin_service_client::AdminServiceClient};
use serde_json::{Value, json};
use std::time::Duration;

on_either_log!(an_upload_is_found_on_the_log_and_in_its_block_by_its_trace,);

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// Far more than a block takes.
const STORED_WITHIN: Duration = Duration::from_secs(60);

/// The first line of the log that says `message` and names the trace.
fn line(up: &Installation, message: &str) -> Option<Value> {
    let text = up.said();
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find(|line| {
        line["fields"]["message"] == message && line["fields"].to_string().contains(TRACE_ID)
    })
}

async fn an_upload_is_found_on_the_log_and_in_its_block_by_its_trace(
    on: OnLog,
) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Setup::new(on, dir.path()).env("RUST_LOG", "info").start()?;
    let token = up.add_site("roof-7", "Asia/Tokyo")?;
    let body = json!({ "readings": [{ "device": "inv1", "metric": "ac_power",
                       "ts": "2026-01-01T00:00:00Z", "value": 1 }] });
    let response = reqwest::Client::new()
        .post(format!("{}/v1/uploads", up.gateway))
        .bearer_auth(&token)
        .header("traceparent", format!("00-{TRACE_ID}-00f067aa0ba902b7-01"))
        .json(&body)
        .send()
        .await?;
    ensure!(response.status().is_success(), "{}", response.status());
    let named = response.headers()["traceresponse"].to_str()?.to_owned();
    assert!(named.starts_with(&format!("00-{TRACE_ID}-")) && named.ends_with("-01"), "{named}");

    ensure!(wait_for(STORED_WITHIN, || line(&up, "upload").is_some()), "no line of the upload");
    let upload = line(&up, "upload").context("upload")?["fields"].clone();
    let (partition, offset) = (upload["partition"].as_u64(), upload["offset"].as_u64());
    let (partition, offset) = (partition.context("partition")?, offset.context("offset")?);
    let request = ReadLogRequest {
        topic: "heliograph.uploads".into(),
        partition: partition.try_into()?,
        from_offset: offset,
        ..Default::default()
    };
    let mut batches =
        AdminServiceClient::new(up.channel().await?).read_log(request).await?.into_inner();
    let batch = batches.try_next().await?.context("a record")?;
    let record = batch.records.first().context("a record")?;
    let header = record.headers.iter().find(|h| h.name == "traceparent").context("traceparent")?;
    assert_eq!((record.offset, header.value.as_ref()), (offset, named.as_bytes()));

    ensure!(
        wait_for(STORED_WITHIN, || line(&up, "block stored").is_some()),
        "no line of the block"
    );
    let block = line(&up, "block stored").context("block")?["fields"].clone();
    assert_eq!(block["sampled_uploads"], TRACE_ID, "{block}");
    assert_eq!(block["offsets"], format!("{partition}:{offset}-{offset}"), "{block}");
    assert_eq!((&block["table"], &block["rows"]), (&json!("readings"), &json!(1)));
    up.stop()
}
