//! The settings of the Kafka adapter, and how each kind of client is configured.
//!
//! What the port promises (durable, in order, read from the committed offset) is set here and
//! cannot be set otherwise: a property that would break it is refused. It opens no connection.

use crate::port::{GroupSpec, LogError};
use heliograph_domain::{Secret, Violation, Violations};
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// How to reach Kafka and how it keeps our topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// Names this client in the brokers' logs and quotas.
    pub client_id: String,
    /// Put before the name of every topic and group on the brokers, and never seen above the port;
    /// keeps installations or tests that share a cluster apart.
    pub topic_prefix: String,
    /// Copies of each record, where a topic is created.
    pub replicas: u32,
    /// Copies that must exist before an append is durable, where a topic is created.
    pub min_insync_replicas: u32,
    /// How long an append may wait for company in its batch.
    pub linger_ms: u64,
    /// `none`, `gzip`, `snappy` or `lz4`.
    pub compression: String,
    /// An append that is not acknowledged by then has failed. No longer than the gateway waits: what
    /// it refused must not come later.
    pub delivery_timeout_ms: u64,
    /// Appends on their way; the next one is refused at once.
    pub queue_max_records: u32,
    /// Their size.
    pub queue_max_kib: u32,
    /// What a consumer may hold that was fetched ahead.
    pub fetch_ahead_max_kib: u32,
    /// Time for one question to the brokers (metadata, offsets, commit, creating a topic).
    pub request_timeout_ms: u64,
    /// Any other property of librdkafka, most often its security settings: never shown.
    pub properties: BTreeMap<String, Secret>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            bootstrap_servers: String::new(),
            client_id: "heliograph".to_owned(),
            topic_prefix: String::new(),
            replicas: 3,
            min_insync_replicas: 2,
            linger_ms: 20,
            compression: "lz4".to_owned(),
            delivery_timeout_ms: 5_000,
            queue_max_records: 50_000,
            queue_max_kib: 65_536,
            fetch_ahead_max_kib: 16_384,
            request_timeout_ms: 10_000,
            properties: BTreeMap::new(),
        }
    }
}

/// Properties that carry a promise of the port or have a key of their own.
const OURS: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.offset.reset",
    "bootstrap.servers",
    "client.id",
    "compression.codec",
    "compression.type",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "linger.ms",
    "max.poll.interval.ms",
    "message.timeout.ms",
    "metadata.broker.list",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "request.required.acks",
    "session.timeout.ms",
    "transactional.id",
];

/// A batch never grows beyond this, so a topic that takes this much takes every batch.
pub(super) const BATCH_MAX_BYTES: usize = 512 * 1024;
/// What the record format adds to keys, values and headers.
pub(super) const FRAMING_MAX_BYTES: usize = 64 * 1024;
/// The largest request of the producer: the largest record and its framing, with room.
pub(super) const REQUEST_MAX_BYTES: usize = 4 * 1024 * 1024;

impl KafkaConfig {
    /// # Errors
    /// [`LogError::Config`] naming each wrong key, what it got and what it wants.
    pub fn validate(&self) -> Result<(), LogError> {
        let mut found = self.violations();
        if self.bootstrap_servers.is_empty() {
            found.push(Self::no_address());
        }
        match found.is_empty() {
            true => Ok(()),
            false => Err(LogError::invalid(&found)),
        }
    }

    /// What a log of this kind cannot do without, and nothing else can tell.
    pub fn no_address() -> Violation {
        let want = "host:port[,host:port]… of the brokers";
        Violation::new("log.kafka.bootstrap_servers", "\"\"", want)
    }

