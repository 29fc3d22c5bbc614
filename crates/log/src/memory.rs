//! The log in memory, for tests and simulation.
//!
//! Keeps the promises of `port` as long as the process lives. Nothing is ever forgotten by age;
//! a compacted topic keeps everything, too, until [`MemoryLog::compact_now`]. What it is not:
//! bounded.

use crate::group::{Coordinator, Storage, rules};
use crate::port::{
    Appended, GroupConsumer, GroupSpec, Log, LogError, LogRead, NewRecord, OffsetRange, Record,
    TopicPartition,
};
use crate::topics::{Cleanup, TopicSpec};
use async_trait::async_trait;
use bytes::Bytes;
use heliograph_domain::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

pub use crate::group::rules::Clock;

/// The log in memory.
pub struct MemoryLog {
    store: Arc<Store>,
    groups: Coordinator<Store>,
}

struct Store {
    clock: Clock,
    topics: Mutex<HashMap<Arc<str>, Topic>>,
    commits: Mutex<HashMap<(String, TopicPartition), u64>>,
}

struct Topic {
    spec: TopicSpec,
    partitions: Vec<Partition>,
    appended: watch::Sender<u64>,
}

struct Partition {
    at: TopicPartition,
    records: BTreeMap<u64, Record>,
    last_append_time: Timestamp,
    end: watch::Sender<u64>,
}

impl MemoryLog {
    /// An empty log on the wall clock.
    pub fn new() -> Arc<Self> {
        Self::with_clock(rules::wall_clock())
    }

    /// An empty log that stamps records by `clock`, made monotone per partition.
    pub fn with_clock(clock: Clock) -> Arc<Self> {
        let store = Arc::new(Store { clock, topics: Mutex::default(), commits: Mutex::default() });
        Arc::new(Self { groups: Coordinator::new(store.clone()), store })
    }

    /// Keeps the last record of each key of each compacted topic, and no tombstones except where
    /// they are the last record of their partition.
    pub fn compact_now(&self) {
        for topic in locked(&self.store.topics).values_mut() {
            if topic.spec.cleanup == Cleanup::Compact {
                topic.partitions.iter_mut().for_each(Partition::compact);
            }
        }
    }
}

impl Partition {
    fn new(topic: &Arc<str>, partition: u32) -> Self {
        Self {
            at: TopicPartition::new(topic.clone(), partition),
            records: BTreeMap::new(),
            last_append_time: Timestamp::default(),
            end: watch::Sender::new(0),
        }
    }

    fn end(&self) -> u64 {
        *self.end.borrow()
    }

    fn append(&mut self, record: NewRecord, now: Timestamp) -> Appended {
        let (offset, append_time) = (self.end(), now.max(self.last_append_time));
        self.last_append_time = append_time;
        let NewRecord { key, headers, value, .. } = record;
        let at = self.at.clone();
        self.records.insert(offset, Record { at, offset, append_time, key, headers, value });
        self.end.send_replace(offset + 1);
        Appended { offset, append_time }
    }

    fn compact(&mut self) {
        let last: HashMap<Option<Bytes>, u64> =
            self.records.values().map(|r| (r.key.clone(), r.offset)).collect();
        let end = self.end();
        self.records.retain(|offset, r| {
            last.get(&r.key) == Some(offset) && (r.value.is_some() || offset + 1 == end)
        });
    }

    fn read(&self, from: u64, max_bytes: usize) -> Vec<Record> {
        let mut size_bytes = 0;
        self.records
            .range(from..)
            .map(|(_, record)| record)
            .take_while(|record| {
                let first = size_bytes == 0;
                size_bytes += record.size_bytes().max(1);
                first || size_bytes <= max_bytes
            })
            .cloned()
            .collect()
    }
}

impl Store {
    fn with<T>(
        &self,
        tp: &TopicPartition,
        f: impl FnOnce(&mut Partition) -> T,
    ) -> Result<T, LogError> {
        locked(&self.topics)
            .get_mut(&tp.topic)
            .and_then(|t| t.partitions.get_mut(tp.partition as usize))
            .map(f)
            .ok_or_else(|| LogError::UnknownTopic(tp.to_string()))
    }
}

