//! Which log an installation uses: section `[log]`.

use crate::{
    kafka::{KafkaConfig, KafkaLog},
    local::{LocalConfig, LocalLog},
    port::{Log, LogError},
};
use serde::Deserialize;
use std::sync::Arc;

/// `kind = "kafka"` with its settings beside it, or `kind = "local"`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum LogConfig {
    Kafka(KafkaConfig),
    /// One process only: services of their own need Kafka.
    Local(LocalConfig),
}

impl Default for LogConfig {
    fn default() -> Self {
        Self::Kafka(KafkaConfig::default())
    }
}

/// Opens the configured log.
///
/// # Errors
/// As the adapter's own; a configuration error names its key.
pub async fn open(config: LogConfig) -> Result<Arc<dyn Log>, LogError> {
    Ok(match config {
        LogConfig::Kafka(kafka) => KafkaLog::connect(kafka).await?,
        LogConfig::Local(local) => LocalLog::open(local)?,
    })
}
