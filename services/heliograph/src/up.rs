//! `heliograph up`: every service in one process on the embedded log and store.
//!
//! Invariant: a fault of the store, the writer, the detector or the queries never takes the gateway
//! down; they are started again, the gateway goes on accepting. The gateway alone ends the process.

use crate::{endpoint::Endpoint, installation::Installation, say};
use anyhow::Context;
use clap::Args;
use heliograph_config::{Config, ConfigArgs, QueryConfig, Reader};
use heliograph_detector::{App as Detector, metrics::GROUPS};
use heliograph_gateway::App as Gateway;
use heliograph_log::{
    consumer::ConsumerFamilies,
    metered::{LogMetrics, metered},
};
use heliograph_query::App as Query;
use heliograph_service::{Shutdown, health::Health, ops::Ops, retry::Backoff};
use heliograph_writer::App as Writer;
use serde::Serialize;
use std::{
    future::Future,
    io::{IsTerminal, Write},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// Run every service in this process, on a log and a store in one directory
///
/// Ctrl-C ends it; what was accepted is kept and there at the next start. Other commands find it
/// through --data-dir. A terminal gets warnings only; RUST_LOG=info shows the whole log.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  heliograph up
  heliograph up --data-dir /var/lib/heliograph --port-base 7070
  heliograph up --port-base 0                    # on free ports")]
pub struct UpArgs {
    /// Where log, store and endpoint.json lie
    #[arg(long, value_name = "DIR", default_value = "data", env = "HELIOGRAPH_DATA_DIR")]
    data_dir: PathBuf,
    /// Gateway on this port of 127.0.0.1, query on the next, then ClickHouse's HTTP, then metrics
    /// and health; 0 takes free ports
    #[arg(long, value_name = "PORT", default_value_t = 7070)]
    port_base: u16,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs until `shutdown`.
///
/// # Errors
/// When the directory is in use, a port is taken, or the gateway fails.
pub async fn run(args: UpArgs, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
    let Some(mut config) = args.config.load(Reader::Up)? else { return Ok(ExitCode::SUCCESS) };
    let [gateway, query, clickhouse, ops] = ports(args.port_base)?;
    config.gateway.listen = gateway;
    config.query.listen = query;
    let installation = Installation::open(&args.data_dir, clickhouse).await.map_err(advise)?;
    let outcome = match Ops::bind(ops).await {
        Ok(ops) => serve(&args, config, &installation, ops, shutdown).await,
        Err(error) => Err(error),
    };
    installation.close().await?;
    outcome.map(|()| ExitCode::SUCCESS).map_err(advise)
}

/// Says what to do where another program has a port.
fn advise(error: anyhow::Error) -> anyhow::Error {
    let is_taken = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::AddrInUse)
    };
    match error.chain().any(is_taken) {
        true => error.context(
            "a port is taken, maybe by another `heliograph up`; --port-base names other ports, \
             --port-base 0 takes free ones",
        ),
        false => error,
    }
}

fn ports(base: u16) -> anyhow::Result<[SocketAddr; 4]> {
    let port = |i: u16| match base {
        0 => Ok(0),
        base => base.checked_add(i).context("--port-base: want a base with three more above it"),
    };
    let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Ok([addr(port(0)?), addr(port(1)?), addr(port(2)?), addr(port(3)?)])
}

