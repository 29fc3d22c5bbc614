//! What a processor says back to its consumer.

use crate::{ledger::Epoch, port::TopicPartition};
use tokio::sync::mpsc;

/// Everything that the record at `offset` caused is acknowledged.
#[derive(Debug, Clone)]
pub struct Done {
    pub at: TopicPartition,
    pub epoch: Epoch,
    pub offset: u64,
}

/// Where a processor says what it has finished. Once the consumer has ended nobody listens.
#[derive(Debug, Clone)]
pub struct Acks(mpsc::UnboundedSender<Ack>);

#[derive(Debug)]
pub(super) enum Ack {
    Done(Done),
    Commit,
}

impl Acks {
    pub(super) fn new(acks: mpsc::UnboundedSender<Ack>) -> Self {
        Self(acks)
    }

    pub fn done(&self, done: Done) {
        drop(self.0.send(Ack::Done(done)));
    }

    /// What is done by now is worth a commit of its own, before the interval is over.
    pub fn commit(&self) {
        drop(self.0.send(Ack::Commit));
    }
}
