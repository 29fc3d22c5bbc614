//! A log in memory whose appends can be made to fail or hang, and whose ends to be unknown.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use async_trait::async_trait;
use heliograph_log::{
    Appended, GroupConsumer, GroupSpec, Log, LogError, LogRead, NewRecord, OffsetRange, Record,
    TopicPartition, memory::MemoryLog, topics,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::watch;

/// What becomes of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It fails, and nothing is stored.
    Fail,
    /// It fails, but was stored.
    StoreAndFail,
    /// It is answered only when the hanging ones are released.
    Hang,
}

type Choose = Box<dyn Fn(&NewRecord) -> Fault + Send + Sync>;

/// A log that does what the test says.
pub struct FaultyLog {
    inner: Arc<MemoryLog>,
    choose: Mutex<Choose>,
    /// How many appends hang.
    pub hanging: watch::Sender<usize>,
    /// So many more questions about ends fail.
    pub unread: AtomicU32,
    released: watch::Sender<bool>,
}

impl FaultyLog {
    /// One that does all that it is asked for.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryLog::new(),
            choose: Mutex::new(Box::new(|_| Fault::None)),
            hanging: watch::Sender::new(0),
            unread: AtomicU32::new(0),
            released: watch::Sender::new(false),
        })
    }

    /// From now on `choose` says what becomes of an append.
    pub fn faults(&self, choose: impl Fn(&NewRecord) -> Fault + Send + Sync + 'static) {
        *self.choose.lock().unwrap() = Box::new(choose);
    }

    pub fn release(&self) {
        self.released.send_replace(true);
    }

    pub async fn hangs(&self, count: usize) {
        self.hanging.subscribe().wait_for(|n| *n >= count).await.unwrap();
    }
}

fn away() -> LogError {
    LogError::Unavailable("the test says so".into())
}

#[async_trait]
impl LogRead for FaultyLog {
    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.inner.partitions(topic).await
    }

    async fn offsets(&self, tp: &TopicPartition) -> Result<OffsetRange, LogError> {
        if self.unread.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
            return Err(away());
        }
        self.inner.offsets(tp).await
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.inner.read(tp, from, max_bytes).await
    }

    async fn wait_past(
        &self,
        tp: &TopicPartition,
        offset: u64,
        timeout: Duration,
    ) -> Result<(), LogError> {
        self.inner.wait_past(tp, offset, timeout).await
    }
}

#[async_trait]
impl Log for FaultyLog {
    async fn ensure_topics(&self, specs: &[topics::TopicSpec]) -> Result<(), LogError> {
        self.inner.ensure_topics(specs).await
    }

    async fn append(&self, record: NewRecord) -> Result<Appended, LogError> {
        let fault = (self.choose.lock().unwrap())(&record);
        match fault {
            Fault::None => self.inner.append(record).await,
            Fault::Fail => Err(away()),
            Fault::StoreAndFail => self.inner.append(record).await.and(Err(away())),
            Fault::Hang => {
                self.hanging.send_modify(|n| *n += 1);
                self.released.subscribe().wait_for(|r| *r).await.unwrap();
                self.inner.append(record).await
            }
        }
    }

    async fn subscribe(&self, spec: GroupSpec) -> Result<Box<dyn GroupConsumer>, LogError> {
        self.inner.subscribe(spec).await
    }

    async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<u64>, LogError> {
        self.inner.committed(group, tp).await
    }
}
