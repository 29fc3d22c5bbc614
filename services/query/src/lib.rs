//! The query service: viewers read sites and readings, operators change the registry and read the
//! log; gRPC on one port, with health and reflection.
//!
//! ```text
//! call ─▶ edge (token, place, deadline) ─▶ viewer ─▶ request ─▶ readings / site ─▶ sql ─▶ ClickHouse
//!                                       ├▶ alerts ─▶ the alerts' topic
//!                                       ├▶ silence ─▶ alert_book, which follows the alerts' topic
//!                                       └▶ admin ─▶ registry topic, read back ─▶ answer
//! ```
//!
//! Guarantees: a viewer learns nothing of another tenant's sites, not even that they exist; a call
//! takes one of a fixed number of places or is refused at once; no answer is made from a rollup that
//! is behind readings which a viewer could already see (`readings`). What it is not: it decides
//! nothing, and keeps nothing that it could not read again; what it says stands in ClickHouse and on
//! the log.

mod access;
mod admin;
mod alert_book;
mod alerts;
mod app;
mod completeness;
mod count;
mod deadline;
mod edge;
mod error;
mod metrics;
mod page;
mod points;
mod read_log;
mod readings;
mod replay;
mod request;
mod shares;
mod silence;
mod site;
mod sql;
mod store;
pub mod token;
mod viewer;
mod window;

pub use app::App;
pub use heliograph_config::{QueryConfig, query as config};
pub use metrics::Metrics;
