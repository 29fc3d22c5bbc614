//! The front door: takes uploads over HTTP and acknowledges what the log has.
//!
//! Invariant: a 2xx is written only after the log acknowledged everything the upload became
//! (rule 2 of the design); whatever is refused was not stored by that answer. What it is not: it
//! never looks at ClickHouse or at alerts, so that no fault of theirs can reach the sites.
//!
//! In the order of the flow: `http`, `grpc` (routes) → `receive` (limits, a whole body) → `accept` (who
//! sends, what becomes of what `heliograph_formats` read) → `pipeline` (all of it in one view).
//! `capacity` and `rate` are what all sites and each may have at once and in time.
//! `problem` is what is answered instead; `influx` is InfluxDB's API, with answers of its own.
//! `metrics` is what operators see.
//! `trace` says which trace an upload belongs to, and tells of it.
//! `door`, `ticks`, `ticker`, `self_upload` say to the detectors how open the door was.

mod accept;
mod app;
mod capacity;
pub mod door;
mod grpc;
mod http;
mod influx;
mod metrics;
mod pipeline;
mod problem;
mod rate;
mod receive;
mod self_upload;
mod ticker;
pub mod ticks;
mod trace;

pub use app::App;
pub use heliograph_config::{GatewayConfig, gateway as config};
pub use metrics::Metrics;
