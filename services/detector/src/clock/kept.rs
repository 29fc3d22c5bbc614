//! The clock as a snapshot keeps it. Pure.

use super::{Clock, Gateway, Span};
use crate::planted::{Bug, is_planted};
use heliograph_contract::v1;
use heliograph_domain::Timestamp;

impl From<&Clock> for v1::DetectorClock {
    fn from(clock: &Clock) -> Self {
        Self {
            last_append_ms: clock.last_append.map(Timestamp::as_ms),
            at: clock.at,
            settled: clock.settled,
            open: clock.open,
            unseen: clock.unseen,
            gateways: clock
                .gateways
                .iter()
                .map(|g| v1::DetectorGateway {
                    instance: g.instance.clone(),
                    incarnation_ms: g.incarnation_ms,
                    at: g.at,
                    unseen: g.unseen,
                    is_closed: g.is_closed,
                    refusals: Some((&g.refusals).into()),
                })
                .collect(),
            closed: clock
                .closed
                .iter()
                .map(|s| v1::DetectorSpan { from: s.from, to: s.to })
                .collect(),
            gaps: clock.gaps.iter().map(|&(at, ms)| v1::DetectorGap { at, ms }).collect(),
            shut: clock.shut.filter(|_| !is_planted(Bug::SnapshotWithoutShut)),
            flickered: clock.flickered,
            opened: clock.opened,
            grace_ends: clock
                .graces
                .ends()
                .filter(|_| !is_planted(Bug::SnapshotWithoutGraces))
                .collect(),
        }
    }
}

impl From<v1::DetectorClock> for Clock {
    fn from(clock: v1::DetectorClock) -> Self {
        Self {
            last_append: clock.last_append_ms.map(Timestamp::from_ms),
            at: clock.at,
            settled: clock.settled,
            open: clock.open,
            unseen: clock.unseen,
            gateways: clock
                .gateways
                .into_iter()
                .map(|g| Gateway {
                    instance: g.instance,
                    incarnation_ms: g.incarnation_ms,
                    at: g.at,
                    unseen: g.unseen,
                    is_closed: g.is_closed,
                    refusals: g.refusals.unwrap_or_default().into(),
                })
                .collect(),
            closed: clock.closed.into_iter().map(|s| Span { from: s.from, to: s.to }).collect(),
            gaps: clock.gaps.into_iter().map(|g| (g.at, g.ms)).collect(),
            shut: clock.shut,
            flickered: clock.flickered,
            opened: clock.opened,
            graces: clock.grace_ends.into_iter().collect(),
        }
    }
}
