//! The offset ledger: what was taken, what is done, and so what may be committed.
//!
//! Pure: no log, no I/O, no locks; owned (`&mut`) by the one consumer task. Assign and revoke are
//! inputs. Invariants: an offset is committable only when it and every taken offset below it are
//! done; an acknowledgement for an earlier assignment of a partition (another epoch) is void for
//! that; whatever was handed out is open until it is acknowledged, also what is ours no longer,
//! since whoever has it holds its memory.

use crate::port::TopicPartition;
use std::collections::{HashMap, VecDeque};

/// Counts the assignments of a partition to this member; tells a late acknowledgement from one
/// that counts.
pub type Epoch = u64;

/// Whether a record is to be processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// It is, under this epoch.
    Taken(Epoch),
    /// Its partition is not ours.
    NotOurs,
    /// Its offset is below `next`, the one after those taken: the log has gone backwards.
    Behind { next: u64 },
}

#[derive(Debug)]
struct Partition {
    epoch: Epoch,
    /// Taken and not yet committable: (offset, size, done), in offset order.
    open: VecDeque<(u64, usize, bool)>,
    /// Everything below is done; `None` until something is.
    done_below: Option<u64>,
    /// What the log has confirmed.
    committed: Option<u64>,
}

/// The ledger of all partitions of one consumer.
#[derive(Debug, Default)]
pub struct Ledger {
    partitions: HashMap<TopicPartition, Partition>,
    /// Handed out under an assignment that is over, and not acknowledged: (offset, size), in offset
    /// order.
    void: HashMap<Epoch, VecDeque<(u64, usize)>>,
    epochs: Epoch,
    open_records: usize,
    open_bytes: usize,
}

impl Ledger {
    /// The partition is ours from now on. Returns the epoch its records carry.
    pub fn assign(&mut self, tp: TopicPartition) -> Epoch {
        self.forget(&tp);
        self.epochs += 1;
        let fresh = Partition {
            epoch: self.epochs,
            open: VecDeque::new(),
            done_below: None,
            committed: None,
        };
        self.partitions.insert(tp, fresh);
        self.epochs
    }

    /// The partition is no longer ours: nothing of it is committed any more. What of it is not
    /// acknowledged stays open.
    pub fn forget(&mut self, tp: &TopicPartition) {
        let Some(p) = self.partitions.remove(tp) else { return };
        let (done, void): (Vec<_>, Vec<_>) = p.open.into_iter().partition(|(.., done)| *done);
        for (_, size, _) in done {
            self.close(size);
        }
        if !void.is_empty() {
            let void = void.into_iter().map(|(offset, size, _)| (offset, size)).collect();
            self.void.insert(p.epoch, void);
        }
    }

    /// A record was handed out. Unless it is taken, it must not be processed.
    pub fn take(&mut self, tp: &TopicPartition, offset: u64, size_bytes: usize) -> Take {
        let Some(p) = self.partitions.get_mut(tp) else { return Take::NotOurs };
        let next = p.open.back().map(|(last, ..)| last + 1).or(p.done_below).unwrap_or(0);
        if offset < next {
            return Take::Behind { next };
        }
        p.open.push_back((offset, size_bytes, false));
        self.open_records += 1;
        self.open_bytes += size_bytes;
        Take::Taken(p.epoch)
    }

    /// Everything that the record caused is acknowledged. Of another epoch it commits nothing.
    pub fn done(&mut self, tp: &TopicPartition, epoch: Epoch, offset: u64) {
        let Some(p) = self.partitions.get_mut(tp).filter(|p| p.epoch == epoch) else {
            return self.done_void(epoch, offset);
        };
        if let Ok(at) = p.open.binary_search_by_key(&offset, |(o, ..)| *o) {
            p.open[at].2 = true;
        }
        while let Some((offset, size, true)) = p.open.front().copied() {
            p.open.pop_front();
            p.done_below = Some(offset + 1);
            self.open_records -= 1;
            self.open_bytes -= size;
        }
    }

    fn done_void(&mut self, epoch: Epoch, offset: u64) {
        let Some(open) = self.void.get_mut(&epoch) else { return };
        let Ok(at) = open.binary_search_by_key(&offset, |(o, _)| *o) else { return };
        let size = open.remove(at).map_or(0, |(_, size)| size);
        if open.is_empty() {
            self.void.remove(&epoch);
        }
        self.close(size);
    }

    /// One record of this size is open no longer.
    fn close(&mut self, size_bytes: usize) {
        self.open_records -= 1;
        self.open_bytes -= size_bytes;
    }

