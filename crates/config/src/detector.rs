//! Section `[detector]` of the configuration.

use crate::instance;
use heliograph_domain::{Violation, Violations};
use heliograph_log::consumer::ConsumerConfig;
use heliograph_service::{
    config::{ConfigError, duration},
    ops::OpsConfig,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The consumer group of the detectors.
pub const GROUP: &str = "detector";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorConfig {
    /// Names this member for good (Kafka's `group.instance.id`); empty: a passing member.
    pub instance: String,
    pub consumer: ConsumerConfig,
    pub ops: OpsConfig,
    #[serde(with = "duration")]
    pub session_timeout: Duration,
    /// The state of each partition is kept this often.
    #[serde(with = "duration")]
    pub snapshot_interval: Duration,
    /// Delays between tries grow up to this.
    #[serde(with = "duration")]
    pub retry_delay_max: Duration,
    /// Whether to go on where the log has lost records that were not read yet.
    pub accept_lost_records: bool,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            instance: String::new(),
            consumer: ConsumerConfig::default(),
            ops: OpsConfig::local(9104),
            session_timeout: Duration::from_secs(30),
            snapshot_interval: Duration::from_secs(60),
            retry_delay_max: Duration::from_secs(10),
            accept_lost_records: false,
        }
    }
}

impl DetectorConfig {
    /// # Errors
    /// [`ConfigError`] naming each wrong key, what it got and what it wants.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::check(self.violations())
    }

    /// Every value that makes no sense.
    pub fn violations(&self) -> Vec<Violation> {
        let (tick, hour) = (Duration::from_millis(1), Duration::from_secs(3_600));
        let mut found = Violations::of("detector");
        instance::check_member(&mut found, &self.instance, self.session_timeout);
        found.time("snapshot_interval", self.snapshot_interval, Duration::from_secs(1), hour);
        found.time("retry_delay_max", self.retry_delay_max, tick, hour);
        let consumer = self.consumer.violations("detector.consumer", self.session_timeout);
        [found.into_vec(), consumer].concat()
    }
}
