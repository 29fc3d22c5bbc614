//! The store below the log: which keyspaces there are, and what is read from them.
//!
//! A partition has a keyspace `p.<topic>.<n>` of offset → record; a compacted one also has
//! `i.<topic>.<n>`: `k`+key → offset of the key's last record, `t`+offset → key of a tombstone.
//! `meta` knows topics and first offsets, `commits` what groups have committed.
//!
//! Invariant: the last write of every keyspace is an item that stays. The store keeps a journal
//! until every keyspace in it has a table at least as new; were the newest item dropped or
//! removed, an idle keyspace would hold up its journals for ever.

use super::codec;
use super::config::LocalConfig;
use super::disk::sync_dir;
use crate::port::{LogError, Record, TopicPartition};
use crate::topics::{Cleanup, TopicSpec};
use crate::unguarded::{Guard, is_off};
use fjall::config::{BlockSizePolicy, CompressionPolicy, FilterPolicy};
use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch,
    PersistMode,
};
use heliograph_domain::Timestamp;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

const WORKER_THREADS: usize = 2;
const OPEN_FILES_MAX: usize = 200;
const RECORD_BLOCK_BYTES: u32 = 16 << 10;
const SMALL_MEMTABLE_BYTES: u64 = 4 << 20;

pub(super) struct Db {
    database: Database,
    pub(super) meta: Keyspace,
    pub(super) commits: Keyspace,
    partitions: HashMap<Arc<str>, Vec<Stored>>,
    memtable_bytes: u64,
}

/// The keyspaces of one partition.
pub(super) struct Stored {
    pub(super) records: Keyspace,
    /// Only of a compacted topic.
    pub(super) index: Option<Keyspace>,
}

/// Where a partition goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tail {
    pub(super) next: u64,
    pub(super) last_append_time: Timestamp,
}

/// The last record of a key in a compacted topic.
pub(super) struct Indexed {
    pub(super) offset: u64,
    pub(super) is_tombstone: bool,
}

/// What an error of the store means for whoever asked.
pub(super) fn classify(e: fjall::Error) -> LogError {
    match e {
        fjall::Error::Io(_)
        | fjall::Error::Poisoned
        | fjall::Error::Storage(fjall::LsmError::Io(_)) => LogError::Unavailable(e.to_string()),
        fjall::Error::Locked => LogError::Locked(e.to_string()),
        e => LogError::Corrupt(e.to_string()),
    }
}

fn io_error(e: std::io::Error) -> LogError {
    LogError::Unavailable(e.to_string())
}

impl Db {
    /// Opens the store, or makes an empty one. Also says which topics it knows.
    pub(super) fn open(config: &LocalConfig) -> Result<(Self, Vec<TopicSpec>), LogError> {
        let dir = config.dir.join("db");
        if !dir.try_exists().map_err(io_error)? {
            create(config, &dir)?;
        }
        let database = open_database(config, &dir)?;
        let (meta, commits) = fixed_keyspaces(&database)?;
        let mut db = Self {
            database,
            meta,
            commits,
            partitions: HashMap::new(),
            memtable_bytes: config.memtable_bytes,
        };
        let specs = db.load_topics()?;
        for spec in &specs {
            db.open_topic(spec)?;
        }
        Ok((db, specs))
    }

    fn load_topics(&self) -> Result<Vec<TopicSpec>, LogError> {
        self.meta
            .prefix(codec::TOPIC_PREFIX)
            .map(|guard| {
                let (_, value) = guard.into_inner().map_err(classify)?;
                let text = String::from_utf8_lossy(&value);
                let known: TopicMeta = toml::from_str(&text)
                    .map_err(|e| LogError::Corrupt(format!("topic metadata {text:?}: {e}")))?;
                Ok(known.topic)
            })
            .collect()
    }

    /// Creates or changes a topic, durably.
    pub(super) fn put_topic(&mut self, spec: &TopicSpec) -> Result<(), LogError> {
        self.open_topic(spec)?;
        let mut batch = self.batch();
        batch.insert(&self.meta, codec::topic_key(&spec.name), TopicMeta::text(spec));
        batch.commit().map_err(classify)
    }

    fn open_topic(&mut self, spec: &TopicSpec) -> Result<(), LogError> {
        let stored = (0..spec.partitions)
            .map(|p| self.open_partition(spec, p).map_err(classify))
            .collect::<Result<_, _>>()?;
        self.partitions.insert(spec.name.as_str().into(), stored);
        Ok(())
    }

