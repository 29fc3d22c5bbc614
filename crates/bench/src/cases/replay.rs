//! `replay`: two days of 1,000 sites, minute by minute, as fast as it goes.
//!
//! Ten series a site, 28.8 million readings, 480 in an upload, through the gateway, while the writer
//! keeps up as it can. Uploads are encoded while those before them are sent; that is the driver's own
//! CPU. The value is readings a second from the first upload to the last row and the last rollup;
//! bytes on disk and the peak of each process's memory stand beside it. Then `heliograph audit`
//! compares what was accepted, the log and ClickHouse, with their checksums. The limit is the rate at
//! which the sites measure, so that the ratio says how many times as fast as in life it was.

use crate::{
    load::{Arrivals, Load},
    procs,
    report::{Measured, Outcome, Want},
    rig::{DIRTY, Rig, until},
    uploads::{Fleet, RUN, SERIES},
};
use anyhow::{Context, ensure};
use bytes::Bytes;
use heliograph_domain::checksum::ReadingsChecksum;
use serde_json::{Value, json};
use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// In one upload.
const MINUTES: u64 = 48;
/// Of each site: two days.
const UPLOADS: u64 = 60;
/// Encoded at once.
const CHUNK: u64 = 1_000;
const CONNECTIONS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(1_800);

/// See the module; 1,000 `sites`, unless one wants to see it run.
pub async fn replay(sites: u64) -> anyhow::Result<Vec<Outcome>> {
    let readings = sites * UPLOADS * MINUTES * SERIES.len() as u64;
    let rig = Arc::new(Rig::start(&[])?);
    let zones = ["Asia/Tokyo", "Europe/Berlin", "America/Santiago", "UTC"];
    let tokens: Arc<[String]> = rig.register(sites, &zones)?.into();
    let fleet = Fleet { minutes: MINUTES, ..Fleet::new(sites) };
    let summing = tokio::task::spawn_blocking(move || summary(fleet));
    let summary = rig.dir().join("replay.summary");
    std::fs::write(&summary, serde_json::to_vec(&summing.await?)?)?;
    let before = procs::cpu()?;
    let began = Instant::now();
    send(&rig, fleet, tokens).await?;
    let accepted = began.elapsed();
    until("everything is stored", PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(rig.count("SELECT count() FROM readings").await? >= readings)
    })
    .await?;
    let stored = began.elapsed();
    until("everything is rolled up", PATIENCE, async || Ok(rig.count(DIRTY).await? == 0)).await?;
    let done = began.elapsed();
    let cpu_secs = procs::cpu()?.since(&before);
    let audit = audit(&rig, &summary)?;
    let measured = Measured { name: "replay", unit: "readings/s", want: Want::AtLeast };
    let rate = readings as f64 / done.as_secs_f64();
    let as_measured = sites as f64 * SERIES.len() as f64 / 60.0;
    let mut outcome = measured.of_samples(&[rate], as_measured)?;
    outcome.note("readings", readings);
    outcome.note("accepted_secs", accepted.as_secs_f64());
    outcome.note("stored_secs", stored.as_secs_f64());
    outcome.note("rolled_up_secs", done.as_secs_f64());
    outcome.note("cpu_secs", &cpu_secs);
    outcome.note("memory_peak_bytes", procs::peaks()?);
    outcome.note("bytes_per_reading", bytes_per_reading(&rig, readings).await?);
    outcome.note("audit", &audit);
    for field in ["missing", "duplicate", "rollup_mismatch"] {
        if audit[field] != 0 {
            outcome.spoil(format!("audit: {field}: {}", audit[field]));
        }
    }
    if audit["stored"] != readings || audit["acked"] != readings {
        outcome.spoil(format!("audit: of {readings} readings: {audit}"));
    }
    Ok(vec![outcome])
}

