//! What goes wrong: kinds of faults, and what each does to whom and when. Pure.
//!
//! Both the world, which acts on them, and the truth, which says when the door was shut, are
//! told by this module alone.

use crate::spans::{Ms, SEC, Spans, clock};
use std::fmt;

/// From when to when it is active, and what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub kind: Kind,
    pub from: Ms,
    pub to: Ms,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A gateway is killed; at the end it comes back as another incarnation, or it never does. Its
    /// wall clock is then off by so much, and with it the name of the incarnation.
    Dies { gateway: usize, returns: bool, wall_step_ms: i64 },
    /// All are killed; they come back one after the other.
    AllDie { apart: Ms },
    /// Each gateway in turn leaves on purpose, and is back after `away`.
    RollingRestart { apart: Ms, away: Ms },
    /// A gateway, or all at once, dies, is up for a while, and dies again.
    CrashLoops { gateway: Option<usize>, up: Ms, down: Ms },
    /// A gateway answers this share of all uploads with 503, its own to itself included, or not: that
    /// one is small.
    Refuses { gateway: usize, share: f64, spares_itself: bool },
    /// The same with a share that grows from nothing.
    Leaks { gateway: usize, share: f64 },
    /// Uploads hang, while ticks go on.
    Hangs { gateway: usize },
    /// The whole gateway stands still.
    StandsStill { gateway: usize },
    /// The log takes nothing from a gateway.
    CutOff { gateway: usize },
    /// The log takes nothing from anybody.
    LogDown,
    /// One partition takes nothing.
    PartitionDown { partition: u32 },
    /// The log's clock is off by so much.
    LogClock { step_ms: i64 },
    /// Somebody calls with bad tokens, over and over.
    Stranger,
    /// A detector reads this much behind.
    Lags { partition: u32, by: Ms },
    /// A detector stands still.
    Pauses { partition: u32 },
    /// A detector dies, and starts from one of its older snapshots.
    Restarts { partition: u32, snapshots_back: usize },
    /// A second detector reads the partition as well, from one of the older snapshots.
    Zombie { partition: u32, snapshots_back: usize },
}

/// How long a gateway that leaves still takes uploads.
pub const LEAVE_DELAY: Ms = 6 * SEC;
/// How long it then tries to say `leaving`.
pub const LEAVE_TIMEOUT: Ms = 3 * SEC;

/// A time in which a gateway does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away {
    pub from: Ms,
    pub to: Ms,
    /// It says so before; `from` is when it begins to leave.
    pub on_purpose: bool,
}

