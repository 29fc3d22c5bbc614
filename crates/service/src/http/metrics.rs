//! What a listener counts.

use heliograph_metrics::{Counter, Gauge, Register};

/// What is counted of a listener.
#[derive(Debug, Clone, Default)]
pub struct HttpMetrics {
    pub(super) accepted: Counter,
    pub(super) open: Gauge,
    pub(super) open_max: Gauge,
    pub(super) accept_errors: Counter,
}

impl HttpMetrics {
    pub fn register(of: &mut Register<'_>) -> Self {
        Self {
            accepted: of.counter("connections_accepted", "Connections that were accepted"),
            open: of.gauge("connections", "Open connections"),
            open_max: of.gauge(
                "connections_max",
                "Most connections that may be open; for a further one the longest idle is closed",
            ),
            accept_errors: of.counter(
                "accept_errors",
                "Failures to accept a connection, mostly for want of file descriptors",
            ),
        }
    }
}
