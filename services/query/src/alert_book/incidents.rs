//! The incidents, from their openings and closings.
//!
//! Pure. Invariant: an incident is here once, however often it is told. What it is not: a judge; that
//! there is one at a time is the detector's promise.

use super::Key;
use heliograph_contract::v1;
use std::collections::BTreeMap;

/// The newest are kept.
#[derive(Debug)]
pub struct Incidents {
    kept_max: usize,
    all: BTreeMap<Key, v1::Incident>,
}

impl Incidents {
    pub fn new(kept_max: usize) -> Self {
        Self { kept_max, all: BTreeMap::new() }
    }

    pub fn opened(&mut self, key: Key, opened: v1::IncidentOpened) {
        self.all.entry(key).or_insert(v1::Incident {
            id: key.id(),
            cause: opened.cause,
            since_ms: opened.since_ms,
            opened_at_ms: opened.decided_at_ms,
            closed_at_ms: None,
            reasons: opened.reasons,
        });
        if self.all.len() > self.kept_max {
            self.all.pop_first();
        }
    }

    /// One whose opening the log no longer has says nothing.
    pub fn closed(&mut self, closed: &v1::IncidentClosed) {
        let its = |incident: &&mut v1::Incident| incident.id == closed.incident_id;
        if let Some(incident) = self.all.values_mut().rev().find(its) {
            incident.closed_at_ms.get_or_insert(closed.decided_at_ms);
        }
    }

    /// The newest that has not closed.
    pub fn open(&self) -> Option<&v1::Incident> {
        self.all.values().rev().find(|incident| incident.closed_at_ms.is_none())
    }

    /// A page, newest first, of those older than `after`; and where the next one goes on.
    pub fn list(
        &self,
        open_only: bool,
        after: Option<Key>,
        size: usize,
    ) -> (Vec<v1::Incident>, Option<Key>) {
        let older = self.all.range(..after.unwrap_or(Key::MAX)).rev();
        let mut found = older.filter(|(_, i)| !open_only || i.closed_at_ms.is_none());
        let page: Vec<_> = found.by_ref().take(size).collect();
        let next = found.next().and(page.last()).map(|(key, _)| **key);
        (page.into_iter().map(|(_, incident)| incident.clone()).collect(), next)
    }
}
