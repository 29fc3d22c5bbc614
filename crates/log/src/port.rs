//! The log port: append and learn when it is durable; read partitions as a group; commit; read a
//! topic to its end.
//!
//! Guarantees that every adapter gives, and that `tests/conformance.rs` checks:
//! - [`Log::append`] resolves only when the record survives what the log survives (`fsync`, or
//!   `acks=all`). Appends to one partition keep the order in which their futures were first
//!   polled. The log stamps each record with its append time.
//! - A partition has one owner per group. A revoked partition is not given to another member
//!   before [`GroupConsumer::release`], unless the member is lost.
//! - Records of a partition come in offset order; offsets may have gaps.
//!
//! What it is not: there are no transactions, so that the port stays small. Being told the same
//! thing twice is the normal case, and every consumer of this crate is idempotent.

use crate::topics::TopicSpec;
use async_trait::async_trait;
use bytes::Bytes;
use heliograph_contract::event::{Encoded, Header};
use heliograph_domain::{Timestamp, Violation};
use std::{fmt, sync::Arc, time::Duration};

/// One partition of one topic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: u32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: u32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A record to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRecord {
    pub to: TopicPartition,
    pub key: Option<Bytes>,
    pub headers: Vec<Header>,
    /// `None` is a tombstone: in a compacted topic it removes the key.
    pub value: Option<Bytes>,
}

impl NewRecord {
    /// An encoded event for `to`.
    pub fn event(to: TopicPartition, event: Encoded) -> Self {
        Self { to, key: event.key, headers: event.headers, value: Some(event.value) }
    }

    /// Bytes that count against the topic's `max_message_bytes`.
    pub fn size_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers
    }
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub at: TopicPartition,
    pub offset: u64,
    /// When the log took it, by the log's own clock.
    pub append_time: Timestamp,
    pub key: Option<Bytes>,
    pub headers: Vec<Header>,
    pub value: Option<Bytes>,
}

impl Record {
    pub fn size_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers
    }
}

/// Where a durable record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub offset: u64,
    pub append_time: Timestamp,
}

/// The offsets a partition holds: `[first, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetRange {
    pub first: u64,
    /// The offset that the next record will get.
    pub end: u64,
}

/// What went wrong with the log.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum LogError {
    /// Not now: broker away, time-out, disk below its free-space mark. Try again. Whether an
    /// append took place is unknown.
    #[error("log unavailable: {0}")]
    Unavailable(String),
    /// The record is larger than the topic takes; it will never fit.
    #[error("record of {got_bytes} bytes: {topic} takes at most {max_bytes}")]
    TooLarge { topic: String, got_bytes: usize, max_bytes: usize },
    #[error("no such topic or partition: {0}")]
    UnknownTopic(String),
    /// The partition is no longer ours; what we know of it is void.
    #[error("lost {0}")]
    NotOwner(String),
    /// Another process has the log's directory open.
    #[error("{0}")]
    Locked(String),
    /// Wrong configuration: fixed by a person, not by trying again.
    #[error("log configuration: {0}")]
    Config(String),
    /// What lies on disk or what the broker says makes no sense.
    #[error("log corrupt: {0}")]
    Corrupt(String),
}

impl LogError {
    /// Every value of [`LogError::kind`].
    pub const KINDS: [&'static str; 7] =
        ["unavailable", "too_large", "unknown_topic", "not_owner", "locked", "config", "corrupt"];

    /// One word for a metric.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::TooLarge { .. } => "too_large",
            Self::UnknownTopic(_) => "unknown_topic",
            Self::NotOwner(_) => "not_owner",
            Self::Locked(_) => "locked",
            Self::Config(_) => "config",
            Self::Corrupt(_) => "corrupt",
        }
    }

    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// Settings that no log can be opened with.
    pub(crate) fn invalid(found: &[Violation]) -> Self {
        let said: Vec<String> = found.iter().map(ToString::to_string).collect();
        Self::Config(said.join("; "))
    }
}

/// What an error has of the log among its causes.
fn of_log<'e>(error: &'e (dyn std::error::Error + 'static)) -> impl Iterator<Item = &'e LogError> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.filter_map(|cause| cause.downcast_ref())
}

