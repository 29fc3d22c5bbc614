//! `heliograph audit`: do the three ledgers agree?
//!
//! What senders got a 2xx for (summaries of `heliograph simulate`) → the log → ClickHouse, raw and
//! rolled up. Decoding, last-wins and bucket arithmetic are the audit's own; it shares none with
//! the writer. It reads only, one partition of the log and one site of the store at a time.

mod alerts;
mod buckets;
mod compare;
mod decode;
mod facts;
mod promises;
mod report;
mod rollups;
mod settle;
mod source;
mod store;
mod told;

pub use report::Report;
pub use source::{GrpcLog, LogSource};

use crate::{
    access::Authorized,
    remote_log::RemoteLog,
    simulate::{FleetSummary, duration},
};
use anyhow::Context;
use buckets::Step;
use clickhouse::Client;
use compare::{Horizon, SiteCompare};
use decode::Decoded;
use facts::{SiteFacts, SiteLog};
use futures::TryStreamExt;
use heliograph_contract::{topic, v1::admin_service_client::AdminServiceClient};
use jiff::tz::TimeZone;
use promises::Promises;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

/// Compare what senders were promised, the log, and ClickHouse.
///
/// Exit status 1 when they differ in anything.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:\n  heliograph simulate --days 3 --summary s.json\n  \
                        heliograph audit --against s.json\n  heliograph audit --alerts")]