    /// Every value that makes no sense; that there is no address is no matter yet.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::of("log.kafka");
        let servers = self.bootstrap_servers.split(',').map(str::trim);
        if let Some(bad) = servers.filter(|_| !self.bootstrap_servers.is_empty()).find(no_host_port)
        {
            found.add("bootstrap_servers", format_args!("{bad:?}"), "host:port[,host:port]…");
        }
        let visible = |c: char| c.is_ascii_graphic();
        if self.client_id.is_empty() || !self.client_id.chars().all(visible) {
            let got = format!("{:?}", self.client_id);
            found.add("client_id", got, "1 or more visible ASCII characters, no spaces");
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if self.topic_prefix.len() > 100 || !self.topic_prefix.chars().all(legal) {
            let got = format!("{:?}", self.topic_prefix);
            found.add("topic_prefix", got, "at most 100 of A-Z a-z 0-9 . _ -");
        }
        if !["none", "gzip", "snappy", "lz4"].contains(&self.compression.as_str()) {
            let got = format!("{:?}", self.compression);
            found.add("compression", got, "none, gzip, snappy or lz4");
        }
        found.range("replicas", self.replicas, 1, 9);
        if self.min_insync_replicas == 0 || self.min_insync_replicas > self.replicas {
            let want = format!("1 to replicas ({})", self.replicas);
            found.add("min_insync_replicas", self.min_insync_replicas, want);
        }
        let ranges: [(&str, u64, u64, u64); 6] = [
            ("linger_ms", self.linger_ms, 0, 1_000),
            ("delivery_timeout_ms", self.delivery_timeout_ms, 1_000, 120_000),
            ("queue_max_records", self.queue_max_records.into(), 1, 1_000_000),
            ("queue_max_kib", self.queue_max_kib.into(), 4_096, 2_097_151),
            ("fetch_ahead_max_kib", self.fetch_ahead_max_kib.into(), 1_024, 1_048_576),
            ("request_timeout_ms", self.request_timeout_ms, 1_000, 120_000),
        ];
        for (key, got, least, most) in ranges {
            found.range(key, got, least, most);
        }
        for key in self.properties.keys().filter(|k| OURS.contains(&k.as_str())) {
            let want = "another property: this one is decided by heliograph";
            found.add(&format!("properties.{key:?}"), "a property of ours", want);
        }
        found.into_vec()
    }

    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// How long a commit may keep its member from asking what happens next: a small part of its
    /// session, or the wait for one broker throws every member out of its group.
    pub(super) fn commit_timeout(&self, session_timeout: Duration) -> Duration {
        self.request_timeout().min(session_timeout / 4)
    }

