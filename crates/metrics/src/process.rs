//! `process_*`: what Prometheus' client libraries show of a process, read from /proc at each
//! scrape. Where /proc cannot be read they are left out.
//!
//! Names and meanings: "Writing client libraries", standard and runtime collectors.

use procfs::process::{LimitValue, Process as Proc};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use std::fmt;

/// Name, type and meaning of each.
pub const SHOWN: &[(&str, &str, &str)] = &[
    ("process_cpu_seconds_total", "counter", CPU),
    ("process_start_time_seconds", "gauge", START),
    ("process_resident_memory_bytes", "gauge", RESIDENT),
    ("process_virtual_memory_bytes", "gauge", VIRTUAL),
    ("process_threads", "gauge", THREADS),
    ("process_open_fds", "gauge", OPEN_FDS),
    ("process_max_fds", "gauge", MAX_FDS),
];

const CPU: &str = "User and system CPU time";
const START: &str = "Start of the process, since the Unix epoch";
const RESIDENT: &str = "Resident memory";
const VIRTUAL: &str = "Virtual memory";
const THREADS: &str = "Threads";
const OPEN_FDS: &str = "Open file descriptors";
const MAX_FDS: &str = "Most file descriptors that may be open";

#[derive(Debug, Default)]
pub struct Process {
    /// Since when the machine runs, in Unix seconds; it does not change.
    boot_secs: std::sync::OnceLock<Option<u64>>,
}

struct Reading {
    cpu_secs: f64,
    start_secs: Option<f64>,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: i64,
    open_fds: u64,
    max_fds: Option<u64>,
}

impl Process {
    fn read(&self) -> procfs::ProcResult<Reading> {
        let me = Proc::myself()?;
        let stat = me.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        let max_fds = match me.limits()?.max_open_files.soft_limit {
            LimitValue::Value(max) => Some(max),
            LimitValue::Unlimited => None,
        };
        let boot = *self.boot_secs.get_or_init(|| procfs::boot_time_secs().ok());
        Ok(Reading {
            cpu_secs: (stat.utime + stat.stime) as f64 / ticks,
            start_secs: boot.map(|boot| boot as f64 + stat.starttime as f64 / ticks),
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            threads: stat.num_threads,
            open_fds: me.fd_count()? as u64,
            max_fds,
        })
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Ok(read) = self.read() else { return Ok(()) };
        let encoder = &mut encoder;
        let (secs, bytes) = (Some(Unit::Seconds), Some(Unit::Bytes));
        put(encoder, "process_cpu", CPU, secs.as_ref(), &ConstCounter::new(read.cpu_secs))?;
        if let Some(start) = read.start_secs {
            put(encoder, "process_start_time", START, secs.as_ref(), &ConstGauge::new(start))?;
        }
        let resident = ConstGauge::new(read.resident_bytes);
        put(encoder, "process_resident_memory", RESIDENT, bytes.as_ref(), &resident)?;
        let virt = ConstGauge::new(read.virtual_bytes);
        put(encoder, "process_virtual_memory", VIRTUAL, bytes.as_ref(), &virt)?;
        put(encoder, "process_threads", THREADS, None, &ConstGauge::new(read.threads))?;
        put(encoder, "process_open_fds", OPEN_FDS, None, &ConstGauge::new(read.open_fds))?;
        if let Some(max) = read.max_fds {
            put(encoder, "process_max_fds", MAX_FDS, None, &ConstGauge::new(max))?;
        }
        Ok(())
    }
}

fn put(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}
