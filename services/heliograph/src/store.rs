//! `heliograph store`: the embedded ClickHouse alone, for services of their own.

use clap::Args;
use heliograph_service::Shutdown;
use heliograph_store::{EmbeddedConfig, EmbeddedStore};
use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode};

/// Serve the embedded ClickHouse engine over HTTP, without any other service
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph store --path data/store --listen 127.0.0.1:8123")]
pub struct StoreArgs {
    /// Where the tables lie; one process at a time
    #[arg(long, value_name = "DIR", default_value = "data/store")]
    path: PathBuf,
    /// Loopback address; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8123")]
    listen: SocketAddr,
}

/// Serves until `shutdown`. Prints one JSON line when ready.
///
/// # Errors
/// When the engine's library is missing or the directory is in use.
pub async fn run(args: StoreArgs, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
    let config =
        EmbeddedConfig { path: args.path, listen: args.listen, ..EmbeddedConfig::default() };
    let store = EmbeddedStore::start(config).await?;
    let ready = serde_json::json!({ "event": "ready", "clickhouse": store.url() });
    writeln!(std::io::stdout().lock(), "{ready}")?;
    shutdown.cancelled().await;
    store.shutdown().await?;
    Ok(ExitCode::SUCCESS)
}
