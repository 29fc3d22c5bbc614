//! Outages made from outside while loggers upload: of ClickHouse, of Kafka, of both, of the disk.
//!
//! Each topic goes through its outages in turn on one installation, with one fleet of loggers: what
//! they were promised in all of them is audited at the end.

mod brokers;
mod disk;
mod kafka;

use crate::{
    fleet::Fleet,
    support::{Installation, wait_for},
};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::time::Duration;

/// Far longer than anything takes that is awaited here.
const PATIENCE: Duration = Duration::from_secs(90);

/// The loggers end, then the writer comes to the end of the log, and the three ledgers agree.
fn audited(up: &Installation, fleet: Fleet) -> anyhow::Result<Value> {
    let summary = fleet.finish()?;
    let audit = up.audit(&[&summary])?;
    ensure!(audit["acked"].as_u64().is_some_and(|acked| acked > 0), "{audit}");
    for field in ["missing", "duplicate", "rollup_mismatch"] {
        ensure!(audit[field] == 0, "{audit}");
    }
    Ok(audit)
}

/// One upload of a site's own, to see what is answered.
async fn knock(up: &Installation, token: &str, site: &str) -> anyhow::Result<reqwest::Response> {
    let reading = json!({ "device": "inv1", "metric": "ac_power", "ts": "2026-01-01T00:00:00Z",
                          "value": 1.0 });
    let body = json!({ "site": site, "readings": [reading] });
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client.post(format!("{}/v1/uploads", up.gateway)).bearer_auth(token);
    Ok(request.json(&body).send().await?)
}

/// What a site is told that is to keep its data: 503, and when to come back.
async fn told_to_keep(up: &Installation, token: &str, site: &str) -> anyhow::Result<bool> {
    let answer = knock(up, token, site).await?;
    if answer.status() != 503 {
        return Ok(false);
    }
    let after = answer.headers().get("retry-after").context("503 without Retry-After")?;
    ensure!(after.to_str()?.parse::<u64>()? > 0, "{after:?}");
    Ok(true)
}

/// Waits for `what`, saying what never came.
fn until(what: &str, mut is_so: impl FnMut() -> bool) -> anyhow::Result<()> {
    ensure!(wait_for(PATIENCE, &mut is_so), "waited in vain: {what}");
    Ok(())
}
