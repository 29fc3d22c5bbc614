//! How long a site may take to return after the door was closed. Pure.
//!
//! Loggers that were refused come back when their `Retry-After` is over and they have something to
//! send, so a site's silence does not grow for its grace (the largest `Retry-After` plus its upload
//! interval) after each closed span. A door that opens and closes all the time must not excuse
//! everybody for ever: within any [`WINDOW`] of open time at most [`WINDOW_MAX`] is grace.
//!
//! All positions and lengths are open time of the partition's clock, in ms.

use crate::planted::{Bug, is_planted};
use std::collections::VecDeque;

/// See the module.
pub const WINDOW: u64 = 3_600_000;
/// See the module.
pub const WINDOW_MAX: u64 = WINDOW / 2;
/// Spans that end closer together than this, in ms, are one.
const APART_MIN: u64 = 10_000;
/// So many closed spans are remembered: those of a day of a door that never rests.
const SPANS_MAX: usize = 8_192;

/// Where closed spans ended, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graces {
    ends: VecDeque<u64>,
}

impl Graces {
    /// A closed span ended at `open`.
    pub fn begin(&mut self, open: u64) {
        if self.ends.back().is_some_and(|last| open < last + APART_MIN) {
            return;
        }
        if self.ends.len() == SPANS_MAX {
            self.ends.pop_front();
        }
        self.ends.push_back(open);
    }

    /// How much of the open time from `from` to `to` is grace of a site whose grace has `length`.
    pub fn within(&self, from: u64, to: u64, length: u64) -> u64 {
        let length = if is_planted(Bug::GraceEndless) { WINDOW } else { length };
        let mut granted = Granted::default();
        for end in self.ends.range(self.first_that_counts(from, length)..) {
            if *end >= to || is_planted(Bug::NoGrace) {
                break;
            }
            granted.grant(*end, end + length);
        }
        let overlap = |&(start, end): &(u64, u64)| end.min(to).saturating_sub(start.max(from));
        granted.spans.iter().map(overlap).sum()
    }

    /// Where closed spans ended, oldest first.
    pub fn ends(&self) -> impl Iterator<Item = u64> + '_ {
        self.ends.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The first closed span that has a say in the graces from `from` on: behind a whole window
    /// without grace nothing is known of what was before.
    fn first_that_counts(&self, from: u64, length: u64) -> usize {
        let mut first = self.ends.partition_point(|end| end + length <= from);
        while first > 0
            && first < self.ends.len()
            && self.ends[first] < self.ends[first - 1] + length + WINDOW
        {
            first -= 1;
        }
        first
    }
}

impl FromIterator<u64> for Graces {
    /// From where closed spans ended, oldest first.
    fn from_iter<T: IntoIterator<Item = u64>>(ends: T) -> Self {
        Self { ends: ends.into_iter().collect() }
    }
}

/// Spans of grace, apart and in order.
#[derive(Default)]
struct Granted {
    spans: Vec<(u64, u64)>,
}

impl Granted {
    /// Grants as much of `start..end` as the window allows, as early as it does.
    fn grant(&mut self, start: u64, end: u64) {
        let mut at = self.spans.last().map_or(start, |(_, granted)| start.max(*granted));
        while at < end {
            let begins = at.saturating_sub(WINDOW);
            let first = self.spans.partition_point(|(_, to)| *to <= begins);
            let used: u64 =
                self.spans[first..].iter().map(|(from, to)| to - from.max(&begins)).sum();
            let oldest = self.spans.get(first).copied();
            match oldest {
                // What leaves the window makes room as fast as it is taken.
                Some((from, to)) if from <= begins && at >= WINDOW => {
                    at = self.take(at, end.min(to + WINDOW));
                }
                _ if used < WINDOW_MAX => at = self.take(at, end.min(at + WINDOW_MAX - used)),
                Some((from, _)) => at = from + WINDOW,
                None => return,
            }
        }
    }

    fn take(&mut self, from: u64, to: u64) -> u64 {
        match self.spans.last_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ => self.spans.push((from, to)),
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIN: u64 = 60_000;

    fn graces(ends: &[u64]) -> Graces {
        let mut graces = Graces::default();
        for end in ends {
            graces.begin(*end);
        }
        graces
    }

    #[test]
    fn grace_by_rows() {
        // What it is, where closed spans ended, from where to where, how long a grace is; how much of
        // that is grace.
        type Row<'a> = (&'a str, &'a [u64], (u64, u64), u64, u64);
        let rows: &[Row<'_>] = &[
            ("no closed span, no grace", &[], (0, 100 * MIN), 2 * MIN, 0),
            ("a grace begins where the span ended", &[10 * MIN], (0, 100 * MIN), 2 * MIN, 2 * MIN),
            (
                "what lies before the silence is not part of it",
                &[10 * MIN],
                (11 * MIN, 100 * MIN),
                2 * MIN,
                MIN,
            ),
            ("what is still to come is not part of it", &[10 * MIN], (0, 11 * MIN), 2 * MIN, MIN),
            (
                "graces that overlap are one",
                &[10 * MIN, 11 * MIN],
                (0, 100 * MIN),
                2 * MIN,
                3 * MIN,
            ),
            (
                "a long one rests after half an hour",
                &[10 * MIN],
                (0, 70 * MIN),
                100 * MIN,
                30 * MIN,
            ),
            ("and goes on as the window moves on", &[10 * MIN], (0, 100 * MIN), 75 * MIN, 45 * MIN),
            (
                "twelve in an hour take half of it",
                &[5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60].map(|m| m * MIN),
                (0, 65 * MIN),
                5 * MIN,
                30 * MIN,
            ),
        ];
        for (name, ends, (from, to), length, want) in rows {
            assert_eq!(graces(ends).within(*from, *to, *length), *want, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_hour_has_more_than_half_an_hour_of_it(
            gaps in proptest::collection::vec(0u64..40 * MIN, 1..60), length in 1u64..200 * MIN,
        ) {
            let ends: Vec<u64> =
                gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let graces = graces(&ends);
            let last = ends[ends.len() - 1] + length;
            for start in (0..last).step_by((3 * MIN) as usize) {
                let within = graces.within(start, start + WINDOW, length);
                prop_assert!(within <= WINDOW_MAX, "{within} from {start}");
            }
        }

        #[test]
        fn parts_add_up_and_a_first_grace_is_given_whole(
            gaps in proptest::collection::vec(APART_MIN..40 * MIN, 1..20), length in 1u64..WINDOW_MAX, cut in 0u64..800 * MIN,
        ) {
            let ends: Vec<u64> =
                gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let graces = graces(&ends);
            let all = graces.within(0, 1 << 40, length);
            let (before, after) = (graces.within(0, cut, length), graces.within(cut, 1 << 40, length));
            prop_assert_eq!(before + after, all);
            prop_assert_eq!(graces.within(ends[0], ends[0] + length, length), length);
        }
    }
}
