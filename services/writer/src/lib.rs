//! The writer: from `heliograph.uploads` into ClickHouse, exactly once in effect.
//!
//! ```text
//! uploads ─▶ consumer ─▶ assemble ─▶ blocks ─▶ insert ─▶ readings
//!                ▲                               ├──Done──▶ offsets are committed
//!                └───────────────────────────────┘   └──dirty──▶ roll ─▶ 15 min, hour, local day
//! ```
//!
//! A reading is its (site, device, metric, ts), versioned by its offset: inserting it again
//! changes nothing, so a crash anywhere is mended by reading again from the committed offset.
//! Rollups are recomputed from the rows, never added to.

pub mod app;
pub mod insert;
pub mod metrics;
pub mod pipeline;
pub mod rebuild;
pub mod rollup;
pub mod rows;
pub mod tables;
pub mod trace;

pub use app::App;
pub use heliograph_config::{WriterConfig, writer as config};
pub use metrics::Metrics;
