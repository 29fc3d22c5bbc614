//! `recovery`: how long after a writer's death its successor commits its first new block.
//!
//! While uploads come by the clock, the writer is killed (`kill -9`) at some moment, and what its
//! group has committed is noted. A new process is started; the time from there until a block is
//! committed (a higher offset of a partition, and readings in ClickHouse from below it: ticks alone
//! do not count) is the recovery. It holds the start of the process, joining the group (with static
//! membership, so that nobody waits for the ghost), reading, a block in ClickHouse, and the commit.
//! `recovery` has a process a service on Kafka, and offsets are asked for at the broker;
//! `recovery.embedded` kills all of `heliograph up`, opens log and store again, and asks for offsets
//! by `ListOffsets`, the last time a moment before the kill. Every reading must be there once at the
//! end. Nothing is compared with another program.

use crate::{
    load::{Arrivals, Load, Run},
    report::{Measured, Outcome, Want},
    rig::{Rig, WRITERS, until},
    stats::{median, percentile},
    uploads::{Fleet, READINGS, request},
};
use anyhow::{Context, ensure};
use clickhouse::Client;
use heliograph_contract::{
    topic,
    v1::{ListOffsetsRequest, admin_service_client::AdminServiceClient},
};
use heliograph_store::{StoreConfig, connect};
use heliograph_testkit::installation::{Installation, OnLog, Setup, ports_in_a_row};
use std::time::{Duration, Instant};

const SITES: u64 = 20;
const PER_SECOND: f64 = 40.0;
const PATIENCE: Duration = Duration::from_secs(60);
const ON_KAFKA_SECS: f64 = 2.0;
const EMBEDDED_SECS: f64 = 0.5;

/// See the module; `kills` of each.
pub async fn recovery(kills: usize) -> anyhow::Result<Vec<Outcome>> {
    Ok(vec![on_kafka(kills).await?, embedded(kills).await?])
}

fn outcome(name: &'static str, secs: &[f64], limit: f64) -> anyhow::Result<Outcome> {
    let measured = Measured { name, unit: "s, p99", want: Want::AtMost };
    let p99 = percentile(secs, 0.99).context("no kills")?;
    let mut outcome = measured.of_samples(&[p99], limit)?;
    let ratios: Vec<f64> = secs.iter().map(|secs| secs / limit).collect();
    outcome.spread = crate::stats::spread(&ratios).context("no kills")?;
    outcome.note("kills", secs.len());
    outcome.note("p50_secs", median(secs));
    outcome.note("all_secs", secs);
    Ok(outcome)
}

async fn on_kafka(kills: usize) -> anyhow::Result<Outcome> {
    let mut rig = Rig::start(&[])?;
    let tokens = rig.register(SITES, &["UTC"])?;
    let group = rig.uploads.group(&rig.broker_name(WRITERS))?;
    let (mut secs, mut sent) = (Vec::new(), 0);
    for kill in 0..kills {
        // So many uploads come meanwhile that some are there whenever the writer dies.
        let count = (PER_SECOND * 1.5) as u64;
        let requests = rig.requests_from(Fleet::new(SITES), &tokens, sent, count)?;
        sent += count;
        let arrivals = Arrivals::Open { per_second: PER_SECOND, count };
        let load = Load { addr: rig.gateway_addr()?, requests, connections: 16, arrivals };
        let load = tokio::spawn(load.run());
        tokio::time::sleep(moment(kill)).await;
        rig.it.kill("writer")?;
        let before = rig.uploads.committed(&group)?;
        let began = Instant::now();
        rig.it.spawn("writer")?;
        let ask = async || Ok(offsets_of(&rig.uploads.committed(&group)?));
        secs.push(new_block(&rig.store, &offsets_of(&before), began, ask).await?);
        all_taken(&load.await??)?;
    }
    rig.it.wait_ready()?;
    rig.wait_committed()?;
    let mut outcome = outcome("recovery", &secs, ON_KAFKA_SECS)?;
    let (got, want) = (rig.count("SELECT count() FROM readings FINAL").await?, sent * READINGS);
    if got != want {
        outcome.spoil(format!("{got} of {want} readings"));
    }
    Ok(outcome)
}

/// When within the second the writer dies: at another time of its interval each time.
fn moment(kill: usize) -> Duration {
    Duration::from_millis(100 + (kill as u64 * 379) % 1_000)
}

fn all_taken(run: &Run) -> anyhow::Result<()> {
    let all = run.accepted() == run.samples.len() as u64;
    ensure!(all, "refused: {:?}", run.statuses());
    Ok(())
}

