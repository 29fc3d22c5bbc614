//! The snapshots of a partition on the log: reading the newest that is whole, and writing the next.
//!
//! Two generations take turns, so that one is whole while the other is written; besides, the first of
//! each day is kept as a base for as long as the log has what came after it. Invariant: a manifest
//! is written when its chunks are durable, so it never stands for what is not there.

use crate::{snapshot::Snapshot, staleness::Partition, tell::tell};
use anyhow::Context;
use bytes::Bytes;
use heliograph_contract::{topic, v1::SnapshotManifest};
use heliograph_domain::Timestamp;
use heliograph_log::{Log, LogRead, NewRecord, TopicPartition};
use prost::Message;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const SERVICE: &str = "detector";
const READ_BYTES_MAX: usize = 4 << 20;
const DAY_MS: i64 = 86_400_000;

/// The snapshots of one partition.
pub struct Generations {
    log: Arc<dyn Log>,
    at: TopicPartition,
    /// What the log has of each generation.
    manifests: BTreeMap<String, SnapshotManifest>,
}

impl Generations {
    /// Reads what there is, and gives back the newest state that is whole.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn load(log: Arc<dyn Log>, number: u32) -> anyhow::Result<(Self, Option<Partition>)> {
        let mut found = snapshots(&*log, number).await?;
        let at = TopicPartition::new(topic::SNAPSHOTS, number);
        let mut all = Self { log, at, manifests: BTreeMap::new() };
        let named = found.iter().map(|(name, snapshot)| (name.clone(), snapshot.manifest.clone()));
        all.manifests.extend(named);
        while let Some((generation, snapshot)) = found.pop() {
            match snapshot.restore(number) {
                Ok(partition) => return Ok((all, Some(partition))),
                // A writer ended in the middle of it; the other generation is whole.
                Err(error) => {
                    tracing::warn!(generation, %error, "passed over");
                    all.manifests.remove(&generation);
                }
            }
        }
        Ok((all, None))
    }

    /// Writes the state of the partition, reached at `at`; `first` is where its log begins.
    ///
    /// # Errors
    /// When the log refuses it for good.
    pub async fn keep(
        &mut self,
        partition: &Partition,
        at: Timestamp,
        first: u64,
        retry_delay_max: Duration,
    ) -> anyhow::Result<()> {
        let Snapshot { manifest, chunks } = Snapshot::of(partition, at);
        let generation = next_generation(&self.manifests, at);
        let pieces = chunks.into_iter().enumerate();
        let records =
            pieces.map(|(n, chunk)| self.record(&format!("{generation}/{n}"), Some(chunk)));
        tell(&*self.log, records.collect(), retry_delay_max).await.context("keep the state")?;
        let whole = self.record(&generation, Some(manifest.encode_to_vec().into()));
        tell(&*self.log, vec![whole], retry_delay_max).await.context("keep the state")?;
        self.manifests.insert(generation, manifest);
        self.drop_bases(first, retry_delay_max).await
    }

    /// Bases whose log is gone lead nowhere.
    async fn drop_bases(&mut self, first: u64, retry_delay_max: Duration) -> anyhow::Result<()> {
        let is_gone = |(name, manifest): &(&String, &SnapshotManifest)| {
            name.starts_with(BASE) && manifest.offset < first
        };
        let gone = self.manifests.iter().find(is_gone).map(|(name, m)| (name.clone(), m.chunks));
        let Some((name, chunks)) = gone else { return Ok(()) };
        // The manifest first: chunks without it are nothing.
        tell(&*self.log, vec![self.record(&name, None)], retry_delay_max).await?;
        let rest = (0..chunks).map(|n| self.record(&format!("{name}/{n}"), None)).collect();
        tell(&*self.log, rest, retry_delay_max).await?;
        self.manifests.remove(&name);
        Ok(())
    }

    fn record(&self, name: &str, value: Option<Bytes>) -> NewRecord {
        let key = format!("{SERVICE}/{}/{name}", self.at.partition);
        NewRecord { to: self.at.clone(), key: Some(key.into()), headers: Vec::new(), value }
    }
}

