//! `writer_rows` and `writer_cpu`: from a topic full of uploads into ClickHouse.
//!
//! **`writer_rows`.** A: the writer, as a process, from its first block to the last row stored and
//! the last rollup clean. B: the same rows, encoded as Native blocks beforehand, inserted one block
//! after the other into the same table, and beside it the same statements for the rollups, for
//! whatever buckets have come since the round before. B reads no log, decodes nothing, marks nothing
//! dirty or clean and commits nothing: it is what ClickHouse takes. `writer_rows.no_rollups` is the
//! same with rollups put off until after the run on A's side and left out on B's.
//!
//! **`writer_cpu`.** A: the writer without rollups, all CPU seconds of writer, broker and store. B:
//! [`crate::usual`], the usual way, on a topic that holds the same uploads as the JSON that loggers
//! send, in blocks as large, into the same table. The driver's own CPU, which only waits, is left
//! out on both sides.
//!
//! A run counts when the tables hold each row once.

use crate::{
    kafka::{Topic, plain},
    metrics::metric,
    pairs::alternate,
    procs::{self, SELF},
    report::{Measured, Outcome, Side, Want},
    rig::{DIRTY, Rig, WRITERS, until},
    uploads::{Fleet, READINGS, SERIES},
    usual::{Usual, UsualArgs},
};
use anyhow::Context;
use heliograph_config::WriterConfig;
use heliograph_domain::{
    SiteId, Timestamp,
    rollup::{BUCKET_15M_MS, bucket_start},
};
use heliograph_log::{LogConfig, kafka::KafkaConfig, registry::Projection};
use heliograph_service::Shutdown;
use heliograph_store::{
    blocks::{Block, BlockBuilder, Millis},
    insert_block,
};
use heliograph_writer::{
    insert::Inserter,
    metrics::Metrics,
    rollup::recompute::Recompute,
    rows::{SiteBucket, column},
    tables::Tables,
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

const PAIRS: usize = 5;
const SITES: u64 = 200;
/// 50 readings each.
const UPLOADS: u64 = 30_000;
const ROWS: u64 = UPLOADS * READINGS;
const PATIENCE: Duration = Duration::from_secs(300);
const SHARE_OF_BLOCKS: f64 = 0.5;
const TIMES_THE_USUAL: f64 = 3.0;

/// A full topic and a store.
struct Backlog {
    rig: Rig,
    fleet: Fleet,
    has_rollups: bool,
}

impl Backlog {
    fn make(has_rollups: bool) -> anyhow::Result<Self> {
        // A passing member, so that the group is empty when it has left and can be set back.
        let mut env = vec![("HELIOGRAPH_WRITER__INSTANCE", String::new())];
        if !has_rollups {
            env.push(("HELIOGRAPH_WRITER__ROLLUP_INTERVAL", "1h".into()));
            env.push(("HELIOGRAPH_WRITER__ROLLUP_ROUND_MAX", "1000000".into()));
            env.push(("HELIOGRAPH_WRITER__DIRTY_MAX", "100000000".into()));
        }
        let mut rig = Rig::start(&env)?;
        rig.register(SITES, &["Asia/Tokyo"])?;
        rig.it.leave("writer")?;
        let rig = rig.without(&["gateway", "detector", "query"])?;
        let fleet = Fleet::new(SITES);
        rig.fill(fleet, UPLOADS)?;
        Ok(Self { rig, fleet, has_rollups })
    }

    /// The writer, from its first block on.
    async fn writer(&mut self) -> anyhow::Result<Side> {
        self.rig.truncate().await?;
        self.rig.uploads.set_back(&self.rig.broker_name(WRITERS))?;
        let before = procs::cpu()?;
        let spawned = Instant::now();
        self.rig.it.spawn("writer")?;
        let (mut first, mut stored) = (None, 0.0);
        until("the writer stores everything", PATIENCE, async || {
            // It does not listen yet, or has not stored anything.
            let shown = self.rig.metrics("writer").await.unwrap_or_default();
            let name = "heliograph_writer_block_rows_sum";
            stored = metric(&shown, name, &["table=\"readings\""]).unwrap_or(0.0);
            if stored > 0.0 && first.is_none() {
                first = Some((Instant::now(), stored));
            }
            Ok(stored >= ROWS as f64 && (!self.has_rollups || self.is_clean(&shown).await?))
        })
        .await?;
        let done = Instant::now();
        let cpu_secs = procs::cpu()?.since(&before);
        let (began, at_first) = first.context("nothing was stored")?;
        let mut side = Side {
            value: (ROWS as f64 - at_first) / (done - began).as_secs_f64(),
            cpu_secs,
            unsound: self.unsound().await?,
            ..Side::default()
        };
        let from_start = ROWS as f64 / (done - spawned).as_secs_f64();
        side.more.insert("rows_per_second_from_process_start".into(), json!(from_start));
        self.rig.wait_committed()?;
        self.rig.it.leave("writer")?;
        Ok(side)
    }

    async fn is_clean(&self, shown: &str) -> anyhow::Result<bool> {
        Ok(metric(shown, "heliograph_writer_dirty_buckets", &[])? == 0.0
            && self.rig.count(DIRTY).await? == 0)
    }

    /// What is wrong with the tables.
    async fn unsound(&self) -> anyhow::Result<Option<String>> {
        let mut counts = vec![
            ("rows", self.rig.count("SELECT count() FROM readings").await?),
            ("readings", self.rig.count("SELECT count() FROM readings FINAL").await?),
        ];
        if self.has_rollups {
            for table in ["readings_15m", "readings_1h", "readings_1d"] {
                let select = format!("SELECT toUInt64(sum(count)) FROM {table} FINAL");
                counts.push((table, self.rig.count(&select).await?));
            }
        }
        let sound = counts.iter().all(|(_, count)| *count == ROWS);
        Ok((!sound).then(|| format!("of {ROWS} rows: {counts:?}")))
    }

    /// Blocks that are encoded already, one after the other.
    async fn blocks(&self, looped: &Looped) -> anyhow::Result<Side> {
        self.rig.truncate().await?;
        let before = procs::cpu()?;
        let began = Instant::now();
        let (marks, changed) = mpsc::unbounded_channel();
        let insert = async {
            for (block, buckets) in &looped.blocks {
                insert_block(&self.rig.store, "readings", block).await?;
                // Without rollups nobody listens.
                let _ = marks.send(buckets);
            }
            drop(marks);
            anyhow::Ok(())
        };
        let roll = async {
            match &looped.recompute {
                Some(recompute) => roll(recompute, changed).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(insert, roll)?;
        let took = began.elapsed();
        let cpu_secs = procs::cpu()?.since(&before);
        Ok(Side {
            value: ROWS as f64 / took.as_secs_f64(),
            cpu_secs,
            unsound: self.unsound().await?,
            ..Side::default()
        })
    }
}

/// Recomputes what has changed, round by round.
async fn roll(
    recompute: &Recompute,
    mut changed: mpsc::UnboundedReceiver<&BTreeSet<SiteBucket>>,
) -> anyhow::Result<()> {
    let round_max = WriterConfig::default().rollup_round_max;
    while let Some(first) = changed.recv().await {
        let mut round = first.clone();
        while let Ok(more) = changed.try_recv() {
            round.extend(more.iter().cloned());
        }
        let round: Vec<SiteBucket> = round.into_iter().collect();
        recompute.all(&round, round_max).await?;
    }
    Ok(())
}

/// What B needs, made beforehand.
struct Looped {
    blocks: Vec<(Block, BTreeSet<SiteBucket>)>,
    recompute: Option<Recompute>,
}

impl Looped {
    async fn encode(of: &Backlog) -> anyhow::Result<Self> {
        let per_block = WriterConfig::default().block_rows_max as u64 / READINGS;
        let starts = (0..UPLOADS).step_by(usize::try_from(per_block)?);
        let blocks = starts
            .map(|start| encode(of.fleet, start, UPLOADS.min(start + per_block)))
            .collect::<anyhow::Result<_>>()?;
        let recompute = match of.has_rollups {
            true => Some(recompute(&of.rig).await?),
            false => None,
        };
        Ok(Self { blocks, recompute })
    }
}

/// The statements of the writer's rollups.
async fn recompute(rig: &Rig) -> anyhow::Result<Recompute> {
    let kafka = KafkaConfig {
        bootstrap_servers: rig.broker.bootstrap_servers(),
        topic_prefix: rig.broker_name(""),
        replicas: 1,
        min_insync_replicas: 1,
        ..KafkaConfig::default()
    };
    let log = heliograph_log::open(LogConfig { kafka, ..LogConfig::default() }).await?;
    let registry = Projection::load(log.clone(), Shutdown::new()).await?;
    let inserter = Inserter::new(
        rig.store.clone(),
        Tables::live(),
        &WriterConfig::default(),
        Metrics::default(),
    );
    Ok(Recompute { inserter, log, registry })
}

/// Uploads as one block, and the buckets that it changes.
fn encode(fleet: Fleet, start: u64, end: u64) -> anyhow::Result<(Block, BTreeSet<SiteBucket>)> {
    let rows: Vec<(u64, String, usize, i64, f64)> = (start..end)
        .flat_map(|n| {
            let site = Fleet::site(fleet.site_of(n));
            fleet.readings(n).map(move |(series, ts, value)| (n, site.clone(), series, ts, value))
        })
        .collect();
    let mut buckets = BTreeSet::new();
    for (_, site, _, ts_ms, _) in &rows {
        let start = bucket_start(Timestamp::from_ms(*ts_ms), BUCKET_15M_MS);
        buckets.insert(SiteBucket { site: SiteId::parse(site)?, start });
    }
    let mut block = BlockBuilder::new();
    column(&mut block, "site_id", rows.iter().map(|r| r.1.as_str()))?;
    column(&mut block, "device", rows.iter().map(|r| SERIES[r.2].0))?;
    column(&mut block, "metric", rows.iter().map(|r| SERIES[r.2].1))?;
    column(&mut block, "ts", rows.iter().map(|r| Millis(r.3)))?;
    column(&mut block, "value", rows.iter().map(|r| r.4))?;
    column(&mut block, "quality", rows.iter().map(|_| 1i8))?;
    let partitions = heliograph_log::topics::spec("heliograph.uploads")?.partitions;
    column(&mut block, "log_partition", rows.iter().map(|r| fleet.partition(r.0, partitions)))?;
    column(&mut block, "log_offset", rows.iter().map(|r| r.0))?;
    column(&mut block, "received_at", rows.iter().map(|_| Millis(crate::uploads::START_MS + 1)))?;
    Ok((block.build()?, buckets))
}

/// See the module.
pub async fn rows() -> anyhow::Result<Vec<Outcome>> {
    let with = Measured { name: "writer_rows", unit: "rows/s", want: Want::AtLeast };
    let without = Measured { name: "writer_rows.no_rollups", ..with };
    Ok(vec![rows_of(with, true).await?, rows_of(without, false).await?])
}

async fn rows_of(measured: Measured, has_rollups: bool) -> anyhow::Result<Outcome> {
    let backlog = Backlog::make(has_rollups)?;
    let looped = Looped::encode(&backlog).await?;
    let backlog = tokio::sync::Mutex::new(backlog);
    let pairs = alternate(
        PAIRS,
        async |_| backlog.lock().await.writer().await,
        async |_| backlog.lock().await.blocks(&looped).await,
    )
    .await?;
    let mut outcome = measured.of_pairs(pairs, |blocks| blocks.value * SHARE_OF_BLOCKS)?;
    outcome.note("rows", ROWS);
    outcome.note("share_of_blocks", outcome.ratio * SHARE_OF_BLOCKS);
    Ok(outcome)
}

/// See the module.
pub async fn cpu() -> anyhow::Result<Vec<Outcome>> {
    let backlog = Backlog::make(false)?;
    let json =
        Topic { name: backlog.rig.broker_name("usual.uploads"), ..backlog.rig.uploads.clone() };
    json.create().await?;
    let (fleet, partitions) = (backlog.fleet, json.partitions);
    json.fill((0..UPLOADS).map(|n| {
        let site = Fleet::site(fleet.site_of(n));
        Ok((fleet.partition(n, partitions), plain(&site, fleet.json(n)?)))
    }))?;
    let backlog = tokio::sync::Mutex::new(backlog);
    let pairs = alternate(
        PAIRS,
        async |_| {
            let mut side = backlog.lock().await.writer().await?;
            side.value = rows_per_cpu_second(&mut side);
            Ok(side)
        },
        async |n| usual(&*backlog.lock().await, &json, n).await,
    )
    .await?;
    let measured = Measured { name: "writer_cpu", unit: "rows/CPU s", want: Want::AtLeast };
    let mut outcome = measured.of_pairs(pairs, |usual| usual.value * TIMES_THE_USUAL)?;
    outcome.note("rows", ROWS);
    outcome.note("times_the_usual", outcome.ratio * TIMES_THE_USUAL);
    Ok(vec![outcome])
}

async fn usual(backlog: &Backlog, json: &Topic, n: usize) -> anyhow::Result<Side> {
    backlog.rig.truncate().await?;
    let before = procs::cpu()?;
    let began = Instant::now();
    let mut usual = Usual::start(&UsualArgs {
        servers: json.servers.clone(),
        topic: json.name.clone(),
        group: backlog.rig.broker_name(&format!("usual-{n}")),
        clickhouse: backlog.rig.it.clickhouse.clone(),
        messages: UPLOADS,
        block_rows: WriterConfig::default().block_rows_max,
    })?;
    usual.done().await?;
    let took = began.elapsed();
    let cpu_secs = procs::cpu()?.since(&before);
    let mut side = Side { cpu_secs, unsound: backlog.unsound().await?, ..Side::default() };
    side.value = rows_per_cpu_second(&mut side);
    side.more.insert("rows_per_second".into(), json!(ROWS as f64 / took.as_secs_f64()));
    Ok(side)
}

/// Of all processes but the driver.
fn rows_per_cpu_second(side: &mut Side) -> f64 {
    side.cpu_secs.0.remove(SELF);
    ROWS as f64 / side.cpu_secs.total_secs()
}
