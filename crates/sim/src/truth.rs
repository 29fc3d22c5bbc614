//! When the door was truly shut, from the injected faults alone. Pure.
//!
//! For each partition there are two answers, because nobody outside can say more than that of a door
//! that is half open:
//!
//! - **touched**: any fault that touches the door is active: a gateway is dead, restarts again and
//!   again, refuses, hangs, stands still or is cut off, the log or the partition takes nothing.
//!   Faults that overlap or follow each other within [`SETTLES`] are one span. A gateway that dies
//!   and stays away is given up after two minutes in which others tick, as the product states: from
//!   there on the door counts as open. One that leaves on purpose touches nothing, unless it could
//!   not say so or was the last.
//! - **barred**: no upload to the partition can get through at all, by whichever gateway.
//!
//! A live site may not be called silent for time that was touched; a dead one may not for time that
//! was barred. A third, **deaf**, says when the detector of the partition did not read on: for how
//! late an alert may come out, not for what it says.

use crate::{
    fault::{Away, Fault, Kind, LEAVE_DELAY, LEAVE_TIMEOUT, active, away},
    gateway::own_partition,
    scenario::Scenario,
    spans::{Ms, SEC, Spans},
};
use heliograph_detector::clock::LOST_AFTER;

/// From the end of a fault until gateways, balancer and ticks are back to normal.
pub const SETTLES: Ms = 10 * SEC;
/// From the start of a gateway to its first tick.
pub const STARTS_IN: Ms = 2 * SEC;

/// The door of one partition.
#[derive(Debug, Clone, Default)]
pub struct Door {
    pub touched: Spans,
    pub barred: Spans,
    pub deaf: Spans,
}

/// Whether uploads can fail for its sake.
pub fn touches_the_door(fault: &Fault) -> bool {
    !matches!(
        fault.kind,
        Kind::LogClock { .. }
            | Kind::Stranger
            | Kind::RollingRestart { .. }
            | Kind::Lags { .. }
            | Kind::Pauses { .. }
            | Kind::Restarts { .. }
            | Kind::Zombie { .. }
    )
}

impl Door {
    pub fn of(scenario: &Scenario, partition: u32) -> Self {
        let (faults, partitions) = (&scenario.faults, scenario.partitions);
        let gateways: Vec<One> =
            (0..scenario.gateways).map(|g| One::of(faults, g, partition, partitions)).collect();
        let all = |what: fn(&One) -> &Spans| {
            let mut spans = gateways.iter().map(what);
            let first = spans.next().cloned().unwrap_or_default();
            spans.fold(first, |all, next| all.and(next))
        };
        let (barred, still) = (all(|g| &g.barred), all(|g| &g.mute));
        let touched = gateways
            .iter()
            .flat_map(|g| g.touched.iter().chain(g.vanished(&still)))
            .chain(barred.iter())
            .collect::<Spans>()
            .longer_by(SETTLES);
        Self { touched, barred, deaf: deaf(faults, partition) }
    }
}

/// What faults do to one gateway, towards one partition.
struct One {
    /// It runs, or is said to, and uploads may fail.
    touched: Spans,
    /// No upload gets through.
    barred: Spans,
    /// No tick gets through.
    mute: Spans,
    /// It does not run and did not say that it would leave.
    killed: Vec<(Ms, Ms)>,
}

impl One {
    fn of(faults: &[Fault], gateway: usize, partition: u32, partitions: u32) -> Self {
        let away = away(faults, gateway);
        let mute = active(faults, |f| f.stands_still(gateway) || f.cuts_off(gateway, partition));
        // Who cannot say that it leaves just vanishes.
        let is_told = |a: &Away| {
            let closes = a.from + LEAVE_DELAY;
            a.on_purpose && !mute.touch(a.from, closes + LEAVE_TIMEOUT)
        };
        let killed: Vec<(Ms, Ms)> = away
            .iter()
            .filter(|a| !is_told(a))
            .map(|a| (a.from, a.to.saturating_add(STARTS_IN)))
            .collect();
        let gone: Spans = away.iter().map(|a| (a.stops(), a.to)).collect();
        let refuses_all = active(faults, |f| {
            matches!(f.kind, Kind::Refuses { .. }) && f.refuses(gateway, f.from) >= 1.0
        });
        let hangs = active(faults, |f| f.hangs(gateway));
        let own = own_partition(gateway, partitions);
        let touched =
            faults.iter().filter(|f| touches(f, gateway, partition) || f.cuts_off(gateway, own));
        Self {
            touched: touched.map(touched_span).collect(),
            barred: gone.or(&hangs).or(&mute).or(&refuses_all),
            mute: mute.or(&gone.longer_by(STARTS_IN)),
            killed,
        }
    }

    /// When it was away unannounced, up to where it is given up: that is reckoned in time in which
    /// some gateway ticks.
    fn vanished<'a>(&'a self, still: &'a Spans) -> impl Iterator<Item = (Ms, Ms)> + 'a {
        self.killed.iter().map(|&(from, to)| (from, to.min(given_up(from, still))))
    }
}

