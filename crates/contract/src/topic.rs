//! Names of the topics, as `schemas/kafka/topics.toml` declares them.

pub const UPLOADS: &str = "heliograph.uploads";
pub const REGISTRY: &str = "heliograph.registry";
pub const DEAD_LETTERS: &str = "heliograph.dead-letters";

/// Every topic, in the order of its declaration.
pub const ALL: [&str; 3] = [UPLOADS, REGISTRY, DEAD_LETTERS];
