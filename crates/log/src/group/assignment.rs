//! Who reads which partition: pure decisions, told who comes and who goes.
//!
//! Invariants: a partition has at most one owner; an owner who is asked for a partition keeps it
//! until [`Assignment::release`] or [`Assignment::leave`]; while there are members no partition is
//! free; once all that was asked for is released, no member has two partitions more than another.
//! It moves no more partitions than balance needs. What it is not: it sends nothing and waits for
//! nobody; `group` does.

use std::collections::BTreeSet;

pub(crate) type MemberId = u64;

/// What a member has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Assign { to: MemberId, partition: u32 },
    Revoke { from: MemberId, partition: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Free,
    Owned(MemberId),
    /// Asked back from the owner, who has not released it.
    Leaving(MemberId),
}

/// The partitions of one topic among the members of one group.
#[derive(Debug)]
pub(crate) struct Assignment {
    slots: Vec<Slot>,
    members: BTreeSet<MemberId>,
}

impl Assignment {
    pub(crate) fn new(partitions: u32) -> Self {
        Self { slots: vec![Slot::Free; partitions as usize], members: BTreeSet::new() }
    }

    pub(crate) fn join(&mut self, member: MemberId) -> Vec<Change> {
        self.members.insert(member);
        self.rebalance()
    }

    /// The member is gone; all it held is free at once.
    pub(crate) fn leave(&mut self, member: MemberId) -> Vec<Change> {
        self.members.remove(&member);
        for slot in &mut self.slots {
            if matches!(*slot, Slot::Owned(m) | Slot::Leaving(m) if m == member) {
                *slot = Slot::Free;
            }
        }
        self.rebalance()
    }

    /// The member gives back what was asked for; `None` when it was not asked for it.
    pub(crate) fn release(&mut self, member: MemberId, partition: u32) -> Option<Vec<Change>> {
        let slot = self.slots.get_mut(partition as usize)?;
        if *slot != Slot::Leaving(member) {
            return None;
        }
        *slot = Slot::Free;
        Some(self.rebalance())
    }

    /// Whether the member owns the partition; an owner who is asked for it still does.
    pub(crate) fn is_owner(&self, member: MemberId, partition: u32) -> bool {
        self.slots
            .get(partition as usize)
            .is_some_and(|s| matches!(*s, Slot::Owned(m) | Slot::Leaving(m) if m == member))
    }

