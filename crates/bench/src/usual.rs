//! The usual way from a topic to ClickHouse, as a process of its own: what one writes who knows both
//! well and has an afternoon.
//!
//! A plain consumer, each message read into a `serde_json::Value`, rows written as JSONEachRow into
//! one buffer as they come, the buffer inserted in blocks as large as the writer's, offsets committed
//! after the insert. Rows borrow from the value: nothing is copied that need not be. The HTTP client
//! and the settings of the insert are the writer's. What it does not have: rollups and the marks that
//! they need, dead letters, a limit on memory, a second block while the first is inserted, metrics.

use anyhow::{Context, ensure};
use clap::Args;
use clickhouse::Client;
use heliograph_store::{StoreConfig, connect};
use rdkafka::{
    ClientConfig, Message, Timestamp,
    consumer::{CommitMode, Consumer, StreamConsumer},
};
use serde::Serialize;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

const DONE: &str = "done";

/// What is moved where.
#[derive(Debug, Clone, Args)]
pub struct UsualArgs {
    #[arg(long)]
    pub servers: String,
    #[arg(long)]
    pub topic: String,
    #[arg(long)]
    pub group: String,
    #[arg(long)]
    pub clickhouse: String,
    /// Done when so many messages are stored and committed
    #[arg(long)]
    pub messages: u64,
    #[arg(long)]
    pub block_rows: usize,
}

#[derive(Serialize)]
struct Row<'a> {
    site_id: &'a str,
    device: &'a str,
    metric: &'a str,
    ts: &'a str,
    value: f64,
    quality: &'a str,
    log_partition: i32,
    log_offset: i64,
    /// Seconds, with three digits behind the point.
    received_at: &'a str,
}

/// Moves messages until all are there.
pub async fn run(args: UsualArgs) -> anyhow::Result<()> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &args.servers)
        .set("group.id", &args.group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[&args.topic])?;
    let config = StoreConfig { url: args.clickhouse, ..StoreConfig::default() };
    let store = connect(&config)
        .with_setting("date_time_input_format", "best_effort")
        .with_setting("async_insert", "0")
        .with_setting("optimize_on_insert", "0");
    let (mut block, mut rows, mut messages) = (Vec::new(), 0, 0);
    while messages < args.messages {
        let message = consumer.recv().await?;
        rows += append(&message, &mut block)?;
        messages += 1;
        if rows >= args.block_rows || messages == args.messages {
            insert(&store, std::mem::take(&mut block)).await?;
            consumer.commit_consumer_state(CommitMode::Sync)?;
            rows = 0;
        }
    }
    writeln!(std::io::stdout(), "{DONE}")?;
    // What it used can be read as long as it is there; who started it ends it.
    std::future::pending().await
}

/// Adds the rows of a message to the block.
fn append(message: &impl Message, block: &mut Vec<u8>) -> anyhow::Result<usize> {
    let upload: Value = serde_json::from_slice(message.payload().context("no payload")?)?;
    let received_at = match message.timestamp() {
        Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => ms,
        Timestamp::NotAvailable => 0,
    };
    let received_at = format!("{}.{:03}", received_at / 1_000, received_at % 1_000);
    let site = upload["site"].as_str().context("no site")?;
    let readings = upload["readings"].as_array().context("no readings")?;
    for reading in readings {
        let get = |key: &str| reading[key].as_str().with_context(|| format!("no {key}"));
        let row = Row {
            site_id: site,
            device: get("device")?,
            metric: get("metric")?,
            ts: get("ts")?,
            value: reading["value"].as_f64().context("no value")?,
            quality: reading["quality"].as_str().unwrap_or("good"),
            log_partition: message.partition(),
            log_offset: message.offset(),
            received_at: &received_at,
        };
        serde_json::to_writer(&mut *block, &row)?;
        block.push(b'\n');
    }
    Ok(readings.len())
}

async fn insert(store: &Client, block: Vec<u8>) -> anyhow::Result<()> {
    let mut insert =
        store.insert_formatted_with("INSERT INTO readings FORMAT JSONEachRow".to_owned());
    insert.send(block.into()).await?;
    Ok(insert.end().await?)
}

/// The running consumer; killed when dropped.
pub struct Usual {
    child: Child,
    stdout: Option<ChildStdout>,
}

impl Usual {
    pub fn start(args: &UsualArgs) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["usual", "--servers", &args.servers, "--topic", &args.topic]);
        command.args(["--group", &args.group, "--clickhouse", &args.clickhouse]);
        command.args(["--messages", &args.messages.to_string()]);
        command.args(["--block-rows", &args.block_rows.to_string()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        Ok(Self { stdout: child.stdout.take(), child })
    }

    /// Waits until it has moved everything.
    pub async fn done(&mut self) -> anyhow::Result<()> {
        let stdout = self.stdout.take().context("it was waited for")?;
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let line = line.await??;
        ensure!(line.trim() == DONE, "the usual way ended: {line:?}");
        Ok(())
    }
}

impl Drop for Usual {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
