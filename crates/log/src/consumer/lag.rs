//! What is counted of a consumer, and how far it is behind: in records, and in seconds.
//!
//! A consumer is behind by what the partition holds above its committed offset, and by the age of
//! the oldest record that it was given and has not done. Ticks are records too, so that a partition
//! is a few records behind at all times. Invariant: nothing here changes what is consumed. What it
//! is not: the pipeline's clock; ages are for people and read the wall clock.

use crate::{
    group::rules::now,
    port::{Log, LogError, TopicPartition},
};
use heliograph_domain::Timestamp;
use heliograph_metrics::{
    Counter, Counters, FloatGauges, Gauge, Gauges, Labels, Register, Registry, labels,
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the log is asked where its partitions end.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// What a consumer is counted by; `group` is a label of all.
#[derive(Debug, Clone)]
pub struct ConsumerMetrics {
    group: &'static str,
    pub(super) records: Counter,
    pub(super) open_records: Gauge,
    pub(super) open_bytes: Gauge,
    pub(super) paused: Gauge,
    rebalances: Counters<2>,
    errors: Counters<2>,
    partitions: Gauges,
    lag_records: Gauges<2>,
    lag_seconds: FloatGauges<2>,
    positions: Arc<Mutex<BTreeMap<TopicPartition, Position>>>,
}

/// Where a consumer stands in a partition that it owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Everything below is done and known to the log; none until something is.
    pub committed: Option<u64>,
    /// Append time of the oldest record that is not done.
    pub oldest_open: Option<Timestamp>,
}

/// What the consumers of a process are counted by: entered once, told apart by `group`.
#[derive(Debug, Clone)]
pub struct ConsumerFamilies {
    records: Counters,
    open_records: Gauges,
    open_bytes: Gauges,
    paused: Gauges,
    rebalances: Counters<2>,
    errors: Counters<2>,
    partitions: Gauges,
    lag_records: Gauges<2>,
    lag_seconds: FloatGauges<2>,
}

impl ConsumerFamilies {
    /// Of the consumers of these groups.
    pub fn register(registry: &mut Registry, groups: &[&'static str]) -> Self {
        let mut of = Register::new(registry, "consumer");
        let one = || groups.iter().map(|group| labels([("group", *group)])).collect::<Vec<_>>();
        let owned =
            || groups.iter().map(|g| labels([("group", *g), ("partition", "those it owns")]));
        Self {
            records: of.counters("records", "Records that were handed out", one()),
            open_records: of.gauges(
                "open_records",
                "Records that were handed out and are not done",
                one(),
            ),
            open_bytes: of.gauges("open_bytes", "Bytes of the open records", one()),
            paused: of.gauges(
                "paused",
                "1 while no records are fetched, since as much is open as may be",
                one(),
            ),
            rebalances: of.counters(
                "rebalances",
                "Partitions that were assigned to this member, revoked from it or lost",
                each(groups, "event", ["assigned", "revoked", "lost"]),
            ),
            errors: of.counters(
                "errors",
                "Failures of the log to say what comes next, to keep its order, to take a commit, to \
                 say its end",
                each(groups, "call", ["next", "order", "commit", "offsets"]),
            ),
            partitions: of.gauges("partitions", "Partitions that this member owns", one()),
            lag_records: of.passing_gauges(
                "lag_records",
                "Records of a partition above the committed offset",
                owned(),
            ),
            lag_seconds: of.passing_gauges_seconds(
                "lag",
                "Age of the oldest record of a partition that was handed out and is not done; 0 when \
                 none is, be it that nothing can be read",
                owned(),
            ),
        }
    }

    /// Those of one group.
    pub fn of(&self, group: &'static str) -> ConsumerMetrics {
        let labels = labels([("group", group)]);
        ConsumerMetrics {
            group,
            records: self.records.get_or_create_owned(&labels),
            open_records: self.open_records.get_or_create_owned(&labels),
            open_bytes: self.open_bytes.get_or_create_owned(&labels),
            paused: self.paused.get_or_create_owned(&labels),
            rebalances: self.rebalances.clone(),
            errors: self.errors.clone(),
            partitions: self.partitions.clone(),
            lag_records: self.lag_records.clone(),
            lag_seconds: self.lag_seconds.clone(),
            positions: Arc::default(),
        }
    }
}

impl ConsumerMetrics {
    /// So many partitions were `assigned`, `revoked` or `lost`.
    pub(super) fn rebalanced(&self, event: &'static str, partitions: usize) {
        let labels = labels([("group", self.group), ("event", event)]);
        self.rebalances.get_or_create(&labels).inc_by(partitions as u64);
    }

    /// `next`, `order`, `commit` or `offsets` failed.
    pub(super) fn failed(&self, call: &'static str) {
        self.errors.get_or_create(&labels([("group", self.group), ("call", call)])).inc();
    }

    pub(super) fn stands(&self, tp: &TopicPartition, at: Position) {
        let mut positions = self.positions();
        positions.insert(tp.clone(), at);
        self.owns(positions.len());
    }

