//! A set of numbers as ranges: the uploads of a logger that got a 2xx are nearly one range.

use std::collections::BTreeMap;

/// Numbers as disjoint, non-touching ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub fn insert(&mut self, n: u64) {
        let before = self.0.range(..=n).next_back().map(|(first, last)| (*first, *last));
        let mut first = n;
        match before {
            Some((_, last)) if last >= n => return,
            Some((start, last)) if last + 1 == n => first = start,
            _ => {}
        }
        let last = n.checked_add(1).and_then(|next| self.0.remove(&next)).unwrap_or(n);
        self.0.insert(first, last);
    }

    /// `[first, last]` of each range, ascending.
    pub fn to_vec(&self) -> Vec<(u64, u64)> {
        self.0.iter().map(|(first, last)| (*first, *last)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_the_set_and_as_few_ranges_as_can_be(
            numbers in proptest::collection::vec(0u64..60, 0..80)
        ) {
            let mut ranges = Ranges::default();
            numbers.iter().for_each(|n| ranges.insert(*n));
            let set: BTreeSet<u64> = numbers.into_iter().collect();
            let got = ranges.to_vec();
            let all: Vec<u64> = got.iter().flat_map(|(first, last)| *first..=*last).collect();
            prop_assert_eq!(all, set.into_iter().collect::<Vec<_>>());
            prop_assert!(got.windows(2).all(|w| w[0].1 + 1 < w[1].0));
        }
    }
}
