//! Which buckets are dirty, and which of them are recomputed next. Pure.

use super::DirtyMark;
use crate::rows::{Change, SiteBucket};
use std::collections::{BTreeMap, btree_map::Entry};

/// The dirty buckets of our partitions, coalesced: a bucket stands once, with its newest change.
#[derive(Debug, Default)]
pub struct DirtySet {
    buckets: BTreeMap<SiteBucket, Change>,
}

impl DirtySet {
    pub fn mark(&mut self, marks: impl IntoIterator<Item = DirtyMark>) {
        for DirtyMark { bucket, change } in marks {
            match self.buckets.entry(bucket) {
                Entry::Vacant(entry) => drop(entry.insert(change)),
                Entry::Occupied(mut entry) if entry.get().offset < change.offset => {
                    entry.insert(change);
                }
                Entry::Occupied(_) => {}
            }
        }
    }

    /// The next round: at most `round_max` buckets, of one site as far as possible, so that a
    /// round reads few sites.
    pub fn take_round(&mut self, round_max: usize) -> Vec<DirtyMark> {
        let keys: Vec<SiteBucket> = self.buckets.keys().take(round_max).cloned().collect();
        keys.into_iter()
            .filter_map(|key| self.buckets.remove_entry(&key))
            .map(DirtyMark::from)
            .collect()
    }

    /// The partition is no longer ours: its new owner reads its dirty buckets from ClickHouse.
    pub fn forget_partition(&mut self, partition: u32) {
        self.buckets.retain(|_, change| change.partition != partition);
    }

    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

/// How many buckets the next round takes.
///
/// A statement that ClickHouse cannot carry out in its time or memory would fail for ever if it were
/// only tried again; so a round that fails is halved, and one that goes well is doubled again.
#[derive(Debug)]
pub struct RoundSize {
    buckets: usize,
    max: usize,
}

impl RoundSize {
    pub fn new(max: usize) -> Self {
        Self { buckets: max.max(1), max: max.max(1) }
    }

    pub fn buckets(&self) -> usize {
        self.buckets
    }

    pub fn failed(&mut self) {
        self.buckets = (self.buckets / 2).max(1);
    }

    pub fn went_well(&mut self) {
        self.buckets = self.buckets.saturating_mul(2).min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_domain::{SiteId, Timestamp};

    fn mark(site: &str, start_min: i64, partition: u32, offset: u64) -> DirtyMark {
        DirtyMark {
            bucket: SiteBucket {
                site: SiteId::parse(site).unwrap(),
                start: Timestamp::from_secs(start_min * 60),
            },
            change: Change { partition, offset },
        }
    }

    #[test]
    fn a_bucket_stands_once_with_its_newest_change() {
        let mut set = DirtySet::default();
        set.mark([mark("a", 0, 1, 5), mark("a", 0, 1, 9), mark("a", 0, 1, 7)]);
        assert_eq!(set.take_round(10), [mark("a", 0, 1, 9)]);
        assert!(set.is_empty());
    }

    #[test]
    fn a_round_is_bounded_and_stays_with_a_site() {
        let mut set = DirtySet::default();
        set.mark([mark("b", 0, 1, 1), mark("a", 15, 1, 1), mark("a", 0, 1, 1)]);
        assert_eq!(set.take_round(2), [mark("a", 0, 1, 1), mark("a", 15, 1, 1)]);
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn a_partition_that_is_gone_is_forgotten() {
        let mut set = DirtySet::default();
        set.mark([mark("a", 0, 1, 1), mark("b", 0, 2, 1)]);
        set.forget_partition(1);
        assert_eq!(set.take_round(9), [mark("b", 0, 2, 1)]);
    }

    #[test]
    fn a_round_that_fails_is_halved_down_to_one_bucket_and_grows_again_to_its_limit() {
        let mut round = RoundSize::new(5_000);
        round.failed();
        assert_eq!(round.buckets(), 2_500);
        for _ in 0..20 {
            round.failed();
        }
        assert_eq!(round.buckets(), 1);
        for _ in 0..20 {
            round.went_well();
        }
        assert_eq!(round.buckets(), 5_000);
    }
}
