//! Wires the writer.

use crate::{
    config::{GROUP, WriterConfig},
    insert::{self, Inserter},
    metrics::Metrics,
    pipeline::Assembler,
    rollup::{CleanMarks, recompute::Recompute, roller::Roller},
    tables::Tables,
};
use anyhow::{Context, anyhow};
use heliograph_contract::topic;
use heliograph_log::{
    GroupConsumer, GroupSpec, Log, consumer::Consumer, registry::Projection, topics, turn::Turn,
};
use heliograph_service::{Shutdown, health::Health};
use heliograph_store::{StoreConfig, connect};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

/// The longest that these loops may take for a turn: the consumer and the registry's follower wait
/// for answers of the log, each for 2 minutes at most; the others must not block.
const LOG_SILENCE_MAX: Duration = Duration::from_secs(300);
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Lists of dirty buckets between inserting and the roller.
const DIRTY_LISTS_MAX: usize = 4;

/// How long the rollups of what was stored last may take when the writer leaves.
const ROLL_UP_MAX: Duration = Duration::from_secs(3);

/// The writer, ready to run.
pub struct App {
    config: WriterConfig,
    log: Arc<dyn Log>,
    inserter: Inserter,
    health: Health,
    /// Followed to the end of the drain: rollups are cut by the sites' zones.
    registry: Projection,
    following: DropGuard,
    group: Box<dyn GroupConsumer>,
}

impl App {
    /// Reads the registry to its end and joins the group.
    ///
    /// # Errors
    /// When the configuration makes no sense, the log's topics are not as declared, or the log does
    /// not answer.
    pub async fn build(
        config: WriterConfig,
        store: &StoreConfig,
        log: Arc<dyn Log>,
        health: Health,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        config.validate()?;
        topics::check(&*log).await?;
        let inserter = Inserter::new(connect(store), Tables::live(), &config, metrics);
        let following = Shutdown::new();
        let turn = told(&health, "writer registry");
        let registry = Projection::load_watched(log.clone(), following.clone(), turn).await?;
        let (group, following) =
            (log.subscribe(group_spec(&config)).await?, following.drop_guard());
        Ok(Self { config, log, inserter, health, registry, following, group })
    }

    /// Writes until `shutdown`, then finishes the open block, commits and leaves the group.
    ///
    /// # Errors
    /// When the log or ClickHouse refuse in a way that waiting cannot mend.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Self { config, log, inserter, health, registry, following, group } = self;
        let watched = told(&health, "writer consumer");
        let Health { readiness, liveness } = health;
        let behind = following.disarm();
        let _following = behind.clone().drop_guard();
        let metrics = inserter.metrics.clone();
        let (consumer, side) =
            Consumer::new(group, config.consumer.clone(), metrics.consumer.clone());
        let consumer = consumer.watched(watched);
        // One block is inserted while the next is assembled; there is never a third.
        let (blocks, blocks_receiver) = mpsc::channel(1);
        let (marks, marks_receiver) = mpsc::channel(DIRTY_LISTS_MAX);
        let (ownership, ownership_receiver) = mpsc::unbounded_channel();
        let recompute =
            Recompute { inserter: inserter.clone(), log: log.clone(), registry: registry.clone() };
        let clean = CleanMarks::default();
        let roller = Roller::new(recompute, log.clone(), clean.clone(), &config);
        let acks = side.acks.clone();
        let assembler =
            Assembler { config, log: log.clone(), blocks, ownership, metrics: metrics.clone() };

        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(liveness.watch("writer pipeline", SILENCE_MAX, assembler.run(side)));
        tokio::spawn(metrics.consumer.watch(log.clone(), behind.clone()));
        let insert = insert::run(inserter, log, blocks_receiver, acks, marks, clean);
        tasks.spawn(liveness.watch("writer insert", SILENCE_MAX, insert));
        let roll = roller.run(marks_receiver, ownership_receiver);
        tasks.spawn(liveness.watch("writer rollup", SILENCE_MAX, roll));
        let mut consuming = tokio::spawn(consumer.run(shutdown.clone()));
        readiness.ready();
        tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                shutdown.cancelled().await;
                readiness.leaving();
            }
        });
        let outcome = tokio::select! {
            outcome = &mut consuming => outcome.context("consumer")?.context("consumer"),
            Some(outcome) = tasks.join_next() => match outcome.context("pipeline")? {
                // A part that ends well has seen the end of the consumer, which knows why.
                Ok(()) => (&mut consuming).await.context("consumer")?.context("consumer"),
                failed => failed.context("pipeline"),
            },
            () = registry.stopped() => {
                Err(anyhow!("the registry is no longer followed"))
            }
        };
        consuming.abort();
        if outcome.is_ok() {
            // What is dirty still is left to whoever comes next.
            let rest = async { while tasks.join_next().await.is_some() {} };
            drop(tokio::time::timeout(ROLL_UP_MAX, rest).await);
        }
        // What the consumer did not wait for is void: it is read again after the next start.
        tasks.shutdown().await;
        outcome
    }
}

/// A loop of this writer, whose turns are told to who asks whether it lives.
fn told(health: &Health, name: &'static str) -> Turn {
    let heartbeat = health.liveness.register(name, LOG_SILENCE_MAX);
    Turn::tell(move || heartbeat.beat())
}

fn group_spec(config: &WriterConfig) -> GroupSpec {
    GroupSpec {
        group: GROUP.to_owned(),
        topic: topic::UPLOADS.into(),
        instance: (!config.instance.is_empty()).then(|| config.instance.clone()),
        session_timeout: config.session_timeout,
    }
}
