//! `outage`: a minute without ClickHouse, at a tenth of what the writer can do.
//!
//! What the writer can do is measured first, on a backlog of uploads with their rollups. Then uploads
//! are appended by the clock at a tenth of that. The store is killed for 60 s and started again on
//! its data; uploads go on all the while. `outage` is the time from the store's return until the
//! writer is no more than two seconds of uploads behind, `outage.memory` the writer's peak during all
//! of it over its peak in the steady state before. Every reading must be there once at the end.

use crate::{
    kafka::Appending,
    procs::Watch,
    report::{Measured, Outcome, Want},
    rig::{DIRTY, Rig, WRITERS, until},
    uploads::{Fleet, READINGS},
};
use std::time::{Duration, Instant};

const SITES: u64 = 200;
const BACKLOG: u64 = 20_000;
const SHARE: f64 = 0.1;
const STEADY: Duration = Duration::from_secs(15);
const AWAY: Duration = Duration::from_secs(60);
const SECS_MAX: f64 = 12.0;
const MEMORY_MAX: f64 = 1.2;
const PATIENCE: Duration = Duration::from_secs(300);

/// See the module.
pub async fn outage() -> anyhow::Result<Vec<Outcome>> {
    let rig = Rig::start(&[])?;
    rig.register(SITES, &["Asia/Tokyo"])?;
    let mut rig = rig.without(&["gateway", "detector", "query"])?;
    let fleet = Fleet::new(SITES);
    let per_second = capacity(&mut rig, fleet).await? * SHARE;
    let writer = rig.pid("writer")?;
    let appending = Appending::begin(rig.uploads.clone(), fleet, BACKLOG, per_second)?;
    let watch = Watch::begin(writer);
    tokio::time::sleep(STEADY).await;
    let steady_bytes = watch.most();

    let watch = Watch::begin(writer);
    rig.it.kill("store")?;
    tokio::time::sleep(AWAY).await;
    rig.start_again("store")?;
    let back = Instant::now();
    let group = rig.uploads.group(&rig.broker_name(WRITERS))?;
    until("the writer catches up", PATIENCE, async || {
        let committed = rig.uploads.committed(&group)?;
        let ends = rig.uploads.ends()?;
        let behind: i64 = ends.iter().zip(committed).map(|(end, at)| end - at.max(0)).sum();
        Ok(behind as f64 <= 2.0 * per_second)
    })
    .await?;
    let took = back.elapsed();
    let most_bytes = watch.most();
    let uploads = BACKLOG + appending.end().await?;
    rig.wait_committed()?;
    let time = Measured { name: "outage", unit: "s to catch up", want: Want::AtMost };
    let memory = Measured { name: "outage.memory", unit: "× memory", want: Want::AtMost };
    let grown = most_bytes as f64 / steady_bytes as f64;
    let mut outcomes = vec![
        time.of_samples(&[took.as_secs_f64()], SECS_MAX)?,
        memory.of_samples(&[grown], MEMORY_MAX)?,
    ];
    let (got, want) = (rig.count("SELECT count() FROM readings FINAL").await?, uploads * READINGS);
    for outcome in &mut outcomes {
        outcome.note("rows_per_second", per_second * READINGS as f64);
        outcome.note("away_secs", AWAY.as_secs());
        outcome.note("memory_steady_bytes", steady_bytes);
        outcome.note("memory_most_bytes", most_bytes);
        if got != want {
            outcome.spoil(format!("{got} of {want} readings"));
        }
    }
    Ok(outcomes)
}

/// Uploads a second off a backlog.
async fn capacity(rig: &mut Rig, fleet: Fleet) -> anyhow::Result<f64> {
    rig.it.leave("writer")?;
    rig.fill(fleet, BACKLOG)?;
    let began = Instant::now();
    rig.it.spawn("writer")?;
    until("the backlog is stored and rolled up", PATIENCE, async || {
        let stored = rig.count("SELECT count() FROM readings").await?;
        Ok(stored >= BACKLOG * READINGS && rig.count(DIRTY).await? == 0)
    })
    .await?;
    let took = began.elapsed();
    rig.it.wait_ready()?;
    Ok(BACKLOG as f64 / took.as_secs_f64())
}
