//! The configuration file as a whole: one section per component, the same file for every binary.
//!
//! Invariant: every binary knows every section, so `--check` of any of them judges the whole file.
//! To run, a service wants its own sections right and passes over mistakes in the others'. Loading
//! and how mistakes are told is `heliograph_service::config`; every key with its meaning stands in
//! `docs/heliograph.toml`, which a test holds against these types.

pub mod args;
pub mod detector;
pub mod gateway;
mod instance;
pub mod query;
pub mod show;
pub mod writer;

pub use args::ConfigArgs;
pub use detector::DetectorConfig;
pub use gateway::GatewayConfig;
pub use heliograph_log::LogConfig;
pub use heliograph_service::config::{ConfigError, Loaded, Mistake, Origin};
pub use heliograph_store::StoreConfig;
pub use query::QueryConfig;
pub use writer::WriterConfig;

use heliograph_domain::Violation;
use heliograph_service::config::{self, Settings};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Everything that can be configured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub log: LogConfig,
    pub store: StoreConfig,
    pub gateway: GatewayConfig,
    pub writer: WriterConfig,
    pub detector: DetectorConfig,
    pub query: QueryConfig,
}

impl Settings for Config {
    const SECRETS: &'static [&'static str] = &["log.kafka.properties.", "store.password"];

    fn violations(&self) -> Vec<Violation> {
        [
            self.log.violations(),
            self.store.violations(),
            self.gateway.violations(),
            self.writer.violations(),
            self.detector.violations(),
            self.query.violations(),
        ]
        .concat()
    }
}

impl Config {
    /// Reads the file and the environment; mistakes come with it.
    pub fn load(file: Option<&Path>) -> Loaded<Self> {
        config::load(file)
    }
}

/// Who runs on a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    Gateway,
    Writer,
    Detector,
    Query,
    /// `heliograph migrate`.
    Migrate,
    /// `heliograph up`, on a log and a store of its own.
    Up,
}

impl Reader {
    /// The sections that it cannot do without.
    fn sections(self) -> &'static [&'static str] {
        match self {
            Self::Gateway => &["log", "gateway"],
            Self::Writer => &["log", "store", "writer"],
            Self::Detector => &["log", "detector"],
            Self::Query => &["log", "store", "query"],
            Self::Migrate => &["log", "store"],
            Self::Up => &["gateway", "writer", "detector", "query"],
        }
    }

    /// What it wants beyond sound values.
    fn violations(self, config: &Config) -> Option<Violation> {
        match self {
            Self::Up => None,
            _ => config.log.violations_of_use(),
        }
    }

    /// Reads the file and the environment for this reader.
    ///
    /// # Errors
    /// With every mistake in its sections.
    pub fn load(self, file: Option<&Path>) -> Result<Config, ConfigError> {
        let loaded = Config::load(file);
        let more = self.violations(&loaded.settings);
        loaded.and(more).sound_for(self.sections())
    }

    /// As [`Reader::load`], with every mistake in any section.
    ///
    /// # Errors
    /// With every mistake.
    pub fn check(self, file: Option<&Path>) -> Result<Config, ConfigError> {
        let loaded = Config::load(file);
        let more = self.violations(&loaded.settings);
        loaded.and(more).sound()
    }
}
