//! Whether a gateway refuses too much of what it gets. Pure.
//!
//! A second in which one in a hundred or more was refused is not open. Where few uploads come, most
//! seconds of a gateway that refuses one in five show no refusal; so when it has refused in more than
//! one of the last [`SPAN`] to twice that, and one in a hundred of all that came in them, it goes on
//! refusing. A single refusal closes one second and no more.

use crate::{
    clock::Closing,
    planted::{Bug, is_planted},
};
use heliograph_contract::v1::{DetectorCounts, DetectorRefusals, DoorTick};

/// What of it got a gateway may refuse, as one in so many.
const REFUSED_ONE_IN: u64 = 100;
/// On the clock, in ms.
pub const SPAN: u64 = 20_000;

/// What a gateway got of late.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Refusals {
    /// Where on the clock the present span began.
    begun: u64,
    now: Counts,
    before: Counts,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counts {
    got: u64,
    refused: u64,
    /// Ticks that told of a refusal.
    ticks: u64,
}

impl Counts {
    fn of(tick: &DoorTick) -> Self {
        let got = tick.accepted.saturating_add(tick.refused);
        Self { got, refused: tick.refused, ticks: u64::from(tick.refused > 0) }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            got: self.got.saturating_add(other.got),
            refused: self.refused.saturating_add(other.refused),
            ticks: self.ticks.saturating_add(other.ticks),
        }
    }

    fn is_too_much(self) -> bool {
        self.refused > 0 && self.refused.saturating_mul(REFUSED_ONE_IN) >= self.got
    }
}

impl Refusals {
    /// Of a gateway that is new at `at` on the clock.
    pub fn begin(at: u64, tick: &DoorTick) -> Self {
        Self { begun: at, now: Counts::of(tick), before: Counts::default() }
    }

    /// A tick that was read at `at` on the clock: whether the time before it was not open.
    pub fn add(&mut self, at: u64, tick: &DoorTick) -> Option<Closing> {
        if at >= self.begun + SPAN {
            let is_next = at < self.begun + 2 * SPAN;
            self.before = if is_next { self.now } else { Counts::default() };
            (self.begun, self.now) = (at, Counts::default());
        }
        let fresh = Counts::of(tick);
        self.now = self.now.plus(fresh);
        let all = self.now.plus(self.before);
        let Counts { refused, got, .. } = match fresh.is_too_much() {
            _ if is_planted(Bug::RefusalsIgnored) => return None,
            true => fresh,
            _ if is_planted(Bug::RefusalsBySecond) => return None,
            false if all.ticks > 1 && all.is_too_much() => all,
            false => return None,
        };
        Some(Closing::Refused { refused, got })
    }
}

impl From<Counts> for DetectorCounts {
    fn from(Counts { got, refused, ticks }: Counts) -> Self {
        Self { got, refused, ticks }
    }
}

impl From<DetectorCounts> for Counts {
    fn from(DetectorCounts { got, refused, ticks }: DetectorCounts) -> Self {
        Self { got, refused, ticks }
    }
}

impl From<&Refusals> for DetectorRefusals {
    fn from(of: &Refusals) -> Self {
        Self { begun: of.begun, now: Some(of.now.into()), before: Some(of.before.into()) }
    }
}

impl From<DetectorRefusals> for Refusals {
    fn from(of: DetectorRefusals) -> Self {
        let counts = |counts: Option<DetectorCounts>| counts.unwrap_or_default().into();
        Self { begun: of.begun, now: counts(of.now), before: counts(of.before) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the seconds are closed, given what was accepted and refused in each.
    fn closed(seconds: &[(u64, u64)]) -> Vec<usize> {
        let mut refusals = Refusals::default();
        let tick = |&(accepted, refused): &(u64, u64)| DoorTick {
            accepted,
            refused,
            ..DoorTick::default()
        };
        let each = seconds.iter().enumerate();
        each.filter(|(s, of)| refusals.add(*s as u64 * 1_000, &tick(of)).is_some())
            .map(|(s, _)| s)
            .collect()
    }

    #[test]
    fn seconds_that_are_not_open() {
        let mut once = vec![(1, 0); 100];
        once[10] = (1, 1);
        assert_eq!(closed(&once), [10], "a single refusal closes its second");
        let mut twice = once.clone();
        twice[15] = (1, 1);
        assert_eq!(closed(&twice), [vec![10], (15..40).collect()].concat(), "it refuses again");
        let mut many = twice.iter().map(|(a, r)| (a * 1_000, *r)).collect::<Vec<_>>();
        assert_eq!(closed(&many), [0; 0], "two of many thousands");
        many[50] = (90, 10);
        assert_eq!(closed(&many), [50], "a bad second among many good ones");
        let bad: Vec<(u64, u64)> = (0..200).map(|s| (1, u64::from(s % 10 == 0))).collect();
        assert_eq!(closed(&bad)[0..2], [0, 10]);
        assert_eq!(closed(&bad).len(), 191, "it refuses one in eleven, and is closed throughout");
    }
}
