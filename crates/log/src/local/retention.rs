//! Forgetting: a thread that moves each partition's first offset past what is too old and gives
//! the disk back.
//!
//! The first offset is stored before anything is dropped, and readers never look below it, so a
//! crash in between only leaves bytes for the next round. The last record of a partition is never
//! dropped from disk, though it may lie below the first offset: offsets go on from it.

use super::db::Db;
use super::state::{Partition, Shared, Topic};
use super::writer::Op;
use crate::port::{LogError, TopicPartition};
use crate::topics::Cleanup;
use heliograph_domain::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, mpsc::Receiver, mpsc::RecvTimeoutError};
use tokio::sync::{mpsc, oneshot};

/// Tombstones that one round looks at, so that a round stays short.
const TOMBSTONES_MAX: usize = 10_000;

pub(super) struct Retention {
    shared: Arc<Shared>,
    /// Weak, so that this thread alone does not keep the log open.
    ops: mpsc::WeakSender<Op>,
    /// Up to where the disk has been given back.
    dropped_below: HashMap<TopicPartition, u64>,
}

impl Retention {
    pub(super) fn new(shared: Arc<Shared>, ops: mpsc::WeakSender<Op>) -> Self {
        Self { shared, ops, dropped_below: HashMap::new() }
    }

    /// Works until the other end of `stop` is dropped.
    pub(super) fn run(mut self, stop: &Receiver<()>) {
        loop {
            match stop.recv_timeout(self.shared.config.retention_interval()) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Err(e) = self.round() {
                tracing::warn!(error = %e, "the embedded log could not drop old records");
            }
        }
    }

    pub(super) fn round(&mut self) -> Result<(), LogError> {
        let now = (self.shared.clock)();
        for topic in self.shared.topics() {
            for partition in topic.partitions.iter() {
                match topic.spec.cleanup {
                    Cleanup::Delete => self.forget_old(&topic, partition, now)?,
                    Cleanup::Compact => self.forget_tombstones(partition, now)?,
                }
            }
        }
        Ok(())
    }

    fn forget_old(
        &mut self,
        topic: &Topic,
        partition: &Partition,
        now: Timestamp,
    ) -> Result<(), LogError> {
        let Some(hours) = topic.spec.retention_hours else { return Ok(()) };
        let oldest = now.plus_ms(-i64::from(hours) * 3_600_000);
        let (tp, end) = (&partition.at, partition.end());
        let first =
            self.shared.read_db(|db| first_since(db, tp, partition.first(), end, oldest))?;
        if first > partition.first() {
            self.ask(|reply| Op::Advance { tp: tp.clone(), first, reply })?;
        }
        let bound = first.min(end.saturating_sub(1));
        let dropped = self.dropped_below.entry(tp.clone()).or_default();
        if bound > *dropped {
            self.shared.read_db(|db| db.drop_below(tp, bound))?;
            *dropped = bound;
        }
        Ok(())
    }

    fn forget_tombstones(&self, partition: &Partition, now: Timestamp) -> Result<(), LogError> {
        let kept_ms = i64::try_from(self.shared.config.tombstone_retention_ms).unwrap_or(i64::MAX);
        let oldest = now.plus_ms(kept_ms.saturating_neg());
        let tp = &partition.at;
        let offsets = self.shared.read_db(|db| old_tombstones(db, tp, oldest))?;
        if offsets.is_empty() {
            return Ok(());
        }
        self.ask(|reply| Op::ForgetTombstones { tp: tp.clone(), offsets, reply })
    }

    /// All writing is the writer's.
    fn ask(
        &self,
        op: impl FnOnce(oneshot::Sender<Result<(), LogError>>) -> Op,
    ) -> Result<(), LogError> {
        let (reply, answer) = oneshot::channel();
        let ops = self.ops.upgrade().ok_or_else(super::state::closed)?;
        ops.blocking_send(op(reply)).map_err(|_| super::state::closed())?;
        drop(ops);
        answer.blocking_recv().map_err(|_| super::state::closed())?
    }
}

/// The first offset in `[first, end]` whose record was appended at or after `oldest`: append times
/// never fall within a partition, so it is found by halving.
fn first_since(
    db: &Db,
    tp: &TopicPartition,
    first: u64,
    end: u64,
    oldest: Timestamp,
) -> Result<u64, LogError> {
    let (mut low, mut high) = (first, end);
    while low < high {
        let middle = low + (high - low) / 2;
        match db.time_at(tp, middle)? {
            Some((offset, time)) if time < oldest => low = offset + 1,
            _ => high = middle,
        }
    }
    Ok(low.min(end))
}

fn old_tombstones(db: &Db, tp: &TopicPartition, oldest: Timestamp) -> Result<Vec<u64>, LogError> {
    let mut offsets = vec![];
    for tombstone in db.stored(tp)?.tombstones().take(TOMBSTONES_MAX) {
        let (offset, _) = tombstone?;
        match db.time_at(tp, offset)? {
            Some((at, time)) if at == offset && time < oldest => offsets.push(offset),
            _ => break,
        }
    }
    Ok(offsets)
}
