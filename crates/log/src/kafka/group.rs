//! A member of a consumer group on Kafka's classic protocol, cooperative by default.
//!
//! librdkafka's rebalance callback only records what it wants (`context`); what that means is
//! decided by `rebalance`; this file does it. The rules of librdkafka behind it: it waits, with the
//! fetching of *all* partitions paused, until the application calls (un)assign, which it may do as
//! late as it likes while it keeps polling; a member that does not poll for `max.poll.interval.ms`
//! is thrown out; who is thrown out while librdkafka waits, or is fenced, is told of no loss. Then
//! the member starts over with a new client, or, fenced, is of no use any more.
//!
//! It keeps no offsets: what is done is the consumer's `ledger`.

use super::{
    config::KafkaConfig,
    error::{Class, class, code_of, log_error},
    member::MemberContext,
    meta,
    rebalance::{Ownership, Step},
    record,
};
use crate::port::{GroupConsumer, GroupEvent, GroupSpec, LogError, Record, TopicPartition};
use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code},
};
use std::{collections::VecDeque, sync::Arc, thread, time::Duration};
use tokio::{sync::oneshot, task, time};

/// A batch ends here, or when nothing more was fetched yet.
const BATCH_MAX_BYTES: usize = 1024 * 1024;
const BATCH_MAX_RECORDS: usize = 16_384;
/// Leaving waits this long for the group's coordinator.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

type Native = StreamConsumer<MemberContext>;

pub(super) struct KafkaGroup {
    consumer: Option<Arc<Native>>,
    topic: TopicPartition,
    broker_topic: String,
    spec: GroupSpec,
    settings: ClientConfig,
    is_cooperative: bool,
    commit_timeout: Duration,
    /// One that was not answered in time, and still may be.
    committing: Option<task::JoinHandle<KafkaResult<()>>>,
    ownership: Ownership,
    /// Events that are due before any record.
    told: VecDeque<GroupEvent>,
    /// Met in the middle of a batch; comes after it.
    held_error: Option<KafkaError>,
    /// The client is out of the group and does not know it: the next call makes a new one.
    must_rejoin: bool,
    /// The member is out for good.
    dead: Option<LogError>,
}

impl KafkaGroup {
    /// Joins. Must run inside a runtime; what happens comes from `next`.
    pub(super) fn join(config: &KafkaConfig, spec: GroupSpec) -> Result<Self, LogError> {
        let settings = config.member(&spec);
        let strategy = settings.get("partition.assignment.strategy").unwrap_or_default();
        let mut group = Self {
            consumer: None,
            topic: TopicPartition::new(Arc::clone(&spec.topic), 0),
            broker_topic: config.broker_name(&spec.topic),
            is_cooperative: strategy.contains("cooperative"),
            commit_timeout: config.commit_timeout(spec.session_timeout),
            committing: None,
            settings,
            ownership: Ownership::default(),
            told: VecDeque::new(),
            held_error: None,
            must_rejoin: false,
            dead: None,
            spec,
        };
        group.connect()?;
        Ok(group)
    }

    fn connect(&mut self) -> Result<(), LogError> {
        drop(self.leave());
        let context = MemberContext::new(&self.broker_topic, self.is_cooperative);
        let native: Native =
            self.settings.create_with_context(context).map_err(|e| self.error(&e))?;
        native.subscribe(&[&self.broker_topic]).map_err(|e| self.error(&e))?;
        self.consumer = Some(Arc::new(native));
        self.held_error = None;
        self.must_rejoin = false;
        Ok(())
    }

    fn native(&self) -> Result<&Arc<Native>, LogError> {
        self.consumer.as_ref().ok_or_else(|| LogError::NotOwner("the member is closed".to_owned()))
    }

