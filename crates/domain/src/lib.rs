//! The pure core of heliograph: names, units, time, upload rules, partitioning, retry policy.
//!
//! Invariant: no I/O, no clock, no randomness, no concurrency (see `clippy.toml`): the same input
//! gives the same output on every machine and in every replay. What it deliberately is not: it
//! knows neither the wire format (`contract`), nor the log (`log`), nor ClickHouse (`store`).

pub mod checksum;
pub mod event_id;
pub mod id;
pub mod partition;
pub mod reading;
pub mod registry;
pub mod retry;
pub mod rollup;
pub mod secret;
pub mod time;
pub mod trace;
pub mod unit;
pub mod upload;
mod violation;

pub use id::{DeviceId, MetricName, SiteId, TenantId, UploadId};
pub use reading::{Quality, Reading};
pub use secret::Secret;
pub use time::Timestamp;
pub use violation::{Violation, Violations};
