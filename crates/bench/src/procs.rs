//! What this process and everything that it started used: CPU seconds and resident memory, by name.
//!
//! Invariant: a difference of two [`Usage`]s is of the processes that are in both; one that began in
//! between counts from its own beginning. What it is not: it does not see a process that began and
//! ended in between.

use anyhow::Context;
use procfs::process::Process;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The driver itself: it is the clients.
pub const SELF: &str = "bench";

/// By name: broker, gateway, writer, query, store, bench, and so on.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Cpu(pub BTreeMap<String, f64>);

impl Cpu {
    /// Of all processes together, in seconds.
    pub fn total_secs(&self) -> f64 {
        self.0.values().sum()
    }

    /// What was used since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let used = |(name, secs): (&String, &f64)| {
            let used = secs - before.0.get(name).copied().unwrap_or_default();
            (used >= 0.001).then(|| (name.clone(), (used * 1e3).round() / 1e3))
        };
        Self(self.0.iter().filter_map(used).collect())
    }

    /// Of each process per one of `count` things, in µs.
    pub fn micros_per(&self, count: f64) -> BTreeMap<String, f64> {
        let each =
            |(name, secs): (&String, &f64)| (name.clone(), (secs * 1e7 / count).round() / 10.);
        self.0.iter().map(each).collect()
    }
}

/// CPU time so far of this process and its descendants.
pub fn cpu() -> anyhow::Result<Cpu> {
    let ticks = procfs::ticks_per_second() as f64;
    let mut by_name = BTreeMap::new();
    for process in family()? {
        // One that ended meanwhile is left out.
        let Ok(stat) = process.stat() else { continue };
        let secs = (stat.utime + stat.stime) as f64 / ticks;
        *by_name.entry(name(&process)).or_default() += secs;
    }
    Ok(Cpu(by_name))
}

/// Resident memory of the process, in bytes.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let process = Process::new(i32::try_from(pid)?)?;
    Ok(process.stat()?.rss * procfs::page_size())
}

/// The most memory that the process ever had resident, in bytes.
fn peak_resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = Process::new(i32::try_from(pid)?)?.status()?;
    Ok(status.vmhwm.context("/proc/PID/status: no VmHWM")? * 1024)
}

/// The peak of each process of ours by name, in bytes; of several of a name the highest.
pub fn peaks() -> anyhow::Result<BTreeMap<String, u64>> {
    let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
    for process in family()? {
        let Ok(bytes) =
            u32::try_from(process.pid).map_err(Into::into).and_then(peak_resident_bytes)
        else {
            continue;
        };
        let most = by_name.entry(name(&process)).or_default();
        *most = bytes.max(*most);
    }
    Ok(by_name)
}

/// Looks at a process's memory every few milliseconds.
pub struct Watch {
    task: tokio::task::JoinHandle<()>,
    most_bytes: Arc<AtomicU64>,
}

impl Watch {
    pub fn begin(pid: u32) -> Self {
        let most_bytes = Arc::new(AtomicU64::new(0));
        let seen = most_bytes.clone();
        let task = tokio::spawn(async move {
            let mut due = tokio::time::interval(Duration::from_millis(20));
            loop {
                due.tick().await;
                let Ok(bytes) = resident_bytes(pid) else { return };
                seen.fetch_max(bytes, Ordering::Relaxed);
            }
        });
        Self { task, most_bytes }
    }

    /// The most that was seen.
    pub fn most(self) -> u64 {
        self.task.abort();
        self.most_bytes.load(Ordering::Relaxed)
    }
}

fn family() -> anyhow::Result<Vec<Process>> {
    let all: Vec<(i32, Process)> = procfs::process::all_processes()?
        .filter_map(|process| process.ok())
        .filter_map(|process| Some((process.stat().ok()?.ppid, process)))
        .collect();
    let me = i32::try_from(std::process::id())?;
    let mut known = BTreeSet::from([me]);
    loop {
        let more: Vec<i32> = all
            .iter()
            .filter(|(parent, process)| known.contains(parent) && !known.contains(&process.pid))
            .map(|(_, process)| process.pid)
            .collect();
        if more.is_empty() {
            break;
        }
        known.extend(more);
    }
    Ok(all.into_iter().map(|(_, p)| p).filter(|p| known.contains(&p.pid)).collect())
}

/// How a process is called in a report.
fn name(process: &Process) -> String {
    if u32::try_from(process.pid) == Ok(std::process::id()) {
        return SELF.to_owned();
    }
    name_of(&process.cmdline().unwrap_or_default())
}

fn name_of(command_line: &[String]) -> String {
    let program = command_line.first().map_or("", String::as_str);
    let program = program.rsplit('/').next().unwrap_or_default();
    match (program, command_line.get(1)) {
        ("java", _) => "broker".to_owned(),
        ("heliograph" | "heliograph-bench", Some(command)) => command.clone(),
        (service, _) => service.trim_start_matches("heliograph-").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_called_by_its_part() {
        let rows: &[(&[&str], &str)] = &[
            (&["/usr/bin/java", "-Xmx256m", "kafka.Kafka"], "broker"),
            (&["/x/target/release/heliograph-gateway"], "gateway"),
            (&["/x/target/release/heliograph", "store", "--path", "p"], "store"),
            (&["/x/target/release/heliograph-bench", "bare"], "bare"),
            (&["sh", "-c", "read"], "sh"),
            (&[], ""),
        ];
        for (line, want) in rows {
            let line: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(name_of(&line), *want);
        }
    }

    #[test]
    fn this_process_is_seen_and_what_it_used_is_a_difference() {
        let before = Cpu(BTreeMap::from([("a".into(), 1.0), ("b".into(), 2.0)]));
        let after = Cpu(BTreeMap::from([("a".into(), 1.5), ("b".into(), 2.0), ("c".into(), 0.25)]));
        let used = after.since(&before);
        assert_eq!(used.0, BTreeMap::from([("a".into(), 0.5), ("c".into(), 0.25)]));
        assert!((used.total_secs() - 0.75).abs() < 1e-9);
        assert_eq!(used.micros_per(1_000.0)["a"], 500.0);
        assert!(cpu().unwrap().0.contains_key(SELF));
        assert!(resident_bytes(std::process::id()).unwrap() > 0);
        assert!(peak_resident_bytes(std::process::id()).unwrap() > 0);
    }
}