#[async_trait]
impl LogRead for Store {
    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        let topics = locked(&self.topics);
        let t = topics.get(topic).ok_or_else(|| LogError::UnknownTopic(topic.to_owned()))?;
        Ok(t.spec.partitions)
    }

    async fn offsets(&self, tp: &TopicPartition) -> Result<OffsetRange, LogError> {
        self.with(tp, |p| OffsetRange { first: 0, end: p.end() })
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.with(tp, |p| p.read(from, max_bytes))
    }

    async fn wait_past(
        &self,
        tp: &TopicPartition,
        offset: u64,
        timeout: Duration,
    ) -> Result<(), LogError> {
        let mut end = self.with(tp, |p| p.end.subscribe())?;
        // Both a time-out and a closed log end the wait; the caller looks for himself.
        let _ = tokio::time::timeout(timeout, end.wait_for(|end| *end > offset)).await;
        Ok(())
    }
}

#[async_trait]
impl Storage for Store {
    async fn commit(&self, group: &str, offsets: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        let mut commits = locked(&self.commits);
        commits.extend(offsets.iter().map(|(tp, o)| ((group.to_owned(), tp.clone()), *o)));
        Ok(())
    }

    async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<u64>, LogError> {
        Ok(locked(&self.commits).get(&(group.to_owned(), tp.clone())).copied())
    }

    fn appended(&self, topic: &str) -> Result<watch::Receiver<u64>, LogError> {
        let topics = locked(&self.topics);
        let t = topics.get(topic).ok_or_else(|| LogError::UnknownTopic(topic.to_owned()))?;
        Ok(t.appended.subscribe())
    }
}

#[async_trait]
impl LogRead for MemoryLog {
    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.store.partitions(topic).await
    }

    async fn offsets(&self, tp: &TopicPartition) -> Result<OffsetRange, LogError> {
        self.store.offsets(tp).await
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.store.read(tp, from, max_bytes).await
    }

    async fn wait_past(
        &self,
        tp: &TopicPartition,
        offset: u64,
        timeout: Duration,
    ) -> Result<(), LogError> {
        self.store.wait_past(tp, offset, timeout).await
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn ensure_topics(&self, specs: &[TopicSpec]) -> Result<(), LogError> {
        let mut topics = locked(&self.store.topics);
        for spec in specs {
            rules::acceptable(spec, topics.get(spec.name.as_str()).map(|t| &t.spec))?;
        }
        for spec in specs {
            let name: Arc<str> = spec.name.as_str().into();
            let fresh = || Topic {
                spec: spec.clone(),
                partitions: (0..spec.partitions).map(|p| Partition::new(&name, p)).collect(),
                appended: watch::Sender::new(0),
            };
            topics.entry(name.clone()).or_insert_with(fresh).spec = spec.clone();
        }
        Ok(())
    }

    async fn append(&self, record: NewRecord) -> Result<Appended, LogError> {
        let mut topics = locked(&self.store.topics);
        let unknown = || LogError::UnknownTopic(record.to.to_string());
        let topic = topics.get_mut(&record.to.topic).ok_or_else(unknown)?;
        rules::fits(&topic.spec, &record)?;
        let partition = topic.partitions.get_mut(record.to.partition as usize);
        let appended = partition.ok_or_else(unknown)?.append(record, (self.store.clock)());
        topic.appended.send_modify(|n| *n += 1);
        Ok(appended)
    }

    async fn subscribe(&self, spec: GroupSpec) -> Result<Box<dyn GroupConsumer>, LogError> {
        self.groups.subscribe(spec).await
    }

    async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<u64>, LogError> {
        self.store.committed(group, tp).await
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn compaction_keeps_the_last_of_each_key_and_offsets_go_on() {
        let log = MemoryLog::with_clock(Arc::new(|| Timestamp::from_ms(7)));
        let spec = TopicSpec {
            name: "t".into(),
            partitions: 1,
            cleanup: Cleanup::Compact,
            retention_hours: None,
            max_message_bytes: 100,
        };
        log.ensure_topics(&[spec]).await.unwrap();
        let tp = TopicPartition::new("t", 0);
        let put = |key: &'static str, value: Option<&'static str>| {
            let (key, value) = (Some(Bytes::from(key)), value.map(Bytes::from));
            log.append(NewRecord { to: tp.clone(), key, headers: vec![], value })
        };
        for (key, value) in
            [("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("b", None), ("c", None)]
        {
            assert_eq!(put(key, value).await.unwrap().append_time, Timestamp::from_ms(7));
        }
        log.compact_now();
        let offsets = |records: Vec<Record>| records.iter().map(|r| r.offset).collect::<Vec<_>>();
        assert_eq!(offsets(log.read(&tp, 0, 1_000).await.unwrap()), [2, 4]);
        assert_eq!(put("d", Some("1")).await.unwrap().offset, 5);
        log.compact_now();
        assert_eq!(offsets(log.read(&tp, 0, 1_000).await.unwrap()), [2, 5]);
    }
}
