//! What a member owns, as a state machine: rebalances are events, matched on (state, event).
//!
//! Pure: no Kafka, no clock. Invariant: every [`Signal`] that librdkafka sends is answered by
//! exactly one [`Step::Assign`] or [`Step::Unassign`] (it waits for that, and the whole group with
//! it), for a revocation only when every partition of it was released or is lost. A partition is
//! released when its owner says so, but a rebalance gives back all it revoked in one go.

use std::collections::BTreeSet;

/// What librdkafka wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Signal {
    Assign(Vec<u32>),
    Revoke(Vec<u32>),
    /// Like `Revoke`, but they are gone already.
    Lose(Vec<u32>),
}

/// What the driver does next, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Let librdkafka read these, then tell that they are ours.
    Assign(Vec<u32>),
    /// Let librdkafka give these back.
    Unassign(Vec<u32>),
    TellRevoked(Vec<u32>),
    TellLost(Vec<u32>),
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Steady,
    /// The group wants `all` back; `left` are not released yet.
    Draining { all: Vec<u32>, left: BTreeSet<u32> },
}

#[derive(Debug, Default)]
pub(super) struct Ownership {
    phase: Phase,
    /// Told to be ours and neither released nor lost since; `left` of a draining phase included.
    owned: BTreeSet<u32>,
}

impl Ownership {
    pub(super) fn on(&mut self, signal: Signal) -> Vec<Step> {
        match (std::mem::take(&mut self.phase), signal) {
            (Phase::Steady, Signal::Assign(parts)) => self.assign(parts),
            (Phase::Steady, Signal::Revoke(parts)) => self.drain(parts),
            (Phase::Steady, Signal::Lose(parts)) => self.lose(parts),
            (Phase::Draining { all, .. }, Signal::Lose(parts)) => self.lose(union(all, parts)),
            // Asked for more while it waits for what it asked for before.
            (Phase::Draining { all, .. }, Signal::Revoke(parts)) => {
                let known: BTreeSet<u32> = all.iter().copied().collect();
                let fresh: Vec<u32> =
                    parts.iter().copied().filter(|p| !known.contains(p)).collect();
                let mut steps = self.drain(union(all, parts));
                steps.retain_mut(|step| match step {
                    Step::TellRevoked(told) => {
                        told.retain(|p| fresh.contains(p));
                        !told.is_empty()
                    }
                    _ => true,
                });
                steps
            }
            // It no longer waits for them, so they are gone.
            (Phase::Draining { all, .. }, Signal::Assign(parts)) => {
                let mut steps = self.tell_lost(&all);
                steps.extend(self.assign(parts));
                steps
            }
        }
    }

    /// The owner is done with these. What was not revoked stays ours.
    pub(super) fn release(&mut self, parts: &[u32]) -> Vec<Step> {
        let Phase::Draining { all, left } = &mut self.phase else { return Vec::new() };
        for part in parts {
            if left.remove(part) {
                self.owned.remove(part);
            }
        }
        if !left.is_empty() {
            return Vec::new();
        }
        let all = std::mem::take(all);
        self.phase = Phase::Steady;
        vec![Step::Unassign(all)]
    }

    /// The group has thrown us out, and librdkafka tells of no revocation. Returns what is lost by
    /// it.
    pub(super) fn reset(&mut self) -> Vec<u32> {
        self.phase = Phase::Steady;
        std::mem::take(&mut self.owned).into_iter().collect()
    }

    pub(super) fn owns(&self, part: u32) -> bool {
        self.owned.contains(&part)
    }

    /// Whether its records may be handed out: ours, and not asked back.
    pub(super) fn reads(&self, part: u32) -> bool {
        let draining = matches!(&self.phase, Phase::Draining { left, .. } if left.contains(&part));
        self.owned.contains(&part) && !draining
    }

    fn assign(&mut self, parts: Vec<u32>) -> Vec<Step> {
        self.owned.extend(&parts);
        vec![Step::Assign(parts)]
    }

    fn drain(&mut self, all: Vec<u32>) -> Vec<Step> {
        let left: BTreeSet<u32> = all.iter().copied().filter(|p| self.owned.contains(p)).collect();
        if left.is_empty() {
            return vec![Step::Unassign(all)];
        }
        let told = left.iter().copied().collect();
        self.phase = Phase::Draining { all, left };
        vec![Step::TellRevoked(told)]
    }

    fn lose(&mut self, all: Vec<u32>) -> Vec<Step> {
        let told = self.tell_lost(&all);
        std::iter::once(Step::Unassign(all)).chain(told).collect()
    }

