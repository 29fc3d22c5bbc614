//! `kill -9` at random moments while loggers upload and send again, audited against what the loggers
//! were promised.
//!
//! `KILLS` says how often on each log (`make torture KILLS=200`), `SEED` which moments. What was open
//! at a kill is seen from outside, in what it left behind:
//! - an append: a logger had sent an upload whole and got no answer, or the gateway waited for Kafka;
//! - an insert: ClickHouse's directory holds a `tmp_insert_…` part;
//! - between insert and offset commit: ClickHouse holds rows of an offset that was not committed;
//! - a rebalance: a writer had just come or gone.

mod detector;
mod kafka;
mod local;

use crate::{
    fleet::Fleet,
    support::{Installation, heliograph, repository, wait_for},
};
use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    ops::AddAssign,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Without `KILLS`.
const KILLS: u64 = 10;
/// Enough kills that each kind must have been hit so often.
const KILLS_FOR_EVERY_KIND: u64 = 60;
const HITS_MIN: u64 = 3;
/// Short intervals, so that something is open most of the time.
const INTERVALS: [(&str, &str); 3] = [
    ("HELIOGRAPH_WRITER__BLOCK_INTERVAL", "60ms"),
    ("HELIOGRAPH_WRITER__BLOCK_LINGER", "5ms"),
    ("HELIOGRAPH_WRITER__ROLLUP_INTERVAL", "200ms"),
];

/// What happened, and what the audit found after it.
#[derive(Debug, Default, Clone, Serialize)]
struct Counts {
    kills: u64,
    /// By the process that was killed.
    killed: BTreeMap<String, u64>,
    /// By what was open at it; one kill may have met several.
    open: BTreeMap<&'static str, u64>,
    /// Writers that stood still for longer than their session, and writers that came or left.
    pauses: u64,
    rebalances: u64,
    acked: u64,
    stored: u64,
    missing: u64,
    duplicate: u64,
    rollup_mismatch: u64,
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, of: &Self) {
        self.kills += of.kills;
        self.pauses += of.pauses;
        self.rebalances += of.rebalances;
        self.acked += of.acked;
        self.stored += of.stored;
        self.missing += of.missing;
        self.duplicate += of.duplicate;
        self.rollup_mismatch += of.rollup_mismatch;
        for (name, n) in &of.killed {
            *self.killed.entry(name.clone()).or_default() += n;
        }
        for (name, n) in &of.open {
            *self.open.entry(name).or_default() += n;
        }
    }
}

impl Counts {
    fn killed(&mut self, name: &str) {
        self.kills += 1;
        *self.killed.entry(name.to_owned()).or_default() += 1;
    }

    fn met(&mut self, what: &'static str, is_so: bool) {
        *self.open.entry(what).or_default() += u64::from(is_so);
    }

    /// Nothing is missing, doubled or drifted, and enough of each kind was met.
    fn check(&self) -> anyhow::Result<()> {
        ensure!(self.acked > 0, "nothing was uploaded: {self:?}");
        let wrong = self.missing + self.duplicate + self.rollup_mismatch;
        ensure!(wrong == 0, "{self:?}");
        let is_hardly_hit = self.open.values().any(|hits| *hits < HITS_MIN);
        let is_long = self.kills >= KILLS_FOR_EVERY_KIND;
        ensure!(!is_long || !is_hardly_hit, "some moment was hardly hit: {self:?}");
        Ok(())
    }
}

/// `target/torture/report.json`: sums, and each log by itself.
#[derive(Debug, Default, Serialize)]
struct Report {
    #[serde(flatten)]
    sums: Counts,
    seed: u64,
    by_log: BTreeMap<&'static str, Counts>,
}

fn publish(log: &'static str, counts: &Counts) -> anyhow::Result<()> {
    static DONE: Mutex<BTreeMap<&'static str, Counts>> = Mutex::new(BTreeMap::new());
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    done.insert(log, counts.clone());
    let mut report = Report { by_log: done.clone(), seed: seed()?, ..Report::default() };
    done.values().for_each(|counts| report.sums += counts);
    let dir = repository().join("target/torture");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("report.json"), serde_json::to_vec_pretty(&report)?)?;
    Ok(std::io::stdout()
        .write_all(format!("{log}: {}\n", serde_json::to_string(counts)?).as_bytes())?)
}

fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}: got {text:?}, want a number")),
        Err(_) => Ok(default),
    }
}

fn kills() -> anyhow::Result<u64> {
    number("KILLS", KILLS)
}

fn seed() -> anyhow::Result<u64> {
    number("SEED", 1)
}

/// xorshift64*: moments and choices that a seed repeats.
struct Moments(u64);

impl Moments {
    fn of_seed() -> anyhow::Result<Self> {
        Ok(Self(seed()?.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Lets up to `max` go by: the fault comes at a random moment, not at an event.
    fn pass(&mut self, max: Duration) {
        std::thread::park_timeout(max.mul_f64(self.share()));
    }

    fn pick<'t, T>(&mut self, of: &'t [T]) -> Option<&'t T> {
        of.get((self.share() * of.len() as f64) as usize)
    }
}

/// As mischievous as loggers get.
const LOAD: [&str; 14] = [
    "--late",
    "0.1",
    "--resend",
    "0.1",
    "--correct",
    "0.1",
    "--bad",
    "0.02",
    "--readings-per-upload",
    "200",
    "--concurrency",
    "16",
    "--request-timeout",
    "5s",
];

fn loggers(up: &Installation) -> anyhow::Result<Fleet> {
    Fleet::start(up, &up.data_dir, 20, &LOAD)
}

/// Whether a logger finds soon that an upload got no answer.
fn misses_an_answer(fleet: &Fleet, unanswered_before: u64) -> bool {
    wait_for(Duration::from_secs(2), || fleet.unanswered() > unanswered_before)
}

/// The loggers finish, and the ledgers are compared.
fn audit(fleet: Fleet, up: &Installation, counts: &mut Counts) -> anyhow::Result<()> {
    let audit = up.audit(&[&fleet.finish()?])?;
    for (field, at) in [
        ("acked", &mut counts.acked),
        ("stored", &mut counts.stored),
        ("missing", &mut counts.missing),
        ("duplicate", &mut counts.duplicate),
        ("rollup_mismatch", &mut counts.rollup_mismatch),
    ] {
        *at = audit[field].as_u64().with_context(|| format!("{field} in {audit}"))?;
    }
    Ok(())
}

/// Whether ClickHouse's directory holds a part that is being inserted, or was.
fn has_open_insert(data_dir: &Path) -> bool {
    fn search(dir: &Path, depth: usize) -> bool {
        let Ok(entries) = fs::read_dir(dir) else { return false };
        entries.flatten().any(|entry| {
            let is_insert = entry.file_name().to_string_lossy().starts_with("tmp_insert_");
            is_insert || (depth > 0 && search(&entry.path(), depth - 1))
        })
    }
    search(&data_dir.join("store"), 4)
}

/// Whether rows are stored whose offset was not committed. `lag` finds what runs, or opens the
/// directory for itself.
fn is_between_insert_and_commit(data_dir: &Path) -> anyhow::Result<bool> {
    let output = heliograph(data_dir).args(["lag", "--json"]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8(output.stdout)?.lines() {
        let lag: Value = serde_json::from_str(line)?;
        let committed = lag["committed_offset"].as_u64().unwrap_or(0);
        if lag["stored_offset"].as_u64().is_some_and(|stored| stored >= committed) {
            return Ok(true);
        }
    }
    Ok(false)
}
