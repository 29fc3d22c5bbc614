//! Section `[gateway]`: what can be set, and what must fit together.
//!
//! Invariant: with a validated configuration every JSON upload that passes the body limit fits into
//! one record of its topic, and every rejected reading into one dead letter. The bound behind it,
//! [`RECORD_OVERHEAD_BYTES`], is checked by a property test of the gateway (`accept`). Other formats
//! say more in fewer bytes: what they become is measured before any of it is stored (`pipeline`).

use heliograph_contract::topic;
use heliograph_domain::{SiteId, Violation, Violations, retry::RetryAfter};
use heliograph_log::topics;
use heliograph_service::{config::ConfigError, http::HttpLimits, ops::OpsConfig};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, time::Duration};

/// How much larger than its JSON an upload's record can be: headers, tenant, a generated upload
/// id and the log's own framing. A reading needs at most 26 bytes besides its two names, its JSON
/// at least 41, so readings never make a record outgrow its body.
pub const RECORD_OVERHEAD_BYTES: usize = 4 * 1024;

/// Configuration section `[gateway]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Where loggers upload to; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Names this gateway in ticks and events; stable over restarts, one process each.
    pub instance: String,
    pub http: HttpLimits,
    pub ops: OpsConfig,
    /// The largest body of an upload as it comes over the wire.
    pub body_bytes_max: usize,
    /// The largest body of an upload after decompression.
    pub decompressed_bytes_max: usize,
    /// Time for a client to send a body.
    #[serde(with = "heliograph_service::config::duration")]
    pub body_read_timeout: Duration,
    /// Most readings in an upload.
    pub readings_max: usize,
    /// Most uploads being worked on at once; the next one gets a 503.
    pub in_flight_max: usize,
    /// Most bytes of bodies being worked on at once. What an upload needs while it is worked on
    /// is a small multiple of its body.
    pub in_flight_bytes_max: usize,
    /// Most uploads of one site being worked on at once; the next one gets a 429. No site can take
    /// the places of all others.
    pub site_in_flight_max: usize,
    /// Most bytes of them at once, in the same way.
    pub site_in_flight_bytes_max: usize,
    /// Uploads of one site a second, in the long run; above it the answer is 429. A logger that
    /// sends its backlog one upload after the other waits some milliseconds for each answer, so
    /// that it hardly gets there; one that does goes on a second later, at this rate.
    pub site_uploads_per_second: u32,
    /// Uploads of one site at once: the backlog of most of a day, minute by minute.
    pub site_uploads_burst: u32,
    /// Open gRPC streams; the next one gets UNAVAILABLE. Each may hold a buffer as large as its
    /// largest message, compressed and not.
    pub streams_max: usize,
    /// Open gRPC streams of one site; the next one gets RESOURCE_EXHAUSTED.
    pub site_streams_max: usize,
    /// A gRPC stream on which no upload comes for so long is ended.
    #[serde(with = "heliograph_service::config::duration")]
    pub stream_idle_timeout: Duration,
    /// Time for the log to acknowledge; after that the answer is 503 and the logger sends again.
    #[serde(with = "heliograph_service::config::duration")]
    pub append_timeout: Duration,
    /// `Retry-After` of a 503 lies between this …
    #[serde(with = "heliograph_service::config::duration")]
    pub retry_after_min: Duration,
    /// … and this.
    #[serde(with = "heliograph_service::config::duration")]
    pub retry_after_max: Duration,
    /// How often each partition gets a tick, and how often the gateway uploads to itself.
    #[serde(with = "heliograph_service::config::duration")]
    pub tick_interval: Duration,
    /// Time for the gateway's upload to itself to go through.
    #[serde(with = "heliograph_service::config::duration")]
    pub self_upload_timeout: Duration,
    /// Time for the last ticks to be acknowledged when the gateway leaves.
    #[serde(with = "heliograph_service::config::duration")]
    pub leave_timeout: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            instance: "gateway-0".to_owned(),
            http: HttpLimits::default(),
            ops: OpsConfig::local(9101),
            body_bytes_max: 1_000_000,
            decompressed_bytes_max: 1_000_000,
            body_read_timeout: Duration::from_secs(10),
            readings_max: 10_000,
            in_flight_max: 1_024,
            in_flight_bytes_max: 64 << 20,
            site_in_flight_max: 16,
            site_in_flight_bytes_max: 8 << 20,
            site_uploads_per_second: 100,
            site_uploads_burst: 1_000,
            streams_max: 256,
            site_streams_max: 8,
            stream_idle_timeout: Duration::from_secs(300),
            append_timeout: Duration::from_secs(5),
            retry_after_min: Duration::from_secs(1),
            retry_after_max: Duration::from_secs(30),
            tick_interval: Duration::from_secs(1),
            self_upload_timeout: Duration::from_secs(2),
            leave_timeout: Duration::from_secs(3),
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