async fn embedded(kills: usize) -> anyhow::Result<Outcome> {
    let dir = tempfile::Builder::new().prefix("heliograph-bench-").tempdir()?;
    // The same ports after every start.
    let base = ports_in_a_row(Setup::ports())?;
    let mut it = Setup::new(OnLog::Local, dir.path()).port_base(base).start()?;
    let mut tokens = Vec::new();
    for site in 0..4 {
        tokens.push(it.add_site(&Fleet::site(site), "UTC")?);
    }
    let fleet = Fleet::new(tokens.len() as u64);
    let store = connect(&StoreConfig { url: it.clickhouse.clone(), ..StoreConfig::default() });
    let (mut secs, mut sent) = (Vec::new(), 0);
    for _ in 0..kills {
        let addr = it.gateway.trim_start_matches("http://").to_owned();
        let one = |n: u64| {
            let token = &tokens[usize::try_from(fleet.site_of(n))?];
            Ok(request(&addr, "/v1/uploads", token, &fleet.json(n)?))
        };
        let count = 20;
        let requests = (sent..sent + count).map(one).collect::<anyhow::Result<_>>()?;
        sent += count;
        let arrivals = Arrivals::Open { per_second: 1_000.0, count };
        let load = Load { addr: addr.parse()?, requests, connections: 4, arrivals };
        // Whoever dies within a second of these has not committed all of them.
        all_taken(&load.run().await?)?;
        let before = committed(&it).await?;
        it.kill("up")?;
        let began = Instant::now();
        it.spawn("up")?;
        // At first nobody listens.
        let ask = async || Ok(committed(&it).await.unwrap_or_else(|_| before.clone()));
        secs.push(new_block(&store, &before, began, ask).await?);
        it.wait_ready()?;
        caught_up(&it).await?;
    }
    let mut outcome = outcome("recovery.embedded", &secs, EMBEDDED_SECS)?;
    let got: u64 = store.query("SELECT count() FROM readings FINAL").fetch_one().await?;
    let want = sent * READINGS;
    if got != want {
        outcome.spoil(format!("{got} of {want} readings"));
    }
    Ok(outcome)
}

/// Seconds from `began` until the group has committed a block since `before`; asks every 10 ms.
async fn new_block(
    store: &Client,
    before: &[u64],
    began: Instant,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Vec<u64>>,
) -> anyhow::Result<f64> {
    let committed = async {
        loop {
            let (now, took) = (ask().await?, began.elapsed());
            if has_readings(store, before, &now).await? {
                return Ok(took.as_secs_f64());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, committed)
        .await
        .with_context(|| format!("a new block is committed: not within {PATIENCE:?}"))?
}

/// Whether there are readings of what was committed between `before` and `now`.
async fn has_readings(store: &Client, before: &[u64], now: &[u64]) -> anyhow::Result<bool> {
    let moved = before.iter().zip(now).enumerate().filter(|(_, (before, now))| now > before);
    let of_partition = |(partition, (before, now)): (usize, (&u64, &u64))| {
        let offsets = format!("log_offset >= {before} AND log_offset < {now}");
        format!("(log_partition = {partition} AND {offsets})")
    };
    let committed: Vec<String> = moved.map(of_partition).collect();
    if committed.is_empty() {
        return Ok(false);
    }
    let select = format!("SELECT count() FROM readings WHERE {}", committed.join(" OR "));
    Ok(store.query(&select).fetch_one::<u64>().await? > 0)
}

/// Offsets as they are asked for: none below zero.
fn offsets_of(committed: &[i64]) -> Vec<u64> {
    committed.iter().map(|at| u64::try_from(*at).unwrap_or(0)).collect()
}

/// What the writers' group has committed, by partition.
async fn committed(it: &Installation) -> anyhow::Result<Vec<u64>> {
    Ok(offsets(it).await?.into_iter().map(|(committed, _)| committed).collect())
}

async fn caught_up(it: &Installation) -> anyhow::Result<()> {
    until("the writer has caught up", PATIENCE, async || {
        // Ticks are written all the time: what was there when it was asked for is enough.
        let ends: Vec<u64> = offsets(it).await?.into_iter().map(|(_, end)| end).collect();
        until("what is there is committed", PATIENCE, async || {
            let now = committed(it).await?;
            Ok(now.iter().zip(&ends).all(|(now, end)| now >= end))
        })
        .await?;
        Ok(true)
    })
    .await
}

/// Committed offset and end of each partition.
async fn offsets(it: &Installation) -> anyhow::Result<Vec<(u64, u64)>> {
    let mut admin = AdminServiceClient::new(it.channel().await?);
    let request =
        ListOffsetsRequest { topic: topic::UPLOADS.to_owned(), group: WRITERS.to_owned() };
    let answer = admin.list_offsets(request).await?.into_inner();
    let of = |p: &heliograph_contract::v1::PartitionOffsets| {
        (p.committed_offset.unwrap_or(0), p.end_offset)
    };
    Ok(answer.partitions.iter().map(of).collect())
}
