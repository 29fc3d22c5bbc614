//! librdkafka's callbacks for a group member: they record, and nothing else.
//!
//! Only while the member is closing do they act: then nobody takes events any more, and librdkafka
//! waits for its answer.

use super::{context, rebalance::Signal};
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, StreamConsumer},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::Notify;

pub(super) struct MemberContext {
    broker_topic: String,
    is_cooperative: bool,
    is_closing: AtomicBool,
    signals: Mutex<VecDeque<Signal>>,
    changed: Notify,
}

impl MemberContext {
    pub(super) fn new(broker_topic: &str, is_cooperative: bool) -> Self {
        Self {
            broker_topic: broker_topic.to_owned(),
            is_cooperative,
            is_closing: AtomicBool::new(false),
            signals: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The oldest signal that was not taken yet.
    pub(super) fn take(&self) -> Option<Signal> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Resolves after a signal was recorded.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// From now on every callback is answered at once. librdkafka may be waiting for an answer to
    /// one that was recorded; changing nothing is an answer, and without it closing never ends.
    pub(super) fn close(&self, consumer: &StreamConsumer<Self>) {
        self.is_closing.store(true, Ordering::SeqCst);
        let nothing = TopicPartitionList::new();
        if self.is_cooperative
            && let Err(error) = consumer.incremental_assign(&nothing)
        {
            tracing::debug!(%error, "leaving");
        }
        self.unassign(consumer, &nothing);
    }

    fn unassign<C: Consumer<Self>>(&self, consumer: &C, list: &TopicPartitionList) {
        let done = match self.is_cooperative {
            true => consumer.incremental_unassign(list),
            false => consumer.unassign(),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "giving back while leaving");
        }
    }

    fn parts(&self, list: &TopicPartitionList) -> Vec<u32> {
        let elements = list.elements();
        let (ours, others): (Vec<_>, Vec<_>) =
            elements.iter().partition(|e| e.topic() == self.broker_topic);
        if let Some(other) = others.first() {
            tracing::error!(topic = other.topic(), "the group has members of another topic");
        }
        ours.iter().filter_map(|e| u32::try_from(e.partition()).ok()).collect()
    }
}

impl ClientContext for MemberContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
    }
}

impl ConsumerContext for MemberContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        if self.is_closing.load(Ordering::SeqCst) {
            self.unassign(consumer, list);
            return;
        }
        let parts = self.parts(list);
        let signal = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Signal::Assign(parts),
            _ if consumer.assignment_lost() => Signal::Lose(parts),
            _ => Signal::Revoke(parts),
        };
        tracing::debug!(?signal, "rebalance");
        self.signals.lock().unwrap_or_else(PoisonError::into_inner).push_back(signal);
        self.changed.notify_one();
    }
}
