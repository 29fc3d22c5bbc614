//! Uploads on their way: loggers, balancer, gateways, and back.

use super::World;
use crate::{
    logger::{Answer, Step},
    queue::{Call, Event},
    scenario::RETRY_AFTER_MAX,
    spans::{Ms, SEC},
};
use rand::RngExt;

/// How long a logger waits for an answer.
const CALL_TIMEOUT: Ms = 20 * SEC;
/// How long a logger waits for a machine that is not there.
const CONNECT_TIMEOUT: Ms = 10 * SEC;
const KNOCKS_EVERY: Ms = 200;

impl World<'_> {
    pub(super) fn due(&mut self, site: usize, n: u64) {
        let plan = &self.scenario.sites[site];
        let jitter = self.rng.random_range(0..(plan.interval / 20).min(5 * SEC));
        let next = plan.phase + (n + 1) * plan.interval + jitter;
        self.queue.at(next, Event::Due { site, n: n + 1 });
        if self.is_alive(site) {
            let step = self.loggers[site].due();
            self.take(site, step);
        }
    }

    pub(super) fn retries(&mut self, site: usize, call: u32) {
        if self.is_alive(site) && self.loggers[site].call == call {
            self.take(site, Step::Call);
        }
    }

    fn take(&mut self, site: usize, step: Step) {
        match step {
            Step::Call => self.calls(site),
            Step::CallIn(ms) => {
                let call = self.loggers[site].call;
                self.after(ms, Event::Retries { site, call });
            }
            Step::Rest => {}
        }
    }

    fn calls(&mut self, site: usize) {
        self.loggers[site].calls();
        let number = self.loggers[site].call;
        let way = self.between(5, 60);
        match self.balancer.pick(&mut self.rng) {
            Some(gateway) => {
                self.after(way, Event::Arrives(Call { site, number, gateway, life: 0 }));
            }
            None => {
                let call = Call { site, number, gateway: 0, life: 0 };
                self.after(way, Event::Hears(call, Answer::Nothing));
            }
        }
    }

    pub(super) fn arrives(&mut self, call: Call) {
        let Call { site, gateway, .. } = call;
        let partition = self.scenario.sites[site].partition;
        let call = Call { life: self.gateways[gateway].life, ..call };
        if !self.gateways[gateway].takes_uploads() {
            let nobody = if self.rng.random_bool(0.5) { 20 } else { CONNECT_TIMEOUT };
            self.after(nobody, Event::Hears(call, Answer::Nothing));
        } else if self.hangs(gateway) {
            self.after(CALL_TIMEOUT, Event::GivesUp(call));
        } else if !self.registered[site] {
            self.gateways[gateway].door.enter(partition).not_counted();
            self.hears_soon(call, Answer::Rejected);
        } else if self.refuses(gateway) {
            self.refuse(call);
        } else if self.is_cut_off(gateway, partition) {
            if self.slips_through(gateway, partition) {
                self.append_upload(site);
            }
            let in_ms = self.between(50, 5 * SEC);
            self.after(in_ms, Event::NotAppended(call));
        } else {
            self.append_upload(site);
            self.gateways[gateway].door.enter(partition).accepted();
            self.hears_soon(call, Answer::Stored);
        }
    }

    pub(super) fn not_appended(&mut self, call: Call) {
        if self.is_same_life(call) {
            self.refuse(call);
        } else {
            self.hears(call, Answer::Nothing);
        }
    }

    /// Whether a gateway notices depends on the protocol.
    pub(super) fn gives_up(&mut self, call: Call) {
        if self.is_same_life(call) && self.rng.random_bool(0.5) {
            self.count_refused(call);
        }
        self.hears(call, Answer::Nothing);
    }

    fn refuse(&mut self, call: Call) {
        self.count_refused(call);
        let retry_after = self.between(1, RETRY_AFTER_MAX / SEC) * SEC;
        self.hears_soon(call, Answer::Refused { retry_after });
    }

    fn count_refused(&mut self, call: Call) {
        let partition = self.scenario.sites[call.site].partition;
        drop(self.gateways[call.gateway].door.enter(partition));
    }

    fn hears_soon(&mut self, call: Call, answer: Answer) {
        let way = self.between(5, 60);
        self.after(way, Event::Hears(call, answer));
    }

    pub(super) fn hears(&mut self, call: Call, answer: Answer) {
        let Call { site, number, .. } = call;
        if !self.is_alive(site) || self.loggers[site].call != number {
            return;
        }
        // A gateway that died took its answer with it.
        let answer = match answer {
            Answer::Nothing => answer,
            _ if self.is_same_life(call) => answer,
            _ => Answer::Nothing,
        };
        let step = self.loggers[site].answered(answer, &mut self.rng);
        self.take(site, step);
    }

    /// Somebody with a bad token.
    pub(super) fn knocks(&mut self, fault: usize) {
        let partition = self.rng.random_range(0..self.scenario.partitions);
        if let Some(gateway) = self.balancer.pick(&mut self.rng) {
            self.gateways[gateway].door.enter(partition).not_counted();
        }
        if self.now < self.scenario.faults[fault].to {
            self.after(KNOCKS_EVERY, Event::Knocks { fault });
        }
    }

    fn is_alive(&self, site: usize) -> bool {
        self.scenario.sites[site].alive.covers(self.now)
    }

    fn is_same_life(&self, call: Call) -> bool {
        self.gateways[call.gateway].life == call.life
    }
}