    /// As if all that was taken were done: what a test build without its guard commits.
    pub(crate) fn done_all(&mut self) {
        for p in self.partitions.values_mut() {
            if let Some((last, ..)) = p.open.back() {
                p.done_below = Some(last + 1);
            }
            self.open_records -= p.open.len();
            self.open_bytes -= p.open.drain(..).map(|(_, size, _)| size).sum::<usize>();
        }
    }

    /// What may be committed and is not yet: (partition, offset to go on from).
    pub fn commit_plan(&self) -> Vec<(TopicPartition, u64)> {
        let mut plan: Vec<_> = self
            .partitions
            .iter()
            .filter(|(_, p)| p.done_below > p.committed)
            .filter_map(|(tp, p)| p.done_below.map(|offset| (tp.clone(), offset)))
            .collect();
        plan.sort();
        plan
    }

    /// The log has taken the plan.
    pub fn confirm_committed(&mut self, plan: &[(TopicPartition, u64)]) {
        for (tp, offset) in plan {
            if let Some(p) = self.partitions.get_mut(tp) {
                p.committed = p.committed.max(Some(*offset));
            }
        }
    }

    /// Everything of the partition below this offset is done; none until something is.
    pub fn done_below(&self, tp: &TopicPartition) -> Option<u64> {
        self.partitions.get(tp)?.done_below
    }

    /// What the log has confirmed of the partition.
    pub fn committed(&self, tp: &TopicPartition) -> Option<u64> {
        self.partitions.get(tp)?.committed
    }

    /// Whether nothing of the partition is open.
    pub fn is_drained(&self, tp: &TopicPartition) -> bool {
        self.partitions.get(tp).is_none_or(|p| p.open.is_empty())
    }

    pub fn owns(&self, tp: &TopicPartition) -> bool {
        self.partitions.contains_key(tp)
    }

    pub fn assigned(&self) -> Vec<TopicPartition> {
        self.partitions.keys().cloned().collect()
    }

    /// Records taken and not done, of any assignment. One that is done below others that are not
    /// counts until those are, as long as its partition is ours.
    pub fn open_records(&self) -> usize {
        self.open_records
    }