/// Faults of a gateway that runs.
fn touches(fault: &Fault, gateway: usize, partition: u32) -> bool {
    match fault.kind {
        Kind::Refuses { gateway: who, .. } | Kind::Leaks { gateway: who, .. } => who == gateway,
        Kind::CrashLoops { gateway: who, .. } => who.is_none_or(|g| g == gateway),
        _ => fault.hangs(gateway) || fault.cuts_off(gateway, partition),
    }
}

fn touched_span(fault: &Fault) -> (Ms, Ms) {
    match fault.kind {
        Kind::CrashLoops { down, .. } => (fault.from, fault.to + down + STARTS_IN),
        _ => (fault.from, fault.to),
    }
}

/// Two minutes after `from`, not counting when the clock stood still.
fn given_up(from: Ms, still: &Spans) -> Ms {
    let mut at = from.saturating_add(LOST_AFTER);
    for (start, end) in still.iter() {
        let start = start.max(from);
        if end > from && start < at {
            at = at.saturating_add(end - start);
        }
    }
    at
}

fn deaf(faults: &[Fault], partition: u32) -> Spans {
    faults
        .iter()
        .filter_map(|f| match f.kind {
            Kind::Lags { partition: which, by } if which == partition => Some((f.from, f.to + by)),
            _ if f.deafens(partition) => Some((f.from, f.to)),
            _ => None,
        })
        .collect::<Spans>()
        .longer_by(SETTLES)
}

impl Away {
    /// From when on it takes nothing.
    pub fn stops(&self) -> Ms {
        if self.on_purpose { self.from + LEAVE_DELAY } else { self.from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spans::MIN;

    fn door(gateways: usize, faults: Vec<Fault>) -> Door {
        let (sites, ends) = (Vec::new(), 120 * MIN);
        Door::of(&Scenario { seed: 0, ends, gateways, partitions: 2, sites, faults }, 0)
    }

    fn fault(from: Ms, to: Ms, kind: Kind) -> Fault {
        Fault { kind, from: from * MIN, to: to * MIN }
    }

    fn dies(gateway: usize, returns: bool) -> Kind {
        Kind::Dies { gateway, returns, wall_step_ms: 0 }
    }

    #[test]
    fn doors_by_rows() {
        // Minutes touched and barred, tails left out.
        type Rows = &'static [(u64, u64)];
        let rows: &[(&str, usize, Vec<Fault>, Rows, Rows)] = &[
            ("no fault", 2, vec![], &[], &[]),
            (
                "one of two dies and returns",
                2,
                vec![fault(10, 11, dies(0, true))],
                &[(10, 11)],
                &[],
            ),
            ("one of two never returns", 2, vec![fault(10, 60, dies(0, false))], &[(10, 12)], &[]),
            ("the only one dies", 1, vec![fault(10, 40, dies(0, true))], &[(10, 40)], &[(10, 40)]),
            (
                "one dies for good, and then the other for ten minutes",
                2,
                vec![fault(10, 60, dies(0, false)), fault(11, 21, dies(1, true))],
                &[(10, 22)],
                &[(11, 21)],
            ),
            (
                "the partition of the gateway's own site",
                1,
                vec![fault(10, 20, Kind::PartitionDown { partition: own_partition(0, 2) })],
                &[(10, 20)],
                if own_partition(0, 2) == 0 { &[(10, 20)] } else { &[] },
            ),
            ("the log", 3, vec![fault(10, 20, Kind::LogDown)], &[(10, 20)], &[(10, 20)]),
            (
                "one of two refuses",
                2,
                vec![fault(10, 20, Kind::Refuses { gateway: 1, share: 1.0, spares_itself: true })],
                &[(10, 20)],
                &[],
            ),
            (
                "what overlaps is one",
                2,
                vec![
                    fault(10, 20, Kind::Hangs { gateway: 0 }),
                    fault(15, 30, Kind::CutOff { gateway: 1 }),
                ],
                &[(10, 30)],
                &[(15, 20)],
            ),
            ("the log's clock", 1, vec![fault(10, 20, Kind::LogClock { step_ms: 1 })], &[], &[]),
        ];
        let minutes = |spans: &Spans| -> Vec<(u64, u64)> {
            spans.iter().map(|(from, to)| (from / MIN, to / MIN)).collect()
        };
        for (name, gateways, faults, touched, barred) in rows {
            let door = door(*gateways, faults.clone());
            assert_eq!(minutes(&door.touched), *touched, "{name}");
            assert_eq!(minutes(&door.barred), *barred, "{name}");
        }
    }

    #[test]
    fn who_leaves_touches_nothing_unless_it_is_the_last_or_cannot_say_so() {
        let restart = || Fault {
            kind: Kind::RollingRestart { apart: MIN, away: 20 * SEC },
            from: 10 * MIN,
            to: 12 * MIN,
        };
        assert!(door(2, vec![restart()]).touched.is_empty());
        assert!(door(1, vec![restart()]).touched.covers(10 * MIN + 7 * SEC));
        let log = Fault { kind: Kind::LogDown, from: 10 * MIN, to: 10 * MIN + 8 * SEC };
        let both = door(2, vec![restart(), log]);
        assert!(both.touched.covers(10 * MIN + 30 * SEC), "{both:?}");
    }
}
