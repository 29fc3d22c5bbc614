//! One batch: what is written together, and so made durable by one sync.
//!
//! No key is written twice in a batch, since the store could not tell which came last: of several
//! commits of one offset, or records of one key of a compacted topic, only the last is written.

use super::codec;
use super::db::{Db, Stored, index_entry, index_key, tombstone_key};
use super::state::{Topic, locked};
use crate::port::{Appended, LogError, TopicPartition};
use bytes::Bytes;
use fjall::OwnedWriteBatch;
use heliograph_domain::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

/// An encoded record on its way to the disk.
pub(super) struct Encoded {
    pub(super) topic: Arc<Topic>,
    pub(super) partition: u32,
    pub(super) key: Option<Bytes>,
    pub(super) is_tombstone: bool,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Batch<'a> {
    db: &'a Db,
    now: Timestamp,
    writes: OwnedWriteBatch,
    /// The last record of each key of a compacted partition.
    latest: HashMap<(TopicPartition, Bytes), Latest>,
    commits: HashMap<String, u64>,
}

struct Latest {
    offset: u64,
    is_tombstone: bool,
    bytes: Vec<u8>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(db: &'a Db, now: Timestamp) -> Self {
        let writes = db.batch();
        Self { db, now, writes, latest: HashMap::new(), commits: HashMap::new() }
    }

    pub(super) fn append(&mut self, record: &mut Encoded) -> Result<Appended, LogError> {
        let unknown = || LogError::UnknownTopic(record.topic.spec.name.clone());
        let partition = record.topic.partitions.get(record.partition as usize);
        let partition = partition.ok_or_else(unknown)?;
        let stored = self.db.stored(&partition.at)?;
        let appended = {
            let mut tail = locked(&partition.tail);
            let append_time = self.now.max(tail.last_append_time);
            let offset = tail.next;
            tail.next += 1;
            tail.last_append_time = append_time;
            Appended { offset, append_time }
        };
        let mut bytes = std::mem::take(&mut record.bytes);
        codec::stamp(&mut bytes, appended.append_time);
        match record.key.take().filter(|_| stored.index.is_some()) {
            None => {
                self.writes.insert(&stored.records, codec::offset_key(appended.offset), bytes);
            }
            Some(key) => {
                let (offset, is_tombstone) = (appended.offset, record.is_tombstone);
                let latest = Latest { offset, is_tombstone, bytes };
                self.latest.insert((partition.at.clone(), key), latest);
            }
        }
        Ok(appended)
    }

    pub(super) fn commit_offset(&mut self, group: &str, tp: &TopicPartition, offset: u64) {
        self.commits.insert(codec::commit_key(group, tp), offset);
    }

    /// Writes all of it and waits until it is on disk.
    pub(super) fn write(mut self) -> Result<(), LogError> {
        for ((tp, key), latest) in std::mem::take(&mut self.latest) {
            let stored = self.db.stored(&tp)?;
            put_latest(&mut self.writes, stored, &key, latest)?;
        }
        for (key, offset) in self.commits {
            self.writes.insert(&self.db.commits, key, offset.to_string());
        }
        self.writes.commit().map_err(super::db::classify)
    }
}

fn put_latest(
    writes: &mut OwnedWriteBatch,
    stored: &Stored,
    key: &[u8],
    latest: Latest,
) -> Result<(), LogError> {
    let Some(index) = &stored.index else { return Ok(()) };
    if let Some(old) = stored.indexed(key)? {
        writes.remove(&stored.records, codec::offset_key(old.offset));
        if old.is_tombstone {
            writes.remove(index, tombstone_key(old.offset));
        }
    }
    if latest.is_tombstone {
        writes.insert(index, tombstone_key(latest.offset), key);
    }
    writes.insert(index, index_key(key), index_entry(latest.offset, latest.is_tombstone));
    writes.insert(&stored.records, codec::offset_key(latest.offset), latest.bytes);
    Ok(())
}

/// Removes tombstones that are past their time, in a batch of its own.
pub(super) fn forget_tombstones(
    db: &Db,
    tp: &TopicPartition,
    offsets: &[u64],
) -> Result<(), LogError> {
    let stored = db.stored(tp)?;
    let Some(index) = &stored.index else { return Ok(()) };
    let mut writes = db.batch();
    let last = db.tail(tp)?.next.saturating_sub(1);
    for (offset, key) in stored.tombstones().collect::<Result<Vec<_>, _>>()? {
        // The last record stays, tombstone or not: offsets go on from it.
        if offset == last || !offsets.contains(&offset) {
            continue;
        }
        writes.remove(&stored.records, codec::offset_key(offset));
        writes.remove(index, tombstone_key(offset));
        writes.remove(index, index_key(&key));
    }
    if writes.is_empty() {
        return Ok(());
    }
    // The last write of a keyspace must be an item that stays (see `db`): write the last again.
    if let Some(bytes) = stored.records.get(codec::offset_key(last)).map_err(super::db::classify)? {
        let record = codec::decode(tp, last, &bytes);
        let record = record.ok_or_else(|| LogError::Corrupt(format!("{tp} at {last}")))?;
        let entry = index_entry(last, record.value.is_none());
        writes.insert(index, index_key(&record.key.unwrap_or_default()), entry);
        writes.insert(&stored.records, codec::offset_key(last), bytes);
    }
    writes.commit().map_err(super::db::classify)
}
