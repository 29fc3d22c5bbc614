//! What a seed stands for: how many gateways, which sites, what goes wrong. Pure.
//!
//! Invariant: the same seed is the same scenario. What it is not: it runs nothing; `world` does.

use crate::{
    fault::{Fault, Kind, LEAVE_DELAY, LEAVE_TIMEOUT, active},
    spans::{HOUR, MIN, Ms, SEC, Spans},
    truth,
};
use heliograph_detector::clock::LOST_AFTER;
use heliograph_domain::{partition::partition_for, registry::stale_after_default_s};
use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};

/// The same numbers on every machine, for ever, unlike `StdRng`.
pub type Rng = Xoshiro256PlusPlus;

/// The longest `Retry-After` of a gateway.
pub const RETRY_AFTER_MAX: Ms = 30 * SEC;
/// No fault begins before this: by then the sites are known and have uploaded.
const QUIET: Ms = 10 * MIN;

#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    pub ends: Ms,
    pub gateways: usize,
    pub partitions: u32,
    pub sites: Vec<Site>,
    pub faults: Vec<Fault>,
}

/// A site and its logger.
#[derive(Debug, Clone)]
pub struct Site {
    pub id: String,
    pub partition: u32,
    /// Between two uploads.
    pub interval: Ms,
    /// It is stale after so much open time without one.
    pub limit: Ms,
    /// When it would upload first.
    pub phase: Ms,
    pub patience: Patience,
    /// When its logger runs.
    pub alive: Spans,
    /// What the registry says of it, in order.
    pub entries: Vec<Entry>,
}

/// What a logger does when an upload was not stored; it keeps the data in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Sends it again after `Retry-After`, or within half a minute where nothing was said.
    Retries,
    /// Sends it with what is due next.
    NextTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub at: Ms,
    pub removed: bool,
}

/// After how much silence a site is stale, both in seconds: by default, or where its owner is keen
/// to know, as soon as two of its uploads and two times to return allow.
pub fn stale_after_s(upload_interval_s: u32, is_keen: bool) -> u32 {
    match is_keen {
        true => 2 * upload_interval_s + 2 * (RETRY_AFTER_MAX / SEC) as u32,
        false => stale_after_default_s(upload_interval_s),
    }
}

impl Site {
    /// How long it may take to return after the door was shut.
    pub fn grace(&self) -> Ms {
        RETRY_AFTER_MAX + self.interval
    }
}

