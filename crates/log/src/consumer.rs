//! The consumer that every service runs on: backpressure, offsets and draining live here, once.
//!
//! ```text
//! GroupConsumer ──records──▶ [ledger: take] ──Work──▶ processor ──Acks──▶ [ledger: done] ──▶ commit
//! ```
//!
//! Invariant: an offset is committed only when everything it caused has been acknowledged by a
//! [`Done`]. What is open is bounded in records and bytes: at the limit the partitions are paused
//! while the group is still polled, so that a slow store never costs us the membership. What this
//! deliberately is not: it does not know what a record means.

mod acks;
mod lag;
mod phase;

pub use acks::{Acks, Done};
pub use lag::{ConsumerFamilies, ConsumerMetrics};

use crate::{
    ledger::{Epoch, Ledger, Take},
    port::{GroupConsumer, GroupEvent, LogError, Record, TopicPartition},
    turn::Turn,
    unguarded::{Guard, is_off},
};
use acks::Ack;
use heliograph_domain::{Violation, Violations};
use lag::{Ages, Position};
use phase::{Phase, Step};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Limits of a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerConfig {
    /// Records handed out and not done; above it the partitions are paused.
    pub open_records_max: usize,
    /// Their bytes; above it the partitions are paused.
    pub open_bytes_max: usize,
    /// How often offsets are committed when nobody asks for it, in ms.
    pub commit_interval_ms: u64,
    /// How long revoked partitions, or a shutdown, wait for what is open, in ms. Shorter than the
    /// session time-out, or the group takes the partitions away in the middle.
    pub drain_timeout_ms: u64,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            open_records_max: 50_000,
            open_bytes_max: 16 << 20,
            commit_interval_ms: 200,
            drain_timeout_ms: 10_000,
        }
    }
}

impl ConsumerConfig {
    /// Every value that makes no sense, under keys below `part`, the section it stands in.
    pub fn violations(&self, part: &'static str, session_timeout: Duration) -> Vec<Violation> {
        let mut found = Violations::of(part);
        found.range("open_records_max", self.open_records_max, 1, 10_000_000);
        found.range("open_bytes_max", self.open_bytes_max, 1, 1 << 40);
        found.range("commit_interval_ms", self.commit_interval_ms, 1, 60_000);
        let drain = Duration::from_millis(self.drain_timeout_ms);
        if drain >= session_timeout {
            let want = format!("less than the session_timeout ({session_timeout:?}), in ms");
            found.add("drain_timeout_ms", self.drain_timeout_ms, want);
        }
        found.into_vec()
    }
}

/// A record to be processed, with the assignment it came under.
#[derive(Debug)]
pub struct Taken {
    pub record: Record,
    pub epoch: Epoch,
}

impl Taken {
    /// What to send when everything the record caused is acknowledged.
    pub fn done(&self) -> Done {
        Done { at: self.record.at.clone(), epoch: self.epoch, offset: self.record.offset }
    }
}

/// What a processor is told, in order.
#[derive(Debug)]
pub enum Work {
    /// These partitions are ours from now on.
    Assigned(Vec<TopicPartition>),
    Records(Vec<Taken>),
    /// Finish what is open as soon as possible: somebody waits for it.
    Flush,
    /// These partitions are no longer ours.
    Forgotten(Vec<TopicPartition>),
}

/// The processor's ends of the two channels. Their content is bounded by the ledger.
#[derive(Debug)]
pub struct ProcessorSide {
    pub work: mpsc::UnboundedReceiver<Work>,
    pub acks: Acks,
}

/// Drives one group member until shutdown.
pub struct Consumer {
    group: Box<dyn GroupConsumer>,
    config: ConsumerConfig,
    ledger: Ledger,
    phase: Phase,
    paused: bool,
    work: mpsc::UnboundedSender<Work>,
    acks: mpsc::UnboundedReceiver<Ack>,
    ages: Ages,
    metrics: ConsumerMetrics,
    turn: Turn,
}

