//! What the gateway counts.
//!
//! Invariant: an upload is counted once, when it is answered or given up: accepted, or refused with
//! its reason. The gateway's uploads to itself are not counted; whether they go through is a metric
//! of its own. What it is not: the counts in ticks (`door`), which hold our own faults alone.

use crate::{
    accept::{Answer, Sender},
    capacity::Amount,
    problem::Problem,
};
use heliograph_metrics::{
    Counter, Counters, Gauge, Histograms, Register, Registry, labels, observe_since,
};
use heliograph_service::http::HttpMetrics;
use std::time::Instant;

/// Who sent an upload gave it up before it was answered, or sent no whole message.
const ABANDONED: &str = "abandoned";

/// Problems of requests that are none.
const NO_UPLOADS: [&str; 2] = ["not-found", "wrong-method"];

/// How an upload comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Grpc,
    GrpcStream,
    Influxdb,
}

impl Protocol {
    const ALL: [Self; 4] = [Self::Http, Self::Grpc, Self::GrpcStream, Self::Influxdb];

    const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::GrpcStream => "grpc_stream",
            Self::Influxdb => "influxdb",
        }
    }
}

/// Metrics of the gateway; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    accepted: Counters,
    refused: Counters<2>,
    duration: Histograms,
    readings_accepted: Counter,
    readings_rejected: Counter,
    pub(crate) places: PlaceMetrics,
    pub(crate) self_upload_ok: Gauge,
    pub(crate) ticks: TickMetrics,
    pub(crate) http: HttpMetrics,
}

/// What is held of the places for uploads.
#[derive(Debug, Clone, Default)]
pub struct PlaceMetrics {
    pub uploads: Gauge,
    pub bytes: Gauge,
    pub streams: Gauge,
    uploads_max: Gauge,
    bytes_max: Gauge,
    streams_max: Gauge,
}

impl PlaceMetrics {
    /// So much more is held.
    pub fn add(&self, more: Amount) {
        self.uploads.inc_by(of(more.uploads));
        self.bytes.inc_by(of(more.bytes));
        self.streams.inc_by(of(more.streams));
    }

    /// So much is given back.
    pub fn remove(&self, less: Amount) {
        self.uploads.dec_by(of(less.uploads));
        self.bytes.dec_by(of(less.bytes));
        self.streams.dec_by(of(less.streams));
    }

    /// Shows how much there is.
    pub fn most(&self, all: Amount) {
        self.uploads_max.set(of(all.uploads));
        self.bytes_max.set(of(all.bytes));
        self.streams_max.set(of(all.streams));
    }
}

fn of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What became of ticks.
#[derive(Debug, Clone, Default)]
pub struct TickMetrics {
    pub appended: Counter,
    pub failed: Counter,
}

impl Metrics {
    /// Enters them into `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let mut of = Register::new(registry, "gateway");
        let protocols = || Protocol::ALL.map(|p| labels([("protocol", p.name())]));
        let refusals = Protocol::ALL.into_iter().flat_map(|p| {
            let reasons = Problem::KINDS.into_iter().filter(|kind| !NO_UPLOADS.contains(kind));
            reasons
                .chain([ABANDONED])
                .map(move |reason| labels([("protocol", p.name()), ("reason", reason)]))
        });
        Self {
            accepted: of.counters("uploads_accepted", "Uploads that are on the log", protocols()),
            refused: of.counters(
                "uploads_refused",
                "Uploads that were not taken, by the last part of the problem's type",
                refusals,
            ),
            duration: of.seconds_by(
                "upload_duration",
                "From an upload's head, or its message in a stream, to the answer",
                protocols(),
            ),
            readings_accepted: of.counter("readings_accepted", "Readings that are on the log"),
            readings_rejected: of.counter(
                "readings_rejected",
                "Readings of accepted uploads that lie in the dead letters",
            ),
            places: PlaceMetrics {
                uploads: of.gauge("uploads_in_flight", "Uploads that are worked on"),
                bytes: of.gauge_bytes("uploads_in_flight", "What uploads hold while worked on"),
                streams: of.gauge("streams", "Open gRPC streams"),
                uploads_max: of.gauge("uploads_in_flight_max", "Most uploads at once"),
                bytes_max: of.gauge_bytes("uploads_in_flight_max", "Most bytes at once"),
                streams_max: of.gauge("streams_max", "Most open gRPC streams"),
            },
            self_upload_ok: of
                .gauge("self_upload_ok", "1 while the gateway's uploads to itself go through"),
            ticks: TickMetrics {
                appended: of.counter("ticks_appended", "Ticks that are on the log"),
                failed: of.counter("ticks_failed", "Ticks that the log did not take"),
            },
            http: HttpMetrics::register(&mut of),
        }
    }

    /// The message is in a compression that its protocol does not take.
    pub fn unsupported(&self, protocol: Protocol) {
        let reason = "unsupported-media";
        let labels = labels([("protocol", protocol.name()), ("reason", reason)]);
        self.refused.get_or_create(&labels).inc();
    }

    /// An upload begins.
    pub fn begin(&self, protocol: Protocol) -> Counting<'_> {
        Counting { metrics: self, protocol, started: Instant::now(), open: true }
    }
}

impl Default for Metrics {
    /// Metrics that nobody sees.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

/// An upload from its head to its answer; given up unless it says otherwise.
#[must_use]
pub struct Counting<'a> {
    metrics: &'a Metrics,
    protocol: Protocol,
    started: Instant,
    open: bool,
}

impl Counting<'_> {
    /// It comes from this sender: the gateway itself is not counted.
    pub fn from(&mut self, sender: &Sender) {
        self.open = !sender.is_itself;
    }

    /// It is answered.
    pub fn end(mut self, outcome: Result<&Answer, &Problem>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let of_protocol = labels([("protocol", self.protocol.name())]);
        match outcome {
            Ok(answer) => {
                self.metrics.accepted.get_or_create(&of_protocol).inc();
                self.metrics.readings_accepted.inc_by(answer.accepted as u64);
                self.metrics.readings_rejected.inc_by(answer.rejected.len() as u64);
            }
            Err(problem) => self.refused(problem.kind()),
        }
        observe_since(&self.metrics.duration.get_or_create(&of_protocol), self.started);
    }

    fn refused(&self, reason: &'static str) {
        let labels = labels([("protocol", self.protocol.name()), ("reason", reason)]);
        self.metrics.refused.get_or_create(&labels).inc();
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        if self.open {
            self.refused(ABANDONED);
        }
    }
}
