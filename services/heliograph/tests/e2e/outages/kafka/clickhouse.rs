//! ClickHouse away in each way that it can be, behind a proxy that the test holds.

use crate::fleet::Fleet;
use crate::outages::{audited, until};
use crate::support::{Installation, OnLog, Setup, data_dir, memory_bytes, ports_in_a_row};
use anyhow::ensure;
use heliograph_testkit::{
    proxy::{Mood, Proxy},
    scripted::{Answer, ScriptedStore},
};
use std::{path::Path, time::Duration};

/// Uploads that must be accepted, twice in each outage: of 500 readings each, more than the writer
/// may hold of the log.
const UPLOADS: u64 = 60;
const OPEN_BYTES_MAX: u64 = 256 << 10;
const LOAD: [&str; 6] =
    ["--concurrency", "1", "--readings-per-upload", "500", "--request-timeout", "20s"];
/// Resident memory while an outage lasts, against when the writer had filled what it may hold.
const GROWTH_MAX: f64 = 1.2;

/// writer ─▶ scripted ─▶ proxy ─▶ store
struct Rig {
    up: Installation,
    scripted: ScriptedStore,
    proxy: Proxy,
    fleet: Fleet,
}

impl Rig {
    fn start(dir: &Path) -> anyhow::Result<Self> {
        let setup = Setup::new(OnLog::Kafka, dir).port_base(ports_in_a_row(Setup::ports())?);
        let proxy = Proxy::start(setup.store_addr())?;
        let scripted = ScriptedStore::start(&proxy.url())?;
        let up = setup
            .env("HELIOGRAPH_STORE__URL", scripted.url())
            .env("HELIOGRAPH_WRITER__INSERT_TIMEOUT", "2s")
            .env("HELIOGRAPH_WRITER__RETRY_DELAY_MAX", "300ms")
            .env("HELIOGRAPH_WRITER__CONSUMER__OPEN_BYTES_MAX", OPEN_BYTES_MAX.to_string())
            .env("HELIOGRAPH_LOG__KAFKA__FETCH_AHEAD_MAX_KIB", "1024")
            .start()?;
        let fleet = Fleet::start(&up, dir, 10, &LOAD)?;
        Ok(Self { up, scripted, proxy, fleet })
    }

    fn writer_bytes(&self) -> anyhow::Result<u64> {
        memory_bytes(self.up.process("writer")?.pid(), "VmRSS")
    }

    /// Statements that the writer could not get through.
    fn failed(&self) -> u64 {
        let metrics = format!("{}/metrics", self.up.ops("writer"));
        let text = get(&metrics).unwrap_or_default();
        let failures = |line: &&str| line.starts_with("heliograph_writer_insert_errors_total");
        let of_line = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        text.lines().filter(failures).filter_map(of_line).sum()
    }

    /// Goes on once the writer has felt the outage and the loggers have uploaded through it, while
    /// the writer's memory stayed what it was.
    fn live_through(&mut self, name: &str) -> anyhow::Result<()> {
        let failed = self.failed();
        until(&format!("{name}: an insert fails"), || self.failed() > failed)?;
        self.uploads(name)?;
        let full = self.writer_bytes()?;
        self.uploads(name)?;
        let later = self.writer_bytes()?;
        let growth = later as f64 / full as f64;
        ensure!(growth <= GROWTH_MAX, "{name}: the writer grew from {full} to {later} bytes");
        Ok(())
    }

    /// Waits for more uploads than the writer may hold of the log.
    fn uploads(&self, name: &str) -> anyhow::Result<()> {
        let accepted = self.fleet.accepted();
        until(&format!("{name}: uploads"), || self.fleet.accepted() >= accepted + UPLOADS)
    }

    /// The writer stores again what comes.
    fn recover(&self, name: &str) -> anyhow::Result<()> {
        let bytes = self.proxy.counts().bytes_up;
        until(&format!("{name}: rows go in again"), || {
            self.proxy.counts().bytes_up > bytes + (64 << 10)
        })
    }
}

fn get(url: &str) -> anyhow::Result<String> {
    let request = async { reqwest::get(url).await?.text().await };
    let text = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(request));
    Ok(text?)
}

type Outage = fn(&mut Rig) -> anyhow::Result<()>;

const OUTAGES: [(&str, Outage, Outage); 4] = [
    (
        "stopped",
        |rig| rig.up.kill("store"),
        |rig| {
            rig.up.spawn("store")?;
            rig.up.wait_ready()
        },
    ),
    ("cut off", |rig| turn(rig, Mood::Cut), |rig| turn(rig, Mood::Pass)),
    ("hanging", |rig| turn(rig, Mood::Hang), |rig| turn(rig, Mood::Pass)),
    (
        "slower than an insert may take",
        |rig| turn(rig, Mood::Throttle { bytes_per_second: 2_000 }),
        |rig| turn(rig, Mood::Pass),
    ),
];

fn turn(rig: &mut Rig, mood: Mood) -> anyhow::Result<()> {
    rig.proxy.set(mood);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_go_on_while_clickhouse_is_away_and_then_it_catches_up() -> anyhow::Result<()> {
    let dir = data_dir();
    let mut rig = Rig::start(dir.path())?;
    rig.uploads("before any outage")?;
    rig.recover("before any outage")?;
    for (name, begin, end) in OUTAGES {
        begin(&mut rig)?;
        rig.live_through(name)?;
        end(&mut rig)?;
        rig.recover(name)?;
    }
    // Slow, and no more: what it takes, it takes.
    rig.proxy.set(Mood::Delay(Duration::from_millis(150)));
    rig.uploads("delayed")?;
    rig.recover("delayed")?;
    rig.proxy.set(Mood::Pass);
    for answer in Answer::PASSING {
        rig.scripted.answer("INSERT", answer);
        rig.live_through(&format!("{answer:?}"))?;
        rig.scripted.forward_all();
        rig.recover(&format!("{answer:?}"))?;
    }

    let seen = rig.fleet.seen();
    let refused = seen["refused_by_status"].as_object().map(|by| by.keys().collect::<Vec<_>>());
    // A site that sends faster than its own limit is told so, as ever.
    ensure!(refused.is_some_and(|by| by.iter().all(|status| *status == "429")), "{seen}");
    ensure!(seen["uploads_unanswered"] == 0, "{seen}");
    let Rig { up, fleet, .. } = rig;
    audited(&up, fleet)?;
    up.stop()
}
