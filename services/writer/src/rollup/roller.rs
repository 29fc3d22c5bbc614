//! The task that keeps rollups up with their readings.

use super::{
    CleanMarks, DirtyMark, DirtySet, RoundSize,
    recompute::{Recompute, Trouble, by_month},
};
use crate::{
    config::{GROUP, WriterConfig},
    insert::{Inserter, marks_block},
    pipeline::until,
    rows::{Change, SiteBucket},
    tables::DIRTY_BUCKETS,
};
use heliograph_contract::topic;
use heliograph_domain::{SiteId, Timestamp};
use heliograph_log::{Log, TopicPartition};
use heliograph_service::retry::Backoff;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// Marks that buckets are clean wait so many intervals of blocks for a block to go with.
const CLEAN_PATIENCE: u32 = 2;
/// However long an interval is: who waits until all is clean waits for this.
const CLEAN_PATIENCE_MAX: Duration = Duration::from_secs(5);

/// What the roller is told.
#[derive(Debug)]
pub enum Ownership {
    Assigned(Vec<u32>),
    Forgotten(Vec<u32>),
}

/// Keeps the rollups of the partitions we own.
pub struct Roller {
    recompute: Recompute,
    log: Arc<dyn Log>,
    interval: Duration,
    round: RoundSize,
    dirty_max: usize,
    dirty: DirtySet,
    clean: CleanMarks,
    clean_patience: Duration,
    /// Partitions whose dirty buckets in ClickHouse have not all been read yet.
    unread: BTreeSet<u32>,
}

impl Roller {
    pub fn new(
        recompute: Recompute,
        log: Arc<dyn Log>,
        clean: CleanMarks,
        config: &WriterConfig,
    ) -> Self {
        Self {
            recompute,
            log,
            interval: config.rollup_interval,
            round: RoundSize::new(config.rollup_round_max),
            dirty_max: config.dirty_max,
            dirty: DirtySet::default(),
            clean,
            clean_patience: (config.block_interval * CLEAN_PATIENCE).min(CLEAN_PATIENCE_MAX),
            unread: BTreeSet::new(),
        }
    }

    /// Runs until both channels are closed and all is clean, and known to be.
    ///
    /// # Errors
    /// When ClickHouse refuses in a way that waiting cannot mend.
    pub async fn run(
        mut self,
        mut marks: mpsc::Receiver<Vec<DirtyMark>>,
        mut ownership: mpsc::UnboundedReceiver<Ownership>,
    ) -> anyhow::Result<()> {
        let delay_max = self.recompute.inserter.retry_delay_max;
        let mut backoff = Backoff::new(Duration::from_millis(100), delay_max);
        let mut next_round = Instant::now();
        let (mut marking, mut changing) = (true, true);
        let metrics = self.recompute.inserter.metrics.clone();
        metrics.dirty_max.set(i64::try_from(self.dirty_max).unwrap_or(i64::MAX));
        while marking || changing || !self.dirty.is_empty() || !self.clean.is_empty() {
            metrics.dirty.set(i64::try_from(self.dirty.len()).unwrap_or(i64::MAX));
            let has_work = !self.dirty.is_empty() || !self.unread.is_empty();
            let clean_due = self.clean_due(marking);
            tokio::select! {
                // What an earlier assignment marked is forgotten before a later one marks.
                biased;
                change = ownership.recv(), if changing => match change {
                    Some(change) => self.on_ownership(change),
                    None => changing = false,
                },
                // At the limit marks are left in the channel, so inserting waits for us.
                got = marks.recv(), if marking && self.dirty.len() < self.dirty_max => match got {
                    Some(got) => self.dirty.mark(got),
                    None => marking = false,
                },
                () = until(clean_due) => self.tell_clean().await.map_err(Trouble::into_error)?,
                () = tokio::time::sleep_until(next_round), if has_work => {
                    let started = Instant::now();
                    let delay = match self.round().await {
                        Ok(()) => {
                            metrics.rollup.observe(started.elapsed().as_secs_f64());
                            backoff.reset();
                            // A backlog is worked off without a pause; coalescing is for what
                            // trickles.
                            let full = self.dirty.len() >= self.round.buckets();
                            self.round.went_well();
                            if full { Duration::ZERO } else { self.interval }
                        }
                        Err(Trouble::Passing(error)) => {
                            metrics.rollup_errors.inc();
                            let error = format!("{error:#}");
                            tracing::warn!(error, "rollups wait for ClickHouse");
                            self.round.failed();
                            backoff.next_delay().max(self.interval)
                        }
                        Err(Trouble::Lasting(error)) => return Err(error),
                    };
                    next_round = started + delay;
                }
            }
        }
        Ok(())
    }

