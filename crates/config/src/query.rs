//! Section `[query]` of the configuration.

use heliograph_domain::{Violation, Violations};
use heliograph_service::{config::ConfigError, http::HttpLimits, ops::OpsConfig};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};

/// The most points that fit into an answer: clients take messages of 4 MiB unless told otherwise,
/// and a point takes at most 16 bytes.
const POINTS_LIMIT: u32 = 200_000;

/// The query service and its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// Where to serve; port 0 takes a free one.
    pub listen: SocketAddr,
    pub http: HttpLimits,
    pub ops: OpsConfig,
    /// Calls at a time; one more is refused with RESOURCE_EXHAUSTED.
    pub concurrency_max: usize,
    /// Calls of one tenant at a time, so that none can take all places.
    pub tenant_concurrency_max: usize,
    /// `ReadLog` streams at a time; they have places of their own, so that an audit of hours takes
    /// none from viewers.
    pub log_streams_max: usize,
    /// `SubscribeAlerts` streams at a time, …
    pub alert_streams_max: usize,
    /// … and of one tenant.
    pub tenant_alert_streams_max: usize,
    /// The longest that a call may take, whatever its own deadline says.
    #[serde(with = "heliograph_service::config::duration")]
    pub deadline_max: Duration,
    /// Points of one answer.
    pub points_max: u32,
    /// Series of one answer, and names in each list of a request.
    pub series_max: u32,
    /// The longest range of one request.
    pub range_days_max: u32,
    /// Threads of the store that one statement may take.
    pub store_threads_max: u32,
    /// Memory of the store that one statement may take.
    pub store_memory_bytes_max: u64,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8082).into(),
            http: HttpLimits::default(),
            ops: OpsConfig::local(9103),
            concurrency_max: 16,
            tenant_concurrency_max: 8,
            log_streams_max: 4,
            alert_streams_max: 256,
            tenant_alert_streams_max: 16,
            deadline_max: Duration::from_secs(30),
            points_max: 100_000,
            series_max: 2_000,
            range_days_max: 3_660,
            store_threads_max: 4,
            store_memory_bytes_max: 1 << 30,
        }
    }
}

impl QueryConfig {
    /// # Errors
    /// [`ConfigError`] naming each wrong key, what it got and what it wants.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::check(self.violations())
    }

    /// The longest from SIGTERM to the end of the process: what an orchestrator must wait at least.
    pub fn leave_max(&self) -> Duration {
        self.http.leave_max() + Duration::from_secs(2)
    }

    /// Every value that makes no sense.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::of("query");
        found.range("concurrency_max", self.concurrency_max, 1, 100_000);
        found.range("tenant_concurrency_max", self.tenant_concurrency_max, 1, 100_000);
        found.range("log_streams_max", self.log_streams_max, 1, 100_000);
        found.range("alert_streams_max", self.alert_streams_max, 1, 100_000);
        found.range("tenant_alert_streams_max", self.tenant_alert_streams_max, 1, 100_000);
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(3_600));
        found.time("deadline_max", self.deadline_max, least, most);
        if self.points_max == 0 || self.points_max > POINTS_LIMIT {
            let want = format!("1 to {POINTS_LIMIT}, so that an answer stays under 4 MiB");
            found.add("points_max", self.points_max, want);
        }
        if self.series_max == 0 || self.series_max > self.points_max {
            let want = format!("1 to points_max ({}): a series has a point", self.points_max);
            found.add("series_max", self.series_max, want);
        }
        found.range("range_days_max", self.range_days_max, 1, 36_600);
        found.range("store_threads_max", self.store_threads_max, 1, 1_024);
        // With less than this ClickHouse cannot run any statement of ours.
        found.range("store_memory_bytes_max", self.store_memory_bytes_max, 1 << 20, 1 << 50);
        let mut found = found.into_vec();
        found.extend(self.http.violations("query.http"));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_a_wrong_value_names_its_key() {
        let good = QueryConfig::default();
        good.validate().unwrap();
        let rows = [
            ("no places", QueryConfig { concurrency_max: 0, ..good.clone() }, "concurrency_max"),
            (
                "no places for a tenant",
                QueryConfig { tenant_concurrency_max: 0, ..good.clone() },
                "tenant_concurrency_max",
            ),
            ("no streams", QueryConfig { log_streams_max: 0, ..good.clone() }, "log_streams_max"),
            (
                "no alerts",
                QueryConfig { alert_streams_max: 0, ..good.clone() },
                "alert_streams_max",
            ),
            (
                "no alerts for a tenant",
                QueryConfig { tenant_alert_streams_max: 0, ..good.clone() },
                "tenant_alert_streams_max",
            ),
            (
                "a deadline that nothing can meet",
                QueryConfig { deadline_max: Duration::ZERO, ..good.clone() },
                "deadline_max",
            ),
            (
                "an answer that no client takes",
                QueryConfig { points_max: 1_000_000, ..good.clone() },
                "points_max",
            ),
            (
                "more series than points",
                QueryConfig { points_max: 10, series_max: 11, ..good.clone() },
                "series_max",
            ),
        ];
        for (name, config, key) in rows {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(&format!("query.{key}: got ")), "{name}: {error}");
        }
    }
}
