//! Kafka away in each way that it can be, on three brokers of the test's own.

use super::{PATIENCE, audited, knock, told_to_keep, until};
use crate::fleet::Fleet;
use crate::support::{Installation, OnLog, Setup, data_dir};
use anyhow::ensure;
use heliograph_testkit::kafka::Broker;
use std::time::Instant;

const LOAD: [&str; 6] =
    ["--concurrency", "4", "--readings-per-upload", "50", "--request-timeout", "20s"];
/// Uploads that must be accepted between two outages.
const UPLOADS: u64 = 100;

struct Rig {
    brokers: Broker,
    up: Installation,
    fleet: Fleet,
    /// Of a site of the test's own.
    token: String,
}

impl Rig {
    /// Uploads are taken, and more than a few.
    fn accepts(&self, when: &str) -> anyhow::Result<()> {
        let accepted = self.fleet.accepted();
        until(&format!("{when}: uploads"), || self.fleet.accepted() >= accepted + UPLOADS)
    }

    /// Everybody is told to keep their data and to come back.
    async fn refuses(&self, when: &str) -> anyhow::Result<()> {
        let refused = self.fleet.refused("503");
        let end = Instant::now() + PATIENCE;
        while !told_to_keep(&self.up, &self.token, "own").await? {
            ensure!(Instant::now() < end, "{when}: still accepted");
        }
        until(&format!("{when}: loggers are refused"), || self.fleet.refused("503") > refused)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_lost_one_by_one_and_all_at_once_lose_nothing() -> anyhow::Result<()> {
    let dir = data_dir();
    let brokers = Broker::start_cluster(3)?;
    let up = Setup::new(OnLog::Kafka, dir.path())
        .kafka(brokers.bootstrap_servers(), 3)
        .env("HELIOGRAPH_GATEWAY__APPEND_TIMEOUT", "2s")
        .env("HELIOGRAPH_GATEWAY__RETRY_AFTER_MIN", "1s")
        .env("HELIOGRAPH_GATEWAY__RETRY_AFTER_MAX", "2s")
        .env("HELIOGRAPH_LOG__KAFKA__DELIVERY_TIMEOUT_MS", "2000")
        .env("HELIOGRAPH_LOG__KAFKA__PROPERTIES__RECONNECT_BACKOFF_MAX_MS", "500")
        .env("HELIOGRAPH_WRITER__RETRY_DELAY_MAX", "300ms")
        .start()?;
    let token = up.add_site("own", "Asia/Tokyo")?;
    let fleet = Fleet::start(&up, dir.path(), 10, &LOAD)?;
    let mut rig = Rig { brokers, up, fleet, token };
    rig.accepts("well")?;

    rig.brokers.kill(0);
    rig.accepts("one of three gone")?;
    rig.brokers.kill(1);
    rig.refuses("a majority gone").await?;
    rig.brokers.restart_all(&[0, 1])?;
    rig.accepts("all are back")?;

    // Standing still, with their connections open.
    for index in 0..3 {
        rig.brokers.pause(index)?;
    }
    rig.refuses("all hang").await?;
    for index in 0..3 {
        rig.brokers.resume(index)?;
    }
    rig.accepts("all go on")?;

    rig.up.kill("store")?;
    for index in 0..3 {
        rig.brokers.kill(index);
    }
    rig.refuses("Kafka and ClickHouse gone").await?;
    rig.brokers.restart_all(&[0, 1, 2])?;
    rig.accepts("Kafka is back, ClickHouse is not")?;
    rig.up.spawn("store")?;
    rig.up.wait_ready()?;

    let own = knock(&rig.up, &rig.token, "own").await?;
    ensure!(own.status() == 200, "{}", own.status());
    let seen = rig.fleet.seen();
    ensure!(seen["uploads_dropped"] == 0, "{seen}");
    ensure!(seen["uploads_resent"].as_u64() > Some(0), "nothing was sent again: {seen}");
    let Rig { brokers, up, fleet, .. } = rig;
    audited(&up, fleet)?;
    up.stop()?;
    drop(brokers);
    Ok(())
}
