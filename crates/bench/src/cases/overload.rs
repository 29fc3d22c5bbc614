//! `overload`: ten times more is offered than the gateway is allowed to take.
//!
//! The capacity is lowered by configuration to 500 uploads a second, in each of the two ways in which
//! there is a limit: by the rate of each site (ten sites at 50 a second, refused with 429) and by the
//! places for uploads that are worked on (as many as 500 a second need while each waits a tenth of a
//! second for its batch, refused with 503). Uploads come by the clock, at 1.2 times the capacity for
//! the peak of what is accepted, then at ten times. Nothing is compared with another program; what is
//! accepted must be on the log.
//!
//! A refusal is timed by the gateway, from the head to the answer (its own histogram of durations;
//! what is accepted waits longer for its batch than any refusal may take, so that the lowest
//! durations are the refusals'). What the clients saw, from sending to the whole answer, stands
//! beside it: it holds the time that a ready gateway or client waits for one of the cores.

use super::gateway::Door;
use crate::{
    load::{Arrivals, Run},
    metrics::{between, buckets},
    procs::{self, Watch},
    report::{Measured, Outcome, Want},
    stats::{of_rank, percentile},
};
use anyhow::{Context, ensure};
use serde_json::json;
use std::time::Duration;

const PER_SECOND: f64 = 500.0;
const TIMES: f64 = 10.0;
const REPETITIONS: usize = 5;
const PEAK_RUN: Duration = Duration::from_secs(4);
const RUN: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 400;
const REFUSAL_MS_MAX: f64 = 2.0;
const GOODPUT_MIN: f64 = 0.9;
const MEMORY_MAX: f64 = 1.3;

/// What lowers the capacity.
struct Way {
    name: &'static str,
    status: u16,
    sites: u64,
    env: Vec<(&'static str, String)>,
}

fn ways() -> [Way; 2] {
    let linger_ms = 100;
    let places = (PER_SECOND * f64::from(linger_ms) / 1e3) as u64;
    [
        Way {
            name: "rate of each site",
            status: 429,
            sites: 10,
            env: vec![
                ("HELIOGRAPH_GATEWAY__SITE_UPLOADS_PER_SECOND", "50".into()),
                ("HELIOGRAPH_GATEWAY__SITE_UPLOADS_BURST", "50".into()),
            ],
        },
        Way {
            name: "places",
            status: 503,
            sites: 200,
            env: vec![
                ("HELIOGRAPH_GATEWAY__IN_FLIGHT_MAX", places.to_string()),
                ("HELIOGRAPH_LOG__KAFKA__LINGER_MS", linger_ms.to_string()),
            ],
        },
    ]
}

/// One repetition.
struct Seen {
    refusal_p99_ms: f64,
    goodput: f64,
    memory: f64,
}

/// See the module.
pub async fn overload() -> anyhow::Result<Vec<Outcome>> {
    let (mut refusals, mut goodputs, mut memories) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lost, mut notes) = (Vec::new(), Vec::new());
    for way in ways() {
        let door = Door::open(&way.env, way.sites)?;
        // The bursts of all sites are spent and every buffer has its size before anything counts.
        offer(&door, 1.2, PEAK_RUN).await?;
        for _ in 0..REPETITIONS {
            let (seen, note) = repeat(&door, &way, &mut lost).await?;
            refusals.push(seen.refusal_p99_ms);
            goodputs.push(seen.goodput);
            memories.push(seen.memory);
            notes.push(note);
        }
    }
    let time = Measured { name: "overload", unit: "ms to refuse, p99", want: Want::AtMost };
    let share = Measured { name: "overload.goodput", unit: "of the peak", want: Want::AtLeast };
    let memory = Measured { name: "overload.memory", unit: "× memory", want: Want::AtMost };
    let mut time = time.of_samples(&refusals, REFUSAL_MS_MAX)?;
    time.note("runs", notes);
    let mut outcomes = vec![
        time,
        share.of_samples(&goodputs, GOODPUT_MIN)?,
        memory.of_samples(&memories, MEMORY_MAX)?,
    ];
    for outcome in &mut outcomes {
        lost.iter().for_each(|what: &String| outcome.spoil(what.clone()));
    }
    Ok(outcomes)
}

async fn repeat(
    door: &Door,
    way: &Way,
    lost: &mut Vec<String>,
) -> anyhow::Result<(Seen, serde_json::Value)> {
    let gateway = door.rig.pid("gateway")?;
    let (peak, peak_lost) = offer(door, 1.2, PEAK_RUN).await?;
    let before_bytes = procs::resident_bytes(gateway)?;
    let watch = Watch::begin(gateway);
    let durations = durations(door).await?;
    let before = procs::cpu()?;
    let (run, run_lost) = offer(door, TIMES, RUN).await?;
    let cpu = procs::cpu()?.since(&before);
    let most_bytes = watch.most();
    lost.extend(peak_lost.into_iter().chain(run_lost));
    let refused: Vec<_> = run.samples.iter().filter(|s| !s.is_accepted()).collect();
    let strange = refused.iter().find(|s| s.status != way.status || !s.has_retry_after);
    ensure!(strange.is_none(), "refused in another way than with {}: {strange:?}", way.status);
    let seen_by_clients: Vec<f64> = refused.iter().map(|sample| sample.service_ms()).collect();
    let durations = between(&durations, &self::durations(door).await?);
    let rank = |share: f64| of_rank(&durations, refused.len() as f64 * share);
    let refusal_p99_ms = rank(0.99).context("nothing was refused")? * 1e3;
    let seen = Seen {
        refusal_p99_ms,
        goodput: run.accepted_per_second() / peak.accepted_per_second(),
        memory: most_bytes as f64 / before_bytes as f64,
    };
    let note = json!({
        "by": way.name, "refusal_p99_ms": refusal_p99_ms,
        "refusal_p50_ms": rank(0.5).map(|secs| secs * 1e3),
        "clients_saw_p50_ms": percentile(&seen_by_clients, 0.5),
        "clients_saw_p99_ms": percentile(&seen_by_clients, 0.99), "statuses": run.statuses(),
        "peak_per_second": peak.accepted_per_second(), "goodput": seen.goodput,
        "memory_before_bytes": before_bytes, "memory_most_bytes": most_bytes,
        "cpu_secs": cpu, "late_sends_p99_ms": late_p99(&run),
    });
    Ok((seen, note))
}

/// How long the gateway says that it took for uploads.
async fn durations(door: &Door) -> anyhow::Result<Vec<(f64, f64)>> {
    let shown = door.rig.metrics("gateway").await?;
    buckets(&shown, "heliograph_gateway_upload_duration_seconds", &["protocol=\"http\""])
}

/// How far the clients themselves were behind their schedule.
fn late_p99(run: &Run) -> Option<f64> {
    let late = run.samples.iter().map(|s| s.sent.saturating_sub(s.due).as_secs_f64() * 1e3);
    percentile(&late.collect::<Vec<_>>(), 0.99)
}

async fn offer(door: &Door, times: f64, length: Duration) -> anyhow::Result<(Run, Option<String>)> {
    let per_second = PER_SECOND * times;
    let count = (per_second * length.as_secs_f64()) as u64;
    let load = door.load(CONNECTIONS, Arrivals::Open { per_second, count })?;
    let (run, side) = door.run(load).await?;
    Ok((run, side.unsound))
}
