//! ClickHouse in this process: the chDB engine behind a small HTTP server that speaks ClickHouse's
//! own interface, so that the services know one store wherever it runs.
//!
//! Guarantee: what an `INSERT` was acknowledged for is on disk as far as the table's settings say
//! so; a process that is killed can open the directory again; two processes cannot. One engine and
//! one directory per process: that is the library's limit.
//!
//! Deliberately not: a ClickHouse server. No users beyond one, no sessions, no compression, no
//! clusters, no TLS. It listens on the loopback interface unless a password guards it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

mod engine;
mod error;
mod ffi;
mod format;
mod input;
mod locate;
mod request;
mod respond;
mod room;
mod run;
mod server;
pub(crate) mod sql;

pub use error::EmbedError;
pub use locate::{LIBRARY_ENV, library};

use engine::Engine;
use room::Room;
use server::Server;

/// The embedded store and its limits.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddedConfig {
    /// The directory that holds all of the store.
    pub path: PathBuf,
    /// `libchdb.so`; without it `HELIOGRAPH_LIBCHDB` and then `.tools/chdb` are looked at.
    pub libchdb: Option<PathBuf>,
    /// Where to serve; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The one user. Neither user nor password: everybody who reaches the port may come in.
    pub user: Option<String>,
    pub password: Option<String>,
    /// Queries at a time; one more is refused with code 202.
    pub max_queries: usize,
    pub max_connections: usize,
    /// The text of one statement.
    pub max_query_bytes: usize,
    /// The rows of one `INSERT`.
    pub max_body_bytes: u64,
    /// The rows of all `INSERT`s that are coming in.
    pub max_buffered_bytes: u64,
    /// A result that cannot be streamed (JSON, say) is kept whole before it is sent.
    pub max_result_bytes: u64,
    /// What the engine may use; over it a query fails with code 241.
    pub max_memory_bytes: u64,
    /// With less free space than this on the disk, `INSERT`s are refused with code 243 and no parts
    /// are merged.
    pub min_free_bytes: u64,
    /// A client that neither sends nor reads for so long is given up.
    pub io_timeout_ms: u64,
    /// How long a stop waits for queries before it cancels them, and then for their end.
    pub shutdown_timeout_ms: u64,
}

impl Default for EmbeddedConfig {
    fn default() -> EmbeddedConfig {
        EmbeddedConfig {
            path: PathBuf::from("data/store"),
            libchdb: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            user: None,
            password: None,
            max_queries: 32,
            max_connections: 128,
            max_query_bytes: 1 << 20,
            max_body_bytes: 256 << 20,
            max_buffered_bytes: 512 << 20,
            max_result_bytes: 128 << 20,
            max_memory_bytes: 2 << 30,
            // Half of what the embedded log wants: what it still took can be stored.
            min_free_bytes: 256 << 20,
            io_timeout_ms: 60_000,
            shutdown_timeout_ms: 10_000,
        }
    }
}

impl fmt::Debug for EmbeddedConfig {
    /// Configurations end up in logs; the password does not.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedConfig")
            .field("path", &self.path)
            .field("libchdb", &self.libchdb)
            .field("listen", &self.listen)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .finish_non_exhaustive()
    }
}

impl EmbeddedConfig {
    fn io_timeout(&self) -> Duration {
        Duration::from_millis(self.io_timeout_ms)
    }

    /// Says which key is wrong, what it got and what it wants.
    pub fn validate(&self) -> Result<(), EmbedError> {
        let positive = [
            ("max_queries", self.max_queries as u64),
            ("max_connections", self.max_connections as u64),
            ("max_query_bytes", self.max_query_bytes as u64),
            ("max_body_bytes", self.max_body_bytes),
            ("max_result_bytes", self.max_result_bytes),
            ("max_memory_bytes", self.max_memory_bytes),
            ("io_timeout_ms", self.io_timeout_ms),
        ];
        let bad = |key, got: String, want| Err(EmbedError::Config { key, got, want });
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return bad(key, "0".into(), "at least 1");
        }
        if self.max_buffered_bytes < self.max_body_bytes {
            let got = self.max_buffered_bytes.to_string();
            return bad("max_buffered_bytes", got, "at least max_body_bytes");
        }
        if !self.listen.ip().is_loopback() && self.password.as_deref().is_none_or(str::is_empty) {
            let got = self.listen.to_string();
            return bad("listen", got, "a loopback address, or a password");
        }
        Ok(())
    }
}

/// A running embedded store.
pub struct EmbeddedStore {
    addr: SocketAddr,
    server: Arc<Server>,
    accepting: JoinHandle<()>,
}

impl EmbeddedStore {
    /// Opens the directory, starts the engine and serves it.
    pub async fn start(config: EmbeddedConfig) -> Result<EmbeddedStore, EmbedError> {
        config.validate()?;
        let bind = |source| EmbedError::Bind { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
        let addr = listener.local_addr().map_err(bind)?;
        let opening = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || Engine::open(&config))
        };
        let engine = opening.await.map_err(|error| EmbedError::Io {
            what: "open the engine".into(),
            source: std::io::Error::other(error),
        })??;
        tracing::info!(
            %addr,
            path = %config.path.display(),
            clickhouse = %engine.about.version,
            "the embedded store is open"
        );
        let engine = Arc::new(engine);
        let room = Room::of(&config);
        // Before anything is served, so that nothing of ours is merged on a full disk.
        let watching = room.watch(Arc::clone(&engine)).await;
        let server = Arc::new(Server::new(engine, room, config));
        tokio::spawn(server.stopping.clone().run_until_cancelled_owned(watching));
        let accepting = tokio::spawn(Arc::clone(&server).serve(listener));
        Ok(EmbeddedStore { addr, server, accepting })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a ClickHouse client is configured with.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The version that the engine gives itself.
    pub fn clickhouse_version(&self) -> &str {
        &self.server.engine.about.version
    }

    /// Takes no more connections, lets queries finish, cancels what does not, closes the engine.
    pub async fn shutdown(self) -> Result<(), EmbedError> {
        let server = &self.server;
        server.stopping.cancel();
        server.tasks.close();
        let patience = Duration::from_millis(server.config.shutdown_timeout_ms);
        if timeout(patience, server.tasks.wait()).await.is_err() {
            tracing::warn!("queries are still running; cancelling them");
            server.abandon.cancel();
        }
        let all = u32::try_from(server.config.max_queries).unwrap_or(u32::MAX);
        if timeout(patience, server.slots.acquire_many(all)).await.is_err() {
            let running = server.config.max_queries - server.slots.available_permits();
            let waited_ms = server.config.shutdown_timeout_ms;
            return Err(EmbedError::StillRunning { running, waited_ms });
        }
        server.engine.close().await;
        Ok(())
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // Also without a `shutdown` nothing may be accepted that nobody answers.
        self.server.stopping.cancel();
        self.accepting.abort();
    }
}
