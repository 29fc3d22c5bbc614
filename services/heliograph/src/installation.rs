//! One installation in one directory: embedded log and embedded store.
//!
//! `up` runs every service on it; other commands that find no `up` running open it for
//! themselves. Invariant: one process at a time (the log's lock says so before anything is read).

use crate::{endpoint::Endpoint, operator};
use anyhow::Context;
use heliograph_log::{
    Log, LogError,
    local::{LocalConfig, LocalLog},
    topics,
};
use heliograph_store::{EmbeddedConfig, EmbeddedStore, StoreConfig, connect, migrate};
use std::{net::SocketAddr, path::Path, sync::Arc};

/// An opened installation.
pub struct Installation {
    pub log: Arc<LocalLog>,
    pub store: StoreConfig,
    embedded: EmbeddedStore,
    pub operator_token: String,
}

impl Installation {
    /// Opens the directory, brings topics and tables up to date, and makes the operator's token
    /// at the first start.
    ///
    /// # Errors
    /// When another process has it open, or the engine's library is missing; both say what to do.
    pub async fn open(data_dir: &Path, clickhouse: SocketAddr) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data_dir)
            .with_context(|| format!("cannot make the data directory {}", data_dir.display()))?;
        let config = LocalConfig { dir: data_dir.join("log"), ..LocalConfig::default() };
        let log = LocalLog::open(config).map_err(|error| match error {
            LogError::Locked { .. } => anyhow::Error::from(error).context(
                "this installation is in use; if that is `heliograph up`, leave it running and \
                 use it, or stop it first, or name another directory with --data-dir",
            ),
            other => other.into(),
        })?;
        log.ensure_topics(&topics::declared()?).await?;
        let embedded = EmbeddedStore::start(EmbeddedConfig {
            path: data_dir.join("store"),
            listen: clickhouse,
            ..EmbeddedConfig::default()
        })
        .await
        .context("embedded store")?;
        let store = StoreConfig { url: embedded.url(), ..StoreConfig::default() };
        let report = migrate(&connect(&store), &store).await.context("migrate the store")?;
        tracing::info!(?report, "store is up to date");
        let known = Endpoint::read(data_dir)?.map(|e| e.operator_token);
        let operator_token = operator::token(log.clone(), known).await?;
        Ok(Self { log, store, embedded, operator_token })
    }

    /// Closes store and log, in this order.
    ///
    /// # Errors
    /// When what is open cannot be finished.
    pub async fn close(self) -> anyhow::Result<()> {
        self.embedded.shutdown().await.context("close the store")?;
        self.log.close().await.context("close the log")?;
        Ok(())
    }
}
