//! What operators see of a process in numbers: how metrics are named and made, and Prometheus' text
//! formats.
//!
//! Names follow Prometheus' conventions: `heliograph_`, then the hop, base units at the end,
//! `_total` where it only grows. Invariant: a label has few values, nearly all of them known when the
//! metric is made, so that each series is there, as 0, before the first event; never a site, a
//! tenant, a token or an address. What a service counts is a struct of its own, `Metrics`, beside its code; clones
//! of a metric share its value. What this is not: it listens nowhere and knows no service.

mod process;
mod registry;
pub mod text;

pub use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
pub use registry::{Described, Registry};

use prometheus_client::{
    metrics::{family::Family, gauge},
    registry::{Metric, Unit},
};
use std::{borrow::Cow, sync::atomic::AtomicU64, time::Instant};

/// Label names with a value each.
pub type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];
/// A counter for each set of labels.
pub type Counters<const N: usize = 1> = Family<Labels<N>, Counter>;
/// A number that goes up and down.
pub type Gauge = gauge::Gauge<i64>;
/// One with a fraction: seconds.
pub type FloatGauge = gauge::Gauge<f64, AtomicU64>;
/// A gauge for each set of labels.
pub type Gauges<const N: usize = 1> = Family<Labels<N>, Gauge>;
pub type FloatGauges<const N: usize = 1> = Family<Labels<N>, FloatGauge>;
/// A histogram for each set of labels.
pub type Histograms<const N: usize = 1> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// Upper bounds of what takes time, in seconds: from a call in memory to a time-out.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Upper bounds of numbers of rows.
const ROWS: [f64; 9] = [1.0, 10.0, 100.0, 1e3, 5e3, 1e4, 2.5e4, 5e4, 1e5];

const NO_LABELS: &[Labels<0>] = &[];

/// Labels of fixed values.
pub fn labels<const N: usize>(pairs: [(&'static str, &'static str); N]) -> Labels<N> {
    pairs.map(|(name, value)| (name, Cow::Borrowed(value)))
}

/// Makes metrics and enters them into a registry, all of one hop.
#[derive(Debug)]
pub struct Register<'a> {
    registry: &'a mut Registry,
    hop: &'static str,
}

impl<'a> Register<'a> {
    /// Names begin with `heliograph_`, `hop` and `_`.
    pub fn new(registry: &'a mut Registry, hop: &'static str) -> Self {
        Self { registry, hop }
    }

    /// `heliograph_<hop>_<name>_total`.
    pub fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.enter(name, help, None, Counter::default(), NO_LABELS)
    }

    /// One counter for each of `known`; others can come later.
    pub fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        known: impl IntoIterator<Item = Labels<N>>,
    ) -> Counters<N> {
        let known: Vec<_> = known.into_iter().collect();
        let family = Counters::default();
        known.iter().for_each(|labels| drop(family.get_or_create(labels)));
        self.enter(name, help, None, family, &known)
    }

    pub fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.enter(name, help, None, Gauge::default(), NO_LABELS)
    }

    /// A gauge of bytes: `…_<name>_bytes`.
    pub fn gauge_bytes(&mut self, name: &str, help: &str) -> Gauge {
        self.enter(name, help, Some(Unit::Bytes), Gauge::default(), NO_LABELS)
    }

    /// A gauge of seconds: `…_<name>_seconds`.
    pub fn gauge_seconds(&mut self, name: &str, help: &str) -> FloatGauge {
        self.enter(name, help, Some(Unit::Seconds), FloatGauge::default(), NO_LABELS)
    }

    pub fn gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        known: impl IntoIterator<Item = Labels<N>>,
    ) -> Gauges<N> {
        let known: Vec<_> = known.into_iter().collect();
        let family = Gauges::default();
        known.iter().for_each(|labels| drop(family.get_or_create(labels)));
        self.enter(name, help, None, family, &known)
    }

    /// Gauges of labels that come and go; `like` says which there can be and is not made.
    pub fn passing_gauges<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        like: impl IntoIterator<Item = Labels<N>>,
    ) -> Gauges<N> {
        let like: Vec<_> = like.into_iter().collect();
        self.enter(name, help, None, Gauges::default(), &like)
    }

    /// The same, of seconds.
    pub fn passing_gauges_seconds<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        like: impl IntoIterator<Item = Labels<N>>,
    ) -> FloatGauges<N> {
        let like: Vec<_> = like.into_iter().collect();
        self.enter(name, help, Some(Unit::Seconds), FloatGauges::default(), &like)
    }

    /// How long something takes: `…_<name>_seconds`.
    pub fn seconds(&mut self, name: &str, help: &str) -> Histogram {
        self.enter(name, help, Some(Unit::Seconds), Histogram::new(SECONDS), NO_LABELS)
    }

    /// The same, one for each of `known`.
    pub fn seconds_by<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        known: impl IntoIterator<Item = Labels<N>>,
    ) -> Histograms<N> {
        self.histograms(name, help, Unit::Seconds, || Histogram::new(SECONDS), known)
    }

    /// How many rows something has: `…_<name>_rows`.
    pub fn rows_by<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        known: impl IntoIterator<Item = Labels<N>>,
    ) -> Histograms<N> {
        let rows = Unit::Other("rows".to_owned());
        self.histograms(name, help, rows, || Histogram::new(ROWS), known)
    }

    fn histograms<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        make: fn() -> Histogram,
        known: impl IntoIterator<Item = Labels<N>>,
    ) -> Histograms<N> {
        let known: Vec<_> = known.into_iter().collect();
        let family = Histograms::new_with_constructor(make);
        known.iter().for_each(|labels| drop(family.get_or_create(labels)));
        self.enter(name, help, Some(unit), family, &known)
    }

    fn enter<M: Metric + Clone, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        metric: M,
        known: &[Labels<N>],
    ) -> M {
        let name = format!("heliograph_{}_{name}", self.hop);
        self.registry.enter(name, help, unit, metric.clone(), known);
        metric
    }
}