    fn tell_lost(&mut self, parts: &[u32]) -> Vec<Step> {
        let ours: Vec<u32> = parts.iter().copied().filter(|p| self.owned.remove(p)).collect();
        if ours.is_empty() { Vec::new() } else { vec![Step::TellLost(ours)] }
    }
}

fn union(mut a: Vec<u32>, b: Vec<u32>) -> Vec<u32> {
    a.extend(b);
    a.sort_unstable();
    a.dedup();
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use Signal::{Assign, Lose, Revoke};
    use proptest::prelude::*;

    fn owner_of(parts: &[u32]) -> Ownership {
        let mut o = Ownership::default();
        o.on(Assign(parts.to_vec()));
        o
    }

    #[test]
    fn a_revocation_is_given_back_when_all_of_it_is_released() {
        let mut o = owner_of(&[0, 1, 2]);
        assert_eq!(o.on(Revoke(vec![0, 1])), [Step::TellRevoked(vec![0, 1])]);
        assert!(o.owns(0) && !o.reads(0), "it may commit, but gets no records");
        assert!(o.reads(2));
        assert_eq!(o.release(&[0]), []);
        assert!(!o.owns(0) && o.owns(1));
        assert_eq!(o.release(&[1]), [Step::Unassign(vec![0, 1])]);
        assert!(o.owns(2));
    }

    #[test]
    fn a_loss_is_told_and_not_waited_for() {
        let mut o = owner_of(&[0, 1]);
        let steps = o.on(Lose(vec![0, 1]));
        assert_eq!(steps, [Step::Unassign(vec![0, 1]), Step::TellLost(vec![0, 1])]);
        assert!(!o.owns(0));
        assert_eq!(o.release(&[0]), [], "what is lost need not be released");
    }

    #[test]
    fn an_empty_revocation_is_answered_without_telling() {
        let mut o = owner_of(&[0]);
        assert_eq!(o.on(Revoke(vec![])), [Step::Unassign(vec![])]);
        assert_eq!(o.on(Assign(vec![])), [Step::Assign(vec![])]);
        assert!(o.reads(0));
    }

    #[test]
    fn a_second_revocation_tells_only_what_is_new() {
        let mut o = owner_of(&[0, 1]);
        o.on(Revoke(vec![0]));
        assert_eq!(o.on(Revoke(vec![0, 1])), [Step::TellRevoked(vec![1])]);
        assert_eq!(o.release(&[0, 1]), [Step::Unassign(vec![0, 1])]);
    }

    #[test]
    fn who_is_thrown_out_while_it_drains_has_lost_everything() {
        let mut o = owner_of(&[0, 1, 2]);
        o.on(Revoke(vec![0, 1]));
        o.release(&[0]);
        assert_eq!(o.reset(), [1, 2]);
        assert!(o.reset().is_empty());
        assert_eq!(o.release(&[1]), []);
        assert_eq!(o.on(Assign(vec![1])), [Step::Assign(vec![1])]);
        assert!(o.reads(1));
    }

    fn signal() -> impl Strategy<Value = Signal> {
        let parts = || proptest::collection::vec(0u32..4, 0..4).prop_map(|p| union(p, vec![]));
        prop_oneof![parts().prop_map(Assign), parts().prop_map(Revoke), parts().prop_map(Lose),]
    }

    proptest! {
        /// librdkafka waits for every answer: none may be forgotten, whatever it sends.
        #[test]
        fn every_signal_is_answered(signals in proptest::collection::vec(signal(), 0..40)) {
            let mut o = Ownership::default();
            let mut told = BTreeSet::new();
            for signal in signals {
                let mut steps = o.on(signal);
                let revoked: Vec<u32> = steps.iter().flat_map(|s| match s {
                    Step::TellRevoked(p) => p.clone(),
                    _ => vec![],
                }).collect();
                for p in &revoked {
                    prop_assert!(!o.reads(*p));
                }
                steps.extend(o.release(&[0, 1, 2, 3]));
                let answers =
                    steps.iter().filter(|s| matches!(s, Step::Assign(_) | Step::Unassign(_)));
                prop_assert_eq!(answers.count(), 1);
                for step in steps {
                    match step {
                        Step::Assign(p) => told.extend(p),
                        Step::TellLost(p) => told.retain(|t| !p.contains(t)),
                        Step::Unassign(_) | Step::TellRevoked(_) => {}
                    }
                }
                told.retain(|t| !revoked.contains(t));
                for p in 0..4 {
                    prop_assert_eq!(o.owns(p), told.contains(&p));
                }
            }
        }
    }
}