    fn open_partition(&self, spec: &TopicSpec, partition: u32) -> fjall::Result<Stored> {
        let name = &spec.name;
        let records = self.database.keyspace(&format!("p.{name}.{partition}"), || {
            // Nobody looks for an offset that is not there, so filters would only take memory;
            // reading goes from record to record, so blocks may be larger than for single ones.
            KeyspaceCreateOptions::default()
                .max_memtable_size(self.memtable_bytes)
                .filter_policy(FilterPolicy::disabled())
                .data_block_size_policy(BlockSizePolicy::all(RECORD_BLOCK_BYTES))
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        })?;
        let index = match spec.cleanup {
            Cleanup::Delete => None,
            Cleanup::Compact => {
                Some(self.database.keyspace(&format!("i.{name}.{partition}"), small)?)
            }
        };
        Ok(Stored { records, index })
    }

    /// A batch that is on disk when its commit returns.
    pub(super) fn batch(&self) -> OwnedWriteBatch {
        let mode = match is_off(Guard::Fsync) {
            true => PersistMode::Buffer,
            false => PersistMode::SyncData,
        };
        self.database.batch().durability(Some(mode))
    }

    pub(super) fn stored(&self, tp: &TopicPartition) -> Result<&Stored, LogError> {
        self.partitions
            .get(&tp.topic)
            .and_then(|all| all.get(tp.partition as usize))
            .ok_or_else(|| LogError::UnknownTopic(tp.to_string()))
    }

    pub(super) fn tail(&self, tp: &TopicPartition) -> Result<Tail, LogError> {
        let Some(guard) = self.stored(tp)?.records.last_key_value() else {
            return Ok(Tail::default());
        };
        let (key, value) = guard.into_inner().map_err(classify)?;
        let offset = codec::offset_of(&key).ok_or_else(|| nonsense(tp, &key))?;
        let last_append_time = codec::append_time(&value).ok_or_else(|| nonsense(tp, &key))?;
        Ok(Tail { next: offset + 1, last_append_time })
    }

    pub(super) fn first(&self, tp: &TopicPartition) -> Result<u64, LogError> {
        get_offset(&self.meta, &codec::first_key(tp)).map(Option::unwrap_or_default)
    }

    pub(super) fn committed(
        &self,
        group: &str,
        tp: &TopicPartition,
    ) -> Result<Option<u64>, LogError> {
        get_offset(&self.commits, &codec::commit_key(group, tp))
    }

    /// Records of `[from, end)`, the first one whatever its size.
    pub(super) fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        end: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let mut records = vec![];
        if from >= end {
            return Ok(records);
        }
        let mut size_bytes = 0;
        let range = codec::offset_key(from)..codec::offset_key(end);
        for guard in self.stored(tp)?.records.range(range) {
            let (key, value) = guard.into_inner().map_err(classify)?;
            let record = codec::offset_of(&key)
                .and_then(|offset| codec::decode(tp, offset, &value))
                .ok_or_else(|| nonsense(tp, &key))?;
            size_bytes += record.size_bytes();
            if !records.is_empty() && size_bytes > max_bytes {
                break;
            }
            records.push(record);
            if size_bytes >= max_bytes {
                break;
            }
        }
        Ok(records)
    }

    /// The append time of the first record at or after `offset`, and its offset.
    pub(super) fn time_at(
        &self,
        tp: &TopicPartition,
        offset: u64,
    ) -> Result<Option<(u64, Timestamp)>, LogError> {
        let Some(guard) = self.stored(tp)?.records.range(codec::offset_key(offset)..).next() else {
            return Ok(None);
        };
        let (key, value) = guard.into_inner().map_err(classify)?;
        let at = codec::offset_of(&key).zip(codec::append_time(&value));
        at.map(Some).ok_or_else(|| nonsense(tp, &key))
    }

    /// Gives back the disk of tables that lie wholly below `bound`. A compaction filter would not
    /// do: tables of ascending keys are moved down the tree, not merged, so it would not be asked.
    pub(super) fn drop_below(&self, tp: &TopicPartition, bound: u64) -> Result<(), LogError> {
        let records = &self.stored(tp)?.records;
        let dropped = records.tree.drop_range(..codec::offset_key(bound));
        dropped.map_err(|e| classify(e.into()))
    }

    #[cfg(test)]
    pub(super) fn flush(&self, tp: &TopicPartition) {
        self.stored(tp).unwrap().records.rotate_memtable_and_wait().unwrap();
    }

    #[cfg(test)]
    pub(super) fn table_count(&self, tp: &TopicPartition) -> usize {
        self.stored(tp).unwrap().records.table_count()
    }
}

