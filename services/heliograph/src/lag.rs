//! `heliograph lag`: how far the writer is behind the log.

use crate::access::{Access, AccessArgs, explain};
use anyhow::Context;
use clap::Args;
use comfy_table::{Table, presets};
use heliograph_contract::{topic, v1::ListOffsetsRequest};
use heliograph_writer::config::GROUP;
use serde::Serialize;
use std::{collections::BTreeMap, io::Write, process::ExitCode};

/// Show, per partition of the uploads, how far the writer is behind
///
/// `stored` is the newest offset whose readings are in ClickHouse. It is ahead of `committed`
/// for a moment after each insert; a `lag` that grows means that ClickHouse or the writer is slow
/// or away. Uploads go on being accepted meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph lag\n  heliograph lag --json")]
pub struct LagArgs {
    #[command(flatten)]
    access: AccessArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// One partition.
#[derive(Debug, Serialize)]
struct PartitionLag {
    partition: u32,
    /// The oldest offset that is kept.
    first_offset: u64,
    /// The offset that the next record will get.
    end_offset: u64,
    /// The offset that the writer goes on from; null before its first commit.
    committed_offset: Option<u64>,
    /// The newest offset whose readings are in ClickHouse; null when there is none.
    stored_offset: Option<u64>,
    /// Records between `committed_offset` and the end, ticks among them.
    lag_records: u64,
}

/// # Errors
/// When log or store cannot be asked.
pub async fn run(args: LagArgs) -> anyhow::Result<ExitCode> {
    let access = Access::open(&args.access).await?;
    let lags = lags(&access).await;
    access.close().await?;
    let (lags, mut out) = (lags?, std::io::stdout().lock());
    if args.json {
        for lag in lags {
            writeln!(out, "{}", serde_json::to_string(&lag)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["partition", "first", "end", "committed", "stored", "lag"]);
    let text = |offset: Option<u64>| offset.map(|o| o.to_string()).unwrap_or_default();
    for lag in lags {
        table.add_row([
            lag.partition.to_string(),
            lag.first_offset.to_string(),
            lag.end_offset.to_string(),
            text(lag.committed_offset),
            text(lag.stored_offset),
            lag.lag_records.to_string(),
        ]);
    }
    writeln!(out, "{table}")?;
    Ok(ExitCode::SUCCESS)
}

async fn lags(access: &Access) -> anyhow::Result<Vec<PartitionLag>> {
    let request = ListOffsetsRequest { topic: topic::UPLOADS.into(), group: GROUP.into() };
    let partitions = access
        .admin()
        .list_offsets(request)
        .await
        .map_err(|s| explain(&s))?
        .into_inner()
        .partitions;
    let stored: Vec<(u32, u64)> = access
        .store()
        .query("SELECT log_partition, max(log_offset) FROM readings GROUP BY log_partition")
        .fetch_all()
        .await
        .context("ask ClickHouse for the newest stored offsets")?;
    let stored: BTreeMap<u32, u64> = stored.into_iter().collect();
    let lag = |p: heliograph_contract::v1::PartitionOffsets| PartitionLag {
        partition: p.partition,
        first_offset: p.first_offset,
        end_offset: p.end_offset,
        committed_offset: p.committed_offset,
        stored_offset: stored.get(&p.partition).copied(),
        lag_records: p
            .end_offset
            .saturating_sub(p.committed_offset.unwrap_or(0).max(p.first_offset)),
    };
    Ok(partitions.into_iter().map(lag).collect())
}
