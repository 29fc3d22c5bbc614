//! `silence`: what a million sites on one partition cost the detector. No broker and no process: its
//! decisions are pure, and are measured as such, on one core.
//!
//! Ids are those of real fleets in length (12 bytes), of two hundred tenants with four intervals;
//! uploads come in random order, as bytes, as they lie in a record. Memory is what the process has
//! more than before, hash table and all.

use crate::{
    procs,
    report::{Measured, Outcome, Want},
};
use anyhow::ensure;
use heliograph_contract::{
    alert::Alert,
    v1::{DoorTick, SiteWatched},
};
use heliograph_detector::{
    snapshot::Snapshot,
    staleness::{At, Partition},
};
use heliograph_domain::Timestamp;
use std::{hint::black_box, time::Instant};

const SITES: usize = 1_000_000;
const TENANTS: usize = 200;
const REPETITIONS: usize = 5;
const START_MS: i64 = 1_700_000_000_000;
const ALERTS_MAX: usize = 1_000;

const MEMORY_MB: f64 = 64.0;
const UPLOADS_PER_SEC: f64 = 3e6;
const EVALUATIONS_PER_SEC: f64 = 10.0;
const IDLE_SHARE: f64 = 0.01;
const EXPIRY_SECS: f64 = 1.0;
const RESTART_SECS: f64 = 0.3;

/// A partition and the log that it reads.
struct Story {
    partition: Partition,
    offset: u64,
    now_ms: i64,
}

impl Story {
    fn new() -> Self {
        Self { partition: Partition::new(0), offset: 0, now_ms: START_MS }
    }

    fn at(&mut self) -> At {
        self.offset += 1;
        At { offset: self.offset, append_time: Timestamp::from_ms(self.now_ms) }
    }

    fn watch(&mut self, ids: &[String]) {
        for (n, site_id) in ids.iter().enumerate() {
            let said = SiteWatched {
                site_id: site_id.clone(),
                version: 1,
                tenant_id: format!("tenant-{}", n % TENANTS),
                upload_interval_s: [60, 300, 600, 900][n % 4],
                stale_after_s: [300, 900, 1_800, 2_700][n % 4],
                removed: false,
            };
            let at = self.at();
            self.partition.watched(at, &said);
        }
    }

    fn upload(&mut self, site_id: &[u8]) {
        let at = self.at();
        black_box(self.partition.upload(at, site_id));
    }

    /// The next tick of the only gateway; alerts are encoded and counted.
    fn tick(&mut self, took_ms: u64) -> usize {
        self.now_ms += took_ms as i64;
        let tick = DoorTick {
            instance: "gateway-0".into(),
            incarnation_ms: START_MS,
            sequence: 1,
            accepted: 1,
            self_upload_ok: true,
            since_last_ms: Some(took_ms),
            retry_after_max_s: 30,
            ..DoorTick::default()
        };
        let at = self.at();
        self.partition.tick(at, &tick);
        let (mut told, mut alerts) = (0, Vec::with_capacity(ALERTS_MAX));
        loop {
            let is_through = self.partition.judge(ALERTS_MAX, &mut alerts);
            told += alerts.len();
            alerts.drain(..).for_each(|alert| drop(black_box(Alert::encode(&alert))));
            if is_through {
                return told;
            }
        }
    }
}

/// A permutation that no cache foresees: multiplication by an odd constant, modulo a power of two,
/// and what lies beyond is left out.
fn shuffled(count: usize, turn: u64) -> impl Iterator<Item = usize> {
    let size = count.next_power_of_two();
    let step =
        move |n: usize| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(turn * 77_773);
    (0..size).map(move |n| (step(n) as usize) & (size - 1)).filter(move |n| *n < count)
}

/// See the module.
pub fn silence() -> anyhow::Result<Vec<Outcome>> {
    let ids: Vec<String> = (0..SITES).map(|n| format!("site-{n:07}")).collect();
    let me = std::process::id();
    let before = procs::resident_bytes(me)?;
    let mut story = Story::new();
    story.watch(&ids);
    let memory = procs::resident_bytes(me)?.saturating_sub(before) as f64 / 1e6;
    story.tick(0);

    let (mut rates, mut idle) = (Vec::new(), Vec::new());
    for turn in 0..REPETITIONS {
        let started = Instant::now();
        for n in shuffled(SITES, turn as u64) {
            story.upload(ids[n].as_bytes());
        }
        rates.push(SITES as f64 / started.elapsed().as_secs_f64());
        const EVALUATIONS: u32 = 100;
        let started = Instant::now();
        for _ in 0..EVALUATIONS {
            ensure!(story.tick(100) == 0, "nobody is silent yet");
        }
        let each = started.elapsed().as_secs_f64() / f64::from(EVALUATIONS);
        idle.push(each * EVALUATIONS_PER_SEC);
    }

    let (mut restarts, bytes) = (Vec::new(), Snapshot::of(&story.partition, Timestamp::from_ms(0)));
    for _ in 0..REPETITIONS {
        let started = Instant::now();
        let restored = bytes.restore(0)?;
        restarts.push(started.elapsed().as_secs_f64());
        ensure!(restored.sites().len() == SITES, "sites were lost");
    }

    // All of them together: nobody uploads, and the door stays open to just before the first limit;
    // then the sites of that limit, a quarter, are stale in one tick. So are the others in theirs.
    let mut expiries = Vec::new();
    for _ in 0..3 {
        let mut last =
            Story { partition: bytes.restore(0)?, offset: story.offset, now_ms: story.now_ms };
        let (mut told, mut longest) = (0, 0.0_f64);
        for _ in 0..1_000 {
            let started = Instant::now();
            let here = last.tick(3_000);
            // As if all had the same limit.
            if here > 0 {
                longest = longest.max(started.elapsed().as_secs_f64() * SITES as f64 / here as f64);
            }
            told += here;
        }
        ensure!(told == SITES, "{told} of {SITES} sites were told");
        expiries.push(longest);
    }

    let of = |name, unit, want| Measured { name, unit, want };
    let (least, most) = (Want::AtLeast, Want::AtMost);
    let mut outcomes = vec![
        of("silence.memory", "MB", most).of_samples(&[memory], MEMORY_MB)?,
        of("silence", "uploads/s", least).of_samples(&rates, UPLOADS_PER_SEC)?,
        of("silence.idle", "of a core", most).of_samples(&idle, IDLE_SHARE)?,
        of("silence.expiry", "s", most).of_samples(&expiries, EXPIRY_SECS)?,
        of("silence.restart", "s", most).of_samples(&restarts, RESTART_SECS)?,
    ];
    for outcome in &mut outcomes {
        outcome.note("sites", SITES);
    }
    let snapshot: usize = bytes.chunks.iter().map(|chunk| chunk.len()).sum();
    outcomes[4].note("snapshot_bytes", snapshot);
    Ok(outcomes)
}