    /// The partition is no longer ours; who owns it shows its lag.
    pub(super) fn forget(&self, tp: &TopicPartition) {
        let mut positions = self.positions();
        positions.remove(tp);
        self.owns(positions.len());
        let labels = self.of_partition(tp);
        self.lag_records.remove(&labels);
        self.lag_seconds.remove(&labels);
    }

    /// Asks the log where the partitions end, again and again, until `shutdown`.
    pub async fn watch(self, log: Arc<dyn Log>, shutdown: CancellationToken) {
        let mut due = tokio::time::interval(ASK_INTERVAL);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(due.tick()).await.is_some() {
            let positions = self.show_ages();
            for (tp, at) in &positions {
                if let Err(error) = self.look(&*log, tp, *at).await {
                    tracing::debug!(%error, %tp, "the lag is not known");
                    self.failed("offsets");
                    // Each question may take its whole time-out: the ages must not wait for them.
                    break;
                }
            }
        }
    }

    /// What is known without asking the log.
    fn show_ages(&self) -> BTreeMap<TopicPartition, Position> {
        let (positions, now) = (self.positions(), now());
        for (tp, at) in &*positions {
            let age = at.oldest_open.map_or(0.0, |oldest| age_secs(oldest, now));
            self.lag_seconds.get_or_create(&self.of_partition(tp)).set(age);
        }
        positions.clone()
    }

    fn owns(&self, partitions: usize) {
        let owned = self.partitions.get_or_create_owned(&labels([("group", self.group)]));
        owned.set(partitions as i64);
    }

    async fn look(&self, log: &dyn Log, tp: &TopicPartition, at: Position) -> Result<(), LogError> {
        let range = log.offsets(tp).await?;
        let committed = match at.committed {
            Some(offset) => Some(offset),
            None => log.committed(self.group, tp).await?,
        };
        let behind = range.end.saturating_sub(committed.unwrap_or(range.first));
        let behind = i64::try_from(behind).unwrap_or(i64::MAX);
        // It may have been taken away while the log was asked; held, it is not taken away now.
        let positions = self.positions();
        if positions.contains_key(tp) {
            self.lag_records.get_or_create(&self.of_partition(tp)).set(behind);
        }
        Ok(())
    }

    fn of_partition(&self, tp: &TopicPartition) -> Labels<2> {
        let partition = Cow::Owned(tp.partition.to_string());
        [("group", Cow::Borrowed(self.group)), ("partition", partition)]
    }

    fn positions(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Position>> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn each<const N: usize>(
    groups: &[&'static str],
    name: &'static str,
    values: [&'static str; N],
) -> Vec<Labels<2>> {
    groups.iter().flat_map(|group| values.map(|v| labels([("group", *group), (name, v)]))).collect()
}

fn age_secs(of: Timestamp, now: Timestamp) -> f64 {
    (now.as_ms() - of.as_ms()).max(0) as f64 / 1_000.0
}

/// How old the open records are, to the accuracy of what came together.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// (last offset, append time of the first), in offset order.
    batches: HashMap<TopicPartition, VecDeque<(u64, Timestamp)>>,
}

impl Ages {
    /// Records up to `last` came together; the first was appended at `at`.
    pub(super) fn took(&mut self, tp: &TopicPartition, last: u64, at: Timestamp) {
        self.batches.entry(tp.clone()).or_default().push_back((last, at));
    }

    /// Everything below `offset` is done.
    pub(super) fn done_below(&mut self, tp: &TopicPartition, offset: u64) {
        let Some(batches) = self.batches.get_mut(tp) else { return };
        while batches.front().is_some_and(|(last, _)| *last < offset) {
            batches.pop_front();
        }
    }

    pub(super) fn oldest(&self, tp: &TopicPartition) -> Option<Timestamp> {
        self.batches.get(tp)?.front().map(|(_, at)| *at)
    }

    pub(super) fn forget(&mut self, tp: &TopicPartition) {
        self.batches.remove(tp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_open_record_is_that_of_the_first_batch_that_is_not_done() {
        let (tp, other) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
        let at = Timestamp::from_ms;
        let mut ages = Ages::default();
        assert_eq!(ages.oldest(&tp), None);
        ages.took(&tp, 4, at(10));
        ages.took(&tp, 9, at(20));
        ages.took(&other, 2, at(5));
        assert_eq!(ages.oldest(&tp), Some(at(10)));
        ages.done_below(&tp, 4);
        assert_eq!(ages.oldest(&tp), Some(at(10)), "its last is open");
        ages.done_below(&tp, 5);
        assert_eq!(ages.oldest(&tp), Some(at(20)));
        ages.done_below(&tp, 10);
        assert_eq!(ages.oldest(&tp), None);
        assert_eq!(ages.oldest(&other), Some(at(5)));
        ages.forget(&other);
        assert_eq!(ages.oldest(&other), None);
    }

    #[test]
    fn an_age_is_in_seconds_and_never_negative() {
        let at = Timestamp::from_ms;
        assert_eq!(age_secs(at(1_000), at(3_500)), 2.5);
        assert_eq!(age_secs(at(3_500), at(1_000)), 0.0, "clocks of two machines differ");
    }
}
