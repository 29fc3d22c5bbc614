//! Configuration of the writer: section `[writer]`.

use heliograph_log::consumer::ConsumerConfig;
use heliograph_service::config::{ConfigError, duration};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The consumer group of the writers; `audit` waits for its offsets.
pub const GROUP: &str = "writer";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WriterConfig {
    /// Names this member for good (Kafka's `group.instance.id`); empty: a passing member.
    pub instance: String,
    pub consumer: ConsumerConfig,
    #[serde(with = "duration")]
    pub session_timeout: Duration,
    /// A block is inserted when it has this many rows …
    pub block_rows_max: usize,
    /// … or when this much time has passed since the insert before it.
    #[serde(with = "duration")]
    pub block_interval: Duration,
    /// After a pause the first block waits this long for company.
    #[serde(with = "duration")]
    pub block_linger: Duration,
    /// Longest wait for ClickHouse to take a block.
    #[serde(with = "duration")]
    pub insert_timeout: Duration,
    /// Delays between tries grow up to this.
    #[serde(with = "duration")]
    pub retry_delay_max: Duration,
    /// Rollups are recomputed at most this often.
    #[serde(with = "duration")]
    pub rollup_interval: Duration,
    /// 15-minute buckets of sites recomputed in one round.
    pub rollup_round_max: usize,
    /// Dirty buckets held in memory; above it inserting waits for the rollups.
    pub dirty_max: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            instance: String::new(),
            consumer: ConsumerConfig::default(),
            session_timeout: Duration::from_secs(30),
            block_rows_max: 100_000,
            block_interval: Duration::from_secs(1),
            block_linger: Duration::from_millis(50),
            insert_timeout: Duration::from_secs(60),
            retry_delay_max: Duration::from_secs(10),
            rollup_interval: Duration::from_secs(1),
            rollup_round_max: 5_000,
            dirty_max: 200_000,
        }
    }
}

impl WriterConfig {
    /// # Errors
    /// [`ConfigError`] naming the key, what it got and what it wants.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |text: String| Err(ConfigError(format!("writer.{text}")));
        self.consumer
            .validate(self.session_timeout)
            .map_err(|text| ConfigError(format!("writer.{text}")))?;
        for (key, got) in [
            ("block_rows_max", self.block_rows_max),
            ("rollup_round_max", self.rollup_round_max),
            ("dirty_max", self.dirty_max),
        ] {
            if got == 0 {
                return wrong(format!("{key}: got 0, want at least 1"));
            }
        }
        // One INSERT of more rows than this is cut into several parts by ClickHouse
        // (max_insert_block_size), and a block must land whole or not at all.
        if self.block_rows_max > 1_000_000 {
            let got = self.block_rows_max;
            return wrong(format!("block_rows_max: got {got}, want at most 1000000"));
        }
        if self.insert_timeout.is_zero() {
            return wrong("insert_timeout: got 0ms, want at least 1ms".into());
        }
        Ok(())
    }
}
