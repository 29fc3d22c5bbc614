//! The one thread that writes: it gathers what waits, writes it as one batch, syncs, and only then
//! answers.
//!
//! Invariant: nothing is answered with success, or seen by a reader, before it is on disk. When a
//! write fails, the store takes no more: all of the batch is answered `Unavailable` and the store
//! is opened anew, so that offsets go on from what the disk has.

use super::batch::{Batch, Encoded, forget_tombstones};
use super::codec;
use super::db::{Db, classify};
use super::disk::free_bytes;
use super::state::{Shared, closed};
use crate::group::rules;
use crate::port::{Appended, LogError, TopicPartition};
use crate::topics::TopicSpec;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

const BATCH_BYTES_MAX: usize = 4 << 20;
const BATCH_OPS_MAX: usize = 4_096;
/// How long to wait before trying again to open a store that would not open.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

type Reply<T> = oneshot::Sender<Result<T, LogError>>;

pub(super) enum Op {
    Append {
        record: Encoded,
        queued: OwnedSemaphorePermit,
        reply: Reply<Appended>,
    },
    Commit {
        group: String,
        offsets: Vec<(TopicPartition, u64)>,
        reply: Reply<()>,
    },
    Ensure {
        specs: Vec<TopicSpec>,
        reply: Reply<()>,
    },
    /// Nothing below `first` is kept.
    Advance {
        tp: TopicPartition,
        first: u64,
        reply: Reply<()>,
    },
    ForgetTombstones {
        tp: TopicPartition,
        offsets: Vec<u64>,
        reply: Reply<()>,
    },
    Close {
        reply: Reply<()>,
    },
}

impl Op {
    /// Whether it can share a batch with others.
    fn is_batchable(&self) -> bool {
        matches!(self, Self::Append { .. } | Self::Commit { .. })
    }

    fn size_bytes(&self) -> usize {
        match self {
            Self::Append { record, .. } => record.bytes.len(),
            _ => 0,
        }
    }

    fn refuse(self, why: LogError) {
        // A caller who no longer waits needs no answer; the same holds below.
        match self {
            Self::Append { reply, .. } => drop(reply.send(Err(why))),
            Self::Commit { reply, .. }
            | Self::Ensure { reply, .. }
            | Self::Advance { reply, .. }
            | Self::ForgetTombstones { reply, .. }
            | Self::Close { reply } => drop(reply.send(Err(why))),
        }
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    ops: mpsc::Receiver<Op>,
    /// Taken from the queue, but not part of the batch before it.
    held_over: Option<Op>,
    /// While the store is not open: when to try again.
    reopen_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, ops: mpsc::Receiver<Op>) -> Self {
        Self { shared, ops, held_over: None, reopen_at: None }
    }

    /// Works until the log is closed or nobody is left who could ask for anything.
    pub(super) fn run(mut self, runtime: &tokio::runtime::Runtime) {
        let mut close_replies = vec![];
        loop {
            match runtime.block_on(self.next()) {
                Wake::Work(Op::Close { reply }) => {
                    self.ops.close();
                    close_replies.push(reply);
                }
                Wake::Work(op) => self.work(op),
                Wake::Retry => self.reopen(),
                Wake::End => break,
            }
        }
        self.shared.close();
        for reply in close_replies {
            drop(reply.send(Ok(())));
        }
    }

    async fn next(&mut self) -> Wake {
        if let Some(op) = self.held_over.take() {
            return Wake::Work(op);
        }
        let received = match self.reopen_at {
            None => self.ops.recv().await,
            // However many ops come meanwhile.
            Some(at) if at <= Instant::now() => return Wake::Retry,
            Some(at) => match tokio::time::timeout_at(at, self.ops.recv()).await {
                Ok(received) => received,
                Err(_) => return Wake::Retry,
            },
        };
        received.map_or(Wake::End, Wake::Work)
    }

    fn work(&mut self, op: Op) {
        if self.reopen_at.is_some() {
            let why = "the embedded log's store failed and is not open again yet";
            return op.refuse(LogError::Unavailable(why.into()));
        }
        let done = match op {
            op if op.is_batchable() => {
                let ops = self.gather(op);
                // Whatever it was: offsets may have been given that are not on disk.
                self.write(ops).map_err(|e| LogError::Unavailable(e.to_string()))
            }
            Op::Ensure { specs, reply } => answer(self.ensure(&specs), reply),
            Op::Advance { tp, first, reply } => answer(self.advance(&tp, first), reply),
            Op::ForgetTombstones { tp, offsets, reply } => {
                let done = self.shared.read_db(|db| forget_tombstones(db, &tp, &offsets));
                answer(done, reply)
            }
            op => {
                op.refuse(closed());
                Ok(())
            }
        };
        if let Err(e @ (LogError::Unavailable(_) | LogError::Corrupt(_))) = done {
            tracing::error!(error = %e, "the embedded log cannot write; opening its store anew");
            self.reopen();
        }
    }

