//! What the harness itself does with Kafka: fill a topic, count what is on it, look at a group's
//! offsets and set them back. None of it goes through the code that is measured.

use crate::{
    load::sleep_until,
    uploads::{Fleet, START_MS},
};
use anyhow::{Context, ensure};
use bytes::Bytes;
use heliograph_contract::event::{Encoded, HEADER_TYPE, TYPE_UPLOAD_ACCEPTED};
use heliograph_domain::Timestamp;
use heliograph_log::kafka::KafkaConfig;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, Headers, Message, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Far more than any question takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A topic with all of its partitions.
#[derive(Debug, Clone)]
pub struct Topic {
    pub servers: String,
    pub name: String,
    pub partitions: u32,
}

impl Topic {
    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("client.id", "heliograph-bench");
        config
    }

    fn consumer(&self, group: &str) -> anyhow::Result<BaseConsumer> {
        let mut config = self.client();
        config.set("group.id", group).set("enable.auto.commit", "false");
        Ok(config.set("auto.offset.reset", "earliest").create()?)
    }

    /// One that appends as the services do.
    pub fn producer_config(&self) -> ClientConfig {
        let (delivered, mut config) = (KafkaConfig::default(), self.client());
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.codec", delivered.compression)
            .set("linger.ms", delivered.linger_ms.to_string())
            .set("batch.size", "524288");
        config
    }

    /// Makes it, with the append time that our own topics have.
    pub async fn create(&self) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let partitions = i32::try_from(self.partitions)?;
        let topic = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1))
            .set("message.timestamp.type", "LogAppendTime");
        for made in admin.create_topics([&topic], &AdminOptions::new()).await? {
            made.map_err(|(name, code)| anyhow::anyhow!("create {name}: {code}"))?;
        }
        // Each partition has to find its leader first.
        let until = Instant::now() + PATIENCE;
        while let Err(error) = self.ends() {
            ensure!(Instant::now() < until, "{}: {error:#}", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Appends records as fast as the broker takes them, in order within each partition.
    pub fn fill(
        &self,
        records: impl Iterator<Item = anyhow::Result<(u32, Encoded)>>,
    ) -> anyhow::Result<u64> {
        let before: i64 = self.ends()?.iter().sum();
        let mut config = self.producer_config();
        config.set("queue.buffering.max.messages", "20000");
        let producer: ThreadedProducer<DefaultProducerContext> = config.create()?;
        let mut count = 0u64;
        for record in records {
            let (partition, encoded) = record?;
            self.send(&producer, partition, &encoded)?;
            count += 1;
        }
        producer.flush(PATIENCE)?;
        let after: i64 = self.ends()?.iter().sum();
        let appended = u64::try_from(after - before)?;
        // Ticks of a running gateway lie between them.
        ensure!(appended >= count, "{}: {appended} of {count} records are there", self.name);
        Ok(count)
    }

    fn send(
        &self,
        producer: &ThreadedProducer<DefaultProducerContext>,
        partition: u32,
        encoded: &Encoded,
    ) -> anyhow::Result<()> {
        let mut headers = OwnedHeaders::new_with_capacity(encoded.headers.len());
        for (key, value) in &encoded.headers {
            headers = headers.insert(Header { key, value: Some(value.as_ref()) });
        }
        let key = encoded.key.clone().unwrap_or_default();
        let mut record = BaseRecord::to(&self.name)
            .partition(i32::try_from(partition)?)
            .key(key.as_ref())
            .payload(encoded.value.as_ref())
            .headers(headers);
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
    }

    /// The end of each partition.
    pub fn ends(&self) -> anyhow::Result<Vec<i64>> {
        let consumer = self.consumer("heliograph-bench")?;
        (0..i32::try_from(self.partitions)?)
            .map(|partition| Ok(consumer.fetch_watermarks(&self.name, partition, PATIENCE)?.1))
            .collect()
    }

    /// Uploads of the bench's sites that were appended behind `from`.
    pub fn count_uploads(&self, from: &[i64]) -> anyhow::Result<u64> {
        let ends = self.ends()?;
        let consumer = self.consumer("heliograph-bench")?;
        let mut list = TopicPartitionList::new();
        let mut open = 0;
        for (partition, (from, end)) in from.iter().zip(&ends).enumerate() {
            if from < end {
                let partition = i32::try_from(partition)?;
                list.add_partition_offset(&self.name, partition, Offset::Offset(*from))?;
                open += 1;
            }
        }
        consumer.assign(&list)?;
        let (mut uploads, until) = (0, Instant::now() + PATIENCE);
        while open > 0 {
            ensure!(Instant::now() < until, "{}: not read to the end", self.name);
            let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
            let record = record?;
            let at = usize::try_from(record.partition())?;
            if record.offset() >= ends[at] {
                continue;
            }
            uploads += u64::from(is_upload_of_ours(&record));
            if record.offset() + 1 == ends[at] {
                open -= 1;
            }
        }
        Ok(uploads)
    }

    /// What a group has committed, by partition; -1 where nothing.
    pub fn committed(&self, group: &Group) -> anyhow::Result<Vec<i64>> {
        let list = group.0.committed_offsets(self.all(Offset::Invalid)?, PATIENCE)?;
        let offsets = list.elements().into_iter().map(|e| match e.offset() {
            Offset::Offset(offset) => offset,
            _ => -1,
        });
        Ok(offsets.collect())
    }

    /// Sets a group without members back to the beginning.
    pub fn set_back(&self, group: &str) -> anyhow::Result<()> {
        let list = self.all(Offset::Offset(0))?;
        let until = Instant::now() + PATIENCE;
        loop {
            // Who has just left may still be counted.
            match self.consumer(group)?.commit(&list, CommitMode::Sync) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error).context("set back"),
                Err(_) => std::thread::park_timeout(Duration::from_millis(50)),
            }
        }
    }

    /// Asks for a group's offsets again and again over one connection.
    pub fn group(&self, group: &str) -> anyhow::Result<Group> {
        Ok(Group(self.consumer(group)?))
    }

    fn all(&self, offset: Offset) -> anyhow::Result<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            list.add_partition_offset(&self.name, i32::try_from(partition)?, offset)?;
        }
        Ok(list)
    }
}

