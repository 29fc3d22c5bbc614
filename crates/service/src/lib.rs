//! What is the same for every service: configuration, start-up and shutdown, health, metrics,
//! tracing, HTTP serving, retries.
//!
//! Invariant: nothing here knows what a service does. A service is an `App` with
//! `build(config, …)` and `run(shutdown)`; this crate is what its `main` and `app` lean on.

pub mod aside;
pub mod config;
pub mod health;
pub mod http;
pub mod liveness;
pub mod meant;
pub mod ops;
pub mod retry;
pub mod runtime;
pub mod telemetry;
pub mod trace;

/// Cancelled when the service is to leave: by SIGTERM, Ctrl-C, or a test.
pub use tokio_util::sync::CancellationToken as Shutdown;
