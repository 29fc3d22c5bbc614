//! What the writer counts.

use crate::{
    config::GROUP,
    tables::{DIRTY_BUCKETS, Tables},
};
use heliograph_domain::Timestamp;
use heliograph_log::consumer::{ConsumerFamilies, ConsumerMetrics};
use heliograph_metrics::{
    Counter, Counters, FloatGauge, Gauge, Histogram, Histograms, Register, Registry, labels,
};
use heliograph_store::StoreErrorClass;
use std::{borrow::Cow, time::Duration};

/// Metrics of the writer; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    block: Histograms,
    insert: Histograms,
    insert_errors: Counters<2>,
    dead_letters: Counters,
    newest_stored: FloatGauge,
    pub(crate) dirty: Gauge,
    pub(crate) dirty_max: Gauge,
    pub(crate) rollup: Histogram,
    pub(crate) rollup_errors: Counter,
    pub(crate) consumer: ConsumerMetrics,
}

/// What a record could not be decoded for, as a dead letter's stable word.
pub(crate) const REASON_UNDECODABLE: &str = "undecodable";
/// What ClickHouse refused a record's rows for.
pub(crate) const REASON_BAD_BLOCK: &str = "refused_by_store";

impl Metrics {
    /// Enters them into `registry`; what is counted of the consumer, its process has entered.
    pub fn register(registry: &mut Registry, consumers: &ConsumerFamilies) -> Self {
        let consumer = consumers.of(GROUP);
        let mut of = Register::new(registry, "writer");
        let readings = Tables::live().readings;
        let tables = || [readings.clone(), DIRTY_BUCKETS.to_owned()].map(of_table);
        let errors = tables()
            .into_iter()
            .flat_map(|[table]| StoreErrorClass::ALL.map(|class| [table.clone(), of_class(class)]));
        let reasons = [REASON_UNDECODABLE, REASON_BAD_BLOCK];
        Self {
            block: of.rows_by("block", "Rows of the blocks that ClickHouse took", tables()),
            insert: of.seconds_by(
                "insert_duration",
                "From sending a block to its acknowledgement, failures left out",
                tables(),
            ),
            insert_errors: of.counters(
                "insert_errors",
                "Failed inserts: those that are tried again, those for which the block is at fault \
                 and is split, and those that stop the writer",
                errors,
            ),
            dead_letters: of.counters(
                "dead_letters",
                "Records that could not be stored and lie in the dead letters",
                reasons.map(|reason| labels([("reason", reason)])),
            ),
            newest_stored: of.gauge_seconds(
                "newest_stored_timestamp",
                "Append time of the newest record whose rows are stored, since the Unix epoch; \
                 its age is time() minus this",
            ),
            dirty: of.gauge("dirty_buckets", "Buckets whose rollups are behind their readings"),
            dirty_max: of.gauge("dirty_buckets_max", "With so many, inserting waits"),
            rollup: of.seconds("rollup_duration", "A round of recomputing rollups"),
            rollup_errors: of.counter("rollup_errors", "Rounds that failed and are tried again"),
            consumer,
        }
    }

    /// ClickHouse took a block.
    pub(crate) fn inserted(&self, table: &str, rows: usize, took: Duration) {
        let table = of_table(table.to_owned());
        self.insert.get_or_create(&table).observe(took.as_secs_f64());
        self.block.get_or_create(&table).observe(rows as f64);
    }

    pub(crate) fn insert_failed(&self, table: &str, class: StoreErrorClass) {
        let [table] = of_table(table.to_owned());
        self.insert_errors.get_or_create(&[table, of_class(class)]).inc();
    }

    /// The rows of records up to this append time are stored.
    pub(crate) fn stored(&self, newest: Timestamp) {
        let secs = newest.as_ms() as f64 / 1_000.0;
        // A backlog of one partition does not make what is stored of another older.
        if secs > self.newest_stored.get() {
            self.newest_stored.set(secs);
        }
    }

    pub(crate) fn dead_letter(&self, reason: &'static str) {
        self.dead_letters.get_or_create(&labels([("reason", reason)])).inc();
    }
}

impl Default for Metrics {
    /// Metrics that nobody sees.
    fn default() -> Self {
        let mut registry = Registry::default();
        let consumers = ConsumerFamilies::register(&mut registry, &[GROUP]);
        Self::register(&mut registry, &consumers)
    }
}

fn of_class(class: StoreErrorClass) -> (&'static str, Cow<'static, str>) {
    ("class", Cow::Borrowed(class.name()))
}

fn of_table(table: String) -> [(&'static str, Cow<'static, str>); 1] {
    [("table", Cow::Owned(table))]
}
