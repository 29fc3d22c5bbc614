//! The alerts of the log in memory: what viewers ask about silence is answered from here.
//!
//! Invariants: [`AlertBook::load`] returns only when every partition has been read to the end it
//! had then; [`AlertBook::known_up_to`] is a time by which nothing on the log is missing here. While
//! the log is away the last known book is served, and that time stands. What it is not: it decides
//! nothing and writes nothing; what an alert changes, [`Book`] says.

mod book;
mod incidents;

pub use book::{Ask, Book, Key, State};

use crate::viewer::now;
use futures::future::select_all;
use heliograph_contract::topic;
use heliograph_domain::Timestamp;
use heliograph_log::{LogError, LogRead, TopicPartition, turn::Turn};
use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const READ_BYTES_MAX: usize = 1 << 20;
/// How long nothing may come before the ends are looked at anyway: what is known is no older.
const WAIT: Duration = Duration::from_secs(5);
/// After an error.
const PAUSE: Duration = Duration::from_millis(200);

/// A book that follows the alerts of the log.
#[derive(Debug, Clone)]
pub struct AlertBook {
    book: Arc<RwLock<Book>>,
    known_up_to: watch::Receiver<Timestamp>,
}

impl AlertBook {
    /// Reads the topic to its end, then goes on following it until `shutdown`; `turn` is told each
    /// time that the follower turns.
    ///
    /// # Errors
    /// When the topic cannot be read.
    pub async fn load(
        log: Arc<dyn LogRead>,
        shutdown: CancellationToken,
        turn: Turn,
    ) -> Result<Self, LogError> {
        let count = log.partitions(topic::ALERTS).await?;
        let partition = |n| (TopicPartition::new(topic::ALERTS, n), 0);
        let book = Arc::<RwLock<Book>>::default();
        let partitions = (0..count).map(partition).collect();
        let mut follower = Follower { log, partitions, book: book.clone(), turn };
        let (publish, known_up_to) = watch::channel(follower.catch_up().await?);
        tokio::spawn(follower.follow(publish, shutdown));
        Ok(Self { book, known_up_to })
    }

    /// The book as far as it has been read. It is not read on meanwhile: for one answer, and no
    /// longer.
    pub fn read(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was on the log by then is in the book.
    pub fn known_up_to(&self) -> Timestamp {
        *self.known_up_to.borrow()
    }

    /// Resolves when the topic is no longer followed: after the shutdown, or by a bug.
    pub async fn stopped(&self) {
        let mut known_up_to = self.known_up_to.clone();
        while known_up_to.changed().await.is_ok() {}
    }
}

struct Follower {
    log: Arc<dyn LogRead>,
    /// Each with the next offset to be read.
    partitions: Vec<(TopicPartition, u64)>,
    book: Arc<RwLock<Book>>,
    turn: Turn,
}

impl Follower {
    async fn follow(mut self, publish: watch::Sender<Timestamp>, shutdown: CancellationToken) {
        loop {
            self.turn.turn();
            let caught_up = async {
                self.wait().await?;
                self.catch_up().await
            };
            let caught_up = tokio::select! {
                () = shutdown.cancelled() => return,
                caught_up = caught_up => caught_up,
            };
            match caught_up {
                Ok(known_up_to) => drop(publish.send_replace(known_up_to)),
                Err(error) => {
                    tracing::warn!(%error, "alerts not readable; going on with what is known");
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
            }
        }
    }

    /// Until there may be something to read.
    async fn wait(&self) -> Result<(), LogError> {
        let waits = self.partitions.iter().map(|(tp, next)| self.log.wait_past(tp, *next, WAIT));
        select_all(waits).await.0
    }

    /// Reads every partition to the end it has now; says when now was. What was read before an error
    /// is kept.
    async fn catch_up(&mut self) -> Result<Timestamp, LogError> {
        let now = now();
        for (tp, next) in &mut self.partitions {
            self.turn.turn();
            let end = self.log.offsets(tp).await?.end;
            while *next < end {
                self.turn.turn();
                let records = self.log.read(tp, *next, READ_BYTES_MAX).await?;
                let mut book = self.book.write().unwrap_or_else(PoisonError::into_inner);
                records.iter().for_each(|record| book.read(record));
                // Where nothing lies between here and the end, the end is next.
                *next = records.last().map_or(end, |last| last.offset + 1);
            }
        }
        Ok(now)
    }
}

#[cfg(test)]
mod tests;