    /// Their size.
    pub fn open_bytes(&self) -> usize {
        self.open_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn tp(partition: u32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    #[test]
    fn an_offset_waits_for_those_below_it() {
        let mut ledger = Ledger::default();
        let epoch = ledger.assign(tp(0));
        for offset in [3, 4, 7] {
            assert_eq!(ledger.take(&tp(0), offset, 10), Take::Taken(epoch));
        }
        ledger.done(&tp(0), epoch, 4);
        assert_eq!(ledger.commit_plan(), vec![]);
        ledger.done(&tp(0), epoch, 3);
        assert_eq!(ledger.commit_plan(), vec![(tp(0), 5)]);
        ledger.confirm_committed(&[(tp(0), 5)]);
        assert_eq!(ledger.commit_plan(), vec![]);
        assert_eq!((ledger.open_records(), ledger.open_bytes()), (1, 10));
    }

    #[test]
    fn an_acknowledgement_from_before_a_revocation_is_void() {
        let mut ledger = Ledger::default();
        let old = ledger.assign(tp(0));
        ledger.take(&tp(0), 0, 1);
        ledger.forget(&tp(0));
        assert_eq!(ledger.take(&tp(0), 1, 1), Take::NotOurs, "it is revoked");
        let new = ledger.assign(tp(0));
        ledger.take(&tp(0), 0, 1);
        ledger.done(&tp(0), old, 0);
        assert_eq!(ledger.commit_plan(), vec![]);
        ledger.done(&tp(0), new, 0);
        assert_eq!(ledger.commit_plan(), vec![(tp(0), 1)]);
    }

    #[test]
    fn a_record_that_comes_again_is_not_taken_again() {
        let mut ledger = Ledger::default();
        let epoch = ledger.assign(tp(0));
        assert_eq!(ledger.take(&tp(0), 5, 1), Take::Taken(epoch));
        assert_eq!(ledger.take(&tp(0), 5, 1), Take::Behind { next: 6 });
        ledger.done(&tp(0), epoch, 5);
        assert_eq!(ledger.take(&tp(0), 5, 1), Take::Behind { next: 6 });
        assert_eq!(ledger.take(&tp(0), 6, 1), Take::Taken(epoch));
    }

    #[test]
    fn what_was_handed_out_before_a_loss_stays_open_until_it_is_acknowledged() {
        let mut ledger = Ledger::default();
        let old = ledger.assign(tp(0));
        for offset in 0..4 {
            ledger.take(&tp(0), offset, 10);
        }
        ledger.done(&tp(0), old, 2);
        ledger.forget(&tp(0));
        assert!(ledger.is_drained(&tp(0)), "nobody waits for what cannot be committed");
        assert_eq!((ledger.open_records(), ledger.open_bytes()), (3, 30), "one was done");
        let new = ledger.assign(tp(0));
        ledger.take(&tp(0), 0, 10);
        assert_eq!((ledger.open_records(), ledger.open_bytes()), (4, 40));
        for _ in 0..2 {
            ledger.done(&tp(0), old, 3);
            assert_eq!(ledger.open_records(), 3, "once, however often it is said");
        }
        ledger.done(&tp(0), new, 0);
        ledger.done(&tp(0), old, 0);
        ledger.done(&tp(0), old, 1);
        assert_eq!((ledger.open_records(), ledger.open_bytes()), (0, 0));
        assert_eq!(ledger.commit_plan(), vec![(tp(0), 1)]);
    }

    #[derive(Debug, Clone)]
    enum Op {
        Assign(u32),
        Forget(u32),
        Take(u32),
        /// Acknowledge one of everything ever handed out, by position.
        Done(usize),
        Commit,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            1 => (0u32..3).prop_map(Op::Assign),
            1 => (0u32..3).prop_map(Op::Forget),
            6 => (0u32..3).prop_map(Op::Take),
            6 => (0usize..40).prop_map(Op::Done),
            2 => Just(Op::Commit),
        ]
    }

    /// The model keeps everything and recomputes the answer from scratch.
    #[derive(Default)]
    struct Model {
        taken: BTreeMap<(u32, Epoch), BTreeMap<u64, bool>>,
        current: BTreeMap<u32, Epoch>,
    }

    impl Model {
        fn below(&self, partition: u32) -> Option<u64> {
            let taken = self.taken.get(&(partition, *self.current.get(&partition)?))?;
            taken.iter().take_while(|(_, done)| **done).last().map(|(offset, _)| offset + 1)
        }

        /// What is ours counts from the first that is not done on, what was ours where it is not.
        fn open(&self) -> usize {
            let count = |(key, taken): (&(u32, Epoch), &BTreeMap<u64, bool>)| match self
                .current
                .get(&key.0)
                == Some(&key.1)
            {
                true => taken.values().skip_while(|done| **done).count(),
                false => taken.values().filter(|done| !**done).count(),
            };
            self.taken.iter().map(count).sum()
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_naive_model(ops in proptest::collection::vec(op(), 0..200)) {
            let mut ledger = Ledger::default();
            let mut model = Model::default();
            let mut handed: Vec<(u32, Epoch, u64)> = vec![];
            let mut next = 0;
            for op in ops {
                match op {
                    Op::Assign(p) => {
                        let epoch = ledger.assign(tp(p));
                        model.current.insert(p, epoch);
                    }
                    Op::Forget(p) => {
                        ledger.forget(&tp(p));
                        model.current.remove(&p);
                    }
                    Op::Take(p) => {
                        next += 1;
                        let got = ledger.take(&tp(p), next, 7);
                        let want = model.current.get(&p).map_or(Take::NotOurs, |e| Take::Taken(*e));
                        prop_assert_eq!(got, want);
                        if let Take::Taken(epoch) = got {
                            model.taken.entry((p, epoch)).or_default().insert(next, false);
                            handed.push((p, epoch, next));
                        }
                    }
                    Op::Done(i) => if let Some((p, epoch, offset)) = handed.get(i) {
                        ledger.done(&tp(*p), *epoch, *offset);
                        model.taken.entry((*p, *epoch)).or_default().insert(*offset, true);
                    },
                    Op::Commit => {
                        let plan = ledger.commit_plan();
                        for (tp, offset) in &plan {
                            prop_assert_eq!(model.below(tp.partition), Some(*offset));
                        }
                        ledger.confirm_committed(&plan);
                        prop_assert_eq!(ledger.commit_plan(), vec![]);
                    }
                }
                prop_assert_eq!(ledger.open_records(), model.open());
                prop_assert_eq!(ledger.open_bytes(), ledger.open_records() * 7);
                for p in 0..3 {
                    let plan = ledger.commit_plan();
                    let planned = plan.iter().find(|(t, _)| t.partition == p).map(|(_, o)| *o);
                    if let Some(offset) = planned {
                        prop_assert_eq!(model.below(p), Some(offset));
                    }
                }
            }
        }
    }
}
