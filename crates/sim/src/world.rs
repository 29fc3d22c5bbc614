//! The world: everything that happens, one event after the other, until the time is over.
//!
//! Invariant: what happens depends on the scenario alone. What it is not: it does not judge; it
//! hands over what stood on the log and what was told.
//!
//! In the order of the flow: `uploads` (loggers and gateways), `door` (lives and ticks of gateways),
//! `registry` (what is watched), `readers` (detectors).

mod door;
mod readers;
mod registry;
mod uploads;

use crate::{
    balancer::{Balancer, CHECK_EVERY},
    fault::{Fault, Kind},
    gateway::Gateway,
    log::{self, Body},
    logger::Logger,
    oracle::{Seen, What},
    queue::{Event, Queue},
    scenario::{Rng, Scenario},
    spans::{Ms, SEC},
    told::Alerts,
};
use rand::{RngExt, SeedableRng};
use readers::Reader;

#[derive(Debug)]
pub struct World<'a> {
    scenario: &'a Scenario,
    now: Ms,
    queue: Queue,
    rng: Rng,
    log: Vec<log::Partition>,
    gateways: Vec<Gateway>,
    balancer: Balancer,
    loggers: Vec<Logger>,
    /// Whose tokens the gateways know.
    registered: Vec<bool>,
    /// Those of the partitions, in order, then second ones.
    readers: Vec<Reader>,
    seen: Vec<Vec<Seen>>,
    alerts: Alerts,
}

/// What was left when the time was over.
#[derive(Debug)]
pub struct Run {
    /// What stood on the log of each site.
    pub seen: Vec<Vec<Seen>>,
    pub alerts: Alerts,
    /// A hash of all records.
    pub digest: u64,
}

impl<'a> World<'a> {
    pub fn new(scenario: &'a Scenario) -> Self {
        let Scenario { seed, gateways, partitions, ref sites, .. } = *scenario;
        let mut world = Self {
            scenario,
            now: 0,
            queue: Queue::default(),
            // Another one than the scenario's: what is drawn there changes nothing here.
            rng: Rng::seed_from_u64(!seed),
            log: (0..partitions).map(|_| log::Partition::default()).collect(),
            gateways: (0..gateways).map(|g| Gateway::new(g, partitions)).collect(),
            balancer: Balancer::new(gateways),
            loggers: sites.iter().map(|s| Logger::new(s.patience)).collect(),
            registered: vec![false; sites.len()],
            readers: (0..partitions).map(Reader::new).collect(),
            seen: vec![Vec::new(); sites.len()],
            alerts: Alerts::default(),
        };
        world.set_up();
        world
    }

    fn set_up(&mut self) {
        let scenario = self.scenario;
        for gateway in 0..scenario.gateways {
            self.live(gateway);
        }
        self.queue.at(CHECK_EVERY, Event::Checks);
        for (number, site) in scenario.sites.iter().enumerate() {
            self.queue.at(site.phase, Event::Due { site: number, n: 0 });
            for (boots, _) in site.alive.iter().skip(1) {
                self.queue.at(boots, Event::Boots { site: number });
            }
            if let Some(first) = site.entries.first() {
                self.queue.at(first.at, Event::Registers { site: number, entry: 0 });
            }
        }
        for reader in 0..self.readers.len() {
            self.queue.at(SEC, Event::Polls { reader });
        }
        for (number, fault) in scenario.faults.iter().enumerate() {
            match fault.kind {
                Kind::Stranger => self.queue.at(fault.from, Event::Knocks { fault: number }),
                Kind::Restarts { .. } => self.queue.at(fault.to, Event::Restores { fault: number }),
                Kind::Zombie { .. } => self.queue.at(fault.from, Event::Haunts { fault: number }),
                _ => {}
            }
        }
    }

    pub fn run(mut self) -> Run {
        while let Some((at, event)) = self.queue.pop() {
            if at >= self.scenario.ends {
                break;
            }
            self.now = at;
            self.happens(event);
        }
        self.now = self.scenario.ends;
        self.read_to_the_end();
        let digest =
            |all, partition: &log::Partition| log::fnv1a(all, &partition.digest().to_be_bytes());
        let digest = self.log.iter().fold(log::FNV_OFFSET, digest);
        Run { seen: self.seen, alerts: self.alerts, digest }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Starts(gateway) => self.starts(gateway),
            Event::Dies(gateway) => self.gateways[gateway].die(),
            Event::Leaves(gateway) => self.leaves(gateway),
            Event::Closes { gateway, life } => self.closes(gateway, life),
            Event::Ticks { gateway, life } => self.ticks(gateway, life),
            Event::TickFails { gateway, life, partition } => {
                self.tick_fails(gateway, life, partition);
            }
            Event::Checks => self.checks(),
            Event::Knocks { fault } => self.knocks(fault),
            Event::Boots { site } => self.loggers[site].boots(),
            Event::Due { site, n } => self.due(site, n),
            Event::Retries { site, call } => self.retries(site, call),
            Event::Arrives(call) => self.arrives(call),
            Event::NotAppended(call) => self.not_appended(call),
            Event::GivesUp(call) => self.gives_up(call),
            Event::Hears(call, answer) => self.hears(call, answer),
            Event::Registers { site, entry } => self.registers(site, entry),
            Event::Watches { site, entry, is_repeat } => self.watches(site, entry, is_repeat),
            Event::Polls { reader } => self.polls(reader),
            Event::Restores { fault } => self.restores(fault),
            Event::Haunts { fault } => self.haunts(fault),
        }
    }

    /// What goes wrong now.
    fn faults(&self) -> impl Iterator<Item = &'a Fault> + use<'a> {
        let now = self.now;
        self.scenario.faults.iter().filter(move |f| f.is_active(now))
    }

    fn after(&mut self, ms: Ms, event: Event) {
        self.queue.at(self.now + ms, event);
    }

    fn between(&mut self, from: Ms, to: Ms) -> Ms {
        self.rng.random_range(from..=to)
    }

    fn append(&mut self, partition: u32, body: Body) -> u64 {
        let steps = self.faults().map(|f| match f.kind {
            Kind::LogClock { step_ms } => step_ms,
            _ => 0,
        });
        let step_ms: i64 = steps.sum();
        self.log[partition as usize].append(self.now, step_ms, body)
    }

    fn append_upload(&mut self, site: usize) {
        let offset = self.append(self.scenario.sites[site].partition, Body::Upload(site));
        self.seen[site].push(Seen { at: self.now, offset, what: What::Upload });
    }

    /// Whether the log takes what the gateway appends.
    fn is_cut_off(&self, gateway: usize, partition: u32) -> bool {
        self.faults().any(|f| f.cuts_off(gateway, partition))
    }

    /// What the log does not acknowledge may be there all the same, when the fault has just begun.
    fn slips_through(&mut self, gateway: usize, partition: u32) -> bool {
        let now = self.now;
        let is_new = self.faults().all(|f| !f.cuts_off(gateway, partition) || now < f.from + SEC);
        is_new && self.rng.random_bool(0.3)
    }
}