    /// When marks have waited for long enough; at once where no block will come for them.
    fn clean_due(&self, marking: bool) -> Option<Instant> {
        let full = self.clean.len() >= self.dirty_max;
        self.clean.due(if marking && !full { self.clean_patience } else { Duration::ZERO })
    }

    /// Inserts the marks that no block took along.
    async fn tell_clean(&self) -> Result<(), Trouble> {
        for marks in by_month(self.clean.take(), |m| m.bucket.start) {
            self.recompute.inserter.insert(DIRTY_BUCKETS, &marks_block(&[], &marks)?).await?;
        }
        Ok(())
    }

    fn on_ownership(&mut self, change: Ownership) {
        match change {
            Ownership::Assigned(partitions) => self.unread.extend(partitions),
            Ownership::Forgotten(partitions) => {
                for partition in partitions {
                    self.unread.remove(&partition);
                    self.dirty.forget_partition(partition);
                }
            }
        }
    }

    async fn round(&mut self) -> Result<(), Trouble> {
        // As soon as there is room: under steady traffic something is always dirty.
        if !self.unread.is_empty() && self.dirty.len() <= self.dirty_max / 2 {
            self.read_back().await?;
        }
        let round = self.dirty.take_round(self.round.buckets());
        if let Err(trouble) = self.recompute.round(&round).await {
            self.dirty.mark(round);
            return Err(trouble);
        }
        self.clean.add(round);
        Ok(())
    }

    /// Reads what an earlier owner left dirty, below the committed offsets. What lies above them
    /// comes again from the log, and only then are its rows surely stored: marked clean before, a
    /// bucket would stay behind its readings.
    async fn read_back(&mut self) -> Result<(), Trouble> {
        // Or what we rolled up just now would be read again.
        self.tell_clean().await?;
        let mut below = Vec::new();
        for partition in &self.unread {
            let tp = TopicPartition::new(topic::UPLOADS, *partition);
            if let Some(committed) = self.log.committed(GROUP, &tp).await? {
                below
                    .push(format!("(log_partition = {partition} AND version < {})", committed * 2));
            }
        }
        if below.is_empty() {
            self.unread.clear();
            return Ok(());
        }
        let limit = self.dirty_max;
        let Inserter { client, timeout, .. } = &self.recompute.inserter;
        let rows = client
            .query(&format!(
                "SELECT site_id, toUnixTimestamp(bucket), log_partition, version \
                 FROM {DIRTY_BUCKETS} FINAL WHERE dirty = 1 AND ({}) \
                 ORDER BY site_id, bucket LIMIT {limit}",
                below.join(" OR ")
            ))
            .fetch_all();
        let rows: Vec<(String, u32, u32, u64)> = match tokio::time::timeout(*timeout, rows).await {
            Ok(rows) => rows?,
            Err(_) => return Err(clickhouse::error::Error::TimedOut.into()),
        };
        if rows.len() < limit {
            self.unread.clear();
        }
        for (site, secs, partition, version) in rows {
            // Only what passed this check was ever written.
            let Ok(site) = SiteId::parse(&site) else { continue };
            let bucket = SiteBucket { site, start: Timestamp::from_secs(i64::from(secs)) };
            let change = Change { partition, offset: version / 2 };
            self.dirty.mark([DirtyMark { bucket, change }]);
        }
        Ok(())
    }
}
