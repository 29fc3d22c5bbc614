//! From records to blocks.
//!
//! ```text
//! Work ─▶ decode ─┬─ rows ────────▶ block, cut by size or time ─▶ insert
//!                 ├─ ignored ─────▶ Done
//!                 └─ undecodable ─▶ dead letter ─▶ Done
//! ```

use crate::{
    config::WriterConfig,
    insert::{append_dead_letter, tell_dead},
    metrics::{Metrics, REASON_UNDECODABLE},
    rollup::roller::Ownership,
    rows::{Outcome, Rows, decode},
};
use anyhow::bail;
use futures::future::try_join_all;
use heliograph_contract::event::DecodeError;
use heliograph_log::{
    Log, TopicPartition,
    consumer::{ProcessorSide, Taken, Work},
    dead_letter,
};
use std::sync::Arc;
use tokio::{sync::mpsc, time::Instant};

/// Cuts the stream of records into blocks.
pub struct Assembler {
    pub config: WriterConfig,
    pub log: Arc<dyn Log>,
    pub blocks: mpsc::Sender<Rows>,
    pub ownership: mpsc::UnboundedSender<Ownership>,
    pub metrics: Metrics,
}

impl Assembler {
    /// Runs until the consumer ends.
    ///
    /// # Errors
    /// When inserting has stopped, or a dead letter is refused for good.
    pub async fn run(self, mut side: ProcessorSide) -> anyhow::Result<()> {
        let mut rows = Rows::default();
        let mut cut_at: Option<Instant> = None;
        let mut last_cut: Option<Instant> = None;
        loop {
            tokio::select! {
                work = side.work.recv() => match work {
                    None => return Ok(()),
                    Some(Work::Records(taken)) => {
                        let mut dead = Vec::new();
                        for taken in taken {
                            dead.extend(take(taken, &mut rows, &side));
                            if rows.len() >= self.config.block_rows_max {
                                last_cut = Some(self.cut(&mut rows).await?);
                            }
                        }
                        // One by one, each would wait for company in its batch.
                        let bury = |(taken, error)| self.bury(taken, error, &side);
                        try_join_all(dead.into_iter().map(bury)).await?;
                        if rows.is_empty() {
                            cut_at = None;
                        } else if cut_at.is_none() {
                            cut_at = Some(self.next_cut(last_cut));
                        }
                    }
                    Some(Work::Flush) => {
                        last_cut = Some(self.cut(&mut rows).await?);
                        cut_at = None;
                    }
                    Some(Work::Assigned(tps)) => self.tell(Ownership::Assigned, &tps),
                    Some(Work::Forgotten(tps)) => self.tell(Ownership::Forgotten, &tps),
                },
                () = until(cut_at) => {
                    last_cut = Some(self.cut(&mut rows).await?);
                    cut_at = None;
                }
            }
        }
    }

    async fn bury(
        &self,
        taken: Taken,
        error: DecodeError,
        side: &ProcessorSide,
    ) -> anyhow::Result<()> {
        let done = taken.done();
        let Taken { record, .. } = taken;
        tell_dead(&record, &error);
        let letter = dead_letter::of_record(&record, REASON_UNDECODABLE, error.to_string());
        append_dead_letter(&*self.log, &letter, self.config.retry_delay_max).await?;
        self.metrics.dead_letter(REASON_UNDECODABLE);
        side.acks.done(done);
        Ok(())
    }

    /// Blocks leave at most once an interval; after a pause the first waits only for company.
    fn next_cut(&self, last_cut: Option<Instant>) -> Instant {
        let soon = Instant::now() + self.config.block_linger;
        last_cut.map_or(soon, |last| soon.max(last + self.config.block_interval))
    }

    async fn cut(&self, rows: &mut Rows) -> anyhow::Result<Instant> {
        if !rows.is_empty() && self.blocks.send(std::mem::take(rows)).await.is_err() {
            bail!("inserting has stopped");
        }
        Ok(Instant::now())
    }

    fn tell(&self, what: fn(Vec<u32>) -> Ownership, tps: &[TopicPartition]) {
        drop(self.ownership.send(what(tps.iter().map(|tp| tp.partition).collect())));
    }
}

/// Puts a record's rows to the others; gives back what cannot be decoded.
fn take(taken: Taken, rows: &mut Rows, side: &ProcessorSide) -> Option<(Taken, DecodeError)> {
    let done = taken.done();
    match decode(&taken.record) {
        Outcome::Rows(decoded) => rows.push(taken.record, done, decoded),
        Outcome::Ignored => side.acks.done(done),
        Outcome::DeadLetter(error) => return Some((taken, error)),
    }
    None
}

/// Sleeps until `at`, or for ever.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
