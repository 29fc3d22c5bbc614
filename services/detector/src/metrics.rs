//! What the detector counts.

use crate::{config::GROUP, judging};
use heliograph_contract::alert::Alert;
use heliograph_log::consumer::{ConsumerFamilies, ConsumerMetrics};
use heliograph_metrics::{Counter, Counters, FloatGauge, Gauge, Register, Registry, labels};

/// Metrics of the detector; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    alerts: Counters,
    pub(crate) sites: Gauge,
    pub(crate) stale_sites: Gauge,
    pub(crate) door_closed: FloatGauge,
    pub(crate) snapshots: Counter,
    pub(crate) undecodable: Counter,
    pub(crate) consumer: ConsumerMetrics,
    pub(crate) judge: ConsumerMetrics,
}

/// The consumer groups of a detector.
pub const GROUPS: [&str; 2] = [GROUP, judging::GROUP];

const WENT_STALE: &str = "went_stale";
const RECOVERED: &str = "recovered";
const INCIDENT_OPENED: &str = "incident_opened";
const INCIDENT_CLOSED: &str = "incident_closed";
const KINDS: [&str; 4] = [WENT_STALE, RECOVERED, INCIDENT_OPENED, INCIDENT_CLOSED];

impl Metrics {
    /// Enters them into `registry`; what is counted of the consumer, its process has entered.
    pub fn register(registry: &mut Registry, consumers: &ConsumerFamilies) -> Self {
        let (consumer, judge) = (consumers.of(GROUP), consumers.of(judging::GROUP));
        let mut of = Register::new(registry, "detector");
        Self {
            alerts: of.counters(
                "alerts",
                "Alerts that the log took; after a crash some count twice",
                KINDS.map(|kind| labels([("kind", kind)])),
            ),
            sites: of.gauge("sites", "Sites of this member's partitions that have been heard of"),
            stale_sites: of.gauge("stale_sites", "Those of them that are stale"),
            door_closed: of.gauge_seconds(
                "door_closed",
                "How long the front door has not been known to be open, on that of this member's \
                 partitions where that is longest; a few seconds while all is well",
            ),
            snapshots: of.counter("snapshots", "States of partitions that the log took"),
            undecodable: of.counter(
                "undecodable_records",
                "Records of the uploads that say nothing the detector understands; the writer puts \
                 them to the dead letters",
            ),
            consumer,
            judge,
        }
    }

    pub(crate) fn told(&self, alert: &Alert) {
        let kind = match alert {
            Alert::WentStale(_) => WENT_STALE,
            Alert::Recovered(_) => RECOVERED,
            Alert::IncidentOpened(_) => INCIDENT_OPENED,
            Alert::IncidentClosed(_) => INCIDENT_CLOSED,
        };
        self.alerts.get_or_create(&labels([("kind", kind)])).inc();
    }
}

impl Default for Metrics {
    /// Metrics that nobody sees.
    fn default() -> Self {
        let mut registry = Registry::default();
        let consumers = ConsumerFamilies::register(&mut registry, &GROUPS);
        Self::register(&mut registry, &consumers)
    }
}
