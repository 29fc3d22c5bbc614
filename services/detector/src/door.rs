//! Whether the front door of a partition is to be called closed, for people and for the judge. Pure.
//!
//! The clock knows each second in which the door was not open; here that becomes few events: closed
//! when it has been for longer than a grace takes, open again when it has been for [`CALM_MS`]. So a
//! gateway that crashes again and again is one fault, and not one an incident.

use crate::{
    clock::{Change, Clock, Closing, GRACE_AFTER},
    staleness::At,
};
use heliograph_contract::v1::{DetectorDoor, DoorReason, DoorReport, DoorWhy};
use heliograph_domain::Timestamp;

/// A door that was closed is open when it has been for so long on the clock, in ms.
pub const CALM_MS: u64 = 300_000;
/// So many reasons are remembered.
const REASONS_MAX: usize = 8;

/// The door of one partition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Door {
    /// When it closed; none while it is open.
    closed_since: Option<Timestamp>,
    /// Where on the clock it was found open, while it is closed.
    calm_since: Option<u64>,
    /// Why it is closed, or might soon be.
    reasons: Vec<DoorReason>,
}

impl Door {
    /// After a tick: what is to be reported.
    pub fn ticked(
        &mut self,
        partition: u32,
        at: At,
        clock: &Clock,
        changes: &[Change],
    ) -> Option<DoorReport> {
        changes.iter().for_each(|change| self.hear(change));
        let shut_ms = clock.shut_ms();
        if shut_ms > GRACE_AFTER {
            self.calm_since = None;
            let since = at.append_time.plus_ms(-i64::try_from(shut_ms).unwrap_or(0));
            return self.close(partition, at, since);
        }
        self.closed_since?;
        let calm_since = *self.calm_since.get_or_insert(clock.at_ms());
        if clock.at_ms() - calm_since < CALM_MS {
            return None;
        }
        let closed_since = self.closed_since.take()?;
        self.calm_since = None;
        let reasons = std::mem::take(&mut self.reasons);
        Some(report(partition, at, closed_since, false, reasons))
    }

    /// Nobody has ticked for a while, says a detector at the partition's end.
    pub fn ticks_missing(&mut self, partition: u32, at: At) -> Option<DoorReport> {
        self.calm_since = None;
        self.because(String::new(), DoorWhy::TicksMissing);
        self.close(partition, at, at.append_time)
    }

    fn close(&mut self, partition: u32, at: At, since: Timestamp) -> Option<DoorReport> {
        if self.closed_since.is_some() {
            return None;
        }
        self.closed_since = Some(since);
        Some(report(partition, at, since, true, self.reasons.clone()))
    }

    fn hear(&mut self, change: &Change) {
        match change {
            Change::Closed { instance, why } => {
                let why = match why {
                    Closing::Restarted => DoorWhy::GatewayRestarted,
                    Closing::Away { .. } => DoorWhy::GatewayAway,
                    Closing::Refused { .. } => DoorWhy::GatewayRefused,
                    Closing::SelfUpload => DoorWhy::SelfUploadFailed,
                };
                self.because(instance.clone(), why);
            }
            Change::Lost { instance } => self.because(instance.clone(), DoorWhy::GatewayLost),
            // A moment that came to nothing.
            Change::Opened { instance } if self.closed_since.is_none() => {
                self.reasons.retain(|reason| reason.instance != *instance);
            }
            Change::Opened { .. } | Change::Joined { .. } | Change::Left { .. } => {}
        }
    }

    fn because(&mut self, instance: String, why: DoorWhy) {
        let reason = DoorReason { instance, why: why.into() };
        if self.reasons.len() < REASONS_MAX && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }
}

fn report(
    partition: u32,
    at: At,
    since: Timestamp,
    closed: bool,
    reasons: Vec<DoorReason>,
) -> DoorReport {
    DoorReport {
        partition,
        offset: at.offset,
        at_ms: at.append_time.as_ms(),
        closed,
        closed_since_ms: since.as_ms(),
        reasons,
    }
}

impl From<&Door> for DetectorDoor {
    fn from(door: &Door) -> Self {
        Self {
            closed_since_ms: door.closed_since.map(Timestamp::as_ms),
            calm_since: door.calm_since,
            reasons: door.reasons.clone(),
        }
    }
}

impl From<DetectorDoor> for Door {
    fn from(door: DetectorDoor) -> Self {
        Self {
            closed_since: door.closed_since_ms.map(Timestamp::from_ms),
            calm_since: door.calm_since,
            reasons: door.reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_contract::v1::DoorTick;

    /// A door and its clock: each tick is `(second, what it says)`.
    #[derive(Default)]
    struct Story {
        clock: Clock,
        door: Door,
        told: Vec<(i64, bool)>,
    }

    impl Story {
        fn tick(&mut self, secs: i64, change: impl FnOnce(&mut DoorTick)) {
            let at = At { offset: secs as u64, append_time: Timestamp::from_secs(secs) };
            let mut tick = DoorTick {
                instance: "a".into(),
                incarnation_ms: 1,
                accepted: 1,
                self_upload_ok: true,
                since_last_ms: Some(1_000),
                ..DoorTick::default()
            };
            change(&mut tick);
            let changes = self.clock.tick(at.append_time, &tick);
            let report = self.door.ticked(3, at, &self.clock, &changes);
            self.told.extend(report.map(|report| (secs, report.closed)));
        }

        fn open(&mut self, secs: std::ops::Range<i64>) {
            secs.for_each(|s| self.tick(s, |_| {}));
        }
    }

    #[test]
    fn a_fault_is_reported_once_and_its_end_when_it_is_calm() {
        let mut story = Story::default();
        story.open(0..10);
        // Too short to be worth a word.
        (10..15).for_each(|s| story.tick(s, |t| t.self_upload_ok = false));
        story.open(15..30);
        assert_eq!((&story.told[..], &story.door.reasons[..]), (&[][..], &[][..]));
        // Crashes again and again, 20 s each, a minute apart.
        for turn in 0..5 {
            let from = 30 + turn * 80;
            (from..from + 20).for_each(|s| story.tick(s, |t| t.self_upload_ok = false));
            story.open(from + 20..from + 80);
        }
        assert_eq!(story.told, [(40, true)]);
        story.open(430..800);
        assert_eq!(story.told.len(), 2, "{:?}", story.told);
        assert!(matches!(story.told[1], (665..=675, false)), "{:?}", story.told);
        assert_eq!(story.door, Door::default());
    }

    #[test]
    fn ticks_that_are_missing_close_it_before_one_comes() {
        let mut story = Story::default();
        story.open(0..10);
        let at = At { offset: 10, append_time: Timestamp::from_secs(40) };
        let report = story.door.ticks_missing(3, at).unwrap();
        assert!(report.closed);
        assert_eq!(
            report.reasons,
            [DoorReason { why: DoorWhy::TicksMissing.into(), ..Default::default() }]
        );
        assert_eq!(story.door.ticks_missing(3, at), None, "said once");
        story.tick(600, |t| t.since_last_ms = Some(590_000));
        story.open(601..910);
        assert_eq!(story.told.len(), 1);
        assert!(matches!(story.told[0], (895..=910, false)), "{:?}", story.told);
    }
}
