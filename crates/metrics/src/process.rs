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
        let cpu = ConstCounter::new(read.cpu_secs);
        let help = "User and system CPU time";
        put(&mut encoder, "process_cpu", help, Some(Unit::Seconds), &cpu)?;
        if let Some(start) = read.start_secs {
            let help = "Start of the process, since the Unix epoch";
            let start = ConstGauge::new(start);
            put(&mut encoder, "process_start_time", help, Some(Unit::Seconds), &start)?;
        }
        for (name, help, bytes) in [
            ("process_resident_memory", "Resident memory", read.resident_bytes),
            ("process_virtual_memory", "Virtual memory", read.virtual_bytes),
        ] {
            put(&mut encoder, name, help, Some(Unit::Bytes), &ConstGauge::new(bytes))?;
        }
        let threads = ConstGauge::new(read.threads);
        put(&mut encoder, "process_threads", "Threads", None, &threads)?;
        let open = ConstGauge::new(read.open_fds);
        put(&mut encoder, "process_open_fds", "Open file descriptors", None, &open)?;
        if let Some(max) = read.max_fds {
            let help = "Most file descriptors that may be open";
            put(&mut encoder, "process_max_fds", help, None, &ConstGauge::new(max))?;
        }
        Ok(())
    }
}

fn put(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    metric: &impl EncodeMetric,
) -> Result<(), fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, unit.as_ref(), metric.metric_type())?)
}
