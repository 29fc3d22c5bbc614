//! `gateway_uploads` and `gateway_added_p99`: the front door, with a real broker behind it.
//!
//! **`gateway_uploads`.** A: the gateway, every upload acknowledged by the broker (`acks=all`). B:
//! the [`crate::bare`] endpoint. Both get the same bytes from the same clients, so B is what there
//! would be to gain if tokens, limits, metrics, encoding and Kafka were free. A run counts when the
//! topic holds exactly the uploads that were accepted.
//!
//! **`gateway_added_p99`.** A: uploads that come by the clock, at half of what the gateway takes. B:
//! a bare producer with the gateway's settings (idempotent, `acks=all`, the same linger) that appends
//! the same records at the same rate: linger and one round trip, as they are on this machine at this
//! load. What the gateway may add to B's 99th percentile is 5 ms.

use crate::{
    bare::Bare,
    kafka::Topic,
    load::{Arrivals, Load, Run, sleep_until},
    pairs::alternate,
    procs,
    report::{Measured, Outcome, Side, Want},
    rig::Rig,
    stats::{median, percentile},
    uploads::{Fleet, READINGS},
};
use anyhow::Context;
use bytes::Bytes;
use rdkafka::{
    ClientContext, Message,
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

const PAIRS: usize = 5;
/// Each site stays far below its own limit of uploads a second.
pub const SITES: u64 = 500;
/// Distinct uploads; they come round again.
const BODIES: u64 = 2_000;
pub const CONNECTIONS: usize = 256;
pub const RUN: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(2);
const SHARE_OF_BARE: f64 = 0.6;
const ADDED_MS_MAX: f64 = 5.0;

/// A gateway and its broker; everything else is stopped, where a case does not say otherwise.
pub struct Door {
    pub rig: Rig,
    pub requests: Arc<[Bytes]>,
}

impl Door {
    pub fn open(env: &[(&str, String)], sites: u64) -> anyhow::Result<Self> {
        let mut door = Self::before(Rig::start(env)?, sites)?;
        door.rig = door.rig.without(&["writer", "detector", "query", "store"])?;
        Ok(door)
    }

    /// Everything else goes on.
    pub fn before(rig: Rig, sites: u64) -> anyhow::Result<Self> {
        let tokens = rig.register(sites, &["Asia/Tokyo"])?;
        let requests = rig.requests_from(Fleet::new(sites), &tokens, 0, BODIES.max(sites))?;
        Ok(Self { rig, requests })
    }

    pub fn load(&self, connections: usize, arrivals: Arrivals) -> anyhow::Result<Load> {
        let (addr, requests) = (self.rig.gateway_addr()?, self.requests.clone());
        Ok(Load { addr, requests, connections, arrivals })
    }

    /// A run against the gateway, and whether the topic holds what was accepted.
    pub async fn run(&self, load: Load) -> anyhow::Result<(Run, Side)> {
        let ends = self.rig.uploads.ends()?;
        let (run, mut side) = run(load).await?;
        side.unsound = unsound(&self.rig.uploads, &ends, &run)?;
        Ok((run, side))
    }

    /// What the gateway takes, in uploads a second.
    pub async fn capacity(&self) -> anyhow::Result<f64> {
        let (run, _) = run(self.load(CONNECTIONS, Arrivals::Closed(WARM_UP))?).await?;
        Ok(run.accepted_per_second())
    }
}

/// What is wrong with a run: an accepted upload that is not on the log, or one that is there twice.
/// Nobody knows what became of a request without an answer.
pub fn unsound(topic: &Topic, from: &[i64], run: &Run) -> anyhow::Result<Option<String>> {
    let (accepted, there) = (run.accepted(), topic.count_uploads(from)?);
    let sound = (accepted..=accepted + run.unanswered()).contains(&there);
    Ok((!sound).then(|| format!("{accepted} uploads accepted, {there} on the log")))
}

async fn run(load: Load) -> anyhow::Result<(Run, Side)> {
    let before = procs::cpu()?;
    let run = load.run().await?;
    let cpu_secs = procs::cpu()?.since(&before);
    let accepted = run.accepted() as f64;
    let mut side = Side { value: run.accepted_per_second(), ..Side::default() };
    side.more.insert("statuses".into(), json!(run.statuses()));
    side.more.insert("cpu_us_per_upload".into(), json!(cpu_secs.micros_per(accepted.max(1.0))));
    side.cpu_secs = cpu_secs;
    Ok((run, side))
}

/// See the module.
pub async fn uploads() -> anyhow::Result<Vec<Outcome>> {
    let door = Door::open(&[], SITES)?;
    let bare = Bare::start()?;
    door.capacity().await?;
    let closed = |addr: SocketAddr| Load {
        addr,
        requests: door.requests.clone(),
        connections: CONNECTIONS,
        arrivals: Arrivals::Closed(RUN),
    };
    let gateway = door.rig.gateway_addr()?;
    let pairs = alternate(
        PAIRS,
        async |_| Ok(door.run(closed(gateway)).await?.1),
        async |_| Ok(run(closed(bare.addr)).await?.1),
    )
    .await?;
    let measured = Measured { name: "gateway_uploads", unit: "uploads/s", want: Want::AtLeast };
    let last = pairs.last().map(|pair| pair.a.more["cpu_us_per_upload"].clone());
    let mut outcome = measured.of_pairs(pairs, |bare| bare.value * SHARE_OF_BARE)?;
    outcome.note("readings_per_upload", READINGS);
    outcome.note("connections", CONNECTIONS);
    outcome.note("share_of_bare", outcome.ratio * SHARE_OF_BARE);
    outcome.note("cpu_us_per_upload", last);
    Ok(vec![outcome])
}

/// See the module.
pub async fn added_p99() -> anyhow::Result<Vec<Outcome>> {
    let door = Door::open(&[], SITES)?;
    door.capacity().await?;
    let per_second = door.capacity().await? / 2.0;
    let count = (per_second * RUN.as_secs_f64()) as u64;
    let records = Fleet::new(SITES);
    let pairs = alternate(
        PAIRS,
        async |_| {
            let arrivals = Arrivals::Open { per_second, count };
            let (run, mut side) = door.run(door.load(256, arrivals)?).await?;
            let all: Vec<f64> = run.samples.iter().map(|s| s.latency_ms()).collect();
            describe(&mut side, &all)?;
            if run.accepted() < count {
                side.unsound = Some(format!("of {count} uploads: {:?}", run.statuses()));
            }
            Ok(side)
        },
        async |_| {
            let before = procs::cpu()?;
            let topic = door.rig.uploads.clone();
            let appending = tokio::task::spawn_blocking(move || {
                append_by_the_clock(&topic, records, per_second, count)
            });
            let delays = appending.await??;
            let cpu_secs = procs::cpu()?.since(&before);
            let mut side = Side { cpu_secs, ..Side::default() };
            describe(&mut side, &delays)?;
            Ok(side)
        },
    )
    .await?;
    let measured = Measured { name: "gateway_added_p99", unit: "ms", want: Want::AtMost };
    let medians: Vec<f64> =
        pairs.iter().filter_map(|pair| pair.b.more["p50_ms"].as_f64()).collect();
    let added: Vec<f64> = pairs.iter().map(|pair| pair.a.value - pair.b.value).collect();
    let mut outcome = measured.of_pairs(pairs, |append| append.value + ADDED_MS_MAX)?;
    outcome.note("uploads_per_second", per_second);
    outcome.note("added_ms", median(&added));
    outcome.note("linger_and_round_trip_p50_ms", median(&medians));
    Ok(vec![outcome])
}

fn describe(side: &mut Side, delays_ms: &[f64]) -> anyhow::Result<()> {
    side.value = percentile(delays_ms, 0.99).context("no answers")?;
    for (name, share) in [("p50_ms", 0.5), ("p90_ms", 0.9), ("max_ms", 1.0)] {
        side.more.insert(name.into(), json!(percentile(delays_ms, share)));
    }
    Ok(())
}

/// Notes how long each append took.
struct Delays(Mutex<Vec<f64>>);

impl ClientContext for Delays {}

impl ProducerContext for Delays {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, began: Self::DeliveryOpaque) {
        let delay = match result {
            Ok(record) if record.partition() >= 0 => began.elapsed().as_secs_f64() * 1e3,
            _ => f64::INFINITY,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(delay);
    }
}

/// Appends to Kafka at a rate and returns how long each took, in ms, from its scheduled time.
fn append_by_the_clock(
    topic: &Topic,
    fleet: Fleet,
    per_second: f64,
    count: u64,
) -> anyhow::Result<Vec<f64>> {
    let context = Delays(Mutex::new(Vec::new()));
    let producer: ThreadedProducer<Delays> =
        topic.producer_config().create_with_context(context)?;
    let encoded: Vec<_> = (0..BODIES)
        .map(|n| fleet.event(n, heliograph_domain::Timestamp::from_ms(crate::uploads::START_MS)))
        .collect::<Result<_, _>>()?;
    let started = Instant::now();
    for n in 0..count {
        let due = started + Duration::from_secs_f64(n as f64 / per_second);
        sleep_until(due);
        let at = n % BODIES;
        let one = &encoded[usize::try_from(at)?];
        let partition = i32::try_from(fleet.partition(at, topic.partitions))?;
        let record = BaseRecord::with_opaque_to(&topic.name, Box::new(due))
            .partition(partition)
            .key(one.key.as_deref().unwrap_or_default())
            .payload(one.value.as_ref());
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(30))?;
    let delays = &producer.context().0;
    Ok(std::mem::take(&mut delays.lock().unwrap_or_else(PoisonError::into_inner)))
}
