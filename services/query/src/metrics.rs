//! What the query service counts.

use heliograph_contract::access::{Access, METHODS};
use heliograph_metrics::{
    Counters, Gauge, Gauges, Histogram, Histograms, Register, Registry, labels, observe_since,
};
use heliograph_service::http::HttpMetrics;
use heliograph_store::StoreErrorClass;
use std::time::Instant;
use tonic::Code;

/// Metrics of the query service; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: Counters<2>,
    duration: Histograms,
    open: Gauges,
    open_max: Gauges,
    pub(crate) statement: Histogram,
    statement_errors: Counters,
    pub(crate) http: HttpMetrics,
}

/// Whose places a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    Viewers,
    Operators,
    LogStreams,
    AlertStreams,
}

impl Places {
    const ALL: [Self; 4] = [Self::Viewers, Self::Operators, Self::LogStreams, Self::AlertStreams];

    const fn name(self) -> &'static str {
        match self {
            Self::Viewers => "viewers",
            Self::Operators => "operators",
            Self::LogStreams => "log_streams",
            Self::AlertStreams => "alert_streams",
        }
    }
}

impl Metrics {
    /// Enters them into `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let mut of = Register::new(registry, "query");
        let methods = || served().map(|method| labels([("method", method)]));
        let places = || Places::ALL.map(|places| labels([("places", places.name())]));
        Self {
            calls: of.counters(
                "calls",
                "gRPC calls by method and status; a stream counts when it ends",
                served().map(|method| labels([("method", method), ("code", "OK")])),
            ),
            duration: of.seconds_by(
                "call_duration",
                "From a call's head to the end of its answer",
                methods(),
            ),
            open: of.gauges("calls_open", "Calls that are worked on", places()),
            open_max: of.gauges("calls_open_max", "Most calls at once", places()),
            statement: of.seconds(
                "statement_duration",
                "From a statement to the first of ClickHouse's answer",
            ),
            statement_errors: of.counters(
                "statement_errors",
                "Statements that ClickHouse did not carry out: those that may pass later, and those \
                 that will not",
                StoreErrorClass::ALL.map(|class| labels([("class", class.name())])),
            ),
            http: HttpMetrics::register(&mut of),
        }
    }

    /// A call ended so.
    pub(crate) fn called(&self, method: &'static str, code: Code, started: Instant) {
        self.calls.get_or_create(&labels([("method", method), ("code", name(code))])).inc();
        observe_since(&self.duration.get_or_create(&labels([("method", method)])), started);
    }

    pub(crate) fn open(&self, places: Places) -> Gauge {
        self.open.get_or_create_owned(&labels([("places", places.name())]))
    }

    pub(crate) fn most(&self, places: Places, count: usize) {
        let gauge = self.open_max.get_or_create_owned(&labels([("places", places.name())]));
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn statement_failed(&self, class: StoreErrorClass) {
        self.statement_errors.get_or_create(&labels([("class", class.name())])).inc();
    }
}

impl Default for Metrics {
    /// Metrics that nobody sees.
    fn default() -> Self {
        Self::register(&mut Registry::default())
    }
}

/// The methods of this service, as Kafka's and gRPC's own tools write them: `Service/Method`.
fn served() -> impl Iterator<Item = &'static str> {
    let served = METHODS.iter().filter(|(_, access)| matches!(access, Access::AtLeast(..)));
    served.map(|(path, _)| method(path))
}

/// The label of the method at `path`: one of the table, or `other`.
pub(crate) fn method(path: &str) -> &'static str {
    let known = METHODS.iter().map(|(row, _)| *row).find(|row| *row == path);
    known.and_then(|row| row.strip_prefix("/heliograph.v1.")).unwrap_or("other")
}

/// gRPC's own name of a status code.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
