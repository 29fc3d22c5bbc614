//! What a process shows, and what each of it means.

use crate::{Labels, process};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, info::Info},
    registry::{Metric, Unit},
};
use std::fmt;

/// All metrics of a process, described.
#[derive(Debug, Default)]
pub struct Registry {
    inner: prometheus_client::registry::Registry,
    described: Vec<Described>,
}

/// A metric as it stands in the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// As it is queried: with its unit, and `_total` or `_info`.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub help: String,
    /// Each label with the values that are known beforehand.
    pub labels: Vec<(&'static str, Vec<String>)>,
}

#[derive(Debug)]
struct Elsewhere {
    name: &'static str,
    help: &'static str,
    read: fn() -> u64,
}

impl Collector for Elsewhere {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counter = ConstCounter::new((self.read)());
        let kind = counter.metric_type();
        counter.encode(encoder.encode_descriptor(self.name, self.help, None, kind)?)
    }
}

impl Registry {
    /// One that holds what every process shows of itself: `heliograph_build_info` and `process_*`,
    /// as Prometheus' own clients name them.
    pub fn of_process(version: &'static str) -> Self {
        let mut registry = Self::default();
        registry.inner.register_collector(Box::new(process::Process::default()));
        for (name, kind, help) in process::SHOWN {
            registry.describe((*name).to_owned(), kind, help, &[] as &[Labels<0>]);
        }
        let help = "The version that runs";
        registry.inner.register("heliograph_build", help, Info::new([("version", version)]));
        let name = "heliograph_build_info".to_owned();
        registry.describe(name, "gauge", help, &[crate::labels([("version", "the version")])]);
        registry
    }

    /// A counter that somebody else keeps, under its whole name without `_total`.
    pub fn kept_elsewhere(&mut self, name: &'static str, help: &'static str, read: fn() -> u64) {
        self.describe(format!("{name}_total"), "counter", help, &[] as &[Labels<0>]);
        self.inner.register_collector(Box::new(Elsewhere { name, help, read }));
    }

    /// Everything that is shown, in the order in which it was entered.
    pub fn described(&self) -> &[Described] {
        &self.described
    }

    pub(crate) fn inner(&self) -> &prometheus_client::registry::Registry {
        &self.inner
    }

    pub(crate) fn enter<const N: usize>(
        &mut self,
        name: String,
        help: &str,
        unit: Option<Unit>,
        metric: impl Metric,
        known: &[Labels<N>],
    ) {
        let (suffix, kind) = match metric.metric_type() {
            MetricType::Counter => ("_total", "counter"),
            MetricType::Histogram => ("", "histogram"),
            _ => ("", "gauge"),
        };
        let of_unit = unit.as_ref().map_or(String::new(), |unit| format!("_{}", unit.as_str()));
        self.describe(format!("{name}{of_unit}{suffix}"), kind, help, known);
        match unit {
            Some(unit) => self.inner.register_with_unit(name, help, unit, metric),
            None => self.inner.register(name, help, metric),
        }
    }

    fn describe<const N: usize>(
        &mut self,
        name: String,
        kind: &'static str,
        help: &str,
        known: &[Labels<N>],
    ) {
        let mut labels: Vec<(&'static str, Vec<String>)> = Vec::new();
        for (name, value) in known.iter().flatten() {
            let at = labels.iter().position(|(label, _)| label == name).unwrap_or_else(|| {
                labels.push((name, Vec::new()));
                labels.len() - 1
            });
            let values = &mut labels[at].1;
            if !values.iter().any(|known| known == value) {
                values.push(value.to_string());
            }
        }
        self.described.push(Described { name, kind, help: help.to_owned(), labels });
    }
}
