//! `freshness`: from the 2xx of an upload to its reading in an answer of `QueryReadings`.
//!
//! The whole installation under half of the load that this machine can carry: a low load shows what
//! an upload costs all processes together, the clients among them, in CPU time; the rate at which
//! that would take half of the cores is half load. Beside it a site of its own sends one reading 25
//! times a second and asks for it every few milliseconds. A reading that does not come within 20 s is
//! lost.

use crate::{
    load::{Arrivals, Load},
    procs,
    report::{Measured, Outcome, Want},
    rig::{Rig, WRITERS},
    stats::percentile,
    uploads::{Fleet, START_MS},
};
use anyhow::{Context, bail, ensure};
use heliograph_contract::v1;
use heliograph_domain::Timestamp;
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

const REPETITIONS: usize = 5;
const SITES: u64 = 500;
const CALIBRATION_PER_SECOND: f64 = 100.0;
const CALIBRATION: Duration = Duration::from_secs(5);
const RUN: Duration = Duration::from_secs(10);
const PROBES_PER_SECOND: f64 = 25.0;
const POLL: Duration = Duration::from_millis(5);
const LOST_AFTER: Duration = Duration::from_secs(20);
const P50_SECS: f64 = 0.6;
const P99_SECS: f64 = 1.5;
const PROBE: &str = "probe";

/// See the module.
pub async fn freshness() -> anyhow::Result<Vec<Outcome>> {
    let rig = Rig::start(&[])?;
    let tokens = rig.register(SITES, &["Asia/Tokyo", "Europe/Berlin", "UTC"])?;
    let probe = rig.it.add_site(PROBE, "Asia/Tokyo")?;
    let mut under = Under { rig: &rig, tokens, sent: 0 };
    let per_second = under.half_load().await?;
    let (mut middle, mut worst, mut busy) = (Vec::new(), Vec::new(), Vec::new());
    for repetition in 0..REPETITIONS {
        let before = procs::cpu()?;
        let load = under.load(per_second, RUN)?;
        let probing = Probing::new(&rig, &probe, repetition);
        let (load, delays) = tokio::join!(load.run(), probing.run(RUN));
        let (load, delays) = (load?, delays?);
        ensure!(load.accepted() == load.samples.len() as u64, "refused: {:?}", load.statuses());
        middle.push(percentile(&delays, 0.5).context("no probes")?);
        worst.push(percentile(&delays, 0.99).context("no probes")?);
        busy.push(procs::cpu()?.since(&before).0);
    }
    let p50 = Measured { name: "freshness", unit: "s, p50", want: Want::AtMost };
    let p99 = Measured { name: "freshness.p99", unit: "s", want: Want::AtMost };
    let mut outcomes = vec![p50.of_samples(&middle, P50_SECS)?, p99.of_samples(&worst, P99_SECS)?];
    rig.wait_committed()?;
    let lost = under.lost().await?;
    for outcome in &mut outcomes {
        outcome.note("uploads_per_second", per_second);
        outcome.note("cpu_secs", &busy);
        lost.iter().for_each(|what| outcome.spoil(what.clone()));
    }
    Ok(outcomes)
}

/// A load of uploads, none of which comes twice.
struct Under<'r> {
    rig: &'r Rig,
    tokens: Vec<String>,
    sent: u64,
}

