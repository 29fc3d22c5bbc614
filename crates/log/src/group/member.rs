//! One member of an in-process group: what it reads, from where, and what happens next.
//!
//! Invariant: state changes only where `next` returns without awaiting again, and what is being
//! read stays with the member, so a dropped call loses neither events nor work: a caller who drops
//! every call after a moment still gets on. Partitions are read in turn, one batch of about
//! [`BATCH_BYTES`] at a time.

use super::{Mailbox, Notice, Seat, Storage};
use crate::port::{GroupConsumer, GroupEvent, LogError, Record, TopicPartition};
use async_trait::async_trait;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use tokio::sync::watch;

const BATCH_BYTES: usize = 1 << 20;

/// What is under way whether or not anybody polls `next`.
type Work<T> = BoxFuture<'static, Result<T, LogError>>;

struct Cursor {
    /// The offset to read next.
    position: u64,
    paused: bool,
}

/// A read that is under way.
struct Reading {
    partition: u32,
    /// The end of the partition when it began.
    end: u64,
    records: Work<Vec<Record>>,
}

pub(super) struct Member<S> {
    storage: Arc<S>,
    seat: Seat,
    mailbox: Arc<Mailbox>,
    appended: watch::Receiver<u64>,
    cursors: BTreeMap<u32, Cursor>,
    /// The partition that was read last: the next one after it has its turn.
    turn: u32,
    reading: Option<Reading>,
    /// The positions of partitions that are being assigned.
    loading: Option<Work<Vec<(u32, u64)>>>,
}

impl<S: Storage> Member<S> {
    pub(super) fn new(
        storage: Arc<S>,
        seat: Seat,
        mailbox: Arc<Mailbox>,
        appended: watch::Receiver<u64>,
    ) -> Self {
        Self {
            storage,
            seat,
            mailbox,
            appended,
            cursors: BTreeMap::new(),
            turn: u32::MAX,
            reading: None,
            loading: None,
        }
    }

    fn tp(&self, partition: u32) -> TopicPartition {
        TopicPartition::new(self.seat.key.topic.clone(), partition)
    }

    fn tps(&self, partitions: &[u32]) -> Vec<TopicPartition> {
        partitions.iter().map(|p| self.tp(*p)).collect()
    }

    fn not_owner(tp: &TopicPartition) -> LogError {
        LogError::NotOwner(tp.to_string())
    }

    async fn act_on(&mut self, notice: Notice) -> Result<GroupEvent, LogError> {
        let event = match notice {
            Notice::Assigned(partitions) => {
                let positions = self.load(&partitions).await?;
                let fresh = |(p, position)| (p, Cursor { position, paused: false });
                self.cursors.extend(positions.into_iter().map(fresh));
                GroupEvent::Assigned(self.tps(&partitions))
            }
            Notice::Revoked(partitions) => {
                self.cursors.retain(|p, _| !partitions.contains(p));
                self.stop_reading();
                GroupEvent::Revoked(self.tps(&partitions))
            }
            Notice::Lost(partitions) => {
                self.cursors.clear();
                self.stop_reading();
                GroupEvent::Lost(self.tps(&partitions))
            }
            // Stays in the mailbox: this member never gets anything again.
            Notice::Replaced => {
                let group = &self.seat.key.group;
                let why = format!("group {group}: another member has taken this one's instance");
                return Err(LogError::NotOwner(why));
            }
        };
        self.mailbox.pop();
        Ok(event)
    }

    /// Partitions to be read, beginning after the one that had its turn last.
    fn in_turn(&self) -> Vec<(u32, u64)> {
        self.cursors
            .range((Excluded(self.turn), Unbounded))
            .chain(self.cursors.range(..=self.turn))
            .filter(|(_, c)| !c.paused)
            .map(|(p, c)| (*p, c.position))
            .collect()
    }