    /// All that the member holds.
    pub(crate) fn held(&self, member: MemberId) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|p| self.is_owner(member, *p)).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn kept(&self, member: MemberId) -> usize {
        self.slots.iter().filter(|s| **s == Slot::Owned(member)).count()
    }

    /// How many partitions each member should have. Who has more now gets the larger shares, so
    /// that less moves.
    fn quotas(&self) -> Vec<(MemberId, usize)> {
        let Some(share) = self.slots.len().checked_div(self.members.len()) else { return vec![] };
        let larger = self.slots.len() % self.members.len();
        let mut by_kept: Vec<_> = self.members.iter().map(|m| (self.kept(*m), *m)).collect();
        by_kept.sort_by_key(|(kept, member)| (std::cmp::Reverse(*kept), *member));
        by_kept
            .into_iter()
            .enumerate()
            .map(|(rank, (_, member))| (member, share + usize::from(rank < larger)))
            .collect()
    }

    fn rebalance(&mut self) -> Vec<Change> {
        let mut changes = vec![];
        for (member, quota) in self.quotas() {
            let mut surplus = self.kept(member).saturating_sub(quota);
            for (partition, slot) in self.slots.iter_mut().enumerate().rev() {
                if surplus > 0 && *slot == Slot::Owned(member) {
                    *slot = Slot::Leaving(member);
                    surplus -= 1;
                    changes.push(Change::Revoke { from: member, partition: partition as u32 });
                }
            }
            let mut room = quota.saturating_sub(self.kept(member));
            for (partition, slot) in self.slots.iter_mut().enumerate() {
                if room > 0 && *slot == Slot::Free {
                    *slot = Slot::Owned(member);
                    room -= 1;
                    changes.push(Change::Assign { to: member, partition: partition as u32 });
                }
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    enum Op {
        Join,
        /// One of the present members, by position.
        Leave(usize),
        /// One of the partitions that are asked back, by position.
        Release(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => Just(Op::Join),
            2 => (0usize..8).prop_map(Op::Leave),
            6 => (0usize..16).prop_map(Op::Release),
        ]
    }

    /// What the members believe, built from what they are told alone.
    #[derive(Default)]
    struct View {
        owned: BTreeMap<u32, MemberId>,
        asked: BTreeMap<u32, MemberId>,
    }

    impl View {
        fn apply(&mut self, changes: Vec<Change>) -> Result<(), TestCaseError> {
            for change in changes {
                match change {
                    Change::Assign { to, partition } => {
                        prop_assert!(!self.asked.contains_key(&partition), "not yet released");
                        prop_assert_eq!(self.owned.insert(partition, to), None, "two owners");
                    }
                    Change::Revoke { from, partition } => {
                        prop_assert_eq!(self.owned.remove(&partition), Some(from));
                        self.asked.insert(partition, from);
                    }
                }
            }
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn partitions_have_one_owner_and_nobody_starves(
            partitions in 1u32..20,
            ops in proptest::collection::vec(op(), 1..60),
        ) {
            let mut assignment = Assignment::new(partitions);
            let (mut view, mut members, mut next) = (View::default(), vec![], 0);
            for op in ops {
                let changes = match op {
                    Op::Join => {
                        next += 1;
                        members.push(next);
                        assignment.join(next)
                    }
                    Op::Leave(at) if at < members.len() => {
                        let gone = members.remove(at);
                        view.owned.retain(|_, m| *m != gone);
                        view.asked.retain(|_, m| *m != gone);
                        assignment.leave(gone)
                    }
                    Op::Release(at) if at < view.asked.len() => {
                        let (&partition, &member) = view.asked.iter().nth(at).unwrap();
                        view.asked.remove(&partition);
                        assignment.release(member, partition).unwrap()
                    }
                    Op::Leave(_) | Op::Release(_) => continue,
                };
                view.apply(changes)?;
                for p in 0..partitions {
                    let holder = view.owned.get(&p).or(view.asked.get(&p));
                    prop_assert_eq!(holder.is_some(), !members.is_empty(), "partition {}", p);
                    for m in &members {
                        prop_assert_eq!(assignment.is_owner(*m, p), holder == Some(m));
                    }
                }
            }
            while let Some((partition, member)) = view.asked.pop_first() {
                view.apply(assignment.release(member, partition).unwrap())?;
            }
            if !members.is_empty() {
                let share = partitions as usize / members.len();
                for m in members {
                    let has = view.owned.values().filter(|o| **o == m).count();
                    prop_assert!(has == share || has == share + 1, "{} of {}", has, share);
                }
            }
        }

        #[test]
        fn a_newcomer_moves_only_its_own_share(partitions in 1u32..40, members in 1u64..8) {
            let mut assignment = Assignment::new(partitions);
            for m in 0..members {
                let mut asked: Vec<_> = assignment.join(m).into_iter().filter_map(|c| match c {
                    Change::Revoke { from, partition } => Some((from, partition)),
                    Change::Assign { .. } => None,
                }).collect();
                while let Some((from, partition)) = asked.pop() {
                    for c in assignment.release(from, partition).unwrap() {
                        prop_assert!(matches!(c, Change::Assign { to, .. } if to == m), "{:?}", c);
                    }
                }
            }
        }
    }

    #[test]
    fn only_what_was_asked_for_can_be_released() {
        let mut assignment = Assignment::new(2);
        assignment.join(1);
        assert_eq!(assignment.release(1, 0), None, "owned, not asked for");
        assignment.join(2);
        assert_eq!(assignment.release(2, 1), None, "somebody else's");
        assert_eq!(assignment.release(1, 9), None, "no such partition");
        let handed = assignment.release(1, 1).unwrap();
        assert_eq!(handed, [Change::Assign { to: 2, partition: 1 }]);
        assert!(!assignment.is_owner(1, 1));
    }
}
