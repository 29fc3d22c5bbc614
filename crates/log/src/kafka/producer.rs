//! Appending: one idempotent producer, replaced in process when Kafka declares it dead.
//!
//! A record is handed to librdkafka when its future is first polled, without a wait in between, so
//! that the order of first polls is the order in the partition. A full queue is an answer, not a
//! wait. It keeps no record that failed: whether that record took place is unknown, and the caller
//! appends it again.

use super::{
    config::{KafkaConfig, REQUEST_MAX_BYTES},
    context::Quiet,
    error::{Class, class, code_of, log_error},
    record,
};
use crate::{
    port::{Appended, LogError, NewRecord},
    topics::{Cleanup, TopicSpec},
};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode as Code},
    producer::{DeliveryFuture, FutureProducer, Producer as _},
};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
    thread,
};

type Native = FutureProducer<Quiet>;

pub(super) struct Producer {
    settings: ClientConfig,
    prefix: String,
    native: Mutex<Option<Native>>,
    /// By name above the port.
    topics: RwLock<HashMap<String, Rules>>,
}

/// What a topic takes.
#[derive(Debug, Clone, Copy)]
struct Rules {
    max_bytes: usize,
    is_compacted: bool,
}

impl Rules {
    fn of(spec: &TopicSpec) -> Self {
        Self { max_bytes: spec.max_message_bytes, is_compacted: spec.cleanup == Cleanup::Compact }
    }
}

impl Producer {
    pub(super) fn new(config: &KafkaConfig, topics: &[TopicSpec]) -> Result<Self, LogError> {
        let settings = config.producer();
        let native = create(&settings)?;
        let producer = Self {
            settings,
            prefix: config.topic_prefix.clone(),
            native: Mutex::new(Some(native)),
            topics: RwLock::default(),
        };
        producer.learn(topics);
        Ok(producer)
    }

    /// What these topics take, from now on.
    pub(super) fn learn(&self, specs: &[TopicSpec]) {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.extend(specs.iter().map(|spec| (spec.name.clone(), Rules::of(spec))));
    }

    pub(super) async fn append(&self, new: NewRecord) -> Result<Appended, LogError> {
        self.check(&new)?;
        // No await before this: it fixes the record's place in its partition.
        let delivery = self.send(&new)?;
        let answer = match delivery.await {
            Ok(Ok(d)) => Ok(d),
            Ok(Err((error, _))) => Err(error),
            Err(_canceled) => Err(KafkaError::Canceled),
        };
        match answer {
            Ok(delivery) => {
                // A batch that was sent again, and that the broker has had for so long that it no
                // longer knows where: librdkafka calls that delivered.
                let offset = u64::try_from(delivery.offset).map_err(|_| {
                    LogError::Unavailable(format!("{}: stored, nobody knows where", new.to))
                })?;
                Ok(Appended { offset, append_time: record::append_time(delivery.timestamp) })
            }
            Err(error) => Err(self.failed(&error, &new)),
        }
    }

    fn send(&self, new: &NewRecord) -> Result<DeliveryFuture, LogError> {
        let topic = format!("{}{}", self.prefix, new.to.topic);
        let record = record::to_kafka(new, &topic)?;
        let mut slot = self.lock();
        let native = match slot.take() {
            Some(native) => slot.insert(native),
            // A producer died and its successor could not be made.
            None => slot.insert(create(&self.settings)?),
        };
        let sent = native.send_result(record).map_err(|(error, _)| error);
        drop(slot);
        sent.map_err(|error| self.failed(&error, new))
    }

    /// The record's error; replaces a producer that is dead.
    fn failed(&self, error: &KafkaError, new: &NewRecord) -> LogError {
        self.replace_if_fatal();
        match code_of(error) {
            Some(Code::QueueFull) => {
                LogError::Unavailable(format!("{}: too many appends are under way", new.to))
            }
            Some(code) if class(code) == Class::TooLarge => self.too_large(new),
            _ => log_error(error, &new.to.to_string()),
        }
    }

    /// Kafka cannot go on with a producer after a fatal error (its sequence is lost): a new one,
    /// with a new identity, can.
    fn replace_if_fatal(&self) {
        let mut slot = self.lock();
        let Some((code, reason)) = slot.as_ref().and_then(|n| n.client().fatal_error()) else {
            return;
        };
        tracing::warn!(?code, reason, "the producer is dead; it is replaced");
        drop_elsewhere(slot.take());
        match create(&self.settings) {
            Ok(native) => *slot = Some(native),
            Err(error) => tracing::error!(%error, "no producer; the next append tries again"),
        }
    }

    /// Refuses here what the broker would refuse together with the rest of its batch.
    fn check(&self, new: &NewRecord) -> Result<(), LogError> {
        match self.rules(&new.to.topic) {
            Some(rules) if new.size_bytes() > rules.max_bytes => Err(self.too_large(new)),
            Some(Rules { is_compacted: true, .. }) if new.key.is_none() => {
                let topic = &new.to.topic;
                Err(LogError::Config(format!("{topic} is compacted: got a record without a key")))
            }
            _ => Ok(()),
        }
    }

    fn too_large(&self, new: &NewRecord) -> LogError {
        LogError::TooLarge {
            topic: new.to.topic.to_string(),
            got_bytes: new.size_bytes(),
            max_bytes: self.rules(&new.to.topic).map_or(REQUEST_MAX_BYTES, |r| r.max_bytes),
        }
    }

    fn rules(&self, topic: &str) -> Option<Rules> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Native>> {
        self.native.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes librdkafka call the producer dead, as it does when its sequence is lost.
    #[cfg(test)]
    pub(super) fn kill(&self) {
        let slot = self.lock();
        let native = slot.as_ref().expect("a producer").client().native_ptr();
        let code = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        // SAFETY: the client is alive while the slot is locked; the reason ends with NUL.
        #[allow(unsafe_code)]
        unsafe {
            rdkafka::bindings::rd_kafka_test_fatal_error(native, code, c"a test".as_ptr());
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        drop_elsewhere(self.lock().take());
    }
}

fn create(settings: &ClientConfig) -> Result<Native, LogError> {
    settings.create_with_context(Quiet).map_err(|e| log_error(&e, "producer"))
}

/// Dropping a producer waits for its thread, up to half a second: not on a worker.
fn drop_elsewhere(native: Option<Native>) {
    if let Some(native) = native {
        thread::spawn(move || drop(native));
    }
}