/// What the log has of the snapshots of a partition, by generation, the newest last; one that a writer
/// did not end is not whole.
///
/// # Errors
/// When the log cannot be read.
pub async fn snapshots<L: LogRead + ?Sized>(
    log: &L,
    number: u32,
) -> anyhow::Result<Vec<(String, Snapshot)>> {
    let at = TopicPartition::new(topic::SNAPSHOTS, number);
    let (mut manifests, mut chunks) = (BTreeMap::new(), BTreeMap::new());
    let range = log.offsets(&at).await.context("read the snapshots")?;
    let (mut next, prefix) = (range.first, format!("{SERVICE}/{number}/"));
    while next < range.end {
        let records = log.read(&at, next, READ_BYTES_MAX).await.context("read the snapshots")?;
        let Some(last) = records.last() else { break };
        next = last.offset + 1;
        for record in records {
            let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let Some(name) = key.strip_prefix(&prefix) else { continue };
            match (name.contains('/'), record.value) {
                (true, Some(value)) => drop(chunks.insert(name.to_owned(), value)),
                (true, None) => drop(chunks.remove(name)),
                (false, Some(value)) => {
                    let manifest = SnapshotManifest::decode(value).context("a manifest")?;
                    manifests.insert(name.to_owned(), manifest);
                }
                (false, None) => drop(manifests.remove(name)),
            }
        }
    }
    let whole = |(name, manifest): (String, SnapshotManifest)| {
        let pieces = (0..manifest.chunks).map_while(|n| chunks.remove(&format!("{name}/{n}")));
        let chunks = pieces.collect();
        (name, Snapshot { manifest, chunks })
    };
    let mut found: Vec<_> = manifests.into_iter().map(whole).collect();
    found.sort_by_key(|(_, snapshot)| snapshot.manifest.offset);
    Ok(found)
}

const BASE: &str = "base-";

/// Where the next snapshot goes: a new day's base, or the older of the two that take turns.
fn next_generation(manifests: &BTreeMap<String, SnapshotManifest>, at: Timestamp) -> String {
    let base = format!("{BASE}{}", at.as_ms().div_euclid(DAY_MS));
    if !manifests.contains_key(&base) {
        return base;
    }
    let offset = |name| manifests.get(name).map(|manifest: &SnapshotManifest| manifest.offset);
    if offset("a") <= offset("b") { "a" } else { "b" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_log::{memory::MemoryLog, topics};

    const WAIT: Duration = Duration::from_secs(1);

    async fn log() -> Arc<dyn Log> {
        let log = MemoryLog::new();
        log.ensure_topics(&topics::declared().unwrap()).await.unwrap();
        log
    }

    fn at(offset: u64) -> crate::staleness::At {
        crate::staleness::At { offset, append_time: Timestamp::from_ms(0) }
    }

    #[tokio::test]
    async fn the_newest_that_is_whole_counts() {
        let log = log().await;
        let (mut all, none) = Generations::load(log.clone(), 3).await.unwrap();
        assert!(none.is_none());
        let mut partition = Partition::new(3);
        for day in [0, 0, 0, 0, 1] {
            partition.upload(at(partition.next_offset()), format!("s{day}").as_bytes());
            let now = Timestamp::from_ms(day * DAY_MS + 1);
            all.keep(&partition, now, 0, WAIT).await.unwrap();
        }
        let names: Vec<&str> = all.manifests.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "b", "base-0", "base-1"]);
        let (_, restored) = Generations::load(log.clone(), 3).await.unwrap();
        assert_eq!(restored.unwrap().next_offset(), 5);
        // A writer that ended in the middle of the next one.
        let torn = all.record("base-1/0", Some(Bytes::from_static(b"half")));
        log.append(torn).await.unwrap();
        let (mut all, restored) = Generations::load(log.clone(), 3).await.unwrap();
        assert_eq!(restored.unwrap().next_offset(), 4);
        // The log now begins behind the first day's base.
        let now = Timestamp::from_ms(DAY_MS + 1);
        all.keep(&partition, now, 2, WAIT).await.unwrap();
        let (all, restored) = Generations::load(log, 3).await.unwrap();
        let names: Vec<&str> = all.manifests.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "b", "base-1"]);
        assert_eq!(restored.unwrap().next_offset(), 5);
    }
}
