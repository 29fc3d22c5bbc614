//! The operators' listener of a process: `/metrics`, `/livez`, `/readyz`, beside the port that
//! customers use.
//!
//! Invariant: it is open before the process has anything to work with, so that one that waits for
//! Kafka can be asked why; and it takes no place of a customer. What it is not: for the public; it
//! knows no tokens.

use crate::{
    Shutdown,
    health::{self, Health},
    http::{HttpLimits, HttpMetrics, bind, serve},
    telemetry,
};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse,
    routing::get,
};
use heliograph_metrics::{Registry, text};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// Scrapers and probes are few.
const CONNECTIONS_MAX: usize = 128;
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a service shows itself to operators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpsConfig {
    /// Where `/metrics`, `/livez` and `/readyz` are served; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl OpsConfig {
    /// On this port of loopback.
    pub fn local(port: u16) -> Self {
        Self { listen: ([127, 0, 0, 1], port).into() }
    }
}

/// The listener, bound; what is counted is entered before it serves.
#[derive(Debug)]
pub struct Ops {
    listener: TcpListener,
    registry: Registry,
}

impl Ops {
    /// # Errors
    /// When the address cannot be bound; the message names it.
    pub async fn bind(listen: SocketAddr) -> anyhow::Result<Self> {
        let registry = registry();
        Ok(Self { listener: bind(listen).await?, registry })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What `/metrics` shows.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// Serves in the background to the last moment of the process: how it leaves is seen, too.
    pub fn serve(self, health: Health) {
        let limits = HttpLimits {
            connections_max: CONNECTIONS_MAX,
            header_read_timeout: READ_TIMEOUT,
            drain_timeout: Duration::from_secs(1),
            ..HttpLimits::default()
        };
        let router = routes(self.registry).merge(health::routes(health));
        tokio::spawn(serve(self.listener, router, limits, HttpMetrics::default(), Shutdown::new()));
    }
}

/// What every process shows, whatever it does.
pub fn registry() -> Registry {
    let mut registry = Registry::of_process(env!("CARGO_PKG_VERSION"));
    registry.kept_elsewhere(
        "heliograph_process_suppressed_log_lines",
        "Lines that were not logged, since their message had come too often",
        telemetry::suppressed_lines,
    );
    registry
}

fn routes(registry: Registry) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(Arc::new(registry))
}

async fn metrics(State(registry): State<Arc<Registry>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = text::Format::accepted_by(accept);
    ([(header::CONTENT_TYPE, format.content_type())], text::encode(&registry, format))
}
