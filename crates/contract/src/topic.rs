//! Names of the topics, as `schemas/kafka/topics.toml` declares them.

pub const UPLOADS: &str = "heliograph.uploads";
pub const REGISTRY: &str = "heliograph.registry";
pub const COHORTS: &str = "heliograph.cohorts";
pub const ALERTS: &str = "heliograph.alerts";
pub const SNAPSHOTS: &str = "heliograph.snapshots";
pub const DEAD_LETTERS: &str = "heliograph.dead-letters";

/// Every topic, in the order of its declaration.
pub const ALL: [&str; 6] = [UPLOADS, REGISTRY, COHORTS, ALERTS, SNAPSHOTS, DEAD_LETTERS];
