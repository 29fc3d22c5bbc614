//! The configuration file: one section per component, the same for every binary.

use heliograph_gateway::GatewayConfig;
use heliograph_log::LogConfig;
use heliograph_query::QueryConfig;
use heliograph_service::config::{self, ConfigError};
use heliograph_store::StoreConfig;
use heliograph_writer::WriterConfig;
use serde::Deserialize;
use std::path::Path;

/// Everything that can be configured; a service reads the sections it needs and checks them all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub log: LogConfig,
    pub store: StoreConfig,
    pub gateway: GatewayConfig,
    pub writer: WriterConfig,
    pub query: QueryConfig,
}

impl Config {
    /// Reads the file and the environment.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        config::load(file)
    }
}