    /// The name on the brokers of a topic or group.
    pub(super) fn broker_name(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// Any client: metadata, watermarks, administration.
    pub(super) fn client(&self) -> ClientConfig {
        let mut c = ClientConfig::new();
        c.extend(self.properties.iter().map(|(k, v)| (k.clone(), v.expose().to_owned())));
        // The crate asks `log`, which nobody listens to; what is wanted is filtered by `tracing`.
        c.set_log_level(RDKafkaLogLevel::Info);
        c.set("bootstrap.servers", &self.bootstrap_servers)
            .set("client.id", &self.client_id)
            // A broker that comes back is found again within a second, not ten.
            .set_default(&self.properties, "reconnect.backoff.max.ms", "1000")
            .set_default(&self.properties, "socket.timeout.ms", self.request_timeout_ms);
        c
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut c = self.client();
        c.set("enable.idempotence", "true")
            .set("acks", "all")
            .set("allow.auto.create.topics", "false")
            .set("linger.ms", self.linger_ms.to_string())
            .set("compression.codec", &self.compression)
            .set("message.timeout.ms", self.delivery_timeout_ms.to_string())
            .set("queue.buffering.max.messages", self.queue_max_records.to_string())
            .set("queue.buffering.max.kbytes", self.queue_max_kib.to_string())
            .set("message.max.bytes", REQUEST_MAX_BYTES.to_string())
            .set("batch.size", BATCH_MAX_BYTES.to_string())
            // How long a topic that is not there may still appear before its appends fail.
            .set("topic.metadata.propagation.max.ms", "2000");
        c
    }

    /// A client that reads assigned partitions. Being `assign`ed needs a group id, but joins none.
    pub(super) fn reader(&self) -> ClientConfig {
        let mut c = self.consumer();
        c.set("group.id", self.broker_name("heliograph-reader"))
            // Tells the end from a wait, also where compaction left no record before it.
            .set("enable.partition.eof", "true");
        c
    }

    /// A client that asks what `group` has committed, and joins nothing.
    pub(super) fn group_offsets(&self, group: &str) -> ClientConfig {
        let mut c = self.consumer();
        c.set("group.id", self.broker_name(group));
        c
    }

    pub(super) fn member(&self, spec: &GroupSpec) -> ClientConfig {
        let session_ms = spec.session_timeout.as_millis();
        let mut c = self.consumer();
        c.set("group.id", self.broker_name(&spec.group))
            .set("group.protocol", "classic")
            .set_default(&self.properties, "partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", session_ms.to_string())
            // Heartbeats come from a thread of the library. The port says that a member which no
            // longer asks what happens next is dead: that is this limit.
            .set("max.poll.interval.ms", session_ms.to_string())
            .set("heartbeat.interval.ms", (session_ms / 10).clamp(50, 3_000).to_string());
        if let Some(instance) = &spec.instance {
            c.set("group.instance.id", instance);
        }
        c
    }

    fn consumer(&self) -> ClientConfig {
        let mut c = self.client();
        c.set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("queued.max.messages.kbytes", self.fetch_ahead_max_kib.to_string())
            // A consumer whose queue was full asks again after this long. The default of a second
            // is a hole of a second in every backlog.
            .set_default(&self.properties, "fetch.queue.backoff.ms", "5")
            .set_default(&self.properties, "fetch.wait.max.ms", "500")
            .set_default(&self.properties, "fetch.error.backoff.ms", "100");
        c
    }
}

trait SetDefault {
    /// Sets what the configuration leaves open.
    fn set_default(
        &mut self,
        given: &BTreeMap<String, Secret>,
        key: &str,
        value: impl ToString,
    ) -> &mut Self;
}

impl SetDefault for ClientConfig {
    fn set_default(
        &mut self,
        given: &BTreeMap<String, Secret>,
        key: &str,
        value: impl ToString,
    ) -> &mut Self {
        if !given.contains_key(key) {
            self.set(key, value.to_string());
        }
        self
    }
}

fn no_host_port(text: &&str) -> bool {
    !text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|p| p > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> KafkaConfig {
        KafkaConfig { bootstrap_servers: "127.0.0.1:9092".to_owned(), ..KafkaConfig::default() }
    }

    #[test]
    fn the_defaults_need_only_an_address() {
        assert_eq!(sound().validate(), Ok(()));
        let error = KafkaConfig::default().validate().unwrap_err().to_string();
        assert!(error.contains("bootstrap_servers"), "{error}");
    }

    #[test]
    fn a_wrong_setting_is_named_with_what_it_got() {
        type Break = fn(&mut KafkaConfig);
        let rows: [(&str, &str, Break); 9] = [
            ("bootstrap_servers", "\"nohost\"", |c| c.bootstrap_servers = "a:1,nohost".into()),
            ("bootstrap_servers", "\"a:0\"", |c| c.bootstrap_servers = "a:0".into()),
            ("topic_prefix", "\"a b\"", |c| c.topic_prefix = "a b".into()),
            ("compression", "\"zip\"", |c| c.compression = "zip".into()),
            ("replicas", "0", |c| c.replicas = 0),
            ("min_insync_replicas", "4", |c| c.min_insync_replicas = 4),
            ("delivery_timeout_ms", "5", |c| c.delivery_timeout_ms = 5),
            ("queue_max_records", "0", |c| c.queue_max_records = 0),
            ("properties.\"acks\"", "a property of ours", |c| {
                c.properties.insert("acks".into(), "1".into());
            }),
        ];
        for (key, got, spoil) in rows {
            let mut config = sound();
            spoil(&mut config);
            let error = config.validate().unwrap_err().to_string();
            let want = format!("kafka.{key}: got {got}, want ");
            assert!(error.contains(&want), "{key}: {error}");
        }
    }

    #[test]
    fn a_commit_waits_for_a_part_of_the_session_at_most() {
        let config = KafkaConfig { request_timeout_ms: 10_000, ..sound() };
        let secs = Duration::from_secs;
        assert_eq!(config.commit_timeout(secs(6)), Duration::from_millis(1_500));
        assert_eq!(config.commit_timeout(secs(60)), secs(10));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = toml::from_str::<KafkaConfig>("frobs = 1").unwrap_err().to_string();
        assert!(error.contains("frobs"), "{error}");
        let config: KafkaConfig =
            toml::from_str("bootstrap_servers = \"a:1\"\n[properties]\n\"sasl.username\" = \"u\"")
                .unwrap();
        assert_eq!(config.properties["sasl.username"].expose(), "u");
    }

    #[test]
    fn a_password_is_not_printed() {
        let mut config = sound();
        config.properties.insert("sasl.password".into(), "hunter2".into());
        let printed = format!("{config:?}");
        assert!(printed.contains("sasl.password") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn what_carries_a_promise_is_set_in_every_client_it_concerns() {
        let c = sound().producer();
        assert_eq!((c.get("acks"), c.get("enable.idempotence")), (Some("all"), Some("true")));
        let spec = GroupSpec {
            group: "g".to_owned(),
            topic: "t".into(),
            instance: Some("w-0".to_owned()),
            session_timeout: Duration::from_secs(10),
        };
        let c = sound().member(&spec);
        for (key, want) in [
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("max.poll.interval.ms", "10000"),
            ("group.instance.id", "w-0"),
        ] {
            assert_eq!(c.get(key), Some(want), "{key}");
        }
    }

    #[test]
    fn a_property_of_ours_that_is_open_can_be_set() {
        let mut config = sound();
        config.properties.insert("fetch.wait.max.ms".into(), "50".into());
        assert_eq!(config.reader().get("fetch.wait.max.ms"), Some("50"));
    }
}