impl GatewayConfig {
    /// Checks each value, and the values against each other and the declared topics.
    ///
    /// # Errors
    /// [`ConfigError`] with each wrong key, what it got and what it wants.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::check(self.violations())
    }

    /// Every value that makes no sense.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::of("gateway");
        self.check_instance(&mut found);
        self.check_sizes(&mut found);
        self.check_times(&mut found);
        let mut found = found.into_vec();
        found.extend(self.retry_after().err());
        found.extend(self.http.violations("gateway.http"));
        found
    }

    /// The longest from SIGTERM to the end of the process: what an orchestrator must wait at least.
    pub fn leave_max(&self) -> Duration {
        self.http.leave_max() + self.leave_timeout + Duration::from_secs(2)
    }

    /// The policy behind `Retry-After`.
    ///
    /// # Errors
    /// When the range is none.
    pub fn retry_after(&self) -> Result<RetryAfter, Violation> {
        RetryAfter::try_new(self.retry_after_min, self.retry_after_max)
            .map_err(|e| Violation { field: format!("gateway.{}", e.field), ..e })
    }

    fn check_instance(&self, found: &mut Violations) {
        let own = SiteId::gateway_self(&self.instance);
        if self.instance.is_empty() || SiteId::parse_from_log(own.as_str()).is_err() {
            let got = format!("{:?}", self.instance);
            found.add("instance", got, "1 to 56 ASCII letters, digits or . _ -");
        }
    }

    fn check_sizes(&self, found: &mut Violations) {
        // The semaphores behind them count no further.
        let most = usize::MAX >> 3;
        found.range("readings_max", self.readings_max, 1, most);
        found.range("in_flight_max", self.in_flight_max, 1, most);
        found.range("streams_max", self.streams_max, 1, most);
        found.range("site_in_flight_max", self.site_in_flight_max, 1, most);
        found.range("site_streams_max", self.site_streams_max, 1, most);
        found.range("site_uploads_per_second", self.site_uploads_per_second, 1, u32::MAX);
        found.range("site_uploads_burst", self.site_uploads_burst, 1, u32::MAX);
        let fits = body_bytes_fit();
        for (key, value) in [
            ("body_bytes_max", self.body_bytes_max),
            ("decompressed_bytes_max", self.decompressed_bytes_max),
        ] {
            if value == 0 || value > fits {
                let want = format!(
                    "1 to {fits}: a record of {} must hold what a body becomes",
                    topic::UPLOADS
                );
                found.add(key, value, want);
            }
        }
        let larger = self.body_bytes_max.max(self.decompressed_bytes_max);
        let both = larger.saturating_add(self.decompressed_bytes_max);
        for (key, value) in [
            ("in_flight_bytes_max", self.in_flight_bytes_max),
            ("site_in_flight_bytes_max", self.site_in_flight_bytes_max),
        ] {
            if (both..=most).contains(&value) {
                continue;
            }
            let want = format!(
                "at least a compressed body beside a decompressed one, {both}: \
                 decompressed_bytes_max and the larger of it and body_bytes_max; at most {most}"
            );
            found.add(key, value, want);
        }
    }

    fn check_times(&self, found: &mut Violations) {
        let least = Duration::from_millis(1);
        for (key, value) in [
            ("body_read_timeout", self.body_read_timeout),
            ("append_timeout", self.append_timeout),
            ("self_upload_timeout", self.self_upload_timeout),
            ("leave_timeout", self.leave_timeout),
            ("stream_idle_timeout", self.stream_idle_timeout),
        ] {
            found.time(key, value, least, HOUR);
        }
        // The pipeline's clock takes at most 3 s from one tick to the next.
        found.time(
            "tick_interval",
            self.tick_interval,
            Duration::from_millis(100),
            Duration::from_secs(3),
        );
        if self.http.drain_timeout < self.append_timeout {
            let want = format!(
                "at least append_timeout ({:?}), or open uploads are cut at shutdown",
                self.append_timeout
            );
            found.add("http.drain_timeout", format_args!("{:?}", self.http.drain_timeout), want);
        }
    }
}

