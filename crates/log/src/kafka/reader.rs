//! Reading without a group: a few consumers, each assigned one partition and kept where it stands.
//!
//! A caller that reads on from where it was gets the consumer that already has the next records
//! (they are fetched ahead); one that jumps costs a new assignment. A consumer belongs to one call
//! at a time; a call that is dropped half-way takes its consumer with it, so no record is lost
//! between calls. Nothing here joins a group or commits.

use super::{config::KafkaConfig, context::Quiet, error::log_error, meta, record};
use crate::port::{LogError, OffsetRange, Record, TopicPartition};
use futures::FutureExt as _;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    error::KafkaError,
    message::BorrowedMessage,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    task,
    time::{Instant, timeout_at},
};

/// Consumers that wait where they stand.
const IDLE_MAX: usize = 4;
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);
/// Calls that read at the same time; the next one waits.
const READS_MAX: usize = 16;

pub(super) struct Readers {
    config: Arc<KafkaConfig>,
    /// The one used last is at the back.
    idle: Mutex<VecDeque<Reader>>,
    permits: Semaphore,
}

/// A consumer assigned to one partition.
struct Reader {
    /// `None` only while it is dropped.
    consumer: Option<StreamConsumer<Quiet>>,
    at: TopicPartition,
    /// The next record is the first one at or above this.
    next: u64,
    /// Taken from the consumer and not yet handed out.
    peeked: Option<Record>,
    /// The end that the consumer has told of: nothing more comes before the end moves.
    ended_at: Option<u64>,
    used_at: Instant,
}

enum Step {
    Record(Record),
    End,
}

impl Readers {
    pub(super) fn new(config: Arc<KafkaConfig>) -> Self {
        Self { config, idle: Mutex::default(), permits: Semaphore::new(READS_MAX) }
    }

    /// Records of `[from, range.end)`, at least one if there are any.
    pub(super) async fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        range: OffsetRange,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let from = from.max(range.first);
        if from >= range.end {
            return Ok(Vec::new());
        }
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let (mut reader, mut is_fresh) = self.at(tp, from).await?;
        let deadline = Instant::now() + self.config.request_timeout();
        let (mut records, mut bytes) = (Vec::new(), 0);
        while bytes < max_bytes && reader.next < range.end {
            if records.is_empty() && reader.ended_at.is_some_and(|end| end >= range.end) {
                break;
            }
            let step = if records.is_empty() {
                let wait = timeout_at(deadline, reader.step()).await;
                wait.map_err(|_| LogError::Unavailable(format!("{tp}: no records in time")))?
            } else {
                match reader.step().now_or_never() {
                    Some(step) => step,
                    None => break,
                }
            };
            match step? {
                Step::Record(r) if r.offset >= range.end => reader.peeked = Some(r),
                Step::Record(r) => {
                    reader.next = r.offset + 1;
                    bytes += r.size_bytes();
                    records.push(r);
                    continue;
                }
                // An old consumer may tell of an end that it met before; a fresh one tells of this
                // end: what is left before it are gaps.
                Step::End if records.is_empty() && !is_fresh => {
                    reader = self.assigned(reader, tp, from).await?;
                    is_fresh = true;
                    continue;
                }
                Step::End if is_fresh => reader.ended_at = Some(range.end),
                Step::End => {}
            }
            break;
        }
        self.put_back(reader);
        Ok(records)
    }

    /// Waits for a record at or above `end`, the partition's end. It is kept for the next read.
    pub(super) async fn wait_at_end(
        &self,
        tp: &TopicPartition,
        end: u64,
        deadline: Instant,
    ) -> Result<(), LogError> {
        let Ok(permit) = timeout_at(deadline, self.permits.acquire()).await else {
            return Ok(());
        };
        let _permit = permit.map_err(closed)?;
        let (mut reader, _) = self.at(tp, end).await?;
        while reader.peeked.is_none() {
            match timeout_at(deadline, reader.step()).await {
                Err(_elapsed) => break,
                Ok(Ok(Step::End)) => {}
                Ok(Ok(Step::Record(record))) => reader.peeked = Some(record),
                Ok(Err(error)) => return Err(error),
            }
        }
        self.put_back(reader);
        Ok(())
    }

    /// A consumer whose next record is the first at or above `from`, and whether it was assigned
    /// just now.
    async fn at(&self, tp: &TopicPartition, from: u64) -> Result<(Reader, bool), LogError> {
        let mut reusable = None;
        {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let standing = idle.iter().position(|r| r.at == *tp && r.next == from);
            if let Some(reader) = standing.and_then(|i| idle.remove(i)) {
                return Ok((reader, false));
            }
            if idle.len() >= IDLE_MAX {
                reusable = idle.pop_front();
            }
        }
        let reader = match reusable {
            Some(reader) => reader,
            None => Reader::new(None, tp.clone(), from),
        };
        Ok((self.assigned(reader, tp, from).await?, true))
    }

    /// The reader's consumer, or a new one, assigned to `tp` from `from` on.
    async fn assigned(
        &self,
        mut reader: Reader,
        tp: &TopicPartition,
        from: u64,
    ) -> Result<Reader, LogError> {
        let config = Arc::clone(&self.config);
        let consumer = reader.consumer.take();
        let tp = tp.clone();
        let assign = move || {
            let consumer = match consumer {
                Some(consumer) => consumer,
                None => config
                    .reader()
                    .create_with_context(Quiet)
                    .map_err(|e| log_error(&e, "reader"))?,
            };
            let mut reader = Reader::new(Some(consumer), tp, from);
            reader.assign(&config)?;
            Ok(reader)
        };
        task::spawn_blocking(assign).await.map_err(|e| LogError::Unavailable(e.to_string()))?
    }

    /// Lets go of consumers that nobody came back to.
    pub(super) fn drop_unused(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|reader| reader.used_at.elapsed() < IDLE_TIME_MAX);
    }

    fn put_back(&self, mut reader: Reader) {
        reader.used_at = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back(reader);
        if idle.len() > IDLE_MAX {
            idle.pop_front();
        }
    }
}