    fn gather(&mut self, first: Op) -> Vec<Op> {
        let mut size_bytes = first.size_bytes();
        let mut ops = vec![first];
        while size_bytes < BATCH_BYTES_MAX && ops.len() < BATCH_OPS_MAX {
            match self.ops.try_recv() {
                Ok(op) if op.is_batchable() => {
                    size_bytes += op.size_bytes();
                    ops.push(op);
                }
                Ok(op) => {
                    self.held_over = Some(op);
                    break;
                }
                Err(_) => break,
            }
        }
        ops
    }

    /// Why no record is taken now, if so. Commits are: they are small, and the readers behind
    /// them may be what frees the disk.
    fn check_room(&self) -> Result<(), LogError> {
        let config = &self.shared.config;
        let free = free_bytes(&config.dir).map_err(|e| LogError::Unavailable(e.to_string()))?;
        if free >= config.min_free_bytes {
            return Ok(());
        }
        Err(LogError::Unavailable(format!(
            "log directory {}: {free} bytes free, fewer than min_free_bytes {}",
            config.dir.display(),
            config.min_free_bytes
        )))
    }

    fn write(&self, ops: Vec<Op>) -> Result<(), LogError> {
        let shared = self.shared.clone();
        let guard = shared.db();
        let Some(db) = guard.as_ref() else { return Err(closed()) };
        let room = self.check_room();
        let mut batch = Batch::new(db, (shared.clock)());
        let mut plan = Plan::default();
        let mut failed = None;
        for op in ops {
            match (op, &room) {
                (op @ Op::Append { .. }, Err(why)) => op.refuse(why.clone()),
                (Op::Append { mut record, queued, reply }, Ok(())) => {
                    match batch.append(&mut record) {
                        Ok(appended) => plan.appends.push((record, appended, queued, reply)),
                        Err(e) => {
                            drop(reply.send(Err(e.clone())));
                            failed = Some(e);
                        }
                    }
                }
                (Op::Commit { group, offsets, reply }, _) => {
                    for (tp, offset) in &offsets {
                        batch.commit_offset(&group, tp, *offset);
                    }
                    plan.commits.push(reply);
                }
                (op, _) => op.refuse(closed()),
            }
        }
        let written = failed.map_or_else(|| batch.write(), Err);
        plan.finish(&written);
        written
    }

    fn ensure(&self, specs: &[TopicSpec]) -> Result<(), LogError> {
        let mut guard = self.shared.db_mut();
        let db = guard.as_mut().ok_or_else(closed)?;
        for spec in specs {
            let existing = self.shared.topic(&spec.name).ok();
            rules::acceptable(spec, existing.as_ref().map(|t| &t.spec))?;
        }
        for spec in specs {
            let existing = self.shared.topic(&spec.name).ok();
            if existing.is_none_or(|t| t.spec != *spec) {
                db.put_topic(spec)?;
                self.shared.adopt(db, spec.clone())?;
            }
        }
        Ok(())
    }

    fn advance(&self, tp: &TopicPartition, first: u64) -> Result<(), LogError> {
        self.shared.read_db(|db: &Db| {
            let mut batch = db.batch();
            batch.insert(&db.meta, codec::first_key(tp), first.to_string());
            batch.commit().map_err(classify)
        })?;
        self.shared.with(tp, |p| p.first.store(first, Ordering::Release))
    }

    fn reopen(&mut self) {
        self.reopen_at = match self.shared.reopen() {
            Ok(()) => {
                tracing::info!("the embedded log's store is open again");
                None
            }
            Err(e) => {
                tracing::error!(error = %e, "the embedded log's store does not open");
                Some(Instant::now() + REOPEN_INTERVAL)
            }
        };
    }
}

enum Wake {
    Work(Op),
    Retry,
    End,
}

fn answer(done: Result<(), LogError>, reply: Reply<()>) -> Result<(), LogError> {
    drop(reply.send(done.clone()));
    done
}

/// Who waits for the batch.
#[derive(Default)]
struct Plan {
    appends: Vec<(Encoded, Appended, OwnedSemaphorePermit, Reply<Appended>)>,
    commits: Vec<Reply<()>>,
}

impl Plan {
    fn finish(self, written: &Result<(), LogError>) {
        if written.is_ok() {
            // Backwards, so that each partition's end moves, and wakes its readers, once.
            for (record, appended, ..) in self.appends.iter().rev() {
                let partition = record.topic.partitions.get(record.partition as usize);
                if let Some(p) = partition.filter(|p| p.end() <= appended.offset) {
                    p.end.send_replace(appended.offset + 1);
                    record.topic.appended.send_modify(|n| *n += 1);
                }
            }
        }
        for (_, appended, _queued, reply) in self.appends {
            drop(reply.send(written.clone().map(|()| appended)));
        }
        for reply in self.commits {
            drop(reply.send(written.clone()));
        }
    }
}
