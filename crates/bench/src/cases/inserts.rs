//! `inserts` and `inserts.parts`: how often each table is inserted into, and how many parts it has.
//!
//! Sites in three time zones upload at a rate that fits easily into one block a second; then ten times
//! as much comes; then, as fast as it goes, an upload an hour of the last 30 days. Inserts are counted
//! by ClickHouse: the number of the newest block of a table that no merge has changed grows by one
//! with each part that an insert makes, so an insert into two months counts twice. Active parts are
//! looked at ten times a second all the while. Nothing is compared with another program.

use crate::{
    load::{Arrivals, Load},
    report::{Measured, Outcome, Want},
    rig::{Rig, TABLES, until},
    uploads::{Fleet, READINGS, START_MS},
};
use anyhow::ensure;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

const DAY_MS: i64 = 86_400_000;
const SITES: u64 = 60;
const ZONES: [&str; 3] = ["Asia/Tokyo", "Europe/Berlin", "America/Santiago"];
const PER_SECOND: f64 = 30.0;
const BURST: f64 = 10.0;
const RUN: Duration = Duration::from_secs(15);
const LATE_SITES: u64 = 10;
const LATE_HOURS: u64 = 30 * 24;
const PER_SECOND_MAX: f64 = 1.0;
const PARTS_MAX: f64 = 50.0;

/// See the module.
pub async fn inserts() -> anyhow::Result<Vec<Outcome>> {
    let rig = Rig::start(&[])?;
    let tokens = rig.register(SITES, &ZONES)?;
    // Far from the turn of a month or a year in any zone, where one INSERT makes two parts.
    let fleet = Fleet { start_ms: START_MS + 14 * DAY_MS, ..Fleet::new(SITES) };
    let parts = Parts::watch(&rig);
    let mut sent = 0;
    let mut send = async |per_second: f64| -> anyhow::Result<BTreeMap<String, f64>> {
        let count = (per_second * RUN.as_secs_f64()) as u64;
        let requests = rig.requests_from(fleet, &tokens, sent, count)?;
        sent += count;
        let (before, began) = (newest_blocks(&rig).await?, Instant::now());
        let arrivals = Arrivals::Open { per_second, count };
        let load = Load { addr: rig.gateway_addr()?, requests, connections: 64, arrivals };
        let run = load.run().await?;
        ensure!(run.accepted() == count, "refused: {:?}", run.statuses());
        let (after, took) = (newest_blocks(&rig).await?, began.elapsed().as_secs_f64());
        let rate = |(table, newest): (&String, &i64)| {
            let was = before.get(table).copied().unwrap_or(0);
            (table.clone(), (newest - was) as f64 / took)
        };
        Ok(after.iter().map(rate).collect())
    };
    // The first block of a pause does not wait for its interval; it is no steady traffic.
    send(PER_SECOND).await?;
    let steady = send(PER_SECOND).await?;
    let burst = send(PER_SECOND * BURST).await?;
    let late = replay_late(&rig)?;
    until("all is stored and rolled up", Duration::from_secs(120), async || {
        let stored = rig.count("SELECT count() FROM readings FINAL").await?;
        let rolled = rig.count("SELECT toUInt64(sum(count)) FROM readings_1d FINAL").await?;
        Ok(stored == (sent + late) * READINGS && rolled == stored)
    })
    .await?;
    let most = parts.most();
    let rate = Measured { name: "inserts", unit: "inserts/s, busiest table", want: Want::AtMost };
    let count = Measured { name: "inserts.parts", unit: "active parts", want: Want::AtMost };
    let mut rate = rate.of_samples(&[highest(steady.values().copied())], PER_SECOND_MAX)?;
    rate.note("per_table", &steady);
    rate.note("per_table_in_burst", &burst);
    let mut count = count.of_samples(&[highest(most.values().map(|n| *n as f64))], PARTS_MAX)?;
    count.note("per_table", &most);
    Ok(vec![rate, count])
}

fn highest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

/// An upload an hour of the 30 days before a time that nothing else is of.
fn replay_late(rig: &Rig) -> anyhow::Result<u64> {
    let fleet =
        Fleet { start_ms: crate::uploads::START_MS - 40 * 86_400_000, ..Fleet::new(LATE_SITES) };
    // Every twelfth upload of five minutes.
    let numbers = (0..LATE_HOURS)
        .flat_map(|hour| (0..LATE_SITES).map(move |site| hour * 12 * LATE_SITES + site));
    rig.fill_with(fleet, numbers)
}

/// By table.
async fn newest_blocks(rig: &Rig) -> anyhow::Result<BTreeMap<String, i64>> {
    let select = "SELECT table, max(max_block_number) FROM system.parts \
                  WHERE database = currentDatabase() GROUP BY table ORDER BY table";
    let rows: Vec<(String, i64)> = rig.store.query(select).fetch_all().await?;
    Ok(rows.into_iter().filter(|(table, _)| TABLES.contains(&table.as_str())).collect())
}

/// Counts active parts until it is asked for the most of each table.
struct Parts {
    task: tokio::task::JoinHandle<()>,
    most: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Parts {
    fn watch(rig: &Rig) -> Self {
        let most: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
        let (store, seen) = (rig.store.clone(), most.clone());
        let task = tokio::spawn(async move {
            let mut due = tokio::time::interval(Duration::from_millis(100));
            loop {
                due.tick().await;
                let select = "SELECT table, count() FROM system.parts \
                              WHERE active AND database = currentDatabase() GROUP BY table";
                let Ok(rows) = store.query(select).fetch_all::<(String, u64)>().await else {
                    continue;
                };
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                for (table, count) in rows {
                    let most = seen.entry(table).or_default();
                    *most = count.max(*most);
                }
            }
        });
        Self { task, most }
    }

    fn most(self) -> BTreeMap<String, u64> {
        self.task.abort();
        std::mem::take(&mut self.most.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