/// Uploads that are appended by the clock until it is told to end.
pub struct Appending {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<u64>>,
}

impl Appending {
    /// From the n-th upload of the fleet on.
    pub fn begin(topic: Topic, fleet: Fleet, from: u64, per_second: f64) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, started) = (stop.clone(), Instant::now());
        let producer: ThreadedProducer<DefaultProducerContext> =
            topic.producer_config().create()?;
        let thread = std::thread::spawn(move || {
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                let due = started + Duration::from_secs_f64(count as f64 / per_second);
                sleep_until(due);
                let n = from + count;
                let encoded = fleet.event(n, Timestamp::from_ms(START_MS + 1))?;
                topic.send(&producer, fleet.partition(n, topic.partitions), &encoded)?;
                count += 1;
            }
            producer.flush(PATIENCE)?;
            Ok(count)
        });
        Ok(Self { stop, thread })
    }

    /// Waits until all are acknowledged and returns how many they were.
    pub async fn end(self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        joined.map_err(|_| anyhow::anyhow!("who appends panicked"))?
    }
}

/// A group that is looked at, not joined.
pub struct Group(BaseConsumer);

fn is_upload_of_ours(record: &impl Message) -> bool {
    let ours = record.key().is_some_and(|key| key.starts_with(b"bench-"));
    let kind = record.headers().and_then(|headers| {
        headers.iter().find(|header| header.key == HEADER_TYPE).and_then(|header| header.value)
    });
    ours && kind == Some(TYPE_UPLOAD_ACCEPTED.as_bytes())
}

/// A record without a type: for a topic that is not ours.
pub fn plain(key: &str, value: Vec<u8>) -> Encoded {
    let key = Some(Bytes::copy_from_slice(key.as_bytes()));
    Encoded { key, headers: Vec::new(), value: value.into() }
}

/// The offsets that a group must reach.
pub fn is_behind(committed: &[i64], ends: &[i64]) -> bool {
    committed.iter().zip(ends).any(|(committed, end)| committed < end && *end > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_behind_while_any_partition_is() {
        assert!(is_behind(&[5, 2], &[5, 3]));
        assert!(is_behind(&[-1], &[1]));
        assert!(!is_behind(&[5, -1], &[5, 0]), "an empty partition is never committed");
    }
}
