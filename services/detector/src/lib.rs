//! The staleness detector: which sites have fallen silent, on the pipeline's own clock.
//!
//! ```text
//! uploads ─▶ consumer ─▶ records ─▶ clock ─▶ staleness ─▶ alerts ─▶ heliograph.alerts
//!    ▲                                          ▲   └──▶ snapshot ─▶ heliograph.snapshots
//!    └──────── what the registry says of a site ┘
//!                                       clock ─▶ door ─▶ heliograph.cohorts ─▶ judge ─▶ heliograph.alerts
//! ```
//!
//! What it decides for a site follows from one partition of the uploads, in offset order, and from
//! nothing else: no clock is read, no other topic. What the registry says, the detector first
//! appends to the partition and acts on when it reads it back. So a replay, a successor and a
//! predecessor that was frozen all say the same, under the same ids.

pub mod app;
pub mod clock;
pub mod door;
pub mod generations;
pub mod grace;
pub mod judge;
pub mod judging;
pub mod metrics;
mod pipeline;
pub mod planted;
pub mod records;
mod refusals;
mod registry;
pub mod sites;
pub mod snapshot;
pub mod staleness;
mod tell;

pub use app::App;
pub use heliograph_config::{DetectorConfig, detector as config};
pub use metrics::Metrics;
