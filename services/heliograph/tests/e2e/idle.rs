//! As many idle connections as the gateway takes: its memory stays bounded, they are cut, and an
//! upload gets through.

use crate::support::{OnLog, Setup, data_dir, memory_bytes, wait_for};
use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use std::{fs, time::Duration};
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinSet};

const IDLE: usize = 10_000;
/// The gateway's `http.connections_max` as delivered.
const CONFIG: &str = "[gateway.http]\nconnections_max = 10000\nheader_read_timeout = \"20s\"\n\
                      idle_timeout = \"20s\"\n";
/// 20 KiB for each, twice what was seen; the log's and the writer's own growth is among it.
const GROWTH_BYTES_MAX: u64 = (IDLE as u64) * 20 * 1024;
/// Besides the connections, on either side.
const OTHER_FILES: usize = 500;
/// Far more than it takes.
const HELD_MAX: Duration = Duration::from_secs(60);

fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

fn raise_open_files() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let enough = maximum.is_none_or(|max| max >= (IDLE + OTHER_FILES) as u64);
    ensure!(enough, "open files: got a hard limit of {maximum:?}, want {}", IDLE + OTHER_FILES);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

#[tokio::test]
async fn ten_thousand_idle_connections_keep_nobody_out() -> anyhow::Result<()> {
    raise_open_files()?;
    let dir = data_dir();
    fs::write(dir.path().join("h.toml"), CONFIG)?;
    let config = dir.path().join("h.toml").display().to_string();
    let up = Setup::new(OnLog::Local, dir.path()).env("HELIOGRAPH_CONFIG", config).start()?;
    let pid = up.process("gateway")?.pid();
    let token = up.add_site("roof-7", "Asia/Tokyo")?;
    let body = |id: &str| {
        let ts = "2026-01-01T00:00:00Z";
        json!({"upload_id":id,"readings":[{"device":"inv1","metric":"ac_power","ts":ts,"value":1}]})
    };
    let (status, answer) = up.upload(&token, &body("before")).await?;
    assert_eq!(status, 200, "{answer}");

    let addr = up.gateway.strip_prefix("http://").context("http")?.to_owned();
    let (files, before) = (open_files(pid), memory_bytes(pid, "VmRSS")?);
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(&addr).await?);
    }
    // The few that were open before have their places, too.
    let mut held = 0;
    let all = wait_for(HELD_MAX, || {
        held = held.max(open_files(pid).saturating_sub(files));
        held >= IDLE - 100
    });
    ensure!(all, "{held} of {IDLE} connections are held");

    let mut ends = JoinSet::new();
    for mut connection in idle {
        // Closed or reset: either way it ends.
        ends.spawn(async move { matches!(connection.read(&mut [0; 1]).await, Ok(0) | Err(_)) });
    }
    let during = up.upload(&token, &body("during")).await?;
    assert_eq!(during.0, 200, "{}", during.1);
    let ended = ends.join_all().await;
    assert_eq!((ended.len(), ended.iter().all(|ended| *ended)), (IDLE, true));
    let grown = memory_bytes(pid, "VmHWM")?.saturating_sub(before);
    ensure!(grown < GROWTH_BYTES_MAX, "{IDLE} connections took {grown} bytes");

    let (status, answer) = up.upload(&token, &body("after")).await?;
    assert_eq!(status, 200, "{answer}");
    let audit = up.audit(&[])?;
    #[allow(clippy::print_stderr, reason = "what was seen, for who runs it")]
    {
        eprintln!("held {held}, memory grew from {before} by {grown} bytes; {audit}");
    }
    up.stop()
}
