//! The open connections of a listener, so that one that nobody uses can make room.
//!
//! Invariant: a connection with an open request is never told to go for the sake of another.

use super::connection::OpenRequests;
use crate::Shutdown;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

#[derive(Debug, Clone, Default)]
pub(super) struct Registry(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    connections: HashMap<u64, (OpenRequests, Shutdown)>,
}

/// A connection's entry; gone when dropped.
#[derive(Debug)]
pub(super) struct Registered {
    registry: Registry,
    id: u64,
    /// Cancelled when its place is needed.
    pub evicted: Shutdown,
}

impl Registry {
    pub fn add(&self, requests: OpenRequests) -> Registered {
        let evicted = Shutdown::new();
        let mut inner = self.inner();
        let id = inner.next;
        inner.next += 1;
        inner.connections.insert(id, (requests, evicted.clone()));
        Registered { registry: self.clone(), id, evicted }
    }

    /// Tells the one that has been idle longest, of those that were not told yet. Looking at all of
    /// them costs microseconds, and only a listener whose places are taken does it.
    pub fn evict_longest_idle(&self) {
        let inner = self.inner();
        let idle = inner.connections.values().filter(|(_, evicted)| !evicted.is_cancelled());
        let longest = idle
            .filter_map(|(requests, evicted)| Some((requests.idle_since()?, evicted)))
            .min_by_key(|(since, _)| *since);
        if let Some((_, evicted)) = longest {
            evicted.cancel();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.inner().connections.remove(&self.id);
    }
}
