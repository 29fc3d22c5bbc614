//! A simulated detector of one partition: the product's decisions, fed from the log, with snapshots.

use crate::{
    log::{self, Body},
    scenario::Site,
    spans::{MIN, Ms},
};
use heliograph_contract::alert::Alert;
use heliograph_detector::{
    snapshot::{Snapshot, SnapshotError},
    staleness::Partition,
};
use heliograph_domain::Timestamp;
use std::collections::VecDeque;

const SNAPSHOT_EVERY: Ms = MIN;
const SNAPSHOTS_KEPT: usize = 8;
/// How many sites are judged before others may have their turn.
const JUDGED_AT_ONCE: usize = 16;

#[derive(Debug)]
pub struct Detector {
    state: Partition,
    snapshots: VecDeque<Snapshot>,
    snapshot_due: Ms,
}

impl Detector {
    pub fn new(number: u32) -> Self {
        Self {
            state: Partition::new(number),
            snapshots: VecDeque::new(),
            snapshot_due: SNAPSHOT_EVERY,
        }
    }

    /// Another one, from an older snapshot of this one: it has forgotten what came since.
    ///
    /// # Errors
    /// When the snapshot cannot be read.
    pub fn restarted(&self, number: u32, snapshots_back: usize) -> Result<Self, SnapshotError> {
        let kept = self.snapshots.len().saturating_sub(snapshots_back);
        let snapshots: VecDeque<Snapshot> = self.snapshots.range(..kept).cloned().collect();
        let state = match snapshots.back() {
            Some(snapshot) => snapshot.restore(number)?,
            None => Partition::new(number),
        };
        Ok(Self { state, snapshots, snapshot_due: self.snapshot_due })
    }

    /// Reads what was appended up to `until`.
    pub fn read(
        &mut self,
        log: &log::Partition,
        sites: &[Site],
        until: Ms,
        alerts: &mut Vec<Alert>,
    ) {
        while let Some((at, record)) =
            log.get(self.state.next_offset()).filter(|(_, r)| r.at <= until)
        {
            match &record.body {
                Body::Upload(site) => {
                    alerts.extend(self.state.upload(at, sites[*site].id.as_bytes()))
                }
                Body::Watched(said) => alerts.extend(self.state.watched(at, said)),
                Body::Tick(tick) => {
                    self.state.tick(at, tick);
                    while !self.state.judge(JUDGED_AT_ONCE, alerts) {}
                }
            }
        }
    }

    pub fn keep_snapshot(&mut self, now: Ms) {
        if now < self.snapshot_due {
            return;
        }
        self.snapshot_due = now + SNAPSHOT_EVERY;
        if self.snapshots.len() == SNAPSHOTS_KEPT {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(Snapshot::of(&self.state, Timestamp::from_ms(now as i64)));
    }
}
