//! What only services of their own processes do.

use crate::support::{
    Installation, OnLog, Process, binary, data_dir, heliograph, ports_in_a_row, text, wait_for,
};
use anyhow::ensure;
use serde_json::Value;
use std::{process::Command, time::Duration};

/// Far more than a start takes.
const START_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_once_is_made_once_and_the_doctor_finds_nothing() -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(OnLog::Kafka, dir.path())?;
    // The same configuration as a file.
    let config = up.config_file()?;
    let again = heliograph(dir.path()).args(["migrate", "--config"]).arg(&config).output()?;
    ensure!(again.status.success() && !text(&again).contains("token"), "{}", text(&again));
    let doctor = ["doctor", "--json", "--token", &up.operator_token, "--config"];
    let doctor = heliograph(dir.path()).args(doctor).arg(&config).output()?;
    ensure!(doctor.status.success(), "{}", text(&doctor));
    for said in ["3 migrations applied", "6 as declared", "an operator's", "is ready"] {
        ensure!(text(&doctor).contains(said), "{said}: {}", text(&doctor));
    }
    up.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_starts_while_kafka_is_away_waits_and_says_so() -> anyhow::Result<()> {
    let dir = data_dir();
    let first = ports_in_a_row(3)?;
    let [listen, ops, nobody] = [first, first + 1, first + 2];
    let mut command = Command::new(binary("heliograph-gateway"));
    command
        .env("HELIOGRAPH_LOG__KAFKA__BOOTSTRAP_SERVERS", format!("127.0.0.1:{nobody}"))
        .env("HELIOGRAPH_LOG__KAFKA__REQUEST_TIMEOUT_MS", "1000")
        .env("HELIOGRAPH_GATEWAY__LISTEN", format!("127.0.0.1:{listen}"))
        .env("HELIOGRAPH_GATEWAY__OPS__LISTEN", format!("127.0.0.1:{ops}"));
    let mut gateway = Process::spawn(command, dir.path(), "gateway")?;
    let waits = || gateway.said().contains("cannot start yet; trying again");
    ensure!(wait_for(START_MAX, waits), "no second try: {}", gateway.said());
    let readyz = async || reqwest::get(format!("http://127.0.0.1:{ops}/readyz")).await;
    let answer: Value = readyz().await?.json().await?;
    ensure!(answer["ready"] == false && answer["reason"] == "starting", "{answer}");
    ensure!(reqwest::get(format!("http://127.0.0.1:{ops}/livez")).await?.status() == 200);
    ensure!(gateway.ended()?.is_none(), "it has ended");
    gateway.leave()
}