/// Sends all uploads; the next ones are encoded meanwhile.
async fn send(rig: &Arc<Rig>, fleet: Fleet, tokens: Arc<[String]>) -> anyhow::Result<()> {
    let uploads = fleet.sites * UPLOADS;
    let encode = |from: u64| {
        let (rig, tokens) = (rig.clone(), tokens.clone());
        let count = CHUNK.min(uploads - from);
        tokio::task::spawn_blocking(move || rig.requests_from(fleet, &tokens, from, count))
    };
    let mut next = Some(encode(0));
    let mut from = 0;
    while let Some(encoding) = next.take() {
        let requests: Arc<[Bytes]> = encoding.await??;
        from += requests.len() as u64;
        next = (from < uploads).then(|| encode(from));
        let count = requests.len() as u64;
        let addr = rig.gateway_addr()?;
        let load = Load { addr, requests, connections: CONNECTIONS, arrivals: Arrivals::Once };
        let run = load.run().await?;
        ensure!(run.accepted() == count, "refused: {:?}", run.statuses());
    }
    Ok(())
}

/// What was promised, as `heliograph simulate` writes it: all of it.
fn summary(fleet: Fleet) -> Value {
    let mut all = ReadingsChecksum::default();
    let sites: Vec<Value> = (0..fleet.sites)
        .map(|site| {
            let (id, mut sum) = (Fleet::site(site), ReadingsChecksum::default());
            for upload in 0..UPLOADS {
                for (series, ts_ms, value) in fleet.readings(upload * fleet.sites + site) {
                    let (device, metric) = SERIES[series];
                    sum.add(&id, device, metric, ts_ms, value);
                }
            }
            all.merge(sum);
            let mut of_site = counts(UPLOADS);
            of_site["site"] = json!(id);
            of_site["readings"] = json!(sum.count);
            of_site["checksum"] = json!(sum.to_hex());
            of_site["acked_uploads"] = json!([[0, UPLOADS - 1]]);
            of_site
        })
        .collect();
    let mut summary = counts(fleet.sites * UPLOADS);
    summary["format"] = json!(1);
    summary["run"] = json!(RUN);
    summary["complete"] = json!(true);
    summary["readings"] = json!(all.count);
    summary["checksum"] = json!(all.to_hex());
    summary["sites"] = json!(sites);
    summary
}

fn counts(uploads: u64) -> Value {
    json!({
        "uploads_sent": uploads, "uploads_accepted": uploads, "uploads_refused": 0,
        "uploads_resent": 0, "uploads_unanswered": 0, "uploads_not_sent": 0,
        "uploads_dropped": 0, "uploads_late": 0, "corrections_accepted": 0,
        "readings_rejected": 0, "refused_by_status": {}, "drop_reasons": {},
    })
}

fn audit(rig: &Rig, summary: &Path) -> anyhow::Result<Value> {
    let mut command = rig.it.heliograph();
    command.args(["audit", "--json", "--settle", "5m", "--against"]).arg(summary);
    let output = rig.it.output(command)?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| heliograph_testkit::installation::text(&output))
}

/// On disk: of each table, of all of them, and of the log.
async fn bytes_per_reading(rig: &Rig, readings: u64) -> anyhow::Result<Value> {
    let select = "SELECT table, toUInt64(sum(bytes_on_disk)) FROM system.parts \
                  WHERE active AND database = currentDatabase() GROUP BY table ORDER BY table";
    let tables: Vec<(String, u64)> = rig.store.query(select).fetch_all().await?;
    let each = |bytes: u64| (bytes as f64 / readings as f64 * 100.0).round() / 100.0;
    let all: u64 = tables.iter().map(|(_, bytes)| bytes).sum();
    let mut said = json!({ "all_tables": each(all), "log": each(size(rig.broker.data_dir())?) });
    for (table, bytes) in tables {
        said[table] = json!(each(bytes));
    }
    Ok(said)
}

fn size(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        // Kafka's indexes are long and mostly holes.
        bytes += if about.is_dir() { size(&entry.path())? } else { about.blocks() * 512 };
    }
    Ok(bytes)
}
