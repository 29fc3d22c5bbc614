//! librdkafka's callbacks for a group member: they record, and nothing else.
//!
//! Only while the member is closing do they answer, since nobody takes events any more. Invariant:
//! then librdkafka gets the one answer without which it does not end, and none besides: at the
//! close it may ask twice, the first answer gives everything back and may end it, and a question
//! (every call is one) that its main thread finds after that blocks the asker for ever.

use super::{context, rebalance::Signal};
use rdkafka::{
    ClientContext, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, StreamConsumer},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

pub(super) struct MemberContext {
    broker_topic: String,
    is_cooperative: bool,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    signals: VecDeque<Signal>,
    /// A signal was recorded that librdkafka has no answer to yet.
    is_owed: bool,
    /// What librdkafka holds to be assigned, including what it only asks to assign. At the close
    /// it asks all of this back.
    held: BTreeSet<u32>,
    is_closing: bool,
}

impl MemberContext {
    pub(super) fn new(broker_topic: &str, is_cooperative: bool) -> Self {
        Self {
            broker_topic: broker_topic.to_owned(),
            is_cooperative,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The oldest signal that was not taken yet.
    pub(super) fn take(&self) -> Option<Signal> {
        self.lock().signals.pop_front()
    }

    /// Resolves after a signal was recorded.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// librdkafka has taken an assignment or a revocation.
    pub(super) fn answered(&self) {
        self.lock().is_owed = false;
    }

    /// Before the consumer is dropped: from now on its callbacks answer.
    pub(super) fn close(&self, consumer: &StreamConsumer<Self>) {
        let mut state = self.lock();
        state.is_closing = true;
        let is_waited_for = state.is_owed && self.is_last(&state.held);
        drop(state);
        if is_waited_for {
            // Either answers what is asked, and changes nothing otherwise.
            let nothing = TopicPartitionList::new();
            if self.is_cooperative {
                note(consumer.incremental_assign(&nothing));
            }
            note(self.unassign(consumer, &nothing));
        }
    }

    /// Whether librdkafka asks nothing after this while it closes. A cooperative member is asked
    /// once more for what it holds; an eager one is always asked for everything.
    fn is_last(&self, held: &BTreeSet<u32>) -> bool {
        !self.is_cooperative || held.is_empty()
    }

    fn unassign<C: Consumer<Self>>(
        &self,
        consumer: &C,
        list: &TopicPartitionList,
    ) -> KafkaResult<()> {
        match self.is_cooperative {
            true => consumer.incremental_unassign(list),
            false => consumer.unassign(),
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(answer: KafkaResult<()>) {
    if let Err(error) = answer {
        tracing::debug!(%error, "giving back while leaving");
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
        let parts = self.parts(list);
        let is_assignment = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let mut state = self.lock();
        match is_assignment {
            true => state.held.extend(&parts),
            false => state.held.retain(|held| !parts.contains(held)),
        }
        if state.is_closing {
            let is_last = self.is_last(&state.held);
            drop(state);
            match (is_last, is_assignment) {
                (false, _) => {}
                (true, true) if self.is_cooperative => note(consumer.incremental_assign(list)),
                (true, _) => note(self.unassign(consumer, list)),
            }
            return;
        }
        let signal = match is_assignment {
            true => Signal::Assign(parts),
            false if consumer.assignment_lost() => Signal::Lose(parts),
            false => Signal::Revoke(parts),
        };
        tracing::debug!(?signal, "rebalance");
        state.is_owed = true;
        state.signals.push_back(signal);
        drop(state);
        self.changed.notify_one();
    }
}
