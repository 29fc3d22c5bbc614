//! The log on Apache Kafka (`rdkafka`).
//!
//! Guarantees the port: an append resolves when all in-sync replicas have it (`acks=all`,
//! idempotent producer) with the broker's own append time; a group member's revocations wait for
//! its release. It knows names without the configured prefix. It decides nothing about records,
//! and has no transactions.

mod admin;
mod config;
mod context;
mod error;
mod group;
mod member;
mod meta;
mod producer;
mod reader;
mod rebalance;
#[allow(unsafe_code)] // Three narrow calls; see there.
mod record;
#[cfg(test)]
mod tests;

pub use config::KafkaConfig;

use crate::{
    port::{
        Appended, GroupConsumer, GroupSpec, Log, LogError, LogRead, NewRecord, OffsetRange, Record,
        TopicPartition,
    },
    topics::{self, TopicSpec},
};
use async_trait::async_trait;
use context::Quiet;
use error::log_error;
use group::KafkaGroup;
use producer::Producer;
use rdkafka::consumer::BaseConsumer;
use reader::Readers;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    task,
    time::{self, Instant},
};

type Client = Arc<BaseConsumer<Quiet>>;

/// Between two looks at the end of a partition that is still below what is waited for.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Between two looks at clients that nobody asks.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(5);

/// The log on a Kafka cluster.
pub struct KafkaLog {
    config: Arc<KafkaConfig>,
    /// Asks about topics and offsets.
    client: Client,
    /// Asks what one group has committed; the last one is kept.
    group_client: Mutex<Option<(String, Client)>>,
    producer: Producer,
    readers: Readers,
}

impl fmt::Debug for KafkaLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaLog").field("config", &self.config).finish_non_exhaustive()
    }
}

impl KafkaLog {
    /// Connects; resolves when the brokers answer.
    ///
    /// # Errors
    /// [`LogError::Config`] for wrong settings, [`LogError::Unavailable`] when no broker answers
    /// in time.
    pub async fn connect(config: KafkaConfig) -> Result<Arc<Self>, LogError> {
        config.validate()?;
        let declared = topics::declared()?;
        let config = Arc::new(config);
        let log = blocking({
            let config = Arc::clone(&config);
            move || {
                let client: BaseConsumer<Quiet> = config
                    .client()
                    .create_with_context(Quiet)
                    .map_err(|e| log_error(&e, "client"))?;
                meta::answers(&config, &client)?;
                let producer = Producer::new(&config, &declared)?;
                Ok((client, producer))
            }
        });
        let (client, producer) = log.await?;
        let log = Arc::new(Self {
            readers: Readers::new(Arc::clone(&config)),
            config,
            client: Arc::new(client),
            group_client: Mutex::new(None),
            producer,
        });
        tokio::spawn(keep_house(Arc::downgrade(&log)));
        Ok(log)
    }

    fn lock_group_client(&self) -> MutexGuard<'_, Option<(String, Client)>> {
        self.group_client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the brokers; `ask` blocks.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&KafkaConfig, &BaseConsumer<Quiet>) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let (config, client) = (Arc::clone(&self.config), Arc::clone(&self.client));
        blocking(move || ask(&config, &client)).await
    }
}

#[async_trait]
impl LogRead for KafkaLog {
    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        let topic = topic.to_owned();
        let ask = move |config: &KafkaConfig, client: &BaseConsumer<Quiet>| {
            meta::settled(config.request_timeout(), || meta::partitions(config, client, &topic))
        };
        self.ask(ask).await
    }

    async fn offsets(&self, tp: &TopicPartition) -> Result<OffsetRange, LogError> {
        let tp = tp.clone();
        let ask = move |config: &KafkaConfig, client: &BaseConsumer<Quiet>| {
            meta::settled(config.request_timeout(), || meta::offsets(config, client, &tp))
        };
        self.ask(ask).await
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let range = self.offsets(tp).await?;
        self.readers.read(tp, from, range, max_bytes).await
    }

    async fn wait_past(
        &self,
        tp: &TopicPartition,
        offset: u64,
        timeout: Duration,
    ) -> Result<(), LogError> {
        let deadline = Instant::now() + timeout;
        loop {
            let end = self.offsets(tp).await?.end;
            if end > offset || Instant::now() >= deadline {
                return Ok(());
            }
            if end == offset {
                self.readers.wait_at_end(tp, end, deadline).await?;
            } else {
                time::sleep_until(deadline.min(Instant::now() + LOOK_INTERVAL)).await;
            }
        }
    }
}

#[async_trait]
impl Log for KafkaLog {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        let specs = topics.to_vec();
        let runtime = Handle::current();
        self.ask(move |config, client| admin::ensure(config, client, &specs, &runtime)).await?;
        self.producer.learn(topics);
        Ok(())
    }

    async fn append(&self, record: NewRecord) -> Result<Appended, LogError> {
        self.producer.append(record).await
    }

    async fn subscribe(&self, spec: GroupSpec) -> Result<Box<dyn GroupConsumer>, LogError> {
        self.partitions(&spec.topic).await?;
        let config = Arc::clone(&self.config);
        let member = blocking(move || KafkaGroup::join(&config, spec)).await?;
        Ok(Box::new(member))
    }

    async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<u64>, LogError> {
        let kept = self.lock_group_client().take();
        let (config, group, tp) = (Arc::clone(&self.config), group.to_owned(), tp.clone());
        let (kept, answer) = blocking(move || {
            let kept = match kept {
                Some((name, client)) if name == group => (name, client),
                _ => {
                    let client: BaseConsumer<Quiet> = config
                        .group_offsets(&group)
                        .create_with_context(Quiet)
                        .map_err(|e| log_error(&e, &group))?;
                    (group, Arc::new(client))
                }
            };
            let ask = || meta::committed(&config, &kept.1, &tp);
            let answer = meta::settled(config.request_timeout(), ask);
            Ok((kept, answer))
        })
        .await?;
        let old = self.lock_group_client().replace(kept);
        drop_elsewhere(old);
        answer
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        let kept = self.lock_group_client().take();
        drop_elsewhere(kept);
    }
}

/// A client that nobody polls keeps its log lines and errors for ever: read them, and let go of
/// clients that are not used.
async fn keep_house(log: Weak<KafkaLog>) {
    loop {
        time::sleep(HOUSEKEEPING_INTERVAL).await;
        let Some(log) = log.upgrade() else { return };
        while log.client.poll(Duration::ZERO).is_some() {}
        drop_elsewhere(log.lock_group_client().take());
        log.readers.drop_unused();
    }
}

/// Closing a client that has a group waits for its threads: not on a worker.
fn drop_elsewhere<T: Send + 'static>(client: Option<T>) {
    if let Some(client) = client {
        thread::spawn(move || drop(client));
    }
}

/// Runs what waits for the brokers off the workers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    task::spawn_blocking(work).await.map_err(|e| LogError::Unavailable(e.to_string()))?
}
