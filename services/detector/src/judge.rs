//! Which faults of the platform are one incident. Pure: reports in, in the order of
//! `heliograph.cohorts`; incidents out.
//!
//! There is one incident of ours at a time: it opens with the first door that is reported closed, and
//! closes when all are open. Invariant: what comes out depends on the records of the topic and on
//! nothing else. What it is not: it delays no alert of a site; the clock of each partition does.

use crate::staleness::At;
use heliograph_contract::{
    alert::Alert,
    v1::{DoorReport, IncidentCause, IncidentClosed, IncidentOpened},
};
use std::collections::BTreeMap;

/// The doors of all partitions, and the incident that is open.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judge {
    /// The last report of each partition.
    doors: BTreeMap<u32, DoorReport>,
    incident: Option<Incident>,
}

#[derive(Debug, Clone, PartialEq)]
struct Incident {
    id: String,
    since_ms: i64,
}

impl Judge {
    /// Reads a report.
    pub fn read(&mut self, at: At, report: DoorReport) -> Option<Alert> {
        let last = self.doors.get(&report.partition);
        // Said again after a crash, or by one that did not know that it was succeeded.
        if last.is_some_and(|last| report.offset <= last.offset) {
            return None;
        }
        let closed = report.closed;
        let opened = IncidentOpened {
            cause: IncidentCause::Ours.into(),
            since_ms: report.closed_since_ms,
            reasons: report.reasons.clone(),
            partition: report.partition,
            offset: at.offset,
            decided_at_ms: at.append_time.as_ms(),
        };
        self.doors.insert(report.partition, report);
        if closed && self.incident.is_none() {
            let since_ms = opened.since_ms;
            let alert = Alert::IncidentOpened(opened);
            self.incident = Some(Incident { id: alert.id(), since_ms });
            return Some(alert);
        }
        if self.doors.values().any(|door| door.closed) {
            return None;
        }
        let Incident { id, since_ms } = self.incident.take()?;
        Some(Alert::IncidentClosed(IncidentClosed {
            incident_id: id,
            since_ms,
            offset: at.offset,
            decided_at_ms: at.append_time.as_ms(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_domain::Timestamp;

    #[test]
    fn doors_that_close_together_are_one_incident() {
        let mut judge = Judge::default();
        let mut told = Vec::new();
        // (partition, offset of the uploads, closed)
        let reports = [
            (0, 10, true),
            (1, 12, true),
            (0, 10, true),
            (0, 20, false),
            (0, 10, true),
            (1, 22, false),
            (1, 12, true),
            (2, 30, true),
            (2, 40, false),
        ];
        for (offset, (partition, of_uploads, closed)) in (0..).zip(reports) {
            let at = At { offset, append_time: Timestamp::from_secs(offset as i64) };
            let report =
                DoorReport { partition, offset: of_uploads, closed, ..DoorReport::default() };
            told.extend(judge.read(at, report).map(|alert| (offset, alert)));
        }
        let [(0, first), (5, Alert::IncidentClosed(over)), (7, second), (8, _)] = &told[..] else {
            panic!("{told:#?}")
        };
        assert_eq!(over.incident_id, first.id());
        assert_ne!(first.id(), second.id());
    }
}