pub struct AuditArgs {
    /// What senders got a 2xx for: a summary of `heliograph simulate`; may be repeated
    #[arg(long, value_name = "SUMMARY.json", num_args = 1..)]
    pub against: Vec<PathBuf>,
    /// Wait for the writer to catch up, until it comes no nearer for this long
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub settle: Duration,
    /// Do not wait for the writer
    #[arg(long, conflicts_with = "settle")]
    pub no_wait: bool,
    /// Compare the alerts that were told with those that follow from the uploads, and nothing else
    #[arg(long, conflicts_with = "against")]
    pub alerts: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the audit and prints its result.
///
/// # Errors
/// When log, store or a summary cannot be read.
pub async fn run(
    args: AuditArgs,
    admin: AdminServiceClient<Authorized>,
    store: Client,
) -> anyhow::Result<ExitCode> {
    let patience = if args.no_wait { Duration::ZERO } else { args.settle };
    if args.alerts {
        let report = alerts::audit(&GrpcLog(admin.clone()), &RemoteLog(admin), patience).await?;
        return say(args.json, &report, alerts::Report::to_text, report.is_clean());
    }
    let summaries: Vec<FleetSummary> =
        args.against.iter().map(|path| FleetSummary::read(path)).collect::<Result<_, _>>()?;
    let report = audit(&GrpcLog(admin), &store, summaries, patience).await?;
    say(args.json, &report, Report::to_text, report.is_clean())
}

fn say<R: Serialize>(
    json: bool,
    report: &R,
    to_text: impl FnOnce(&R) -> String,
    is_clean: bool,
) -> anyhow::Result<ExitCode> {
    let text = if json { serde_json::to_string(report)? + "\n" } else { to_text(report) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Compares the ledgers.
///
/// # Errors
/// When log or store cannot be read.
pub async fn audit(
    log: &impl LogSource,
    store: &Client,
    summaries: Vec<FleetSummary>,
    patience: Duration,
) -> anyhow::Result<Report> {
    let mut promises = Promises::new(summaries)?;
    let mut report = Report::default();
    let mut horizon = horizon(log).await?;
    let behind = settle::wait(log, store, &horizon, patience).await?;
    if behind != settle::Behind::default() {
        report.note(format!(
            "the writer is behind by {} records and {} buckets; is it running?",
            behind.records, behind.buckets
        ));
    }
    // Read behind the writer: what it could not store up to the end is among them now.
    horizon.dead = dead_uploads(log).await?;
    let zones = zones(log).await?;
    let audit = Audit { log, store, horizon: &horizon, zones, all_promised: promises.is_empty() };
    let mut rest = store::sites(store).await?;
    for (partition, (first, end)) in &horizon.partitions {
        let sites = audit.partition(*partition, (*first, *end), &mut promises, &mut report).await?;
        for (site, facts) in sites {
            rest.remove(&site);
            let site_log =
                facts.resolve(|run, series, fact| promises.reading(run, &site, series, fact));
            report.seen.log_distinct += site_log.facts.len() as u64;
            audit.site(&site, site_log, Some(*partition), &mut report).await?;
        }
    }
    for site in rest {
        audit.site(&site, SiteLog::default(), None, &mut report).await?;
    }
    report.acked += promises.compare(&mut report);
    Ok(report)
}

/// What the parts of an audit share.
struct Audit<'a, L> {
    log: &'a L,
    store: &'a Client,
    horizon: &'a Horizon,
    zones: HashMap<String, String>,
    all_promised: bool,
}

impl<L: LogSource> Audit<'_, L> {
    /// Reads one partition of the log into memory.
    async fn partition(
        &self,
        partition: u32,
        (first, end): (u64, u64),
        promises: &mut Promises,
        report: &mut Report,
    ) -> anyhow::Result<BTreeMap<String, SiteFacts>> {
        if first > 0 {
            promises.log_is_trimmed();
        }
        let mut sites: BTreeMap<String, SiteFacts> = BTreeMap::new();
        let mut batches = self.log.read(topic::UPLOADS, partition, first, end);
        while let Some(batch) = batches.try_next().await? {
            for record in &batch {
                report.seen.log_records += 1;
                let at = (partition, record.offset);
                let dead = self.horizon.dead.contains_key(&at);
                let upload = match decode::upload(record) {
                    Decoded::Upload(upload) => upload,
                    Decoded::Other => continue,
                    Decoded::Undecodable(why) => {
                        undecodable(at, &why, dead, report);
                        continue;
                    }
                };
                report.seen.log_uploads += 1;
                report.seen.log_readings += upload.readings.len() as u64;
                let run = promises.upload(&upload.site_id, &upload.upload_id, first);
                let facts = sites.entry(upload.site_id).or_default();
                for reading in &upload.readings {
                    facts.add(reading, record.offset, run, dead);
                }
            }
        }
        Ok(sites)
    }

    /// Compares one site with all its tables.
    async fn site(
        &self,
        site: &str,
        log: SiteLog,
        partition: Option<u32>,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let zone = self.zone(site, report);
        let changing = store::dirty_of(self.store, site).await?;
        let (horizon, all_promised) = (self.horizon, self.all_promised);
        let mut compare =
            SiteCompare::new(site, log, partition, zone, horizon, all_promised, report);
        for start_s in changing {
            compare.bucket_is_changing(start_s);
        }
        store::readings(self.store, site, |row| compare.row(row)).await?;
        let mut rollups = compare.rows_end();
        for step in Step::ALL {
            if step == Step::Day && !rollups.has_days() {
                continue;
            }
            let mut compare = rollups.step(step);
            store::buckets(self.store, site, step, |row| compare.row(row)).await?;
            compare.end();
        }
        Ok(())
    }

    fn zone(&self, site: &str, report: &mut Report) -> Option<TimeZone> {
        let zone = self.zones.get(site).and_then(|name| TimeZone::get(name).ok());
        if zone.is_none() {
            report.note(format!("{site}: no time zone in the registry; its days are not compared"));
        }
        zone
    }
}

/// A record that nobody can decode must be among the dead letters.
fn undecodable(at: (u32, u64), why: &str, dead: bool, report: &mut Report) {
    report.seen.undecodable += 1;
    if !dead {
        report.missing(|| report::Example {
            at: format!("{}/{} offset {}", topic::UPLOADS, at.0, at.1),
            got: format!("a record that cannot be decoded ({why})"),
            want: "a dead letter of it".into(),
            ..report::Example::default()
        });
    }
}

async fn horizon(log: &impl LogSource) -> anyhow::Result<Horizon> {
    let offsets = log.offsets(topic::UPLOADS, "").await?;
    let partitions = offsets.iter().map(|p| (p.partition, (p.first_offset, p.end_offset)));
    Ok(Horizon { partitions: partitions.collect(), dead: HashMap::new() })
}

async fn dead_uploads(log: &impl LogSource) -> anyhow::Result<HashMap<(u32, u64), String>> {
    let mut dead = HashMap::new();
    each_record(log, topic::DEAD_LETTERS, |record| {
        dead.extend(decode::dead_upload(record, topic::UPLOADS));
    })
    .await?;
    Ok(dead)
}

async fn zones(log: &impl LogSource) -> anyhow::Result<HashMap<String, String>> {
    let mut zones = HashMap::new();
    each_record(log, topic::REGISTRY, |record| match decode::site_zone(record) {
        Some((site, Some(zone))) => drop(zones.insert(site, zone)),
        Some((site, None)) => drop(zones.remove(&site)),
        None => {}
    })
    .await?;
    Ok(zones)
}

async fn each_record(
    log: &impl LogSource,
    topic: &str,
    mut take: impl FnMut(&heliograph_contract::v1::LogRecord),
) -> anyhow::Result<()> {
    for p in log.offsets(topic, "").await.with_context(|| topic.to_owned())? {
        let mut batches = log.read(topic, p.partition, p.first_offset, p.end_offset);
        while let Some(batch) = batches.try_next().await? {
            batch.iter().for_each(&mut take);
        }
    }
    Ok(())
}
