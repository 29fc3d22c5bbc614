//! Which phase a consumer is in: consuming, draining partitions that are to be given back, or
//! draining everything to leave. Pure: the time and what is drained are arguments.

use crate::port::TopicPartition;
use tokio::time::Instant;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Consuming,
    /// Some partitions were revoked; they go back when drained, or at the deadline.
    Releasing {
        tps: Vec<TopicPartition>,
        deadline: Instant,
    },
    /// Everything is to be finished before the group is left.
    Closing {
        tps: Vec<TopicPartition>,
        deadline: Instant,
    },
    Closed,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    /// Commit, forget and give back.
    Release(Vec<TopicPartition>),
    /// Commit and leave.
    Close,
}

impl Phase {
    /// Partitions were revoked. A second revocation joins the first, under the earlier deadline.
    pub fn revoke(&mut self, more: Vec<TopicPartition>, until: Instant) {
        match self {
            Self::Consuming => *self = Self::Releasing { tps: more, deadline: until },
            Self::Releasing { tps, .. } | Self::Closing { tps, .. } => tps.extend(more),
            Self::Closed => {}
        }
    }

    /// Partitions are gone: they need not be given back.
    pub fn lost(&mut self, gone: &[TopicPartition]) {
        if let Self::Releasing { tps, .. } | Self::Closing { tps, .. } = self {
            tps.retain(|tp| !gone.contains(tp));
        }
    }

    /// The service is to leave.
    pub fn close(&mut self, until: Instant) {
        let tps = match std::mem::replace(self, Self::Closed) {
            Self::Releasing { tps, .. } | Self::Closing { tps, .. } => tps,
            Self::Consuming | Self::Closed => Vec::new(),
        };
        *self = Self::Closing { tps, deadline: until };
    }

    pub fn is_closing(&self) -> bool {
        matches!(self, Self::Closing { .. } | Self::Closed)
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Releasing { deadline, .. } | Self::Closing { deadline, .. } => Some(*deadline),
            Self::Consuming | Self::Closed => None,
        }
    }

    /// What to do at `now`, given which partitions are drained and which are ours.
    pub fn step(
        &mut self,
        now: Instant,
        is_drained: impl Fn(&TopicPartition) -> bool,
        assigned: &[TopicPartition],
    ) -> Step {
        match self {
            Self::Releasing { tps, deadline } => {
                if *deadline > now && !tps.iter().all(&is_drained) {
                    return Step::Wait;
                }
                let tps = std::mem::take(tps);
                *self = Self::Consuming;
                Step::Release(tps)
            }
            Self::Closing { tps, deadline } => {
                let overdue = *deadline <= now;
                if !tps.is_empty() && (overdue || tps.iter().all(&is_drained)) {
                    return Step::Release(std::mem::take(tps));
                }
                match tps.is_empty() && (overdue || assigned.iter().all(&is_drained)) {
                    true => Step::Close,
                    false => Step::Wait,
                }
            }
            Self::Consuming | Self::Closed => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn tp(partition: u32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    #[test]
    fn revoked_partitions_go_back_when_drained() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut phase = Phase::Consuming;
        phase.revoke(vec![tp(0)], later);
        assert_eq!(phase.step(now, |_| false, &[tp(0), tp(1)]), Step::Wait);
        assert_eq!(phase.step(now, |t| *t == tp(0), &[tp(0), tp(1)]), Step::Release(vec![tp(0)]));
        assert_eq!(phase, Phase::Consuming);
    }

    #[test]
    fn at_the_deadline_they_go_back_undrained() {
        let now = Instant::now();
        let mut phase = Phase::Consuming;
        phase.revoke(vec![tp(0)], now);
        assert_eq!(phase.step(now, |_| false, &[tp(0)]), Step::Release(vec![tp(0)]));
    }

    #[test]
    fn what_is_lost_need_not_be_given_back() {
        let now = Instant::now();
        let mut phase = Phase::Consuming;
        phase.revoke(vec![tp(0), tp(1)], now + Duration::from_secs(1));
        phase.lost(&[tp(0)]);
        assert_eq!(phase.step(now, |_| true, &[tp(1)]), Step::Release(vec![tp(1)]));
    }

    #[test]
    fn leaving_gives_back_what_was_revoked_first_then_waits_for_the_rest() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut phase = Phase::Consuming;
        phase.revoke(vec![tp(0)], later);
        phase.close(later);
        assert!(phase.is_closing());
        assert_eq!(phase.step(now, |t| *t == tp(0), &[tp(1)]), Step::Release(vec![tp(0)]));
        assert_eq!(phase.step(now, |_| false, &[tp(1)]), Step::Wait);
        assert_eq!(phase.step(now, |_| true, &[tp(1)]), Step::Close);
    }
}
