//! A log that is measured: how long appends take, how many fail and why.
//!
//! Invariant: it changes nothing of what the log does. What it is not: a retry or a limit.

use crate::{
    port::{
        Appended, GroupConsumer, GroupSpec, Log, LogError, LogRead, NewRecord, OffsetRange, Record,
        TopicPartition,
    },
    topics::TopicSpec,
};
use async_trait::async_trait;
use heliograph_contract::topic;
use heliograph_metrics::{
    Counters, Gauges, Held, Histograms, Register, Registry, labels, observe_since,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What is counted of appends, by topic.
#[derive(Debug, Clone)]
pub struct LogMetrics {
    duration: Histograms,
    bytes: Counters,
    errors: Counters<2>,
    in_flight: Gauges,
}

impl LogMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let mut of = Register::new(registry, "log");
        let topics = || topic::ALL.map(|topic| labels([("topic", topic)]));
        let errors = topic::ALL.into_iter().flat_map(|topic| {
            LogError::KINDS.map(|kind| labels([("topic", topic), ("reason", kind)]))
        });
        Self {
            duration: of.seconds_by(
                "append_duration",
                "From an append to its acknowledgement, failures left out",
                topics(),
            ),
            bytes: of.counters("appended_bytes", "Bytes that were acknowledged", topics()),
            errors: of.counters("append_errors", "Appends that failed", errors),
            in_flight: of.gauges("appends_in_flight", "Appends that wait for the log", topics()),
        }
    }
}

struct Metered {
    log: Arc<dyn Log>,
    metrics: LogMetrics,
}

/// The log, measured.
pub fn metered(log: Arc<dyn Log>, metrics: LogMetrics) -> Arc<dyn Log> {
    Arc::new(Metered { log, metrics })
}

#[async_trait]
impl LogRead for Metered {
    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.log.partitions(topic).await
    }

    async fn offsets(&self, tp: &TopicPartition) -> Result<OffsetRange, LogError> {
        self.log.offsets(tp).await
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.log.read(tp, from, max_bytes).await
    }

    async fn wait_past(
        &self,
        tp: &TopicPartition,
        offset: u64,
        timeout: Duration,
    ) -> Result<(), LogError> {
        self.log.wait_past(tp, offset, timeout).await
    }
}

#[async_trait]
impl Log for Metered {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        self.log.ensure_topics(topics).await
    }

    async fn append(&self, record: NewRecord) -> Result<Appended, LogError> {
        let (topic, bytes) = (known(&record.to.topic), record.size_bytes() as u64);
        let of_topic = labels([("topic", topic)]);
        let (started, metrics) = (Instant::now(), &self.metrics);
        let _in_flight = Held::one(&metrics.in_flight.get_or_create(&of_topic));
        let outcome = self.log.append(record).await;
        match &outcome {
            Ok(_) => {
                observe_since(&metrics.duration.get_or_create(&of_topic), started);
                metrics.bytes.get_or_create(&of_topic).inc_by(bytes);
            }
            Err(error) => {
                let labels = labels([("topic", topic), ("reason", error.kind())]);
                metrics.errors.get_or_create(&labels).inc();
            }
        }
        outcome
    }

    async fn subscribe(&self, spec: GroupSpec) -> Result<Box<dyn GroupConsumer>, LogError> {
        self.log.subscribe(spec).await
    }

    async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<u64>, LogError> {
        self.log.committed(group, tp).await
    }
}

/// Labels are few: what is no topic of ours is one.
fn known(topic: &str) -> &'static str {
    topic::ALL.into_iter().find(|known| *known == topic).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{memory::MemoryLog, topics};
    use heliograph_metrics::text;

    #[tokio::test]
    async fn appends_are_counted_by_topic_and_failures_by_reason() {
        let mut registry = Registry::default();
        let log = MemoryLog::new();
        log.ensure_topics(&topics::declared().unwrap()).await.unwrap();
        let log = metered(log, LogMetrics::register(&mut registry));
        let record = |topic: &str| NewRecord {
            to: TopicPartition::new(topic, 0),
            key: None,
            headers: vec![],
            value: Some(bytes::Bytes::from_static(b"12345")),
        };
        log.append(record(topic::UPLOADS)).await.unwrap();
        log.append(record("frobs")).await.unwrap_err();
        let got = text::encode(&registry, text::Format::Plain);
        for want in [
            "heliograph_log_append_duration_seconds_count{topic=\"heliograph.uploads\"} 1",
            "heliograph_log_appended_bytes_total{topic=\"heliograph.uploads\"} 5",
            "heliograph_log_append_errors_total{topic=\"other\",reason=\"unknown_topic\"} 1",
            "heliograph_log_append_errors_total{topic=\"heliograph.uploads\",reason=\"unavailable\"} 0",
            "heliograph_log_appends_in_flight{topic=\"heliograph.uploads\"} 0",
        ] {
            assert!(got.lines().any(|line| line == want), "{want}\n{got}");
        }
    }
}