impl Stored {
    /// The last record of `key`, where the topic is compacted.
    pub(super) fn indexed(&self, key: &[u8]) -> Result<Option<Indexed>, LogError> {
        let Some(index) = &self.index else { return Ok(None) };
        let Some(entry) = index.get(index_key(key)).map_err(classify)? else { return Ok(None) };
        let [offset @ .., kind] = &entry[..] else { return Err(LogError::Corrupt("index".into())) };
        let offset = codec::offset_of(offset).ok_or(LogError::Corrupt("index".into()))?;
        Ok(Some(Indexed { offset, is_tombstone: *kind != 0 }))
    }

    /// Tombstones in offset order: offset and key.
    pub(super) fn tombstones(
        &self,
    ) -> impl Iterator<Item = Result<(u64, Vec<u8>), LogError>> + use<'_> {
        self.index.iter().flat_map(|index| index.prefix("t")).map(|guard| {
            let (at, key) = guard.into_inner().map_err(classify)?;
            let offset = at.get(1..).and_then(codec::offset_of);
            Ok((offset.ok_or(LogError::Corrupt("tombstones".into()))?, key.to_vec()))
        })
    }
}

pub(super) fn index_key(key: &[u8]) -> Vec<u8> {
    [b"k", key].concat()
}

pub(super) fn index_entry(offset: u64, is_tombstone: bool) -> Vec<u8> {
    [&codec::offset_key(offset)[..], &[u8::from(is_tombstone)]].concat()
}

pub(super) fn tombstone_key(offset: u64) -> Vec<u8> {
    [b"t", &codec::offset_key(offset)[..]].concat()
}

fn nonsense(tp: &TopicPartition, key: &[u8]) -> LogError {
    LogError::Corrupt(format!("{tp}: cannot read the record at {key:?}"))
}

fn get_offset(keyspace: &Keyspace, key: &str) -> Result<Option<u64>, LogError> {
    let Some(text) = keyspace.get(key).map_err(classify)? else { return Ok(None) };
    let offset = codec::offset_from_text(&text);
    offset.map(Some).ok_or_else(|| LogError::Corrupt(format!("{key} is {text:?}")))
}

/// An empty store comes into being whole, by a rename: a process killed while making one leaves
/// nothing that the next could not open.
fn create(config: &LocalConfig, dir: &Path) -> Result<(), LogError> {
    let unfinished = config.dir.join("db.new");
    if unfinished.try_exists().map_err(io_error)? {
        std::fs::remove_dir_all(&unfinished).map_err(io_error)?;
    }
    let database = open_database(config, &unfinished)?;
    drop(fixed_keyspaces(&database)?);
    database.persist(PersistMode::SyncAll).map_err(classify)?;
    drop(database);
    std::fs::rename(&unfinished, dir).map_err(io_error)?;
    sync_dir(&config.dir).map_err(io_error)
}

fn open_database(config: &LocalConfig, dir: &Path) -> Result<Database, LogError> {
    Database::builder(dir)
        .cache_size(config.cache_bytes)
        .max_journaling_size(config.journal_bytes_max)
        .journal_compression(CompressionType::None)
        .worker_threads(WORKER_THREADS)
        .max_cached_files(Some(OPEN_FILES_MAX))
        .manual_journal_persist(true)
        .open()
        .map_err(classify)
}

fn fixed_keyspaces(database: &Database) -> Result<(Keyspace, Keyspace), LogError> {
    let meta = database.keyspace("meta", small).map_err(classify)?;
    let commits = database.keyspace("commits", small).map_err(classify)?;
    Ok((meta, commits))
}

fn small() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(SMALL_MEMTABLE_BYTES)
}

/// A topic as `meta` has it: the format of the declaration.
#[derive(Deserialize)]
struct TopicMeta {
    topic: TopicSpec,
}

impl TopicMeta {
    fn text(spec: &TopicSpec) -> String {
        let cleanup = match spec.cleanup {
            Cleanup::Delete => "delete",
            Cleanup::Compact => "compact",
        };
        let retention = spec.retention_hours.map(|h| format!("retention_hours = {h}\n"));
        format!(
            "[topic]\nname = \"{}\"\npartitions = {}\ncleanup = \"{cleanup}\"\n{}\
             max_message_bytes = {}\n",
            spec.name,
            spec.partitions,
            retention.unwrap_or_default(),
            spec.max_message_bytes
        )
    }
}
