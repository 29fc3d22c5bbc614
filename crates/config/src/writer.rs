//! Section `[writer]` of the configuration.

use crate::instance;
use heliograph_domain::{Violation, Violations};
use heliograph_log::consumer::ConsumerConfig;
use heliograph_service::{
    config::{ConfigError, duration},
    ops::OpsConfig,
};
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
    pub ops: OpsConfig,
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
            ops: OpsConfig::local(9102),
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
    /// [`ConfigError`] naming each wrong key, what it got and what it wants.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::check(self.violations())
    }

    /// Every value that makes no sense.
    pub fn violations(&self) -> Vec<Violation> {
        let (tick, hour) = (Duration::from_millis(1), Duration::from_secs(3_600));
        let mut found = Violations::of("writer");
        instance::check_member(&mut found, &self.instance, self.session_timeout);
        // One INSERT of more rows than this is cut into several parts by ClickHouse
        // (max_insert_block_size), and a block must land whole or not at all.
        found.range("block_rows_max", self.block_rows_max, 1, 1_000_000);
        found.time("block_interval", self.block_interval, tick, hour);
        found.time("block_linger", self.block_linger, Duration::ZERO, hour);
        if self.block_linger > self.block_interval {
            let want = format!("at most block_interval ({:?})", self.block_interval);
            found.add("block_linger", format_args!("{:?}", self.block_linger), want);
        }
        found.time("insert_timeout", self.insert_timeout, tick, hour);
        found.time("retry_delay_max", self.retry_delay_max, tick, hour);
        found.time("rollup_interval", self.rollup_interval, tick, hour);
        found.range("rollup_round_max", self.rollup_round_max, 1, 1_000_000);
        found.range("dirty_max", self.dirty_max, 1, 100_000_000);
        let consumer = self.consumer.violations("writer.consumer", self.session_timeout);
        [found.into_vec(), consumer].concat()
    }
}
