//! How open the door is, counted per partition for the ticks.
//!
//! Invariant: an upload that passed the door is counted once: accepted, or refused through our
//! own fault, or neither when the fault is the sender's. One that is dropped half-way (the client
//! of HTTP/2 gave up waiting for us, or we left) counts as refused. Over HTTP/1 a client that went
//! away looks like one that has sent all and waits, so what the log does with the upload counts.
//! What it is not: a metric.

use crate::ticks::Counts;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What came to the door since it was last asked, per partition.
#[derive(Debug)]
pub struct Door {
    partitions: Box<[Counter]>,
}

#[derive(Debug, Default)]
struct Counter {
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Door {
    pub fn new(partitions: u32) -> Self {
        Self { partitions: (0..partitions).map(|_| Counter::default()).collect() }
    }

    /// Takes what was counted since the last call.
    pub fn take(&self, partition: u32) -> Counts {
        self.partitions.get(partition as usize).map_or_else(Counts::default, |c| Counts {
            accepted: c.accepted.swap(0, Relaxed),
            refused: c.refused.swap(0, Relaxed),
        })
    }

    /// An upload of one of `partition`'s sites is at the door.
    pub fn enter(&self, partition: u32) -> Entering<'_> {
        Entering { counter: self.partitions.get(partition as usize) }
    }
}

/// An upload between the door and the log; refused unless it says otherwise.
#[derive(Debug)]
#[must_use]
pub struct Entering<'a> {
    counter: Option<&'a Counter>,
}

impl Entering<'_> {
    pub fn accepted(mut self) {
        if let Some(counter) = self.counter.take() {
            counter.accepted.fetch_add(1, Relaxed);
        }
    }

    /// Refused, but not through our fault; or our own upload to ourselves.
    pub fn not_counted(mut self) {
        self.counter = None;
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        if let Some(counter) = self.counter.take() {
            counter.refused.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_counted_once_on_its_partition() {
        let door = Door::new(2);
        door.enter(0).accepted();
        drop(door.enter(0));
        door.enter(1).not_counted();
        assert_eq!(door.take(0), Counts { accepted: 1, refused: 1 });
        assert_eq!(door.take(0), Counts::default(), "what was taken is gone");
        assert_eq!(door.take(1), Counts::default());
    }
}
