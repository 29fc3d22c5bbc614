//! `kill -9` of `heliograph up` at random moments while loggers upload and resend, audited
//! against what the loggers were promised.
//!
//! `KILLS` says how often (5 without it; `make torture KILLS=60`), `SEED` which moments. What was
//! open at a kill is read afterwards from what it left behind, not from the process:
//! - an append: a logger had sent an upload whole and got no answer;
//! - an insert: ClickHouse's directory holds a `tmp_insert_…` part;
//! - between insert and offset commit: ClickHouse holds rows of an offset that the writer had not
//!   committed.

use crate::support::{
    Installation, OnLog, Setup, data_dir, heliograph, ports_in_a_row, repository, terminate,
    wait_for,
};
use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

/// Enough kills that each kind must have been hit.
const KILLS_FOR_EVERY_KIND: u64 = 60;
const HITS_MIN: u64 = 3;
/// Short intervals, so that something is open most of the time.
const CONFIG: &str = "[writer]\nblock_interval = \"60ms\"\nblock_linger = \"5ms\"\n\
                      rollup_interval = \"200ms\"\n";

#[derive(Debug, Default, Serialize)]
struct Report {
    kills: u64,
    append_open: u64,
    insert_open: u64,
    between_insert_and_commit: u64,
    acked: u64,
    stored: u64,
    missing: u64,
    duplicate: u64,
    rollup_mismatch: u64,
    seed: u64,
}

fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name}: got {text:?}, want a number")),
        Err(_) => Ok(default),
    }
}

/// xorshift64*: moments that a seed repeats.
struct Moments(u64);

impl Moments {
    fn next(&mut self, max: Duration) -> Duration {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let share = (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64;
        max.mul_f64(share)
    }
}

/// The loggers, in a process of their own; killed when dropped.
struct Fleet(Child);

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Rig {
    dir: PathBuf,
    summary: PathBuf,
    port_base: u16,
}

impl Rig {
    /// Always the same ports: loggers come back to the address that they know.
    fn start(&self) -> anyhow::Result<Installation> {
        let config = self.dir.join("torture.toml").display().to_string();
        let setup = Setup::new(OnLog::Local, &self.dir).port_base(self.port_base);
        setup.env("HELIOGRAPH_CONFIG", config).start()
    }

    fn fleet(&self) -> anyhow::Result<Fleet> {
        let log = fs::File::create(self.dir.join("fleet.log"))?;
        let child = heliograph(&self.dir)
            .args(["simulate", "--sites", "20", "--days", "400", "--json"])
            .args(["--late", "0.1", "--resend", "0.1", "--correct", "0.1", "--bad", "0.02"])
            .args(["--readings-per-upload", "200", "--concurrency", "16"])
            .args(["--request-timeout", "5s", "--summary"])
            .arg(&self.summary)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Fleet(child))
    }

    fn unanswered(&self) -> u64 {
        let read = || -> Option<u64> {
            let text = fs::read(&self.summary).ok()?;
            serde_json::from_slice::<Value>(&text).ok()?["uploads_unanswered"].as_u64()
        };
        read().unwrap_or(0)
    }

    fn insert_was_open(&self) -> bool {
        fn search(dir: &Path, depth: usize) -> bool {
            let Ok(entries) = fs::read_dir(dir) else { return false };
            entries.flatten().any(|entry| {
                let is_insert = entry.file_name().to_string_lossy().starts_with("tmp_insert_");
                is_insert || (depth > 0 && search(&entry.path(), depth - 1))
            })
        }
        search(&self.dir.join("store/clickhouse/store"), 3)
    }

    /// Whether rows are stored whose offset was not committed; opens the directory for itself.
    fn was_between_insert_and_commit(&self) -> anyhow::Result<bool> {
        let output = heliograph(&self.dir).args(["lag", "--json"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        for line in text.lines() {
            let lag: Value = serde_json::from_str(line)?;
            let committed = lag["committed_offset"].as_u64().unwrap_or(0);
            if lag["stored_offset"].as_u64().is_some_and(|stored| stored >= committed) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[test]
fn kill_9_in_the_middle_of_uploads_loses_nothing_and_doubles_nothing() -> anyhow::Result<()> {
    let kills = number("KILLS", 5)?;
    let seed = number("SEED", 1)?;
    let dir = data_dir();
    let rig = Rig {
        dir: dir.path().to_owned(),
        summary: dir.path().join("summary.json"),
        port_base: ports_in_a_row(4)?,
    };
    fs::write(dir.path().join("torture.toml"), CONFIG)?;
    let mut up = rig.start()?;
    let tokens = dir.path().join("tokens.json").display().to_string();
    let output = up.command(&["site", "samples", "--sites", "20", "--tokens", &tokens])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let fleet = rig.fleet()?;

    let mut moments = Moments(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut report = Report { kills, seed, ..Report::default() };
    for _ in 0..kills {
        std::thread::park_timeout(moments.next(Duration::from_millis(1_500)));
        let unanswered = rig.unanswered();
        up.kill_all();
        report.insert_open += u64::from(rig.insert_was_open());
        report.between_insert_and_commit += u64::from(rig.was_between_insert_and_commit()?);
        let open = wait_for(Duration::from_secs(2), || rig.unanswered() > unanswered);
        report.append_open += u64::from(open);
        up = rig.start()?;
    }
    finish(fleet)?;
    let audit = up.audit(&[&rig.summary])?;
    for (field, at) in [
        ("acked", &mut report.acked),
        ("stored", &mut report.stored),
        ("missing", &mut report.missing),
        ("duplicate", &mut report.duplicate),
        ("rollup_mismatch", &mut report.rollup_mismatch),
    ] {
        *at = audit[field].as_u64().with_context(|| format!("{field} in {audit}"))?;
    }
    publish(&report)?;
    up.stop()?;
    ensure!(report.acked > 0, "nothing was uploaded: {report:?}");
    let wrong = report.missing + report.duplicate + report.rollup_mismatch;
    ensure!(wrong == 0, "{report:?}\n{audit}");
    if kills >= KILLS_FOR_EVERY_KIND {
        let Report { append_open, insert_open, between_insert_and_commit, .. } = report;
        let least = append_open.min(insert_open).min(between_insert_and_commit);
        ensure!(least >= HITS_MIN, "some moment was hardly hit: {report:?}");
    }
    Ok(())
}

/// SIGTERM: the fleet finishes its open requests and writes its last summary.
fn finish(mut fleet: Fleet) -> anyhow::Result<()> {
    terminate(&mut fleet.0)?;
    Ok(())
}

fn publish(report: &Report) -> anyhow::Result<()> {
    let dir = repository().join("target/torture");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("report.json"), serde_json::to_vec_pretty(report)?)?;
    std::io::stdout().write_all(&serde_json::to_vec(report)?)?;
    Ok(())
}
