//! The alerts as their readers have them: repeats are dropped by id.

use crate::spans::Ms;
use heliograph_contract::{alert::Alert, event::Encoded};
use std::collections::BTreeMap;

/// An alert, when it was truly decided and when it came out.
#[derive(Debug, Clone)]
pub struct Told {
    pub alert: Alert,
    pub partition: u32,
    pub offset: u64,
    pub decided: Ms,
    pub emitted: Ms,
}

/// First occurrences, in the order in which they came out.
#[derive(Debug, Default)]
pub struct Alerts {
    told: Vec<Told>,
    encoded: BTreeMap<String, Encoded>,
    /// Alerts that came again under their id with other bytes, or that only one of several who read
    /// the same records said.
    pub repeats_wrong: u64,
}

/// Where an alert was decided.
pub fn decided_at(alert: &Alert) -> (u32, u64) {
    match alert {
        Alert::WentStale(a) => (a.partition, a.offset),
        Alert::Recovered(a) => (a.partition, a.offset),
        Alert::IncidentOpened(a) => (0, a.offset),
        Alert::IncidentClosed(a) => (0, a.offset),
    }
}

impl Alerts {
    pub fn tell(&mut self, alert: Alert, decided: Ms, emitted: Ms) {
        let (id, encoded) = (alert.id(), alert.encode());
        match self.encoded.get(&id) {
            Some(known) => self.repeats_wrong += u64::from(*known != encoded),
            None => {
                self.encoded.insert(id, encoded);
                let (partition, offset) = decided_at(&alert);
                self.told.push(Told { alert, partition, offset, decided, emitted });
            }
        }
    }

    /// One uninterrupted pass over a partition must have said the same.
    pub fn compare(&mut self, partition: u32, once: &[Alert]) {
        let told = self.told.iter().filter(|t| t.partition == partition).count();
        let same = once.iter().filter(|a| self.encoded.get(&a.id()) == Some(&a.encode())).count();
        self.repeats_wrong += (told.max(once.len()) - same) as u64;
    }

    pub fn told(&self) -> &[Told] {
        &self.told
    }

    pub fn encoded(&self) -> impl Iterator<Item = &Encoded> {
        self.encoded.values()
    }
}
