//! Blocks into ClickHouse: first the buckets they make dirty, then their rows, then the
//! acknowledgement. Marks of buckets that were rolled up go along with the first.
//!
//! Invariant: a record is done only when its rows, and the mark that its rollups are behind, are
//! as durable as the log; or when it is a durable dead letter. While ClickHouse is away one block
//! waits here, the channel behind it is full, and so the consumer pauses: memory does not grow.

use crate::{
    config::WriterConfig,
    metrics::{Metrics, REASON_BAD_BLOCK},
    rollup::{CleanMarks, DirtyMark},
    rows::{Origin, Rows, column},
    tables::{DIRTY_BUCKETS, Tables},
    trace::BlockTrace,
};
use anyhow::{Context, bail};
use clickhouse::Client;
use heliograph_contract::event::trace_of;
use heliograph_domain::trace::{TRACEPARENT, TraceContext};
use heliograph_log::{Log, Record, consumer::Acks, dead_letter};
use heliograph_service::retry::Backoff;
use heliograph_store::{
    StoreError, StoreErrorClass,
    blocks::{Block, BlockBuilder, Seconds},
    insert_block,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// Puts blocks into one set of tables.
#[derive(Clone)]
pub struct Inserter {
    pub client: Client,
    pub tables: Tables,
    pub timeout: Duration,
    pub retry_delay_max: Duration,
    pub metrics: Metrics,
}

impl Inserter {
    pub fn new(client: Client, tables: Tables, config: &WriterConfig, metrics: Metrics) -> Self {
        Self {
            client,
            tables,
            timeout: config.insert_timeout,
            retry_delay_max: config.retry_delay_max,
            metrics,
        }
    }

    /// The same, whose inserts tell ClickHouse which step of a trace they are.
    fn traced(&self, trace: TraceContext) -> Self {
        let client = self.client.clone().with_header(TRACEPARENT, trace.to_string());
        Self { client, ..self.clone() }
    }

    /// Inserts one block, trying again for as long as that can help.
    ///
    /// # Errors
    /// [`Refused::BadBlock`] when other rows would pass, [`Refused::Stop`] when none would.
    pub async fn insert(&self, table: &str, block: &Block) -> Result<(), Refused> {
        let mut backoff = Backoff::new(Duration::from_millis(100), self.retry_delay_max);
        loop {
            let started = Instant::now();
            let insert = insert_block(&self.client, table, block);
            let error = match tokio::time::timeout(self.timeout, insert).await {
                Ok(Ok(())) => {
                    self.metrics.inserted(table, block.num_rows(), started.elapsed());
                    return Ok(());
                }
                Ok(Err(error)) => error,
                Err(_) => StoreError {
                    what: format!("insert {} rows into {table}", block.num_rows()),
                    source: clickhouse::error::Error::TimedOut,
                },
            };
            self.metrics.insert_failed(table, error.class());
            match error.class() {
                StoreErrorClass::BadBlock => return Err(Refused::BadBlock(error)),
                StoreErrorClass::Stop => return Err(Refused::Stop(error)),
                StoreErrorClass::TryAgain => {
                    let delay = backoff.next_delay();
                    tracing::warn!(%error, why = error.why(), ?delay, "insert failed; trying again");
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }
}

/// Why a block was not taken.
#[derive(Debug)]
pub enum Refused {
    BadBlock(StoreError),
    Stop(StoreError),
}

/// Inserts blocks as they come, until there are no more.
///
/// # Errors
/// When ClickHouse or the log refuse in a way that waiting cannot mend.
pub async fn run(
    inserter: Inserter,
    log: Arc<dyn Log>,
    mut blocks: mpsc::Receiver<Rows>,
    acks: Acks,
    dirty: mpsc::Sender<Vec<DirtyMark>>,
    clean: CleanMarks,
) -> anyhow::Result<()> {
    while let Some(rows) = blocks.recv().await {
        // Halves of a refused block wait here; the first is the next to be tried.
        let mut open = vec![rows];
        while let Some(rows) = open.pop() {
            match store(&inserter, &rows, &clean).await {
                Ok(marks) => {
                    if dirty.send(marks).await.is_err() {
                        bail!("the rollups have stopped");
                    }
                    let origins = rows.into_origins();
                    if let Some(newest) = origins.iter().map(|o| o.record.append_time).max() {
                        inserter.metrics.stored(newest);
                    }
                    origins.into_iter().for_each(|origin| acks.done(origin.done));
                    acks.commit();
                }
                Err(Refused::Stop(error)) => {
                    let why = error.why();
                    return Err(error).context(why);
                }
                Err(Refused::BadBlock(error)) => match rows.split() {
                    Ok((head, tail)) => open.extend([tail, head]),
                    Err(single) => {
                        // Its buckets were marked dirty: let the roller see that they are clean.
                        let marks = single.changed_buckets().into_iter().map(DirtyMark::from);
                        if dirty.send(marks.collect()).await.is_err() {
                            bail!("the rollups have stopped");
                        }
                        for origin in single.into_origins() {
                            bury(&*log, &origin, &error, inserter.retry_delay_max).await?;
                            inserter.metrics.dead_letter(REASON_BAD_BLOCK);
                            acks.done(origin.done);
                        }
                    }
                },
            }
        }
    }
    Ok(())
}

async fn store(
    inserter: &Inserter,
    rows: &Rows,
    clean: &CleanMarks,
) -> Result<Vec<DirtyMark>, Refused> {
    let malformed =
        |source| Refused::BadBlock(StoreError { what: "encode a block".into(), source });
    let Some(block) = rows.to_block().map_err(malformed)? else { return Ok(Vec::new()) };
    let trace = BlockTrace::begin(rows.records());
    let (inserter, began) = (inserter.traced(trace.context), Instant::now());
    let marks: Vec<DirtyMark> = rows.changed_buckets().into_iter().map(DirtyMark::from).collect();
    let taken_along = clean.take_with(&marks);
    let marked = match marks_block(&marks, &taken_along).map_err(malformed) {
        Ok(block) => inserter.insert(DIRTY_BUCKETS, &block).await,
        Err(refused) => Err(refused),
    };
    if let Err(refused) = marked {
        clean.add(taken_along);
        return Err(refused);
    }
    inserter.insert(&inserter.tables.readings, &block).await?;
    trace.tell_stored(&inserter.tables.readings, rows.len(), began.elapsed());
    Ok(marks)
}

/// Marks as a Native block of `dirty_buckets`. Dirty has the even version 2 × offset, clean the
/// odd one above it: a newer change outdoes an older "clean", a repeated one does not.
///
/// # Errors
/// When there are no marks.
pub fn marks_block(
    dirty: &[DirtyMark],
    clean: &[DirtyMark],
) -> Result<Block, clickhouse::error::Error> {
    let mut block = BlockBuilder::new();
    let marks = || dirty.iter().map(|mark| (mark, true)).chain(clean.iter().map(|m| (m, false)));
    // Decoding refuses times outside of what `DateTime` holds.
    let secs = |mark: &DirtyMark| Seconds((mark.bucket.start.as_ms() / 1_000) as u32);
    let version = |(mark, dirty): (&DirtyMark, bool)| mark.change.offset * 2 + u64::from(!dirty);
    column(&mut block, "site_id", marks().map(|(m, _)| m.bucket.site.as_str()))?;
    column(&mut block, "bucket", marks().map(|(m, _)| secs(m)))?;
    column(&mut block, "log_partition", marks().map(|(m, _)| m.change.partition))?;
    column(&mut block, "version", marks().map(version))?;
    column(&mut block, "dirty", marks().map(|(_, dirty)| u8::from(dirty)))?;
    block.build().map_err(|e| clickhouse::error::Error::Other(Box::new(e)))
}

async fn bury(
    log: &dyn Log,
    origin: &Origin,
    error: &StoreError,
    delay_max: Duration,
) -> anyhow::Result<()> {
    let letter = dead_letter::of_record(&origin.record, REASON_BAD_BLOCK, error.to_string());
    tell_dead(&origin.record, error);
    append_dead_letter(log, &letter, delay_max).await
}

/// Says that a record becomes a dead letter.
pub fn tell_dead(record: &Record, error: &dyn std::error::Error) {
    let trace_id = trace_of(&record.headers).map(|trace| tracing::field::display(trace.trace_id));
    tracing::error!(at = %record.at, offset = record.offset, trace_id, %error, "dead letter");
}

/// Appends a dead letter, trying again for as long as that can help.
///
/// # Errors
/// When the log refuses it for good.
pub async fn append_dead_letter(
    log: &dyn Log,
    letter: &heliograph_contract::v1::DeadLetter,
    delay_max: Duration,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::new(Duration::from_millis(100), delay_max);
    loop {
        match dead_letter::append(log, letter).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "dead letter not taken; trying again");
                tokio::time::sleep(backoff.next_delay()).await;
            }
            Err(error) => return Err(error).context("append a dead letter"),
        }
    }
}