    /// Where the group goes on in each of the partitions.
    async fn load(&mut self, partitions: &[u32]) -> Result<Vec<(u32, u64)>, LogError> {
        let loading = self.loading.get_or_insert_with(|| {
            let (storage, key) = (self.storage.clone(), self.seat.key.clone());
            let partitions = partitions.to_vec();
            Box::pin(async move {
                let mut positions = Vec::with_capacity(partitions.len());
                for p in partitions {
                    let tp = TopicPartition::new(key.topic.clone(), p);
                    // With nothing committed, from the first: reading begins there by itself.
                    positions.push((p, storage.committed(&key.group, &tp).await?.unwrap_or(0)));
                }
                Ok(positions)
            })
        });
        let positions = loading.await;
        self.loading = None;
        positions
    }

    /// The first partition in turn that holds something to read.
    async fn begin_reading(&mut self) -> Result<Option<Reading>, LogError> {
        for (partition, position) in self.in_turn() {
            let tp = self.tp(partition);
            let end = self.storage.offsets(&tp).await?.end;
            if position < end {
                let storage = self.storage.clone();
                let records =
                    Box::pin(async move { storage.read(&tp, position, BATCH_BYTES).await });
                return Ok(Some(Reading { partition, end, records }));
            }
        }
        Ok(None)
    }

    async fn read(&mut self) -> Result<Option<Vec<Record>>, LogError> {
        loop {
            if self.reading.is_none() {
                self.reading = self.begin_reading().await?;
            }
            let Some(Reading { partition, end, records }) = &mut self.reading else {
                return Ok(None);
            };
            let (partition, end, records) = (*partition, *end, records.await);
            self.reading = None;
            let records = records?;
            // Nothing before the end: compaction has removed all of it.
            let next = records.last().map_or(end, |r| r.offset + 1);
            if let Some(cursor) = self.cursors.get_mut(&partition) {
                cursor.position = next;
            }
            self.turn = partition;
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
    }

    /// Forgets a read of partitions that are no longer to be read.
    fn stop_reading(&mut self) {
        let cursors = &self.cursors;
        self.reading =
            self.reading.take().filter(|r| cursors.get(&r.partition).is_some_and(|c| !c.paused));
    }

    /// Partitions that are not ours are passed over: there is nothing to hold back.
    fn set_paused(&mut self, tps: &[TopicPartition], paused: bool) {
        for tp in tps.iter().filter(|tp| tp.topic == self.seat.key.topic) {
            if let Some(cursor) = self.cursors.get_mut(&tp.partition) {
                cursor.paused = paused;
            }
        }
        self.stop_reading();
    }
}

#[async_trait]
impl<S: Storage> GroupConsumer for Member<S> {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        loop {
            if let Some(notice) = self.mailbox.peek() {
                return self.act_on(notice).await;
            }
            // Before reading, so that an append in between wakes us below.
            self.appended.borrow_and_update();
            if let Some(records) = self.read().await? {
                return Ok(GroupEvent::Records(records));
            }
            tokio::select! {
                () = self.mailbox.wake.notified() => {}
                changed = self.appended.changed() => if changed.is_err() {
                    return Err(LogError::Unavailable("the log is closed".into()));
                },
            }
        }
    }

    fn pause(&mut self, tps: &[TopicPartition]) -> Result<(), LogError> {
        self.set_paused(tps, true);
        Ok(())
    }

    fn resume(&mut self, tps: &[TopicPartition]) -> Result<(), LogError> {
        self.set_paused(tps, false);
        Ok(())
    }

    async fn commit(&mut self, offsets: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        for (tp, _) in offsets {
            if tp.topic != self.seat.key.topic || !self.seat.is_owner(tp.partition) {
                return Err(Self::not_owner(tp));
            }
        }
        self.storage.commit(&self.seat.key.group, offsets).await
    }

    fn release(&mut self, tps: &[TopicPartition]) -> Result<(), LogError> {
        let mut answer = Ok(());
        for tp in tps {
            if tp.topic != self.seat.key.topic || !self.seat.release(tp.partition) {
                answer = Err(Self::not_owner(tp));
            }
        }
        answer
    }

    async fn close(self: Box<Self>) -> Result<(), LogError> {
        Ok(())
    }
}
