//! `heliograph rebuild`: the tables made anew from the log.

use crate::{
    access::{Access, AccessArgs},
    remote_log::RemoteLog,
};
use clap::Args;
use heliograph_log::{LogRead, registry::Projection};
use heliograph_service::Shutdown;
use heliograph_writer::{
    WriterConfig,
    rebuild::{Rebuild, Report},
};
use std::{io::Write, process::ExitCode, sync::Arc};

/// Make the tables anew from the log and swap them in
///
/// Replays the log into shadow tables and copies in what is older than the log before the swap.
/// Works while `heliograph up` runs and when it does not. Prints each table's rows and checksum
/// before and after; equal ones mean that the tables were what the log says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph rebuild\n  heliograph rebuild --json")]
pub struct RebuildArgs {
    #[command(flatten)]
    access: AccessArgs,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When log or store fail; the tables are then as they were.
pub async fn run(args: RebuildArgs) -> anyhow::Result<ExitCode> {
    let access = Access::open(&args.access).await?;
    let log: Arc<dyn LogRead> = Arc::new(RemoteLog(access.admin()));
    let shutdown = Shutdown::new();
    let registry = Projection::load(log.clone(), shutdown.clone()).await?;
    let config = WriterConfig::default();
    let report = Rebuild { log, client: access.store(), registry, config }.run().await;
    shutdown.cancel();
    access.close().await?;
    print(&report?, args.json)?;
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
        return Ok(());
    }
    let Report { records, rows, passed_over, .. } = report;
    writeln!(out, "replayed {records} records, {rows} rows; passed over {passed_over}")?;
    for t in &report.tables {
        let verdict = match t.checksum_before == t.checksum_after {
            true => "equal",
            false => "changed",
        };
        writeln!(
            out,
            "{:<13} {:>10} rows  {}  →  {:>10} rows  {}  {verdict}",
            t.table, t.rows_before, t.checksum_before, t.rows_after, t.checksum_after
        )?;
    }
    Ok(())
}