impl Reader {
    fn new(consumer: Option<StreamConsumer<Quiet>>, at: TopicPartition, next: u64) -> Self {
        Self { consumer, at, next, peeked: None, ended_at: None, used_at: Instant::now() }
    }

    /// Blocks shortly: librdkafka's main thread takes the assignment.
    fn assign(&mut self, config: &KafkaConfig) -> Result<(), LogError> {
        let Some(consumer) = &self.consumer else { return Ok(()) };
        let subject = self.at.to_string();
        let offset = i64::try_from(self.next)
            .map_err(|_| LogError::UnknownTopic(format!("{subject}: offset {}", self.next)))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(
            &config.broker_name(&self.at.topic),
            meta::partition_number(&self.at)?,
            Offset::Offset(offset),
        )
        .map_err(|e| log_error(&e, &subject))?;
        consumer.assign(&list).map_err(|e| log_error(&e, &subject))
    }

    fn is_due(&self, message: &BorrowedMessage<'_>) -> bool {
        u64::try_from(message.offset()).is_ok_and(|offset| offset >= self.next)
            && u32::try_from(message.partition()) == Ok(self.at.partition)
            && message.topic().ends_with(&*self.at.topic)
    }

    /// The next record or the end. Cancel-safe.
    async fn step(&mut self) -> Result<Step, LogError> {
        if let Some(record) = self.peeked.take() {
            return Ok(Step::Record(record));
        }
        let Some(consumer) = &self.consumer else {
            return Err(LogError::Unavailable(format!("{}: no consumer", self.at)));
        };
        loop {
            match consumer.recv().await {
                Ok(m) if self.is_due(&m) => {
                    return Ok(Step::Record(record::from_kafka(&m, &self.at)));
                }
                // From before the assignment.
                Ok(_) => {}
                Err(KafkaError::PartitionEOF(_)) => return Ok(Step::End),
                Err(error) => match log_error(&error, &self.at.to_string()) {
                    // librdkafka goes on by itself; the caller's deadline bounds the wait.
                    LogError::Unavailable(what) => tracing::debug!(what, "reading"),
                    other => return Err(other),
                },
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            // Closing waits for librdkafka's threads: not on a worker.
            thread::spawn(move || drop(consumer));
        }
    }
}

fn closed<E>(_: E) -> LogError {
    LogError::Unavailable("the log is closed".to_owned())
}
