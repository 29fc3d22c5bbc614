//! The embedded log: durable in one directory, for one process, without a broker.
//!
//! Built on `fjall`, a log-structured store with a write-ahead journal. Guarantees those of
//! `port`; an append is answered after its batch is synced (`fdatasync`). Reads run on tokio's
//! blocking threads, writes on one thread of the log's own, so neither holds up async workers.
//! Limits: the queue in records and bytes, memory by `cache_bytes`, `memtable_bytes` and
//! `journal_bytes_max`, the disk by retention and `min_free_bytes`. What it is not: shared between
//! processes (a second one gets [`LogError::Locked`]) or replicated.

mod batch;
mod codec;
mod config;
mod db;
mod disk;
mod retention;
mod state;
#[cfg(test)]
mod tests;
mod writer;

pub use config::LocalConfig;

use crate::group::{Coordinator, Storage, rules};
use crate::memory::Clock;
use crate::port::{
    Appended, GroupConsumer, GroupSpec, Log, LogError, LogRead, NewRecord, OffsetRange, Record,
    TopicPartition,
};
use crate::topics::TopicSpec;
use async_trait::async_trait;
use retention::Retention;
use state::{Shared, closed, locked};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use writer::{Op, Writer};

/// The embedded log. Dropping it, and the consumers that came from it, lets it end in the
/// background; [`LocalLog::close`] ends it now.
pub struct LocalLog {
    core: Arc<Core>,
    groups: Coordinator<Core>,
}

struct Core {
    shared: Arc<Shared>,
    ops: mpsc::Sender<Op>,
    /// Bytes that may still enter the queue.
    room: Arc<Semaphore>,
    /// Dropping it stops the retention thread.
    retention_stop: Mutex<Option<std::sync::mpsc::Sender<()>>>,
}

impl LocalLog {
    /// Opens the log in `config.dir`, making it when there is none. Blocks while it replays the
    /// journal: well under a second.
    ///
    /// # Errors
    /// [`LogError::Locked`] when another process has it open, [`LogError::Config`] when the
    /// configuration or the directory is of no use, [`LogError::Corrupt`] when what is there makes
    /// no sense.
    pub fn open(config: LocalConfig) -> Result<Arc<Self>, LogError> {
        Self::open_with_clock(config, rules::wall_clock())
    }

    /// [`LocalLog::open`], with append times and retention by `clock`.
    pub fn open_with_clock(config: LocalConfig, clock: Clock) -> Result<Arc<Self>, LogError> {
        let shared = Arc::new(Shared::open(config, clock)?);
        let (ops, queue) = mpsc::channel(shared.config.queue_records_max);
        let (retention_stop, stop) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|e| LogError::Unavailable(e.to_string()))?;
        let writer = Writer::new(shared.clone(), queue);
        spawn("log-writer", move || writer.run(&runtime))?;
        let retention = Retention::new(shared.clone(), ops.downgrade());
        spawn("log-retention", move || retention.run(&stop))?;
        let core = Arc::new(Core {
            room: Arc::new(Semaphore::new(shared.config.queue_bytes_max)),
            shared,
            ops,
            retention_stop: Mutex::new(Some(retention_stop)),
        });
        Ok(Arc::new(Self { groups: Coordinator::new(core.clone()), core }))
    }

    /// Writes what waits, closes the store and frees the directory. Everything asked of the log
    /// afterwards is answered [`LogError::Unavailable`].
    pub async fn close(&self) -> Result<(), LogError> {
        drop(locked(&self.core.retention_stop).take());
        match self.core.ask(|reply| Op::Close { reply }).await {
            // Somebody else has closed it, or is about to have.
            Err(_) if self.core.shared.is_closed() => Ok(()),
            done => done,
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), LogError> {
    let spawned = std::thread::Builder::new().name(name.into()).spawn(work);
    spawned.map(drop).map_err(|e| LogError::Unavailable(format!("thread {name}: {e}")))
}

impl Core {
    async fn ask<T>(
        &self,
        op: impl FnOnce(oneshot::Sender<Result<T, LogError>>) -> Op,
    ) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        self.ops.send(op(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Reads the store where blocking does no harm.
    async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&db::Db) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || shared.read_db(f)).await;
        done.map_err(|e| LogError::Unavailable(e.to_string()))?
    }

    fn check_open(&self) -> Result<(), LogError> {
        if self.shared.is_closed() { Err(closed()) } else { Ok(()) }
    }

    async fn append(&self, record: NewRecord) -> Result<Appended, LogError> {
        let unknown = || LogError::UnknownTopic(record.to.to_string());
        let topic = self.shared.topic(&record.to.topic).map_err(|_| unknown())?;
        let index = record.to.partition;
        let partition = topic.partitions.get(index as usize).ok_or_else(unknown)?;
        rules::fits(&topic.spec, &record)?;
        let encoded = batch::Encoded {
            topic: topic.clone(),
            partition: index,
            is_tombstone: record.value.is_none(),
            bytes: codec::encode(&record),
            key: record.key,
        };
        // A record larger than the whole queue takes all of it.
        let size_bytes = encoded.bytes.len().min(self.shared.config.queue_bytes_max) as u32;
        let (reply, answer) = oneshot::channel();
        let in_order = partition.order.lock().await;
        let room = self.room.clone().acquire_many_owned(size_bytes).await;
        let queued = room.map_err(|_| closed())?;
        let op = Op::Append { record: encoded, queued, reply };
        self.ops.send(op).await.map_err(|_| closed())?;
        drop(in_order);
        answer.await.map_err(|_| closed())?
    }
}

