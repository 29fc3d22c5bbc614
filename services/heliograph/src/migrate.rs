//! `heliograph migrate`: topics and tables as this version wants them.

use crate::operator;
use clap::Args;
use heliograph_config::{ConfigArgs, Reader};
use heliograph_log::{open, topics};
use heliograph_store::{connect, migrate};
use std::{io::Write, process::ExitCode};

/// Create the topics and the ClickHouse tables, or bring them up to date
///
/// Safe to repeat. Where there is no operator yet, makes the first operator's API token and prints
/// it, once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heliograph migrate --config /etc/heliograph.toml")]
pub struct MigrateArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// # Errors
/// When a topic has another number of partitions, or an old migration was changed.
pub async fn run(args: MigrateArgs) -> anyhow::Result<ExitCode> {
    let Some(config) = args.config.load(Reader::Migrate)? else { return Ok(ExitCode::SUCCESS) };
    let log = open(config.log).await?;
    let declared = topics::declared()?;
    log.ensure_topics(&declared).await?;
    let report = migrate(&connect(&config.store), &config.store).await?;
    let operator = operator::first_token(log).await?;
    let mut out = std::io::stdout().lock();
    for topic in &declared {
        writeln!(out, "topic {}: {} partitions", topic.name, topic.partitions)?;
    }
    let applied = report.applied.len();
    writeln!(out, "tables: {applied} migrations applied, {} before", report.already_applied)?;
    if let Some(token) = operator {
        writeln!(out, "operator token (shown this once): {token}")?;
    }
    Ok(ExitCode::SUCCESS)
}
