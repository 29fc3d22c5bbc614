//! What all parts of the embedded log share: the topics as they run, and the open store.

use super::config::LocalConfig;
use super::db::{Db, Tail};
use super::disk::DirLock;
use crate::group::rules::Clock;
use crate::port::{LogError, TopicPartition};
use crate::topics::TopicSpec;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

pub(super) struct Shared {
    pub(super) config: LocalConfig,
    pub(super) clock: Clock,
    topics: RwLock<HashMap<Arc<str>, Arc<Topic>>>,
    /// `None` while it is being reopened, and for good once the log is closed. Readers hold the
    /// lock as long as they read, so that reopening waits for them.
    db: RwLock<Option<Db>>,
    lock: Mutex<Option<DirLock>>,
}

pub(super) struct Topic {
    pub(super) spec: TopicSpec,
    pub(super) partitions: Arc<[Partition]>,
    /// Counts appends of the topic.
    pub(super) appended: Arc<watch::Sender<u64>>,
}

pub(super) struct Partition {
    pub(super) at: TopicPartition,
    pub(super) first: AtomicU64,
    /// Past the last durable record.
    pub(super) end: watch::Sender<u64>,
    /// Held while an append enters the queue. It is fair, so appends keep the order in which they
    /// were first polled also when the queue is full.
    pub(super) order: tokio::sync::Mutex<()>,
    /// The writer's: runs ahead of `end` while a batch is being written.
    pub(super) tail: Mutex<Tail>,
}

impl Partition {
    fn new(at: TopicPartition) -> Self {
        Self {
            at,
            first: AtomicU64::new(0),
            end: watch::Sender::new(0),
            order: tokio::sync::Mutex::default(),
            tail: Mutex::default(),
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.first.load(Ordering::Acquire)
    }

    pub(super) fn end(&self) -> u64 {
        *self.end.borrow()
    }
}

/// Every value behind these locks is replaced as a whole, so a panic elsewhere leaves none torn.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn open(config: LocalConfig, clock: Clock) -> Result<Self, LogError> {
        config.validate()?;
        let lock = DirLock::acquire(&config.dir)?;
        let shared = Self {
            config,
            clock,
            topics: RwLock::default(),
            db: RwLock::default(),
            lock: Mutex::new(Some(lock)),
        };
        shared.reopen()?;
        Ok(shared)
    }

    /// Closes the store, waiting for its readers, opens it anew and goes on from what it holds.
    pub(super) fn reopen(&self) -> Result<(), LogError> {
        let mut open = self.db_mut();
        *open = None;
        let (db, specs) = Db::open(&self.config)?;
        for spec in specs {
            self.adopt(&db, spec)?;
        }
        *open = Some(db);
        Ok(())
    }

    pub(super) fn close(&self) {
        *self.db_mut() = None;
        *locked(&self.lock) = None;
        for topic in self.topics() {
            // So that whoever waits looks, and finds the log closed.
            topic.appended.send_modify(|n| *n += 1);
        }
    }

    /// Takes a topic up as the store has it.
    pub(super) fn adopt(&self, db: &Db, spec: TopicSpec) -> Result<(), LogError> {
        let name: Arc<str> = spec.name.as_str().into();
        let topic = match self.topic(&name) {
            Ok(old) => {
                let (partitions, appended) = (old.partitions.clone(), old.appended.clone());
                Topic { spec, partitions, appended }
            }
            Err(_) => {
                let tps = (0..spec.partitions).map(|p| TopicPartition::new(name.clone(), p));
                let partitions = tps.map(Partition::new).collect();
                Topic { spec, partitions, appended: Arc::default() }
            }
        };
        for p in topic.partitions.iter() {
            let (tail, first) = (db.tail(&p.at)?, db.first(&p.at)?);
            *locked(&p.tail) = tail;
            p.first.store(first, Ordering::Release);
            p.end.send_replace(tail.next);
        }
        topic.appended.send_modify(|n| *n += 1);
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.insert(name, Arc::new(topic));
        Ok(())
    }

    pub(super) fn topic(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).cloned().ok_or_else(|| LogError::UnknownTopic(name.to_owned()))
    }

    pub(super) fn topics(&self) -> Vec<Arc<Topic>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().cloned().collect()
    }

    /// Runs `f` on the partition as it runs.
    pub(super) fn with<T>(
        &self,
        tp: &TopicPartition,
        f: impl FnOnce(&Partition) -> T,
    ) -> Result<T, LogError> {
        let unknown = || LogError::UnknownTopic(tp.to_string());
        let topic = self.topic(&tp.topic).map_err(|_| unknown())?;
        topic.partitions.get(tp.partition as usize).map(f).ok_or_else(unknown)
    }

    /// The store, to read from: blocks while it is being reopened.
    pub(super) fn read_db<T>(
        &self,
        f: impl FnOnce(&Db) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        f(self.db().as_ref().ok_or_else(closed)?)
    }

    pub(super) fn db(&self) -> RwLockReadGuard<'_, Option<Db>> {
        self.db.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn db_mut(&self) -> RwLockWriteGuard<'_, Option<Db>> {
        self.db.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the log is closed for good, as against being reopened.
    pub(super) fn is_closed(&self) -> bool {
        locked(&self.lock).is_none()
    }
}

pub(super) fn closed() -> LogError {
    LogError::Unavailable("the embedded log is closed".into())
}
