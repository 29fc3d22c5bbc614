//! What the cases are written with.

use bytes::Bytes;
use futures::future::select_all;
use heliograph_log::topics::{Cleanup, TopicSpec};
use heliograph_log::{
    GroupConsumer, GroupEvent, GroupSpec, Log, NewRecord, Record, TopicPartition,
};
use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// Nothing that is promised takes this long; whoever waits longer has found a fault.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Fixture {
    pub log: Arc<dyn Log>,
    /// Dropped after the log: directories, brokers.
    #[allow(dead_code, reason = "held, not read")]
    pub keep: Box<dyn Any + Send>,
}

pub fn bytes(text: impl AsRef<str>) -> Bytes {
    Bytes::copy_from_slice(text.as_ref().as_bytes())
}

/// A name that no other case and no earlier run has used.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    format!("{name}-{}-{now}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec {
        name: name.into(),
        partitions,
        cleanup: Cleanup::Delete,
        retention_hours: Some(24),
        max_message_bytes: 100_000,
    }
}

pub async fn topic(log: &dyn Log, partitions: u32) -> Arc<str> {
    let name = unique("t");
    log.ensure_topics(&[spec(&name, partitions)]).await.unwrap();
    name.into()
}

pub async fn compacted_topic(log: &dyn Log) -> Arc<str> {
    let name = unique("c");
    let spec = TopicSpec { cleanup: Cleanup::Compact, retention_hours: None, ..spec(&name, 1) };
    log.ensure_topics(&[spec]).await.unwrap();
    name.into()
}

pub fn record(to: &TopicPartition, value: impl AsRef<str>) -> NewRecord {
    NewRecord { to: to.clone(), key: None, headers: vec![], value: Some(bytes(value)) }
}

/// Appends `0`, `1`, … to the partition.
pub async fn append_numbers(log: &dyn Log, to: &TopicPartition, count: usize) {
    for n in 0..count {
        log.append(record(to, n.to_string())).await.unwrap();
    }
}

/// All that the partition holds.
pub async fn read_all(log: &dyn Log, tp: &TopicPartition) -> Vec<Record> {
    let end = log.offsets(tp).await.unwrap().end;
    let (mut records, mut from) = (vec![], 0);
    while from < end {
        let batch = log.read(tp, from, 10_000).await.unwrap();
        let Some(last) = batch.last() else { break };
        from = last.offset + 1;
        records.extend(batch);
    }
    records
}

pub fn value(record: &Record) -> String {
    String::from_utf8(record.value.as_ref().unwrap().to_vec()).unwrap()
}

pub fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(value).collect()
}

/// A member of a group, and what it has been told so far.
pub struct Member {
    pub consumer: Box<dyn GroupConsumer>,
    pub owned: BTreeSet<TopicPartition>,
    /// Asked back and not yet released.
    pub revoked: BTreeSet<TopicPartition>,
    pub records: Vec<Record>,
    /// Commit what was seen and release as soon as asked.
    pub yields_at_once: bool,
}

impl Member {
    pub async fn join(log: &dyn Log, topic: &Arc<str>, group: &str) -> Self {
        let spec = GroupSpec {
            group: group.into(),
            topic: topic.clone(),
            instance: None,
            session_timeout: Duration::from_secs(10),
        };
        Self {
            consumer: log.subscribe(spec).await.unwrap(),
            owned: BTreeSet::new(),
            revoked: BTreeSet::new(),
            records: vec![],
            yields_at_once: true,
        }
    }

    async fn apply(&mut self, event: GroupEvent) {
        match event {
            GroupEvent::Assigned(tps) => {
                for tp in tps {
                    assert!(self.owned.insert(tp.clone()), "{tp} was ours already");
                }
            }
            GroupEvent::Revoked(tps) => {
                for tp in &tps {
                    assert!(self.owned.remove(tp), "{tp} was not ours");
                }
                self.revoked.extend(tps);
                if self.yields_at_once {
                    self.commit_seen().await;
                    self.release();
                }
            }
            GroupEvent::Lost(tps) => tps.iter().for_each(|tp| {
                self.owned.remove(tp);
            }),
            GroupEvent::Records(records) => {
                assert!(!records.is_empty(), "a batch of nothing");
                for r in &records {
                    assert!(self.owned.contains(&r.at), "{} is not ours", r.at);
                }
                self.records.extend(records);
            }
        }
    }

    /// Commits past the last record seen of each partition that may be committed.
    pub async fn commit_seen(&mut self) {
        let held = self.owned.union(&self.revoked);
        let offsets: Vec<_> = held.filter_map(|tp| Some((tp.clone(), self.past(tp)?))).collect();
        self.consumer.commit(&offsets).await.unwrap();
    }

    fn past(&self, tp: &TopicPartition) -> Option<u64> {
        self.records.iter().filter(|r| r.at == *tp).map(|r| r.offset + 1).max()
    }

    pub fn release(&mut self) {
        let tps: Vec<_> = std::mem::take(&mut self.revoked).into_iter().collect();
        self.consumer.release(&tps).unwrap();
    }

    pub fn values(&self) -> Vec<String> {
        values(&self.records)
    }
}

/// Lets the members work until `done`.
pub async fn drive(members: &mut [Member], done: impl Fn(&[Member]) -> bool) {
    let work = async {
        while !done(members) {
            let (event, at, _) = select_all(members.iter_mut().map(|m| m.consumer.next())).await;
            members[at].apply(event.unwrap()).await;
        }
    };
    tokio::time::timeout(PATIENCE, work).await.expect("it never came to that");
}

/// Makes sure that all members have nothing more to be told for now.
pub async fn drive_for(members: &mut [Member], duration: Duration) {
    let _ = tokio::time::timeout(duration, async {
        loop {
            let (event, at, _) = select_all(members.iter_mut().map(|m| m.consumer.next())).await;
            members[at].apply(event.unwrap()).await;
        }
    })
    .await;
}

pub fn owned(members: &[Member]) -> usize {
    members.iter().map(|m| m.owned.len()).sum()
}

pub fn seen(members: &[Member]) -> usize {
    members.iter().map(|m| m.records.len()).sum()
}
