//! Services of their own processes: gateways, writers, brokers and the store are killed, writers
//! come, leave, and stand still for longer than their session.

use super::{
    Counts, INTERVALS, Moments, audit, has_open_insert, is_between_insert_and_commit, kills,
    loggers, misses_an_answer, publish,
};
use crate::{
    fleet::Fleet,
    support::{Installation, OnLog, Setup, data_dir},
    unguarded,
};
use heliograph_testkit::kafka::Broker;
use std::time::Duration;

const BROKERS: usize = 3;
/// The least that brokers take as delivered.
const SESSION: Duration = Duration::from_secs(6);

/// What is done to the installation.
#[derive(Debug, Clone, Copy)]
enum Fault {
    KillGateway,
    KillWriter,
    KillStore,
    KillBroker,
    /// A third writer comes, and one is killed while partitions change hands.
    KillInRebalance,
    /// A writer stands still until the group has given its partitions away.
    PauseWriter,
}

/// As often as each is to come.
const FAULTS: [Fault; 10] = [
    Fault::KillGateway,
    Fault::KillGateway,
    Fault::KillWriter,
    Fault::KillWriter,
    Fault::KillWriter,
    Fault::KillStore,
    Fault::KillStore,
    Fault::KillBroker,
    Fault::KillInRebalance,
    Fault::PauseWriter,
];

struct Rig {
    brokers: Broker,
    up: Installation,
    fleet: Fleet,
    moments: Moments,
    counts: Counts,
}

impl Rig {
    fn inflict(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::KillGateway => {
                let unanswered = self.fleet.unanswered();
                self.kill("gateway")?;
                self.counts.met("append", misses_an_answer(&self.fleet, unanswered));
                self.up.spawn("gateway")
            }
            Fault::KillWriter => {
                let writer = self.writer();
                self.kill(writer)?;
                self.look_at_inserts();
                self.up.spawn(writer)
            }
            Fault::KillStore => {
                self.kill("store")?;
                self.counts.met("insert", has_open_insert(&self.up.data_dir));
                self.up.spawn("store")
            }
            Fault::KillBroker => {
                let broker = (self.moments.share() * BROKERS as f64) as usize;
                self.brokers.kill(broker);
                self.counts.killed("broker");
                self.moments.pass(Duration::from_secs(1));
                self.brokers.restart(broker)
            }
            Fault::KillInRebalance => {
                self.up.spawn("writer-3")?;
                self.moments.pass(Duration::from_secs(2));
                let writer = self.writer();
                self.kill(writer)?;
                self.counts.met("rebalance", true);
                self.counts.rebalances += 2;
                self.up.spawn(writer)?;
                self.moments.pass(Duration::from_secs(1));
                // The third leaves again, in order or not.
                match self.moments.share() < 0.5 {
                    true => self.up.leave("writer-3"),
                    false => self.kill("writer-3"),
                }
            }
            Fault::PauseWriter => {
                let writer = self.writer();
                self.up.process(writer)?.pause()?;
                // Longer than its session, so that others have its partitions when it wakes up.
                std::thread::park_timeout(SESSION.mul_f64(1.2));
                self.counts.pauses += 1;
                self.up.process(writer)?.resume()
            }
        }
    }

    fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.up.kill(name)?;
        self.counts.killed(name);
        Ok(())
    }

    fn writer(&mut self) -> &'static str {
        self.moments.pick(&["writer", "writer-2"]).copied().unwrap_or("writer")
    }

    /// What a killed writer left open. While the store is away nobody can say.
    fn look_at_inserts(&mut self) {
        let dir = &self.up.data_dir;
        self.counts.met("insert", has_open_insert(dir));
        if let Ok(is_between) = is_between_insert_and_commit(dir) {
            self.counts.met("insert_to_commit", is_between);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_any_process_loses_nothing_and_doubles_nothing() -> anyhow::Result<()> {
    let dir = data_dir();
    let brokers = Broker::start_cluster(BROKERS)?;
    let mut setup = Setup::new(OnLog::Kafka, dir.path())
        .kafka(brokers.bootstrap_servers(), 3)
        .env("HELIOGRAPH_WRITER__SESSION_TIMEOUT", format!("{}s", SESSION.as_secs()))
        .env("HELIOGRAPH_WRITER__CONSUMER__DRAIN_TIMEOUT_MS", "3000");
    for (name, value) in INTERVALS.into_iter().chain(unguarded::env()) {
        setup = setup.env(name, value);
    }
    let mut up = setup.start()?;
    unguarded::tables(&up).await?;
    up.spawn("writer-2")?;
    up.wait_ready()?;
    let fleet = loggers(&up)?;
    let (moments, counts) = (Moments::of_seed()?, Counts::default());
    let mut rig = Rig { brokers, up, fleet, moments, counts };
    while rig.counts.kills < kills()? {
        rig.moments.pass(Duration::from_millis(1_500));
        let fault = rig.moments.pick(&FAULTS).copied().unwrap_or(Fault::KillWriter);
        rig.inflict(fault)?;
    }
    let Rig { mut up, fleet, mut counts, brokers: _brokers, .. } = rig;
    up.wait_ready()?;
    audit(fleet, &up, &mut counts)?;
    publish("kafka", &counts)?;
    up.stop()?;
    counts.check()
}