async fn serve(
    args: &UpArgs,
    config: Config,
    installation: &Installation,
    mut ops: Ops,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let store = installation.store.clone();
    // One process, one answer: it is alive when every loop turns, and ready when the gateway is.
    let health = Health::default();
    let others = Health { liveness: health.liveness.clone(), ..Health::default() };
    let gateway_metrics = heliograph_gateway::Metrics::register(ops.registry());
    let groups = [&[heliograph_writer::config::GROUP][..], &GROUPS].concat();
    let consumers = ConsumerFamilies::register(ops.registry(), &groups);
    let writer_metrics = heliograph_writer::Metrics::register(ops.registry(), &consumers);
    let detector_metrics = heliograph_detector::Metrics::register(ops.registry(), &consumers);
    let query_metrics = heliograph_query::Metrics::register(ops.registry());
    let log = metered(installation.log.clone(), LogMetrics::register(ops.registry()));
    let ops_addr = ops.addr()?;
    ops.serve(health.clone());
    let gateway = Gateway::build(config.gateway.clone(), log.clone(), health, gateway_metrics)
        .await
        .context("gateway")?;
    let start_query = {
        let (log, store, health) = (log.clone(), store.clone(), others.clone());
        move |config: QueryConfig| {
            let (store, log, metrics) = (store.clone(), log.clone(), query_metrics.clone());
            let health = health.clone();
            async move { Query::build(config, store, log, health, metrics).await }
        }
    };
    let query = start_query(config.query.clone()).await.context("query")?;
    let mut query_config = config.query.clone();
    // Started again after a fault it must be found where it was.
    query_config.listen = query.addr();
    let endpoint = Endpoint {
        gateway: format!("http://{}", gateway.addr()),
        query: format!("http://{}", query.addr()),
        clickhouse: store.url.clone(),
        ops: format!("http://{ops_addr}"),
        operator_token: installation.operator_token.clone(),
        pid: std::process::id(),
    };
    endpoint.write(&args.data_dir)?;

    // The gateway leaves first, so that what it accepted last is still written and readable.
    let behind = Shutdown::new();
    let detector = tokio::spawn(supervise("detector", behind.clone(), {
        let (config, log, health) = (config.detector.clone(), log.clone(), others.clone());
        move |shutdown| {
            let (config, log) = (config.clone(), log.clone());
            let (health, metrics) = (health.clone(), detector_metrics.clone());
            async move { Detector::build(config, log, health, metrics).await?.run(shutdown).await }
        }
    }));
    let writer = tokio::spawn(supervise("writer", behind.clone(), {
        let (config, store, log) = (config.writer.clone(), store.clone(), log.clone());
        move |shutdown| {
            let (config, store, log) = (config.clone(), store.clone(), log.clone());
            let (health, metrics) = (others.clone(), writer_metrics.clone());
            async move { Writer::build(config, &store, log, health, metrics).await?.run(shutdown).await }
        }
    }));
    let first = std::sync::Mutex::new(Some(query));
    let querying = tokio::spawn(supervise("query", behind.clone(), move |shutdown| {
        let first = first.lock().ok().and_then(|mut app| app.take());
        let again = start_query(query_config.clone());
        async move {
            let app = match first {
                Some(app) => app,
                None => again.await?,
            };
            app.run(shutdown).await
        }
    }));
    announce(&endpoint, &args.data_dir)?;
    let leaving = tokio::spawn(say_leaving(shutdown.clone()));
    let outcome = gateway.run(shutdown).await.context("gateway");
    leaving.abort();
    behind.cancel();
    let _ = tokio::join!(writer, detector, querying);
    outcome
}

/// A service that ran for so long is started again without the delay of earlier failures.
const RAN_WELL: Duration = Duration::from_secs(60);

/// Runs a service again whenever it fails or panics, until `shutdown`.
async fn supervise<F, Fut>(name: &'static str, shutdown: Shutdown, start: F)
where
    F: Fn(Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    while !shutdown.is_cancelled() {
        let started = tokio::time::Instant::now();
        let running = tokio::spawn(start(shutdown.child_token())).await;
        match running.context("panicked").flatten() {
            Ok(()) => return,
            Err(error) => {
                if started.elapsed() > RAN_WELL {
                    backoff.reset();
                }
                let delay = backoff.next_delay();
                tracing::error!(service = name, error = format!("{error:#}"), ?delay, "restarting");
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(delay) => {}
                }
            }
        }
    }
}

/// The one line on stdout that says to other programs: ready.
#[derive(Serialize)]
struct Ready<'a> {
    event: &'static str,
    gateway: &'a str,
    query: &'a str,
    clickhouse: &'a str,
    ops: &'a str,
}

/// The same for the person at the terminal, and what to do next.
fn welcome(endpoint: &Endpoint, data_dir: &Path) -> String {
    let Endpoint { gateway, query, clickhouse, ops, .. } = endpoint;
    let there = match data_dir.to_str() {
        Some("data") => String::new(),
        _ => format!(" --data-dir {}", data_dir.display()),
    };
    format!(
        "\nheliograph is up; Ctrl-C ends it.\n\
         \x20 uploads     {gateway}/v1/uploads\n\
         \x20 gRPC        {query}\n\
         \x20 ClickHouse  {clickhouse}\n\
         \x20 metrics     {ops}/metrics\n\
         Next, in another terminal:\n\
         \x20 heliograph site add roof-7 --tenant acme --zone Asia/Tokyo{there}\n\
         \x20 heliograph sites{there}\n"
    )
}

/// On a terminal nothing else says that Ctrl-C was heard: what is open is finished first.
async fn say_leaving(shutdown: Shutdown) {
    shutdown.cancelled().await;
    if std::io::stdout().is_terminal() {
        say::hint("\nending: what was accepted is kept, and there at the next start");
    }
}

fn announce(endpoint: &Endpoint, data_dir: &Path) -> anyhow::Result<()> {
    let Endpoint { gateway, query, clickhouse, ops, .. } = endpoint;
    let mut stdout = std::io::stdout().lock();
    let text = match stdout.is_terminal() {
        true => welcome(endpoint, data_dir),
        false => serde_json::to_string(&Ready { event: "ready", gateway, query, clickhouse, ops })?,
    };
    writeln!(stdout, "{text}")?;
    stdout.flush()?;
    Ok(())
}
