//! Lives and ticks of gateways.

use super::World;
use crate::{
    balancer::CHECK_EVERY,
    fault::{self, Fault, Kind, LEAVE_DELAY, LEAVE_TIMEOUT},
    gateway::{Phase, SelfUpload, TICK_EVERY},
    log::{Body, EPOCH_MS},
    queue::Event,
    scenario::RETRY_AFTER_MAX,
    spans::{Ms, SEC},
};
use rand::RngExt;

/// How often `leaving` is tried.
const LEAVES_EVERY: Ms = SEC / 2;

impl World<'_> {
    /// All that is to come in the lives of a gateway.
    pub(super) fn live(&mut self, gateway: usize) {
        let first = self.between(0, SEC - 1);
        self.queue.at(first, Event::Starts(gateway));
        for away in fault::away(&self.scenario.faults, gateway) {
            let goes = if away.on_purpose { Event::Leaves } else { Event::Dies };
            self.queue.at(away.from, goes(gateway));
            self.queue.at(away.to, Event::Starts(gateway));
        }
    }

    pub(super) fn starts(&mut self, gateway: usize) {
        let now = self.now;
        let wall_steps = self.scenario.faults.iter().map(|f| match f.kind {
            Kind::Dies { gateway: who, wall_step_ms, .. } if who == gateway && f.to <= now => {
                wall_step_ms
            }
            _ => 0,
        });
        let incarnation_ms = EPOCH_MS + now as i64 + wall_steps.sum::<i64>();
        let starting = &mut self.gateways[gateway];
        starting.start(now, incarnation_ms, RETRY_AFTER_MAX, self.scenario.partitions);
        let life = starting.life;
        self.after(TICK_EVERY, Event::Ticks { gateway, life });
    }

    pub(super) fn leaves(&mut self, gateway: usize) {
        let leaving = &mut self.gateways[gateway];
        if leaving.phase == Phase::Up {
            leaving.phase = Phase::Leaving;
            let life = leaving.life;
            self.after(LEAVE_DELAY, Event::Closes { gateway, life });
        }
    }

    pub(super) fn closes(&mut self, gateway: usize, life: u32) {
        let until = self.now + LEAVE_TIMEOUT;
        let closing = &mut self.gateways[gateway];
        if closing.life == life {
            closing.phase = Phase::Closed { until };
        }
    }

    pub(super) fn ticks(&mut self, gateway: usize, life: u32) {
        if self.gateways[gateway].life != life {
            return;
        }
        if let Some(until) = self.stands_still_until(gateway) {
            self.queue.at(until, Event::Ticks { gateway, life });
            return;
        }
        let phase = self.gateways[gateway].phase;
        if !matches!(phase, Phase::Closed { .. }) {
            let outcome = self.self_upload(gateway);
            self.gateways[gateway].upload_to_itself(self.now, outcome);
        }
        for partition in 0..self.scenario.partitions {
            self.tick(gateway, partition);
        }
        match phase {
            Phase::Closed { until } if self.now >= until || self.gateways[gateway].has_left() => {
                self.gateways[gateway].die();
            }
            Phase::Closed { .. } => self.after(LEAVES_EVERY, Event::Ticks { gateway, life }),
            _ => self.after(TICK_EVERY, Event::Ticks { gateway, life }),
        }
    }

    fn tick(&mut self, gateway: usize, partition: u32) {
        let Some(tick) = self.gateways[gateway].tick(self.now, partition) else { return };
        if !self.is_cut_off(gateway, partition) {
            self.append(partition, Body::Tick(tick));
            self.gateways[gateway].ticked(partition, true);
            return;
        }
        if self.slips_through(gateway, partition) {
            self.append(partition, Body::Tick(tick));
        }
        let life = self.gateways[gateway].life;
        let in_ms = self.between(50, 5 * SEC);
        self.after(in_ms, Event::TickFails { gateway, life, partition });
    }

    pub(super) fn tick_fails(&mut self, gateway: usize, life: u32, partition: u32) {
        let ticking = &mut self.gateways[gateway];
        if ticking.life == life {
            ticking.ticked(partition, false);
        }
    }

    pub(super) fn checks(&mut self) {
        for gateway in 0..self.gateways.len() {
            let passes = self.gateways[gateway].phase == Phase::Up
                && self.stands_still_until(gateway).is_none();
            self.balancer.checked(gateway, passes);
        }
        self.after(CHECK_EVERY, Event::Checks);
    }

    fn self_upload(&mut self, gateway: usize) -> SelfUpload {
        let own = self.gateways[gateway].own_partition;
        if self.hangs(gateway) || self.is_cut_off(gateway, own) {
            SelfUpload::Hangs
        } else if self.happens_to(|f, now| f.refuses_itself(gateway, now)) {
            SelfUpload::Refused
        } else {
            SelfUpload::Stored
        }
    }

    pub(super) fn hangs(&self, gateway: usize) -> bool {
        self.faults().any(|f| f.hangs(gateway))
    }

    /// Whether the gateway happens to refuse the upload that it has now.
    pub(super) fn refuses(&mut self, gateway: usize) -> bool {
        self.happens_to(|f, now| f.refuses(gateway, now))
    }

    /// Whether any of the faults strikes, each with its own share.
    fn happens_to(&mut self, share: impl Fn(&Fault, Ms) -> f64) -> bool {
        let now = self.now;
        let spared: f64 = self.faults().map(|f| 1.0 - share(f, now)).product();
        spared < 1.0 && !self.rng.random_bool(spared)
    }

    fn stands_still_until(&self, gateway: usize) -> Option<Ms> {
        self.faults().filter(|f| f.stands_still(gateway)).map(|f| f.to).max()
    }
}
