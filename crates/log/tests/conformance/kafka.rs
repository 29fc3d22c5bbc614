//! The suite on real brokers, which all tests share. Each case has a prefix of its own, so that they
//! share the brokers and nothing else.

use crate::support::{Fixture, unique};
use heliograph_log::kafka::{KafkaConfig, KafkaLog};
use heliograph_testkit::kafka::shared;

pub async fn log() -> Fixture {
    let config = KafkaConfig {
        bootstrap_servers: tokio::task::spawn_blocking(|| shared().unwrap()).await.unwrap(),
        topic_prefix: unique("p."),
        replicas: 1,
        min_insync_replicas: 1,
        // 6 MB of one letter would be one fetch, and no test of which partition comes first.
        compression: "none".to_owned(),
        ..KafkaConfig::default()
    };
    Fixture { log: KafkaLog::connect(config).await.unwrap(), keep: Box::new(()) }
}