    fn list(&self, parts: &[u32]) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::with_capacity(parts.len());
        for &part in parts {
            let tp = TopicPartition::new(Arc::clone(&self.topic.topic), part);
            list.add_partition(&self.broker_topic, meta::partition_number(&tp)?);
        }
        Ok(list)
    }

    fn named(&self, parts: &[u32]) -> Vec<TopicPartition> {
        let topic = &self.topic.topic;
        parts.iter().map(|&p| TopicPartition::new(Arc::clone(topic), p)).collect()
    }

    fn perform(&mut self, steps: Vec<Step>) {
        for step in steps {
            let done = match step {
                Step::Assign(parts) => self.assign(&parts).map(|()| {
                    if !parts.is_empty() {
                        self.told.push_back(GroupEvent::Assigned(self.named(&parts)));
                    }
                }),
                Step::Unassign(parts) => self.unassign(&parts),
                Step::TellRevoked(parts) => {
                    self.told.push_back(GroupEvent::Revoked(self.named(&parts)));
                    Ok(())
                }
                Step::TellLost(parts) => {
                    self.told.push_back(GroupEvent::Lost(self.named(&parts)));
                    Ok(())
                }
            };
            if let Err(error) = done {
                // What librdkafka did not take it goes on waiting for.
                tracing::warn!(%error, group = self.spec.group, "starting over");
                self.start_over();
                return;
            }
        }
    }

    /// Out of the group: everything is lost. It joins again with the next call, unless another
    /// member has taken its place: the two would throw each other out for ever.
    fn start_over(&mut self) {
        let lost = self.ownership.reset();
        if !lost.is_empty() {
            self.told.push_back(GroupEvent::Lost(self.named(&lost)));
        }
        self.dead = self.fatal_error();
        self.must_rejoin = self.dead.is_none();
    }

    fn fatal_error(&self) -> Option<LogError> {
        let (code, reason) = self.consumer.as_ref()?.client().fatal_error()?;
        let group = &self.spec.group;
        Some(LogError::NotOwner(match (code, &self.spec.instance) {
            (Code::FencedInstanceId, Some(name)) => {
                format!("group {group}: another member has come under the name {name}")
            }
            _ => format!("group {group}: {reason}"),
        }))
    }

    fn assign(&self, parts: &[u32]) -> Result<(), LogError> {
        let (native, list) = (self.native()?, self.list(parts)?);
        // A pause outlives the loss of the partition: who had it paused would never read it again.
        // Before it is fetched, so that nothing of an earlier position is.
        native.resume(&list).map_err(|e| self.error(&e))?;
        let done = match self.is_cooperative {
            true => native.incremental_assign(&list),
            false => native.assign(&list),
        };
        done.map(|()| native.context().answered()).map_err(|e| self.error(&e))
    }

    fn unassign(&self, parts: &[u32]) -> Result<(), LogError> {
        let (native, list) = (self.native()?, self.list(parts)?);
        let done = match self.is_cooperative {
            true => native.incremental_unassign(&list),
            false => native.unassign(),
        };
        done.map(|()| native.context().answered()).map_err(|e| self.error(&e))
    }

    fn error(&self, error: &KafkaError) -> LogError {
        log_error(error, &format!("group {}", self.spec.group))
    }

    /// What an error that came instead of a record means: `None` when librdkafka goes on by itself.
    fn failed(&mut self, error: &KafkaError) -> Option<LogError> {
        let code = code_of(error);
        if code == Some(Code::PollExceeded) || self.fatal_error().is_some() {
            self.start_over();
            return None;
        }
        match code.map_or(Class::Transient, class) {
            Class::Transient if code == Some(Code::AllBrokersDown) => Some(self.error(error)),
            Class::Transient | Class::NotOwner | Class::StaleGeneration => {
                tracing::debug!(%error, group = self.spec.group, "librdkafka goes on");
                None
            }
            // It was there when the member joined: a broker that does not know it yet, or again.
            Class::UnknownTopic => {
                Some(LogError::Unavailable(format!("group {}: {error}", self.spec.group)))
            }
            Class::TooLarge | Class::Config | Class::Corrupt => Some(self.error(error)),
        }
    }

    /// The records that were fetched, first of them `first`.
    fn batch(&mut self, first: Option<Record>) -> Result<Vec<Record>, LogError> {
        let native = Arc::clone(self.native()?);
        let mut bytes = first.as_ref().map_or(0, Record::size_bytes);
        let mut records: Vec<Record> = first.into_iter().collect();
        let mut stream = native.stream();
        while bytes < BATCH_MAX_BYTES && records.len() < BATCH_MAX_RECORDS {
            match stream.next().now_or_never() {
                Some(Some(Ok(message))) => {
                    let record = record::from_kafka(&message, &self.topic);
                    if self.ownership.reads(record.at.partition) {
                        bytes += record.size_bytes();
                        records.push(record);
                    }
                }
                Some(Some(Err(error))) => {
                    self.held_error = Some(error);
                    break;
                }
                Some(None) | None => break,
            }
        }
        Ok(records)
    }

    fn check_owned(&self, tp: &TopicPartition) -> Result<(), LogError> {
        if tp.topic == self.topic.topic && self.ownership.owns(tp.partition) {
            return Ok(());
        }
        Err(LogError::NotOwner(tp.to_string()))
    }

    /// What an unsuccessful commit means. The order matters: a generation that is only old while
    /// the group rebalances is tried again.
    fn commit_failed(&mut self, error: &KafkaError) -> LogError {
        if let Some(fatal) = self.fatal_error() {
            self.start_over();
            return fatal;
        }
        let class = code_of(error).map_or(Class::Transient, class);
        let is_lost = self.consumer.as_ref().is_some_and(|c| c.assignment_lost());
        if class == Class::StaleGeneration && !is_lost {
            return LogError::Unavailable(format!("group {}: {error}", self.spec.group));
        }
        if class == Class::NotOwner && !is_lost {
            // While librdkafka waits for a release it tells of no loss: this is how we hear of it.
            self.start_over();
        }
        self.error(error)
    }

    fn no_answer(&self) -> LogError {
        LogError::Unavailable(format!("group {}: no answer to a commit", self.spec.group))
    }

    /// Leaves on a thread of its own: librdkafka waits for the coordinator.
    fn leave(&mut self) -> Option<oneshot::Receiver<()>> {
        let native = self.consumer.take()?;
        self.committing = None;
        native.context().close(&native);
        let (done, is_done) = oneshot::channel();
        thread::spawn(move || {
            drop(native);
            let _ = done.send(());
        });
        Some(is_done)
    }
}