#[async_trait]
impl LogRead for Core {
    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.check_open()?;
        Ok(self.shared.topic(topic)?.spec.partitions)
    }

    async fn offsets(&self, tp: &TopicPartition) -> Result<OffsetRange, LogError> {
        self.check_open()?;
        self.shared.with(tp, |p| OffsetRange { first: p.first(), end: p.end() })
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let OffsetRange { first, end } = self.offsets(tp).await?;
        let from = from.max(first);
        if from >= end {
            return Ok(vec![]);
        }
        let tp = tp.clone();
        self.blocking(move |db| db.read(&tp, from, end, max_bytes)).await
    }

    async fn wait_past(
        &self,
        tp: &TopicPartition,
        offset: u64,
        timeout: Duration,
    ) -> Result<(), LogError> {
        self.check_open()?;
        let mut end = self.shared.with(tp, |p| p.end.subscribe())?;
        // A time-out ends the wait as well; the caller looks for himself.
        let _ = tokio::time::timeout(timeout, end.wait_for(|end| *end > offset)).await;
        Ok(())
    }
}

#[async_trait]
impl Storage for Core {
    async fn commit(&self, group: &str, offsets: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        let (group, offsets) = (group.to_owned(), offsets.to_vec());
        self.ask(|reply| Op::Commit { group, offsets, reply }).await
    }

    async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<u64>, LogError> {
        self.shared.with(tp, |_| ())?;
        let (group, tp) = (group.to_owned(), tp.clone());
        self.blocking(move |db| db.committed(&group, &tp)).await
    }

    fn appended(&self, topic: &str) -> Result<watch::Receiver<u64>, LogError> {
        Ok(self.shared.topic(topic)?.appended.subscribe())
    }
}

#[async_trait]
impl LogRead for LocalLog {
    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.core.partitions(topic).await
    }

    async fn offsets(&self, tp: &TopicPartition) -> Result<OffsetRange, LogError> {
        self.core.offsets(tp).await
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.core.read(tp, from, max_bytes).await
    }

    async fn wait_past(
        &self,
        tp: &TopicPartition,
        offset: u64,
        timeout: Duration,
    ) -> Result<(), LogError> {
        self.core.wait_past(tp, offset, timeout).await
    }
}

#[async_trait]
impl Log for LocalLog {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        let specs = topics.to_vec();
        self.core.ask(|reply| Op::Ensure { specs, reply }).await
    }

    async fn append(&self, record: NewRecord) -> Result<Appended, LogError> {
        self.core.append(record).await
    }

    async fn subscribe(&self, spec: GroupSpec) -> Result<Box<dyn GroupConsumer>, LogError> {
        self.groups.subscribe(spec).await
    }

    async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<u64>, LogError> {
        self.core.committed(group, tp).await
    }
}
