//! Detectors that are killed, replaced and frozen while sites fall silent and return: what was told is
//! what one pass over the same uploads tells, under the same ids and with the same bytes.

use super::{Moments, kills};
use crate::{
    alerts::loggers::Loggers,
    support::{Installation, OnLog, Setup, data_dir, on_either_log, ports_in_a_row},
};
use anyhow::{Context, ensure};
use serde_json::Value;
use std::{io::Write, time::Duration};

on_either_log!(kill_9_of_detectors_tells_nothing_else,);

const SITES: usize = 60;
const INTERVAL_S: u64 = 1;
const LIMIT_S: u64 = 2;
/// The least that brokers take as delivered.
const SESSION: Duration = Duration::from_secs(6);
/// A site stands still or not until the next fault, which comes within this time.
const PACE: Duration = Duration::from_secs(4);
/// So many alerts are worth a comparison.
const ALERTS_MIN: u64 = 30;

/// What is done to the detectors, of which two run.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    /// A third one comes, and one is killed while partitions change hands.
    KillInRebalance,
    /// One stands still until the group has given its partitions away, and wakes up.
    Freeze,
}

/// As often as each is to come.
const FAULTS: [Fault; 5] =
    [Fault::Kill, Fault::KillInRebalance, Fault::Freeze, Fault::Kill, Fault::Kill];

async fn kill_9_of_detectors_tells_nothing_else(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let setup = Setup::new(on, dir.path())
        .port_base(ports_in_a_row(Setup::ports())?)
        // Who had which partition when, should it fail.
        .env("RUST_LOG", "heliograph_log=info,heliograph_detector=info,warn")
        .env("HELIOGRAPH_GATEWAY__RETRY_AFTER_MAX", "1s")
        .env("HELIOGRAPH_DETECTOR__SNAPSHOT_INTERVAL", "1s")
        .env("HELIOGRAPH_DETECTOR__SESSION_TIMEOUT", format!("{}s", SESSION.as_secs()))
        .env("HELIOGRAPH_DETECTOR__CONSUMER__DRAIN_TIMEOUT_MS", "3000");
    let mut up = setup.clone().start()?;
    let loggers = Loggers::register(&up, SITES, INTERVAL_S, LIMIT_S)?;
    let uploading = tokio::spawn(loggers.clone().run());
    let mut moments = Moments::of_seed()?;
    match on {
        OnLog::Local => {
            for _ in 0..2 * kills()? {
                shuffle(&loggers, &mut moments);
                moments.pass(PACE);
                up.kill_all();
                up = setup.clone().start()?;
            }
        }
        OnLog::Kafka => {
            up.spawn("detector-2")?;
            up.wait_ready()?;
            for fault in FAULTS.iter().cycle().take((kills()? / 2) as usize) {
                shuffle(&loggers, &mut moments);
                moments.pass(PACE);
                inflict(&mut up, *fault, &mut moments)?;
            }
            up.wait_ready()?;
        }
    }
    // Some are silent, some are back, when all is calm again.
    shuffle(&loggers, &mut moments);
    tokio::time::sleep(PACE).await;
    loggers.end();
    uploading.await??;
    let output = up.command(&["audit", "--alerts", "--settle", "60s", "--json"])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    std::io::stdout().write_all(format!("{on:?}: {said}").as_bytes())?;
    ensure!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    let audit: Value = serde_json::from_str(&said)?;
    let told = audit["told"].as_u64().context("told")?;
    ensure!(told >= ALERTS_MIN, "{said}");
    ensure!(
        audit["snapshots"].as_u64() > Some(0) && audit["notes"] == serde_json::json!([]),
        "{said}"
    );
    up.stop()
}

/// Each site stands still now, or not.
fn shuffle(loggers: &Loggers, moments: &mut Moments) {
    let (stop, resume): (Vec<&str>, Vec<&str>) =
        loggers.sites().partition(|_| moments.share() < 0.5);
    loggers.stop(&stop);
    loggers.resume(&resume);
}

fn inflict(up: &mut Installation, fault: Fault, moments: &mut Moments) -> anyhow::Result<()> {
    let one = moments.pick(&["detector", "detector-2"]).copied().unwrap_or("detector");
    match fault {
        Fault::Kill => {
            up.kill(one)?;
            up.spawn(one)
        }
        Fault::KillInRebalance => {
            up.spawn("detector-3")?;
            moments.pass(Duration::from_secs(2));
            up.kill(one)?;
            up.spawn(one)?;
            moments.pass(Duration::from_secs(1));
            // The third leaves again, in order or not.
            match moments.share() < 0.5 {
                true => up.leave("detector-3"),
                false => up.kill("detector-3"),
            }
        }
        Fault::Freeze => {
            up.process(one)?.pause()?;
            std::thread::park_timeout(SESSION.mul_f64(1.2));
            up.process(one)?.resume()
        }
    }
}