impl Under<'_> {
    fn load(&mut self, per_second: f64, length: Duration) -> anyhow::Result<Load> {
        let count = (per_second * length.as_secs_f64()) as u64;
        let fleet = Fleet::new(SITES);
        let from = self.sent;
        self.sent += count;
        let requests = self.rig.requests_from(fleet, &self.tokens, from, count)?;
        let arrivals = Arrivals::Open { per_second, count };
        Ok(Load { addr: self.rig.gateway_addr()?, requests, connections: 128, arrivals })
    }

    /// The rate at which all processes together take half of the cores.
    async fn half_load(&mut self) -> anyhow::Result<f64> {
        self.load(CALIBRATION_PER_SECOND, CALIBRATION)?.run().await?;
        let load = self.load(CALIBRATION_PER_SECOND, CALIBRATION)?;
        let before = procs::cpu()?;
        let run = load.run().await?;
        let used = procs::cpu()?.since(&before).total_secs();
        // What runs without any upload would be there at every rate; it counts as the uploads' here.
        let each = used / run.accepted() as f64;
        let cores = std::thread::available_parallelism()?.get() as f64;
        Ok(cores / 2.0 / each)
    }

    async fn lost(&self) -> anyhow::Result<Option<String>> {
        let want = self.sent * crate::uploads::READINGS;
        let select = format!("SELECT count() FROM readings FINAL WHERE site_id != '{PROBE}'");
        let got = self.rig.count(&select).await?;
        Ok((got != want).then(|| format!("{got} of {want} readings ({WRITERS})")))
    }
}

/// Uploads of one reading each, and when they can be read.
struct Probing<'r> {
    rig: &'r Rig,
    token: &'r str,
    start_ms: i64,
    /// Accepted and not read yet: when, by the reading's time.
    open: Arc<Mutex<BTreeMap<i64, Instant>>>,
}

impl<'r> Probing<'r> {
    fn new(rig: &'r Rig, token: &'r str, repetition: usize) -> Self {
        let start_ms = START_MS + i64::try_from(repetition).unwrap_or(0) * 3_600_000;
        Self { rig, token, start_ms, open: Arc::default() }
    }

    async fn run(&self, length: Duration) -> anyhow::Result<Vec<f64>> {
        let count = (PROBES_PER_SECOND * length.as_secs_f64()) as i64;
        let (sent, delays) = tokio::join!(self.send(count), self.read(count));
        sent?;
        delays
    }

    async fn send(&self, count: i64) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let mut due = tokio::time::interval(Duration::from_secs_f64(1.0 / PROBES_PER_SECOND));
        for n in 0..count {
            due.tick().await;
            let ts_ms = self.start_ms + n * 1_000;
            let ts = Timestamp::from_ms(ts_ms).to_string();
            let reading = json!({ "device": "d", "metric": "ac_power", "ts": ts, "value": n });
            let body = json!({ "site": PROBE, "readings": [reading] });
            let url = format!("{}/v1/uploads", self.rig.it.gateway);
            let answer = client.post(url).bearer_auth(self.token).json(&body).send().await?;
            let accepted = Instant::now();
            ensure!(answer.status().is_success(), "probe: {}", answer.status());
            self.open().insert(ts_ms, accepted);
        }
        Ok(())
    }

    async fn read(&self, count: i64) -> anyhow::Result<Vec<f64>> {
        let mut queries = self.rig.it.queries().await?;
        let mut delays: Vec<f64> = Vec::new();
        let mut due = tokio::time::interval(POLL);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while delays.len() < usize::try_from(count)? {
            due.tick().await;
            let Some((oldest, since)) = self.open().first_key_value().map(|(k, v)| (*k, *v)) else {
                continue;
            };
            if since.elapsed() > LOST_AFTER {
                bail!("a probe was accepted and is not there after {LOST_AFTER:?}");
            }
            let request = v1::QueryReadingsRequest {
                site_id: PROBE.to_owned(),
                start_ms: oldest,
                end_ms: self.start_ms + count * 1_000,
                step: v1::Step::Raw.into(),
                ..v1::QueryReadingsRequest::default()
            };
            let answer = queries.query_readings(request).await?.into_inner();
            let now = Instant::now();
            let there = answer.series.iter().flat_map(|series| &series.ts_ms);
            let mut open = self.open();
            // One that can be read before its answer is in counts from the answer, next time.
            let read = there.filter_map(|ts_ms| open.remove(ts_ms));
            delays.extend(read.map(|accepted| (now - accepted).as_secs_f64()));
        }
        Ok(delays)
    }

    fn open(&self) -> std::sync::MutexGuard<'_, BTreeMap<i64, Instant>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
