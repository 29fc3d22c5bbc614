//! What one logger knows it was promised: the readings that got a 2xx, and counts.
//!
//! Invariant: at every moment the checksum is of one value per reading that got a 2xx, the one
//! that must be stored in the end. What it is not: a list of readings; only those that may still
//! be corrected are kept one by one.

use super::{
    batch::Sent,
    ranges::Ranges,
    summary::{Counts, SiteSummary},
};
use heliograph_domain::{checksum::ReadingsChecksum, unit};
use std::collections::BTreeMap;

type Identity = (&'static str, &'static str, i64);

#[derive(Debug)]
pub struct SiteLedger {
    site: String,
    pub counts: Counts,
    /// Readings whose value will not change any more.
    settled: ReadingsChecksum,
    /// Readings for which a correction is planned or under way.
    open: BTreeMap<Identity, f64>,
    acked: Ranges,
}

fn identity(r: &Sent) -> Identity {
    (r.device, r.metric, r.ts_ms)
}

/// The value that must be stored for a reading that was taken.
fn stored(r: &Sent) -> f64 {
    // A reading that cannot be converted must have been rejected. If it was taken all the same,
    // the value as sent is the best guess, and the audit will show the difference.
    unit::to_stored(r.metric, r.value, r.unit).unwrap_or(r.value)
}

impl SiteLedger {
    pub fn new(site: String) -> Self {
        Self {
            site,
            counts: Counts::default(),
            settled: ReadingsChecksum::default(),
            open: BTreeMap::new(),
            acked: Ranges::default(),
        }
    }

    /// Upload `seq` got a 2xx (again, perhaps).
    pub fn acked(&mut self, seq: u64) {
        self.acked.insert(seq);
    }

    /// A reading was taken for the first time. `open`: a correction of it is planned.
    pub fn add(&mut self, r: &Sent, open: bool) {
        match open {
            true => drop(self.open.insert(identity(r), stored(r))),
            false => self.settle(identity(r), stored(r)),
        }
    }

    /// A correction was taken: `r.value` is what must be stored.
    pub fn correct(&mut self, r: &Sent) {
        self.open.remove(&identity(r));
        self.settle(identity(r), stored(r));
    }

    /// No correction of this reading will come: its value stays.
    pub fn close(&mut self, r: &Sent) {
        let identity = identity(r);
        if let Some(value) = self.open.remove(&identity) {
            self.settle(identity, value);
        }
    }

    fn settle(&mut self, (device, metric, ts_ms): Identity, value: f64) {
        self.settled.add(&self.site, device, metric, ts_ms, value);
    }

    /// One value per reading that got a 2xx.
    pub fn checksum(&self) -> ReadingsChecksum {
        let mut sum = self.settled;
        for ((device, metric, ts_ms), value) in &self.open {
            sum.add(&self.site, device, metric, *ts_ms, *value);
        }
        sum
    }

    pub fn summary(&self) -> SiteSummary {
        let sum = self.checksum();
        SiteSummary {
            site: self.site.clone(),
            counts: self.counts.clone(),
            readings: sum.count,
            checksum: sum.to_hex(),
            acked_uploads: self.acked.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(ts_ms: i64, value: f64) -> Sent {
        let (device, metric) = ("d", "ac_power");
        Sent { device, metric, ts_ms, value, unit: Some("kW"), quality: None }
    }

    #[test]
    fn the_checksum_follows_a_reading_from_its_first_value_to_its_last() {
        let mut ledger = SiteLedger::new("s".into());
        ledger.add(&reading(1, 1.0), false);
        ledger.add(&reading(2, 2.0), true);
        ledger.add(&reading(3, 3.0), true);
        let mut want = ReadingsChecksum::default();
        for n in 1..=3 {
            want.add("s", "d", "ac_power", n, n as f64 * 1e3);
        }
        assert_eq!(ledger.checksum(), want, "an open correction does not hide the value");
        ledger.correct(&reading(2, 2.5));
        ledger.close(&reading(3, 9.0));
        let mut want = ReadingsChecksum::default();
        for (n, value) in [(1, 1e3), (2, 2.5e3), (3, 3e3)] {
            want.add("s", "d", "ac_power", n, value);
        }
        assert_eq!(ledger.checksum(), want);
        ledger.close(&reading(3, 9.0));
        assert_eq!(ledger.checksum(), want, "closing twice changes nothing");
    }
}
