//! Detectors that read the log: late, again, and two at a time.

use super::World;
use crate::{
    detector::Detector,
    fault::Kind,
    queue::Event,
    spans::{Ms, SEC},
    told::decided_at,
};

const POLLS_EVERY: Ms = SEC;

#[derive(Debug)]
pub struct Reader {
    partition: u32,
    detector: Detector,
    /// A second one reads until then.
    until: Ms,
}

impl Reader {
    pub fn new(partition: u32) -> Self {
        Self { partition, detector: Detector::new(partition), until: Ms::MAX }
    }
}

impl World<'_> {
    pub(super) fn polls(&mut self, reader: usize) {
        let Reader { partition, until, .. } = self.readers[reader];
        if self.now >= until {
            return;
        }
        if !self.faults().any(|f| f.deafens(partition)) {
            self.reads(reader, self.now - self.lag(partition));
        }
        let in_ms = self.between(POLLS_EVERY / 2, 2 * POLLS_EVERY);
        self.after(in_ms, Event::Polls { reader });
    }

    fn lag(&self, partition: u32) -> Ms {
        let by = self.faults().filter_map(|f| match f.kind {
            Kind::Lags { partition: which, by } if which == partition => Some(by),
            _ => None,
        });
        by.max().unwrap_or(0)
    }

    fn reads(&mut self, reader: usize, until: Ms) {
        let Reader { partition, ref mut detector, .. } = self.readers[reader];
        let log = &self.log[partition as usize];
        let mut alerts = Vec::new();
        detector.read(log, &self.scenario.sites, until, &mut alerts);
        detector.keep_snapshot(self.now);
        for alert in alerts {
            let (_, offset) = decided_at(&alert);
            let decided = log.get(offset).map_or(self.now, |(_, record)| record.at);
            self.alerts.tell(alert, decided, self.now);
        }
    }

    pub(super) fn restores(&mut self, fault: usize) {
        if let Kind::Restarts { partition, snapshots_back } = self.scenario.faults[fault].kind {
            let reader = &mut self.readers[partition as usize];
            match reader.detector.restarted(partition, snapshots_back) {
                Ok(detector) => reader.detector = detector,
                Err(_) => self.alerts.repeats_wrong += 1,
            }
        }
    }

    pub(super) fn haunts(&mut self, fault: usize) {
        let fault = &self.scenario.faults[fault];
        if let Kind::Zombie { partition, snapshots_back } = fault.kind {
            let first = &self.readers[partition as usize].detector;
            let Ok(detector) = first.restarted(partition, snapshots_back) else {
                self.alerts.repeats_wrong += 1;
                return;
            };
            let reader = self.readers.len();
            self.readers.push(Reader { partition, detector, until: fault.to });
            self.after(0, Event::Polls { reader });
        }
    }

    /// Nobody lags any more; and one more, who reads everything once, must have said the same.
    pub(super) fn read_to_the_end(&mut self) {
        for reader in 0..self.readers.len() {
            self.reads(reader, self.now);
        }
        for (partition, log) in (0..).zip(&self.log) {
            let mut once = Vec::new();
            Detector::new(partition).read(log, &self.scenario.sites, self.now, &mut once);
            self.alerts.compare(partition, &once);
        }
    }
}