/// Whether a failure is the log's, and may pass by itself.
pub fn may_pass(error: &(dyn std::error::Error + 'static)) -> bool {
    of_log(error).any(LogError::is_transient)
}

/// Whether an error has its cause in a group that no longer has this member.
pub fn is_thrown_out(error: &(dyn std::error::Error + 'static)) -> bool {
    of_log(error).any(|cause| matches!(cause, LogError::NotOwner(_)))
}

/// Reading without a group: what projections, replays and audits need.
#[async_trait]
pub trait LogRead: Send + Sync {
    /// Number of partitions of `topic`.
    ///
    /// # Errors
    /// [`LogError::UnknownTopic`] when there is no such topic.
    async fn partitions(&self, topic: &str) -> Result<u32, LogError>;

    /// The offsets that the partition holds now.
    async fn offsets(&self, tp: &TopicPartition) -> Result<OffsetRange, LogError>;

    /// Records from `from` on, in offset order: at least one and at most about `max_bytes` when
    /// there are any before the end, empty when `from` is the end or beyond. `from` below the
    /// first kept offset begins at the first. Does not wait for new records.
    async fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError>;

    /// Waits until the partition's end is past `offset`, or `timeout` is over.
    async fn wait_past(
        &self,
        tp: &TopicPartition,
        offset: u64,
        timeout: Duration,
    ) -> Result<(), LogError>;
}

/// The log.
#[async_trait]
pub trait Log: LogRead {
    /// Creates the topics that are missing; leaves equal ones alone.
    ///
    /// # Errors
    /// [`LogError::Config`] when a topic exists with another number of partitions.
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), LogError>;

    /// Appends one record; resolves when it is durable.
    async fn append(&self, record: NewRecord) -> Result<Appended, LogError>;

    /// Joins a consumer group.
    async fn subscribe(&self, spec: GroupSpec) -> Result<Box<dyn GroupConsumer>, LogError>;

    /// What the group has committed: the offset it goes on from, `None` when nothing.
    async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<u64>, LogError>;
}

/// How a member joins its group.
#[derive(Debug, Clone)]
pub struct GroupSpec {
    pub group: String,
    pub topic: Arc<str>,
    /// Names the member for good, so that after a restart it need not wait for its own ghost
    /// (Kafka's static membership, `group.instance.id`).
    pub instance: Option<String>,
    /// A member that is silent for longer is taken to be dead.
    pub session_timeout: Duration,
}

/// What happens to a member of a group.
#[derive(Debug)]
pub enum GroupEvent {
    /// The partitions are ours from now on; each is read from its committed offset, or from its
    /// first when nothing was committed.
    Assigned(Vec<TopicPartition>),
    /// The group wants them back: finish, commit, then [`GroupConsumer::release`]. No records of
    /// them come any more.
    Revoked(Vec<TopicPartition>),
    /// They are gone; somebody else may have them already. Nothing of them may be committed.
    Lost(Vec<TopicPartition>),
    /// Records in offset order within each partition.
    Records(Vec<Record>),
}

/// A member of a consumer group.
#[async_trait]
pub trait GroupConsumer: Send {
    /// What happens next. Cancel-safe: a dropped call loses no event. Must be called again and
    /// again, also while all partitions are paused, or the member is taken to be dead.
    ///
    /// # Errors
    /// Transient ones may be tried again; after any other the consumer is of no use.
    async fn next(&mut self) -> Result<GroupEvent, LogError>;

    /// No more records of these until they are resumed, or assigned anew. Records that are under way
    /// may still come.
    fn pause(&mut self, tps: &[TopicPartition]) -> Result<(), LogError>;

    fn resume(&mut self, tps: &[TopicPartition]) -> Result<(), LogError>;

    /// Stores that everything below each offset is done. Resolves when the log has it.
    ///
    /// # Errors
    /// [`LogError::NotOwner`] when a partition is no longer ours.
    async fn commit(&mut self, offsets: &[(TopicPartition, u64)]) -> Result<(), LogError>;

    /// Gives back partitions that were [`GroupEvent::Revoked`].
    ///
    /// # Errors
    /// [`LogError::NotOwner`] when some were not ours to give back, be it that the member was thrown
    /// out; the others are given back.
    fn release(&mut self, tps: &[TopicPartition]) -> Result<(), LogError>;

    /// Leaves the group, so that the others need not wait for the session time-out.
    async fn close(self: Box<Self>) -> Result<(), LogError>;
}
