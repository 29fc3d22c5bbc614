//! Wires the detector.

use crate::{
    config::{DetectorConfig, GROUP},
    judging::{self, Judging},
    metrics::Metrics,
    pipeline::Detector,
};
use anyhow::{Context, anyhow};
use heliograph_contract::topic;
use heliograph_log::{
    GroupConsumer, GroupSpec, Log, consumer::Consumer, registry::Projection, topics, turn::Turn,
};
use heliograph_service::{Shutdown, health::Health};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::DropGuard;

/// The longest that these loops may take for a turn: the consumer and the registry's follower wait
/// for answers of the log, each for 2 minutes at most; the pipeline must not block.
const LOG_SILENCE_MAX: Duration = Duration::from_secs(300);
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The detector, ready to run.
pub struct App {
    detector: Detector,
    health: Health,
    following: DropGuard,
    group: Box<dyn GroupConsumer>,
    judging: Judging,
    judges: Box<dyn GroupConsumer>,
}

impl App {
    /// Reads the registry to its end and joins the group.
    ///
    /// # Errors
    /// When the configuration makes no sense, the log's topics are not as declared, or the log does
    /// not answer.
    pub async fn build(
        config: DetectorConfig,
        log: Arc<dyn Log>,
        health: Health,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        config.validate()?;
        topics::check(&*log).await?;
        let following = Shutdown::new();
        let turn = told(&health, "detector registry");
        let registry = Projection::load_watched(log.clone(), following.clone(), turn).await?;
        let group = log.subscribe(group_spec(&config, GROUP, topic::UPLOADS)).await?;
        let judges = log.subscribe(group_spec(&config, judging::GROUP, topic::COHORTS)).await?;
        let alerts_partitions = log.partitions(topic::ALERTS).await?;
        let judging = Judging {
            log: log.clone(),
            metrics: metrics.clone(),
            alerts_partitions,
            retry_delay_max: config.retry_delay_max,
        };
        let detector = Detector {
            uploads_partitions: log.partitions(topic::UPLOADS).await?,
            alerts_partitions,
            config,
            log,
            registry,
            metrics,
        };
        let following = following.drop_guard();
        Ok(Self { detector, health, following, group, judging, judges })
    }

    /// Detects until `shutdown`, then tells what is open, commits and leaves the group.
    ///
    /// # Errors
    /// When the log refuses in a way that waiting cannot mend.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Self { detector, health, following, group, judging, judges } = self;
        let watched = told(&health, "detector consumer");
        let judge_watched = told(&health, "judge consumer");
        let Health { readiness, liveness } = health;
        let behind = following.disarm();
        let _following = behind.clone().drop_guard();
        let (metrics, registry) = (detector.metrics.clone(), detector.registry.clone());
        let limits = detector.config.consumer.clone();
        let (consumer, side) = Consumer::new(group, limits.clone(), metrics.consumer.clone());
        let (judge, judge_side) = Consumer::new(judges, limits, metrics.judge.clone());
        for lag in [metrics.consumer, metrics.judge] {
            tokio::spawn(lag.watch(detector.log.clone(), behind.clone()));
        }
        let mut tasks = JoinSet::new();
        let (judging, detector) = (judging.run(judge_side), detector.run(side));
        tasks.spawn(liveness.watch("detector pipeline", SILENCE_MAX, detector));
        tasks.spawn(liveness.watch("judge pipeline", SILENCE_MAX, judging));
        tasks.spawn(run(consumer.watched(watched), shutdown.clone()));
        tasks.spawn(run(judge.watched(judge_watched), shutdown.clone()));
        readiness.ready();
        tokio::spawn(async move {
            shutdown.cancelled().await;
            readiness.leaving();
        });
        // A pipeline ends well when its consumer has ended, which knows why.
        let all = async {
            while let Some(outcome) = tasks.join_next().await {
                outcome.context("a task")??;
            }
            Ok(())
        };
        tokio::select! {
            outcome = all => outcome,
            () = registry.stopped() => Err(anyhow!("the registry is no longer followed")),
        }
        // What was not waited for is void: it is read again after the next start.
    }
}

async fn run(consumer: Consumer, shutdown: Shutdown) -> anyhow::Result<()> {
    consumer.run(shutdown).await.context("consumer")
}

/// A loop of this detector, whose turns are told to who asks whether it lives.
fn told(health: &Health, name: &'static str) -> Turn {
    let heartbeat = health.liveness.register(name, LOG_SILENCE_MAX);
    Turn::tell(move || heartbeat.beat())
}

fn group_spec(config: &DetectorConfig, group: &str, topic: &str) -> GroupSpec {
    GroupSpec {
        group: group.to_owned(),
        topic: topic.into(),
        instance: (!config.instance.is_empty()).then(|| config.instance.clone()),
        session_timeout: config.session_timeout,
    }
}