impl Consumer {
    pub fn new(
        group: Box<dyn GroupConsumer>,
        config: ConsumerConfig,
        metrics: ConsumerMetrics,
    ) -> (Self, ProcessorSide) {
        let (work, work_receiver) = mpsc::unbounded_channel();
        let (acks_sender, acks) = mpsc::unbounded_channel();
        let consumer = Self {
            group,
            config,
            ledger: Ledger::default(),
            phase: Phase::Consuming,
            paused: false,
            work,
            acks,
            ages: Ages::default(),
            metrics,
            turn: Turn::untold(),
        };
        (consumer, ProcessorSide { work: work_receiver, acks: Acks::new(acks_sender) })
    }

    /// Tells `turn` each time that the consumer turns: at least once a commit interval, unless the
    /// log itself makes it wait.
    pub fn watched(self, turn: Turn) -> Self {
        Self { turn, ..self }
    }

    /// Consumes until `shutdown`, then drains, commits and leaves the group.
    ///
    /// # Errors
    /// A log error that trying again cannot mend, or a processor that has gone away.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), LogError> {
        let interval = Duration::from_millis(self.config.commit_interval_ms);
        let mut commit = tokio::time::interval(interval);
        commit.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.phase != Phase::Closed {
            self.turn.turn();
            let deadline = self.phase.deadline();
            tokio::select! {
                () = shutdown.cancelled(), if !self.phase.is_closing() => self.begin_close(),
                event = self.group.next() => self.on_event(event).await?,
                ack = self.acks.recv() => {
                    if self.on_ack(ack)? {
                        self.commit().await?;
                    }
                }
                _ = commit.tick() => {
                    self.commit().await?;
                    self.show_positions();
                }
                () = at(deadline) => {}
            }
            self.apply_backpressure()?;
            self.advance().await?;
            self.show();
        }
        self.group.close().await
    }

    fn begin_close(&mut self) {
        self.phase.close(Instant::now() + self.drain_timeout());
        self.tell(Work::Flush);
    }

    async fn on_event(&mut self, event: Result<GroupEvent, LogError>) -> Result<(), LogError> {
        match event {
            Ok(GroupEvent::Assigned(tps)) => {
                for tp in &tps {
                    self.ledger.assign(tp.clone());
                }
                tracing::info!(partitions = ?tps, "assigned");
                self.metrics.rebalanced("assigned", tps.len());
                if self.paused {
                    self.group.pause(&tps)?;
                }
                self.tell(Work::Assigned(tps));
            }
            Ok(GroupEvent::Revoked(tps)) => {
                tracing::info!(partitions = ?tps, "revoked: draining");
                self.metrics.rebalanced("revoked", tps.len());
                if is_off(Guard::Revoke) {
                    self.ledger.done_all();
                }
                self.phase.revoke(tps, Instant::now() + self.drain_timeout());
                self.tell(Work::Flush);
            }
            Ok(GroupEvent::Lost(tps)) => {
                tracing::warn!(partitions = ?tps, "lost");
                self.metrics.rebalanced("lost", tps.len());
                self.phase.lost(&tps);
                self.forget(tps);
            }
            // On the way out nothing new is begun; who comes next reads these again.
            Ok(GroupEvent::Records(_)) if self.phase.is_closing() => {}
            Ok(GroupEvent::Records(records)) => self.take(records),
            Err(error) if error.is_transient() => {
                self.metrics.failed("next");
                tracing::warn!(%error, "log not readable; trying again");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn take(&mut self, records: Vec<Record>) {
        let mut taken: Vec<Taken> = Vec::with_capacity(records.len());
        let mut behind: Vec<(Record, u64)> = Vec::new();
        for record in records {
            match self.ledger.take(&record.at, record.offset, record.size_bytes()) {
                Take::Taken(epoch) => {
                    if is_off(Guard::Acknowledgement) {
                        self.ledger.done(&record.at, epoch, record.offset);
                    }
                    taken.push(Taken { record, epoch });
                }
                Take::NotOurs => {}
                Take::Behind { next } => behind.push((record, next)),
            }
        }
        self.tell_behind(&behind);
        self.metrics.records.inc_by(taken.len() as u64);
        for batch in taken.chunk_by(|a, b| a.record.at == b.record.at) {
            if let (Some(first), Some(last)) = (batch.first(), batch.last()) {
                let Record { at, append_time, .. } = &first.record;
                self.ages.took(at, last.record.offset, *append_time);
            }
        }
        if !taken.is_empty() {
            self.tell(Work::Records(taken));
        }
    }

    /// A partition keeps its order, so its end was cut off, by a broker that led it without having
    /// all of it: what took the place of records that we have had is not taken for new.
    fn tell_behind(&self, behind: &[(Record, u64)]) {
        for batch in behind.chunk_by(|(a, _), (b, _)| a.at == b.at) {
            let [(first, want), ..] = batch else { continue };
            self.metrics.failed("order");
            let (at, offset, records) = (&first.at, first.offset, batch.len());
            tracing::error!(%at, offset, want, records, "the log went backwards: not processed");
        }
    }

    /// Whether the processor wants a commit.
    fn on_ack(&mut self, first: Option<Ack>) -> Result<bool, LogError> {
        let gone = || LogError::Unavailable("the processor has stopped".into());
        let mut next = Some(first.ok_or_else(gone)?);
        let mut wants_commit = false;
        while let Some(ack) = next {
            match ack {
                Ack::Done(Done { at, epoch, offset }) => self.ledger.done(&at, epoch, offset),
                Ack::Commit => wants_commit = true,
            }
            next = self.acks.try_recv().ok();
        }
        Ok(wants_commit)
    }

    async fn commit(&mut self) -> Result<(), LogError> {
        let plan = self.ledger.commit_plan();
        if plan.is_empty() {
            return Ok(());
        }
        match self.group.commit(&plan).await {
            Ok(()) => self.ledger.confirm_committed(&plan),
            // The group will say Revoked or Lost; until then nothing is committed.
            Err(LogError::NotOwner(what)) => {
                self.metrics.failed("commit");
                tracing::warn!(%what, "commit refused: not ours");
            }
            Err(error) if error.is_transient() => {
                self.metrics.failed("commit");
                tracing::warn!(%error, "commit failed");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Pauses above the limit and resumes below half of it, so that it does not flutter.
    fn apply_backpressure(&mut self) -> Result<(), LogError> {
        let (records, bytes) = (self.ledger.open_records(), self.ledger.open_bytes());
        let ConsumerConfig { open_records_max, open_bytes_max, .. } = self.config;
        if !self.paused && (records >= open_records_max || bytes >= open_bytes_max) {
            self.group.pause(&self.ledger.assigned())?;
            self.paused = true;
        } else if self.paused && records <= open_records_max / 2 && bytes <= open_bytes_max / 2 {
            self.group.resume(&self.ledger.assigned())?;
            self.paused = false;
        }
        Ok(())
    }

    async fn advance(&mut self) -> Result<(), LogError> {
        let ledger = &self.ledger;
        match self.phase.step(Instant::now(), |tp| ledger.is_drained(tp), &ledger.assigned()) {
            Step::Wait => {}
            Step::Release(tps) => {
                self.commit().await?;
                self.forget(tps.clone());
                match self.group.release(&tps) {
                    // Thrown out in the middle, as a commit may have told it: Lost comes.
                    Err(LogError::NotOwner(what)) => {
                        tracing::warn!(%what, "not released: not ours");
                    }
                    answer => answer?,
                }
            }
            Step::Close => {
                self.commit().await?;
                self.phase = Phase::Closed;
            }
        }
        Ok(())
    }

    fn forget(&mut self, tps: Vec<TopicPartition>) {
        for tp in &tps {
            self.ledger.forget(tp);
            self.ages.forget(tp);
            self.metrics.forget(tp);
        }
        self.tell(Work::Forgotten(tps));
    }

    fn show(&self) {
        let Self { ledger, metrics, .. } = self;
        metrics.open_records.set(ledger.open_records() as i64);
        metrics.open_bytes.set(ledger.open_bytes() as i64);
        metrics.paused.set(i64::from(self.paused));
    }

    /// Where the partitions stand, for who asks how far we are behind.
    fn show_positions(&mut self) {
        for tp in self.ledger.assigned() {
            if let Some(offset) = self.ledger.done_below(&tp) {
                self.ages.done_below(&tp, offset);
            }
            let (committed, oldest_open) = (self.ledger.committed(&tp), self.ages.oldest(&tp));
            self.metrics.stands(&tp, Position { committed, oldest_open });
        }
    }

    /// A processor that has gone away is noticed on its `acks` channel.
    fn tell(&self, work: Work) {
        drop(self.work.send(work));
    }

    fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.config.drain_timeout_ms)
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