impl Fault {
    pub fn is_active(&self, at: Ms) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// When this fault keeps the gateway from running.
    pub fn away(&self, gateway: usize) -> Vec<Away> {
        let Self { from, to, .. } = *self;
        let killed = |from, to| Away { from, to, on_purpose: false };
        match self.kind {
            Kind::Dies { gateway: who, returns, .. } if who == gateway => {
                vec![killed(from, if returns { to } else { Ms::MAX })]
            }
            Kind::AllDie { apart } => vec![killed(from, to + gateway as Ms * apart)],
            Kind::RollingRestart { apart, away } => {
                let from = from + gateway as Ms * apart;
                let to = from + LEAVE_DELAY + LEAVE_TIMEOUT + away;
                vec![Away { from, to, on_purpose: true }]
            }
            Kind::CrashLoops { gateway: who, up, down } if who.is_none_or(|g| g == gateway) => {
                let deaths = (from..to).step_by((up + down) as usize);
                deaths.map(|dies| killed(dies, dies + down)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether an upload that reaches the gateway, or a tick of it, hangs.
    pub fn hangs(&self, gateway: usize) -> bool {
        matches!(self.kind, Kind::Hangs { gateway: who } | Kind::StandsStill { gateway: who }
            if who == gateway)
    }

    pub fn stands_still(&self, gateway: usize) -> bool {
        matches!(self.kind, Kind::StandsStill { gateway: who } if who == gateway)
    }

    /// Whether the log takes nothing of the gateway for the partition.
    pub fn cuts_off(&self, gateway: usize, partition: u32) -> bool {
        match self.kind {
            Kind::CutOff { gateway: who } => who == gateway,
            _ => self.bars(partition),
        }
    }

    /// Whether the partition takes nothing from anybody.
    pub fn bars(&self, partition: u32) -> bool {
        match self.kind {
            Kind::LogDown => true,
            Kind::PartitionDown { partition: which } => which == partition,
            _ => false,
        }
    }

    /// Which share of uploads the gateway refuses.
    pub fn refuses(&self, gateway: usize, at: Ms) -> f64 {
        match self.kind {
            Kind::Refuses { gateway: who, share, .. } if who == gateway => share,
            Kind::Leaks { gateway: who, share } if who == gateway => {
                let passed = at.saturating_sub(self.from) as f64;
                share * passed / (self.to - self.from) as f64
            }
            _ => 0.0,
        }
    }

    /// Which share of its uploads to itself.
    pub fn refuses_itself(&self, gateway: usize, at: Ms) -> f64 {
        match self.kind {
            Kind::Refuses { spares_itself: true, .. } => 0.0,
            _ => self.refuses(gateway, at),
        }
    }

    /// Whether the detector of the partition reads nothing new for its sake.
    pub fn deafens(&self, partition: u32) -> bool {
        matches!(self.kind, Kind::Pauses { partition: which } | Kind::Restarts { partition: which, .. }
            if which == partition)
    }
}

/// When a gateway does not run, for whatever faults: apart and in order.
pub fn away(faults: &[Fault], gateway: usize) -> Vec<Away> {
    let mut all: Vec<Away> = faults.iter().flat_map(|f| f.away(gateway)).collect();
    all.sort_unstable_by_key(|a| (a.from, a.to));
    let mut apart: Vec<Away> = Vec::with_capacity(all.len());
    for next in all {
        match apart.last_mut() {
            Some(last) if next.from <= last.to => {
                // Killed while it was about to leave.
                let still_there = last.from + LEAVE_DELAY + LEAVE_TIMEOUT;
                last.on_purpose &= next.on_purpose || next.from > still_there;
                last.to = last.to.max(next.to);
            }
            _ => apart.push(next),
        }
    }
    apart
}

/// When faults that are so are active.
pub fn active(faults: &[Fault], is_so: impl Fn(&Fault) -> bool) -> Spans {
    faults.iter().filter(|f| is_so(f)).map(|f| (f.from, f.to)).collect()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}–{} {:?}", clock(self.from), clock(self.to), self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_away_are_joined_and_a_kill_overrules_leaving() {
        let dies = |from, to| Fault {
            kind: Kind::Dies { gateway: 0, returns: true, wall_step_ms: 0 },
            from,
            to,
        };
        let restart = |from| Fault {
            kind: Kind::RollingRestart { apart: 0, away: 10 * SEC },
            from,
            to: from + 19 * SEC,
        };
        type Row = (&'static str, Vec<Fault>, &'static [(Ms, Ms, bool)]);
        let rows: &[Row] = &[
            ("killed", vec![dies(5, 9)], &[(5, 9, false)]),
            ("killed while dead", vec![dies(5, 9), dies(7, 20)], &[(5, 20, false)]),
            ("leaves", vec![restart(0)], &[(0, 19_000, true)]),
            ("killed while leaving", vec![restart(0), dies(3_000, 4_000)], &[(0, 19_000, false)]),
            ("killed when gone", vec![restart(0), dies(15_000, 60_000)], &[(0, 60_000, true)]),
        ];
        for (name, faults, want) in rows {
            let got: Vec<_> =
                away(faults, 0).iter().map(|a| (a.from, a.to, a.on_purpose)).collect();
            assert_eq!(got, *want, "{name}");
        }
    }
}