/// Counts one in a gauge for as long as it lives.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    pub fn one(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Records the time since `started`.
pub fn observe_since(histogram: &Histogram, started: Instant) {
    histogram.observe(started.elapsed().as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_named_by_its_hop_and_unit_and_there_before_the_first_event() {
        let mut registry = Registry::default();
        let mut hop = Register::new(&mut registry, "hop");
        let uploads = hop.counters("uploads", "Uploads", [labels([("reason", "too-large")])]);
        hop.gauge_bytes("held", "Bytes");
        hop.gauge("open", "Open").set(3);
        hop.gauge_seconds("lag", "Lag").set(0.5);
        hop.seconds("wait", "Wait");
        hop.rows_by("block", "Blocks", [labels([("table", "t")])]);
        uploads.get_or_create(&labels([("reason", "other")])).inc();
        let got = text::encode(&registry, text::Format::Plain);
        for want in [
            "heliograph_hop_uploads_total{reason=\"too-large\"} 0",
            "heliograph_hop_uploads_total{reason=\"other\"} 1",
            "heliograph_hop_held_bytes 0",
            "heliograph_hop_open 3",
            "heliograph_hop_lag_seconds 0.5",
            "heliograph_hop_wait_seconds_count 0",
            "heliograph_hop_block_rows_bucket{le=\"+Inf\",table=\"t\"} 0",
        ] {
            assert!(got.lines().any(|line| line == want), "{want}\n{got}");
        }
    }

    #[test]
    fn what_is_entered_is_described() {
        let mut registry = Registry::default();
        let mut hop = Register::new(&mut registry, "hop");
        let known = [("a", "x"), ("b", "x")].map(|(a, b)| labels([("one", a), ("two", b)]));
        hop.counters("uploads", "Uploads", known);
        hop.passing_gauges_seconds("lag", "Lag", [labels([("partition", "0 …")])]);
        let got: Vec<_> = registry.described().iter().map(|d| (&*d.name, d.kind)).collect();
        let want =
            [("heliograph_hop_uploads_total", "counter"), ("heliograph_hop_lag_seconds", "gauge")];
        assert_eq!(got, want);
        let labels: Vec<_> = registry.described()[0].labels.clone();
        let two = (("one", vec!["a".to_owned(), "b".into()]), ("two", vec!["x".to_owned()]));
        assert_eq!(labels, [two.0, two.1]);
        assert_eq!(text::encode(&registry, text::Format::Plain).matches("lag").count(), 0);
    }

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped() {
        let gauge = Gauge::default();
        let (first, second) = (Held::one(&gauge), Held::one(&gauge));
        assert_eq!(gauge.get(), 2);
        drop((first, second));
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn every_process_shows_itself() {
        let got = text::encode(&Registry::of_process("1.2.3"), text::Format::Plain);
        assert!(got.contains("heliograph_build_info{version=\"1.2.3\"} 1\n"), "{got}");
        let value = |name: &str| -> f64 {
            let line = got.lines().find(|l| l.split(' ').next() == Some(name));
            line.and_then(|l| l.split(' ').nth(1))
                .unwrap_or_else(|| panic!("{name}"))
                .parse()
                .unwrap()
        };
        let (open, max) = (value("process_open_fds"), value("process_max_fds"));
        assert!(open >= 3.0 && open <= max, "{open} {max}");
        let (resident, virt) =
            (value("process_resident_memory_bytes"), value("process_virtual_memory_bytes"));
        assert!(resident > 100_000.0 && resident <= virt, "{resident} {virt}");
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - value("process_start_time_seconds");
        assert!((-2.0..3_600.0).contains(&age), "{age}");
    }
}
