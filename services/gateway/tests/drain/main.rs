//! SIGTERM under load: whoever sent an upload over a connection that stands gets an answer, what was
//! answered with a 2xx is on the log, and the process leaves in its time.
//!
//! The gateway's own binary, on the embedded log. Clients of every kind send without a pause until
//! nobody listens any more.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod clients;
#[path = "../common/mod.rs"]
mod common;

use clients::{Load, Told};
use common::put_site;
use heliograph_contract::{
    event::{UploadsEvent, decode_uploads},
    topic,
};
use heliograph_gateway::GatewayConfig;
use heliograph_log::{
    Log, LogRead, TopicPartition,
    local::{LocalConfig, LocalLog},
    topics,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    process::{Child, Command},
    task::JoinSet,
};

const SITES: [&str; 4] = ["s1", "s2", "s3", "s4"];
const PARTITIONS: u32 = 12;
/// What the machine, which does other things, may add to the time that the process takes.
const MARGIN: Duration = Duration::from_secs(10);
/// Answers before the gateway is told to leave: all clients are in the middle of it.
const ANSWERS_BEFORE: usize = 1_000;

/// Times that the configuration states; a bound is asserted on their sum alone.
fn settings() -> GatewayConfig {
    GatewayConfig {
        site_uploads_per_second: 1_000_000,
        site_uploads_burst: 1_000_000,
        ..GatewayConfig::default()
    }
}

fn log(dir: &Path) -> Arc<LocalLog> {
    LocalLog::open(LocalConfig { dir: dir.join("log"), ..LocalConfig::default() }).unwrap()
}

async fn prepare(dir: &Path) {
    let log = log(dir);
    log.ensure_topics(&topics::declared().unwrap()).await.unwrap();
    for site in SITES {
        put_site(&*log, site).await;
    }
    log.close().await.unwrap();
}

/// The ids of the sites' uploads on the log.
async fn stored_ids(dir: &Path) -> BTreeSet<String> {
    let log = log(dir);
    let mut ids = BTreeSet::new();
    for partition in 0..PARTITIONS {
        let tp = TopicPartition::new(topic::UPLOADS, partition);
        let (mut next, end) = (0, log.offsets(&tp).await.unwrap().end);
        while next < end {
            let records = log.read(&tp, next, 1 << 20).await.unwrap();
            next = records.last().map_or(end, |last| last.offset + 1);
            for record in records {
                let event = decode_uploads(&record.headers, record.value.as_ref()).unwrap();
                if let UploadsEvent::Upload(upload) = event
                    && !upload.site.is_platform()
                {
                    ids.insert(upload.upload_id.to_string());
                }
            }
        }
    }
    log.close().await.unwrap();
    ids
}

/// The gateway, which is killed when dropped.
fn gateway(dir: &Path, addr: SocketAddr) -> Child {
    let config = dir.join("heliograph.toml");
    let settings = settings();
    let text = format!(
        "[log]\nkind = \"local\"\n[log.local]\ndir = \"{}\"\n[gateway]\nlisten = \"{addr}\"\n\
         site_uploads_per_second = {}\nsite_uploads_burst = {}\n\
         [gateway.ops]\nlisten = \"127.0.0.1:0\"\n",
        dir.join("log").display(),
        settings.site_uploads_per_second,
        settings.site_uploads_burst,
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_heliograph-gateway"));
    command.env("HELIOGRAPH_CONFIG", config).stdin(Stdio::null()).kill_on_drop(true);
    command.env("RUST_LOG", "warn").spawn().unwrap()
}

/// A port that was free a moment ago.
fn free_addr() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn until_it_listens(addr: SocketAddr, gateway: &mut Child) {
    while tokio::net::TcpStream::connect(addr).await.is_err() {
        assert!(gateway.try_wait().unwrap().is_none(), "the gateway did not start");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_sent_an_upload_is_left_without_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path()).await;
    let addr = free_addr();
    let mut gateway = gateway(dir.path(), addr);
    until_it_listens(addr, &mut gateway).await;

    let load = Load::new(addr);
    let mut clients = JoinSet::new();
    for site in SITES {
        clients.spawn(clients::keep_alive(load.clone(), site));
        clients.spawn(clients::one_by_one(load.clone(), site));
        clients.spawn(clients::unary(load.clone(), site));
        clients.spawn(clients::streaming(load.clone(), site));
    }
    load.answers(ANSWERS_BEFORE).await;
    let pid = Pid::from_raw(i32::try_from(gateway.id().unwrap()).unwrap()).unwrap();
    let told_at = Instant::now();
    kill_process(pid, Signal::TERM).unwrap();
    let status = gateway.wait().await.unwrap();
    let took = told_at.elapsed();
    assert!(status.success(), "{status}");
    let leave_max = settings().leave_max();
    assert!(took <= leave_max + MARGIN, "it took {took:?}, {leave_max:?} are its time");

    let mut told = Told::default();
    while let Some(client) = clients.join_next().await {
        told.add(client.unwrap());
    }
    assert_eq!(told.broken, [] as [String; 0], "answers that did not come");
    let stored = stored_ids(dir.path()).await;
    let lost: Vec<_> = told.accepted.iter().filter(|id| !stored.contains(*id)).collect();
    assert_eq!(lost, [] as [&String; 0], "uploads with a 2xx that are not on the log");
    // Each kind of client was there, and was told to go in the way of its protocol.
    for kind in ["keep-alive", "one-by-one", "unary", "stream"] {
        assert!(told.accepted.iter().any(|id| id.starts_with(kind)), "{kind} sent nothing");
    }
    assert!(
        told.goodbyes >= SITES.len(),
        "{} answers said that the connection ends",
        told.goodbyes
    );
}
