//! Rows per second into the real `readings` table, by format and block size, through the embedded
//! endpoint: `cargo run -p heliograph-store --example insert_speed`.
//!
//! The encoding on the client's side is in the numbers, and so is the fsync of every insert.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::time::Instant;

use clickhouse::{Client, Row};
use heliograph_store::blocks::{Block, BlockBuilder, Millis};
use heliograph_store::{
    EmbeddedConfig, EmbeddedStore, StoreConfig, connect, insert_block, migrate,
};
use serde::Serialize;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

const ROWS: i64 = 1_000_000;
const DEVICES: [&str; 4] = ["inv1", "inv2", "inv3", "meter"];
const METRICS: [&str; 5] = ["ac_power", "dc_power", "dc_voltage", "dc_current", "module_temp"];

#[derive(Row, Serialize)]
struct Reading {
    site_id: &'static str,
    device: &'static str,
    metric: &'static str,
    ts: i64,
    value: f64,
    quality: i8,
    log_partition: u32,
    log_offset: u64,
    received_at: i64,
}

/// The n-th reading: a site's upload holds all devices and metrics of one minute.
fn reading(n: i64) -> Reading {
    let pick = |n: i64, len: usize| usize::try_from(n).unwrap_or_default() % len;
    let minute = n / 20;
    Reading {
        site_id: "site-0001",
        device: DEVICES[pick(n / 5, DEVICES.len())],
        metric: METRICS[pick(n, METRICS.len())],
        ts: 1_538_700_000_000 + minute * 60_000,
        value: (n % 977) as f64 * 0.5,
        quality: 1,
        log_partition: 3,
        log_offset: minute.unsigned_abs(),
        received_at: 1_538_700_000_500 + minute * 60_000,
    }
}

fn block(from: i64, to: i64) -> Result<Block, AnyError> {
    let rows: Vec<Reading> = (from..to).map(reading).collect();
    let mut block = BlockBuilder::new();
    block.upsert_column::<&str>("site_id")?.add_all(rows.iter().map(|r| r.site_id))?;
    block.upsert_column::<&str>("device")?.add_all(rows.iter().map(|r| r.device))?;
    block.upsert_column::<&str>("metric")?.add_all(rows.iter().map(|r| r.metric))?;
    block.upsert_column::<Millis>("ts")?.add_all(rows.iter().map(|r| Millis(r.ts)))?;
    block.upsert_column::<f64>("value")?.add_all(rows.iter().map(|r| r.value))?;
    block.upsert_column::<i8>("quality")?.add_all(rows.iter().map(|r| r.quality))?;
    block.upsert_column::<u32>("log_partition")?.add_all(rows.iter().map(|r| r.log_partition))?;
    block.upsert_column::<u64>("log_offset")?.add_all(rows.iter().map(|r| r.log_offset))?;
    block
        .upsert_column::<Millis>("received_at")?
        .add_all(rows.iter().map(|r| Millis(r.received_at)))?;
    Ok(block.build()?)
}

async fn native(client: &Client, from: i64, to: i64) -> Result<(), AnyError> {
    Ok(insert_block(client, "readings", &block(from, to)?).await?)
}

async fn row_binary(client: &Client, from: i64, to: i64) -> Result<(), AnyError> {
    let mut insert = client.insert::<Reading>("readings").await?;
    for n in from..to {
        insert.write(&reading(n)).await?;
    }
    Ok(insert.end().await?)
}

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let dir = tempfile::tempdir()?;
    let config = EmbeddedConfig { path: dir.path().join("store"), ..Default::default() };
    let store = EmbeddedStore::start(config).await?;
    let config = StoreConfig { url: store.url(), ..Default::default() };
    let client = connect(&config);
    migrate(&client, &config).await?;
    println!("{:>10} {:>10} {:>12}", "format", "block", "rows/s");
    for block_rows in [1_000, 10_000, 100_000] {
        for format in ["Native", "RowBinary"] {
            let rows = ROWS.min(block_rows * 100);
            let start = Instant::now();
            for from in (0..rows).step_by(usize::try_from(block_rows)?) {
                match format {
                    "Native" => native(&client, from, from + block_rows).await?,
                    _ => row_binary(&client, from, from + block_rows).await?,
                }
            }
            let per_second = rows as f64 / start.elapsed().as_secs_f64();
            println!("{format:>10} {block_rows:>10} {per_second:>12.0}");
            client.query_raw("TRUNCATE TABLE readings").execute().await?;
        }
    }
    store.shutdown().await?;
    Ok(())
}
