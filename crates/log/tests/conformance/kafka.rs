//! The suite on a real broker: one for the whole test binary, started when the first case needs it.
//! It ends with the process (see `heliograph_testkit::kafka`). Each case has a prefix of its own,
//! so that they share the broker and nothing else.

use crate::support::{Fixture, unique};
use heliograph_log::kafka::{KafkaConfig, KafkaLog};
use heliograph_testkit::kafka::Broker;
use std::sync::OnceLock;

static BROKER: OnceLock<Broker> = OnceLock::new();

pub async fn log() -> Fixture {
    let start = || BROKER.get_or_init(|| Broker::start().unwrap()).bootstrap_servers();
    let config = KafkaConfig {
        bootstrap_servers: tokio::task::spawn_blocking(start).await.unwrap(),
        topic_prefix: unique("p."),
        replicas: 1,
        min_insync_replicas: 1,
        // 6 MB of one letter would be one fetch, and no test of which partition comes first.
        compression: "none".to_owned(),
        ..KafkaConfig::default()
    };
    Fixture { log: KafkaLog::connect(config).await.unwrap(), keep: Box::new(()) }
}