/// The largest body whose record fits into its topic, and whose rejected readings into the dead
/// letters: one holds a reading at least, as it was sent, with the reason beside it.
fn body_bytes_fit() -> usize {
    // The declaration is compiled in and tested; one that is not there lets no body fit.
    let bytes_max = |name| topics::spec(name).map_or(0, |topic| topic.max_message_bytes);
    let uploads = bytes_max(topic::UPLOADS).saturating_sub(RECORD_OVERHEAD_BYTES);
    uploads.min(bytes_max(topic::DEAD_LETTERS).saturating_sub(4 * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        GatewayConfig::default().validate().unwrap();
    }

    type Change = fn(&mut GatewayConfig);

    #[test]
    fn a_wrong_value_names_its_key_what_it_got_and_what_it_wants() {
        let rows: &[(&str, Change, [&str; 3])] = &[
            (
                "an instance has a name",
                |c| c.instance = String::new(),
                ["gateway.instance: ", "got \"\"", "want 1 to 56"],
            ),
            (
                "it becomes a part of a site id",
                |c| c.instance = "a/b".into(),
                ["gateway.instance: ", "got \"a/b\"", "letters"],
            ),
            (
                "it is short enough for that",
                |c| c.instance = "x".repeat(57),
                ["gateway.instance: ", "got \"xxx", "56"],
            ),
            (
                "no readings",
                |c| c.readings_max = 0,
                ["gateway.readings_max: ", "got 0", "want 1 to"],
            ),
            (
                "no places",
                |c| c.in_flight_max = 0,
                ["gateway.in_flight_max: ", "got 0", "want 1 to"],
            ),
            (
                "no body",
                |c| c.body_bytes_max = 0,
                ["gateway.body_bytes_max: ", "got 0", "want 1 to"],
            ),
            (
                "a body must fit into a record",
                |c| c.body_bytes_max = 1 << 20,
                ["gateway.body_bytes_max: ", "got 1048576", "heliograph.uploads"],
            ),
            (
                "decompressed, too",
                |c| c.decompressed_bytes_max = 1 << 20,
                ["gateway.decompressed_bytes_max: ", "got 1048576", "heliograph.uploads"],
            ),
            (
                "no uploads at all",
                |c| c.site_uploads_per_second = 0,
                ["gateway.site_uploads_per_second: ", "got 0", "want 1 to"],
            ),
            (
                "a burst of none",
                |c| c.site_uploads_burst = 0,
                ["gateway.site_uploads_burst: ", "got 0", "want 1 to"],
            ),
            (
                "no place for a site",
                |c| c.site_in_flight_max = 0,
                ["gateway.site_in_flight_max: ", "got 0", "want 1 to"],
            ),
            (
                "no bytes for a site",
                |c| c.site_in_flight_bytes_max = 1_999_999,
                ["gateway.site_in_flight_bytes_max: ", "got 1999999", "2000000"],
            ),
            (
                "no streams for a site",
                |c| c.site_streams_max = 0,
                ["gateway.site_streams_max: ", "got 0", "want 1 to"],
            ),
            ("no streams", |c| c.streams_max = 0, ["gateway.streams_max: ", "got 0", "want 1 to"]),
            (
                "streams that end at once",
                |c| c.stream_idle_timeout = Duration::ZERO,
                ["gateway.stream_idle_timeout: ", "got 0ns", "want 1ms to 3600s"],
            ),
            (
                "one body must have a place, compressed and not",
                |c| c.in_flight_bytes_max = 1_999_999,
                ["gateway.in_flight_bytes_max: ", "got 1999999", "2000000"],
            ),
            (
                "more bytes than can be counted",
                |c| c.in_flight_bytes_max = usize::MAX,
                ["gateway.in_flight_bytes_max: ", "got 18446744073709551615", "at most"],
            ),
            (
                "a time-out of nothing",
                |c| c.append_timeout = Duration::ZERO,
                ["gateway.append_timeout: ", "got 0ns", "want 1ms to 3600s"],
            ),
            (
                "ticks that the clock does not follow",
                |c| c.tick_interval = Duration::from_secs(4),
                ["gateway.tick_interval: ", "got 4s", "100ms to 3s"],
            ),
            (
                "a drain that cuts uploads",
                |c| c.http.drain_timeout = Duration::from_secs(1),
                ["gateway.http.drain_timeout: ", "got 1s", "append_timeout (5s)"],
            ),
            (
                "no connections",
                |c| c.http.connections_max = 0,
                ["gateway.http.connections_max: ", "got 0", "1 to"],
            ),
            (
                "a header that counts whole seconds",
                |c| c.retry_after_min = Duration::ZERO,
                ["gateway.retry_after_min: ", "got 0ns", "1s"],
            ),
            (
                "a range that is none",
                |c| c.retry_after_max = Duration::from_millis(500),
                ["gateway.retry_after_max: ", "got 500ms", "1s"],
            ),
        ];
        for (name, change, words) in rows {
            let mut config = GatewayConfig::default();
            change(&mut config);
            let got = config.validate().unwrap_err().to_string();
            for word in words {
                assert!(got.contains(word), "{name}: {got}");
            }
        }
    }

    #[test]
    fn an_unknown_key_is_refused_and_the_rest_has_defaults() {
        assert!(toml::from_str::<GatewayConfig>("frobs = 1").is_err());
        let got: GatewayConfig =
            toml::from_str("instance = \"g1\"\ntick_interval = \"2s\"").unwrap();
        assert_eq!((got.instance.as_str(), got.tick_interval), ("g1", Duration::from_secs(2)));
        assert_eq!(got.readings_max, GatewayConfig::default().readings_max);
    }
}