impl Scenario {
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::seed_from_u64(seed);
        let gateways = rng.random_range(1..=4u32) as usize;
        let ends = rng.random_range(HOUR..=3 * HOUR) / SEC * SEC;
        let mut scenario =
            Self { seed, ends, gateways, partitions: 3, sites: Vec::new(), faults: Vec::new() };
        let faults = if rng.random_bool(0.1) { 0 } else { rng.random_range(1..=4) };
        for _ in 0..faults {
            let fault = scenario.any_fault(&mut rng);
            scenario.faults.push(fault);
        }
        if faults > 0 {
            scenario.detectors_restart(&mut rng);
        }
        scenario.faults.sort_by_key(|f| (f.from, f.to));
        for number in 0..rng.random_range(100..=300) {
            let site = scenario.any_site(&mut rng, number);
            scenario.sites.push(site);
        }
        scenario.some_die(&mut rng);
        scenario.some_are_registered_anew(&mut rng);
        scenario
    }

    fn any_fault(&self, rng: &mut Rng) -> Fault {
        let from = rng.random_range(QUIET..self.ends - 15 * MIN);
        let to = (from + any_length(rng)).min(self.ends - 5 * MIN);
        let gateway = rng.random_range(0..self.gateways as u32) as usize;
        let partition = rng.random_range(0..self.partitions);
        let snapshots_back = rng.random_range(0..8u32) as usize;
        let kind = match rng.random_range(0..23) {
            0 | 1 => Kind::Dies { gateway, returns: true, wall_step_ms: 0 },
            2 => Kind::Dies { gateway, returns: true, wall_step_ms: any_step(rng) },
            3 => Kind::Dies { gateway, returns: false, wall_step_ms: 0 },
            4 | 5 => Kind::AllDie { apart: rng.random_range(0..20 * SEC) },
            6 => {
                let (apart, away) = (rng.random_range(0..MIN), rng.random_range(2 * SEC..40 * SEC));
                let last = apart * (self.gateways as Ms - 1);
                let to = from + last + LEAVE_DELAY + LEAVE_TIMEOUT + away;
                return Fault { kind: Kind::RollingRestart { apart, away }, from, to };
            }
            7 | 22 => {
                let gateway = rng.random_bool(0.5).then_some(gateway);
                let up = rng.random_range(SEC..2 * MIN);
                Kind::CrashLoops { gateway, up, down: rng.random_range(SEC..2 * MIN) }
            }
            8 | 9 => {
                let share = [0.01, 0.02, 0.05, 0.2, 0.5, 0.9, 1.0];
                let share = share[rng.random_range(0..7u32) as usize];
                Kind::Refuses { gateway, share, spares_itself: rng.random_bool(0.5) }
            }
            10 => Kind::Leaks { gateway, share: 1.0 },
            11 => Kind::Hangs { gateway },
            12 => Kind::StandsStill { gateway },
            13 => Kind::CutOff { gateway },
            14 => Kind::LogDown,
            15 => Kind::PartitionDown { partition },
            16 => Kind::LogClock { step_ms: any_step(rng) },
            17 => Kind::Stranger,
            18 => Kind::Lags { partition, by: rng.random_range(5 * SEC..10 * MIN) },
            19 => Kind::Pauses { partition },
            20 => Kind::Restarts { partition, snapshots_back },
            _ => Kind::Zombie { partition, snapshots_back },
        };
        let to = match kind {
            Kind::Dies { returns: false, .. } => self.ends,
            // It is given up then, but not by the balancer: no tick says any more that it refuses.
            Kind::CutOff { .. } if self.gateways > 1 => to.min(from + LOST_AFTER),
            _ => to,
        };
        Fault { kind, from, to }
    }

    /// Beside all else, as they do whenever they are replaced.
    fn detectors_restart(&mut self, rng: &mut Rng) {
        for _ in 0..rng.random_range(0..6) {
            let from = rng.random_range(QUIET..self.ends - MIN);
            let partition = rng.random_range(0..self.partitions);
            let snapshots_back = rng.random_range(0..8u32) as usize;
            let kind = Kind::Restarts { partition, snapshots_back };
            let to = from + rng.random_range(SEC..MIN);
            self.faults.push(Fault { kind, from, to });
        }
    }

    fn any_site(&self, rng: &mut Rng, number: u32) -> Site {
        let id = format!("site-{:04}-{number}", self.seed % 10_000);
        let interval_s = if rng.random_bool(0.7) { 60 } else { 900 };
        let interval = Ms::from(interval_s) * SEC;
        // Most were there before; some are registered while we look.
        let registered = match rng.random_bool(0.9) {
            true => rng.random_range(0..5 * SEC),
            false => rng.random_range(0..self.ends),
        };
        Site {
            partition: partition_for(id.as_bytes(), self.partitions),
            id,
            interval,
            limit: Ms::from(stale_after_s(interval_s, rng.random_bool(0.2))) * SEC,
            phase: registered + rng.random_range(0..interval),
            patience: if rng.random_bool(0.8) { Patience::Retries } else { Patience::NextTime },
            alive: [(registered, Ms::MAX)].into_iter().collect(),
            entries: vec![Entry { at: registered, removed: false }],
        }
    }

    /// Some sites die, at any time; in half of the seeds some do while the door is shut. Some of
    /// them come back. One or two were never alive.
    fn some_die(&mut self, rng: &mut Rng) {
        let ends = self.ends;
        let mut deaths: Vec<Ms> =
            (0..rng.random_range(1..5)).map(|_| rng.random_range(0..ends)).collect();
        let shut = active(&self.faults, truth::touches_the_door);
        if rng.random_bool(0.7) {
            for (from, to) in shut.iter() {
                deaths.extend((0..2).map(|_| rng.random_range(from..to.min(ends))));
            }
        }
        for dies in deaths {
            let back = match rng.random_bool(0.4) {
                true => dies + rng.random_range(MIN..HOUR),
                false => Ms::MAX,
            };
            let site = self.any_of_them(rng);
            let begins = site.alive.iter().next().map_or(Ms::MAX, |(from, _)| from);
            site.alive =
                [(begins.min(dies), dies), (back.max(begins), Ms::MAX)].into_iter().collect();
        }
        for _ in 0..rng.random_range(0..3) {
            self.any_of_them(rng).alive = Spans::default();
        }
    }

    /// Some sites are removed from the registry, and some of these come back.
    fn some_are_registered_anew(&mut self, rng: &mut Rng) {
        for _ in 0..rng.random_range(0..4) {
            let removed = rng.random_range(MIN..self.ends);
            let again = rng.random_bool(0.7).then(|| removed + rng.random_range(10 * SEC..HOUR));
            let site = self.any_of_them(rng);
            if site.entries.len() == 1 && site.entries[0].at + 10 * SEC < removed {
                site.entries.push(Entry { at: removed, removed: true });
                site.entries.extend(again.map(|at| Entry { at, removed: false }));
            }
        }
    }

    fn any_of_them(&mut self, rng: &mut Rng) -> &mut Site {
        let which = rng.random_range(0..self.sites.len() as u32) as usize;
        &mut self.sites[which]
    }
}

/// Seconds as likely as minutes and tens of minutes.
fn any_length(rng: &mut Rng) -> Ms {
    let (from, to) =
        [(2 * SEC, 20 * SEC), (20 * SEC, 3 * MIN), (3 * MIN, 15 * MIN), (15 * MIN, HOUR)]
            [rng.random_range(0..4u32) as usize];
    rng.random_range(from..to)
}

fn any_step(rng: &mut Rng) -> i64 {
    if rng.random_bool(0.5) { HOUR as i64 } else { -(HOUR as i64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_scenario_and_another_one_is_another() {
        let told = |seed| format!("{:?}", Scenario::of(seed));
        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
    }

    #[test]
    fn seeds_are_as_varied_as_they_should_be() {
        let all: Vec<Scenario> = (0..1_000).map(Scenario::of).collect();
        let share = |is_so: &dyn Fn(&Scenario) -> bool| {
            all.iter().filter(|s| is_so(s)).count() as f64 / all.len() as f64
        };
        let dies_inside = |s: &Scenario| {
            let shut = active(&s.faults, truth::touches_the_door);
            s.sites.iter().any(|site| site.alive.iter().any(|(_, to)| shut.covers(to)))
        };
        assert!((0.05..0.15).contains(&share(&|s| s.faults.is_empty())));
        let inside = share(&dies_inside);
        assert!(inside >= 0.5, "{inside}");
        assert!(all.iter().all(|s| s.ends >= HOUR && s.sites.len() >= 100));
    }

    #[test]
    fn a_limit_is_three_intervals_and_at_least_five_minutes() {
        let got = [(60, false), (900, false), (60, true), (900, true)]
            .map(|(interval, is_keen)| stale_after_s(interval, is_keen));
        assert_eq!(got, [300, 2_700, 180, 1_860]);
    }
}
