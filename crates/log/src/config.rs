//! Which log an installation uses: section `[log]`.

use crate::{
    kafka::{KafkaConfig, KafkaLog},
    local::{LocalConfig, LocalLog},
    port::{Log, LogError},
};
use heliograph_domain::Violation;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The kind, and the settings of each kind beside it; those of the other are checked, not used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    pub kind: LogKind,
    pub kafka: KafkaConfig,
    pub local: LocalConfig,
}

/// The adapters that a configuration can name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    #[default]
    Kafka,
    /// One process only: services of their own need Kafka.
    Local,
}

impl LogConfig {
    /// Every value that makes no sense. Whether there is an address to go to is asked by
    /// [`LogConfig::violations_of_use`], since not everybody goes there.
    pub fn violations(&self) -> Vec<Violation> {
        [self.kafka.violations(), self.local.violations()].concat()
    }

    /// What else keeps this log from being opened.
    pub fn violations_of_use(&self) -> Option<Violation> {
        let homeless = self.kind == LogKind::Kafka && self.kafka.bootstrap_servers.is_empty();
        homeless.then(KafkaConfig::no_address)
    }
}

/// Opens the configured log.
///
/// # Errors
/// As the adapter's own; a configuration error names its key.
pub async fn open(config: LogConfig) -> Result<Arc<dyn Log>, LogError> {
    Ok(match config.kind {
        LogKind::Kafka => KafkaLog::connect(config.kafka).await?,
        LogKind::Local => LocalLog::open(config.local)?,
    })
}