#[async_trait]
impl GroupConsumer for KafkaGroup {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        // librdkafka must be polled within the session, also when nothing comes.
        let poll_interval = (self.spec.session_timeout / 4).min(Duration::from_secs(1));
        loop {
            if let Some(event) = self.told.pop_front() {
                return Ok(event);
            }
            if let Some(error) = &self.dead {
                return Err(error.clone());
            }
            if self.must_rejoin {
                self.connect()?;
            }
            let native = Arc::clone(self.native()?);
            if let Some(signal) = native.context().take() {
                let steps = self.ownership.on(signal);
                self.perform(steps);
                continue;
            }
            let came = match self.held_error.take() {
                Some(error) => Err(error),
                None => tokio::select! {
                    biased;
                    () = native.context().changed() => continue,
                    came = native.recv() => came.map(|m| record::from_kafka(&m, &self.topic)),
                    () = time::sleep(poll_interval) => continue,
                },
            };
            match came {
                Ok(first) => {
                    let first = Some(first).filter(|r| self.ownership.reads(r.at.partition));
                    let records = self.batch(first)?;
                    if !records.is_empty() {
                        return Ok(GroupEvent::Records(records));
                    }
                }
                Err(error) => {
                    if let Some(error) = self.failed(&error) {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn pause(&mut self, tps: &[TopicPartition]) -> Result<(), LogError> {
        let ours: Vec<u32> = owned_parts(self, tps);
        let (native, list) = (self.native()?, self.list(&ours)?);
        native.pause(&list).map_err(|e| self.error(&e))
    }

    fn resume(&mut self, tps: &[TopicPartition]) -> Result<(), LogError> {
        let ours: Vec<u32> = owned_parts(self, tps);
        let (native, list) = (self.native()?, self.list(&ours)?);
        native.resume(&list).map_err(|e| self.error(&e))
    }

    async fn commit(&mut self, offsets: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (tp, offset) in offsets {
            self.check_owned(tp)?;
            let offset = i64::try_from(*offset)
                .map_err(|_| LogError::Config(format!("{tp}: offset {offset}")))?;
            let part = meta::partition_number(tp)?;
            list.add_partition_offset(&self.broker_topic, part, Offset::Offset(offset))
                .map_err(|e| self.error(&e))?;
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let native = Arc::clone(self.native()?);
        let deadline = time::Instant::now() + self.commit_timeout;
        if let Some(earlier) = &mut self.committing
            && time::timeout_at(deadline, earlier).await.is_err()
        {
            // It may arrive yet, and must not come after a newer one.
            return Err(self.no_answer());
        }
        let commit = task::spawn_blocking(move || native.commit(&list, CommitMode::Sync));
        let answer = time::timeout_at(deadline, self.committing.insert(commit)).await;
        let Ok(answer) = answer else { return Err(self.no_answer()) };
        self.committing = None;
        match answer {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.commit_failed(&error)),
            Err(error) => Err(LogError::Unavailable(error.to_string())),
        }
    }

    fn release(&mut self, tps: &[TopicPartition]) -> Result<(), LogError> {
        let parts = owned_parts(self, tps);
        let refused = tps.iter().map(|tp| self.check_owned(tp)).find(Result::is_err);
        let steps = self.ownership.release(&parts);
        self.perform(steps);
        refused.unwrap_or(Ok(()))
    }

    async fn close(mut self: Box<Self>) -> Result<(), LogError> {
        let Some(left) = self.leave() else { return Ok(()) };
        match time::timeout(CLOSE_TIMEOUT, left).await {
            Ok(_) => Ok(()),
            Err(_elapsed) => {
                let group = &self.spec.group;
                Err(LogError::Unavailable(format!("group {group}: no answer to leaving it")))
            }
        }
    }
}

/// The partitions of `tps` that are ours: what was lost meanwhile need not be paused.
fn owned_parts(group: &KafkaGroup, tps: &[TopicPartition]) -> Vec<u32> {
    tps.iter().filter(|tp| group.check_owned(tp).is_ok()).map(|tp| tp.partition).collect()
}

impl Drop for KafkaGroup {
    fn drop(&mut self) {
        drop(self.leave());
    }
}
