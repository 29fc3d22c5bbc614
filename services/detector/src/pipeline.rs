//! From records to alerts.
//!
//! ```text
//! Assigned ─▶ newest snapshot ─▶ records up to the committed offset, again and in silence
//! Records ──▶ read ─▶ judge ─▶ alerts ─▶ on the log ─▶ Done
//!                   └─▶ door ─▶ reports ─▶ heliograph.cohorts
//! registry ─▶ what the partition has not heard ─▶ appended to it, and acted on when it is read back
//! ```
//!
//! Invariant: a record is done when the log has the alerts that it caused, and state is kept only of
//! records that are done. So whatever ends the detector, its successor says the same again, under
//! the same ids. What it is not: nothing here decides, and no time here reaches a decision.

use crate::{
    clock::Change,
    config::DetectorConfig,
    generations::Generations,
    metrics::Metrics,
    records,
    registry::unsaid,
    staleness::{Partition, Ticked},
    tell::tell,
};
use anyhow::{Context, ensure};
use heliograph_contract::{
    alert::{Alert, encode_report},
    event::{HEADER_TYPE, TYPE_DOOR_TICK, encode_ticks_missing, encode_watched, header},
    topic,
    v1::TicksMissing,
};
use heliograph_domain::{Timestamp, partition::partition_for};
use heliograph_log::{
    Log, LogError, NewRecord, Record, TopicPartition,
    consumer::{Acks, Done, ProcessorSide, Taken, Work},
    registry::Projection,
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::AbortOnDropHandle;

/// Alerts that are told at a time.
const ALERTS_MAX: usize = 1_000;
const READ_BYTES_MAX: usize = 1 << 20;
/// No tick for so long at a partition's end is worth a word.
const TICKS_MISSING_AFTER: Duration = Duration::from_secs(30);
/// How often partitions are looked at for what the registry has new, and for being kept.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Decides which sites are stale, for the partitions of one member of the group.
pub struct Detector {
    pub config: DetectorConfig,
    pub log: Arc<dyn Log>,
    pub registry: Projection,
    pub metrics: Metrics,
    /// How many partitions the uploads and the alerts have.
    pub uploads_partitions: u32,
    pub alerts_partitions: u32,
}

/// A partition that is ours.
struct Owned {
    partition: Partition,
    generations: Generations,
    at: TopicPartition,
    /// Where it ended when it was assigned: before that the registry's word may still come.
    end: u64,
    /// The registry whose word it has.
    told: Option<u64>,
    /// What is being appended to it, and of which registry; none is waited for, since a partition
    /// that cannot be written must not keep the others from being read.
    telling: Option<(u64, AbortOnDropHandle<Result<(), LogError>>)>,
    missing: Option<AbortOnDropHandle<()>>,
    kept: Instant,
    /// The offset that the last snapshot stands for.
    kept_offset: u64,
    last_append: Timestamp,
    /// When a tick was read last, or it was said that none comes.
    ticked: Instant,
}

impl Detector {
    /// Runs until the consumer ends.
    ///
    /// # Errors
    /// When the log refuses an alert for good, or has lost records that were not read yet.
    pub async fn run(self, mut side: ProcessorSide) -> anyhow::Result<()> {
        let mut ours: BTreeMap<u32, Owned> = BTreeMap::new();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                work = side.work.recv() => match work {
                    None => return Ok(()),
                    Some(Work::Assigned(tps)) => {
                        for at in tps {
                            let owned = self.restore(at.clone()).await.with_context(|| at.to_string())?;
                            ours.insert(at.partition, owned);
                        }
                    }
                    Some(Work::Records(taken)) => self.read(&mut ours, taken, &side.acks).await?,
                    Some(Work::Flush) => {}
                    Some(Work::Forgotten(tps)) => tps.iter().for_each(|tp| drop(ours.remove(&tp.partition))),
                },
                _ = look.tick() => {
                    for owned in ours.values_mut() {
                        self.tell_registry(owned).await?;
                        self.miss_ticks(owned);
                        self.keep(owned).await?;
                    }
                    self.show(&ours);
                }
            }
        }
    }

    /// The state before the next record that the group hands out, from the newest snapshot and the
    /// records between: their alerts are on the log, or their offset had not been committed.
    async fn restore(&self, at: TopicPartition) -> anyhow::Result<Owned> {
        let (generations, kept) = Generations::load(self.log.clone(), at.partition).await?;
        let range = self.log.offsets(&at).await?;
        let committed = self.log.committed(crate::config::GROUP, &at).await?.unwrap_or(range.first);
        let kept_offset = kept.as_ref().map_or(0, Partition::next_offset);
        ensure!(
            kept.is_none() || kept_offset >= range.first || self.config.accept_lost_records,
            "the log begins at offset {}, the newest snapshot ends at {kept_offset}: what came between \
             is lost, and silences of that time would be judged without it; to go on all the same, set \
             detector.accept_lost_records",
            range.first,
        );
        let mut partition = kept.unwrap_or_else(|| Partition::new(at.partition));
        let mut from = kept_offset.max(range.first);
        let mut last_append = Timestamp::from_ms(0);
        tracing::info!(%at, snapshot = kept_offset, from, committed, "catching up");
        while from < committed {
            let records = self.log.read(&at, from, READ_BYTES_MAX).await?;
            let Some(last) = records.last() else { break };
            (from, last_append) = (last.offset + 1, last.append_time);
            for record in records.iter().filter(|record| record.offset < committed) {
                let mut silent = Vec::new();
                // What cannot be understood was told when it came first.
                drop(records::read(&mut partition, record, &mut silent));
                while !partition.judge(ALERTS_MAX, &mut silent) {
                    silent.clear();
                }
            }
        }
        let (end, kept) = (range.end, Instant::now());
        Ok(Owned {
            partition,
            generations,
            at,
            end,
            told: None,
            telling: None,
            missing: None,
            kept,
            kept_offset,
            last_append,
            ticked: kept,
        })
    }

    async fn read(
        &self,
        ours: &mut BTreeMap<u32, Owned>,
        taken: Vec<Taken>,
        acks: &Acks,
    ) -> anyhow::Result<()> {
        let mut open = Open::default();
        for taken in taken {
            open.done.push(taken.done());
            let record = taken.record;
            let Some(owned) = ours.get_mut(&record.at.partition) else { continue };
            // A snapshot may be ahead of the commit.
            if record.offset < owned.partition.next_offset() {
                continue;
            }
            owned.last_append = record.append_time;
            if header(&record.headers, HEADER_TYPE) == Some(TYPE_DOOR_TICK) {
                owned.ticked = Instant::now();
            }
            let mut fresh = Vec::new();
            match records::read(&mut owned.partition, &record, &mut fresh) {
                Ok(Ticked { changes, report }) => {
                    tell_changes(&record, &changes);
                    if let Some(report) = report {
                        let to = TopicPartition::new(topic::COHORTS, 0);
                        let report = NewRecord::event(to, encode_report(&report));
                        let delay_max = self.config.retry_delay_max;
                        tell(&*self.log, vec![report], delay_max).await.context("report a door")?;
                    }
                }
                Err(error) => {
                    tracing::debug!(at = %record.at, offset = record.offset, %error, "passed over");
                    self.metrics.undecodable.inc();
                }
            }
            loop {
                let is_through = owned.partition.judge(ALERTS_MAX, &mut fresh);
                if !open.has_room_for(&fresh) {
                    self.tell(&mut open.alerts, &mut open.sites).await?;
                }
                open.take(&mut fresh);
                if is_through {
                    break;
                }
            }
        }
        self.tell(&mut open.alerts, &mut open.sites).await?;
        open.done.into_iter().for_each(|done| acks.done(done));
        Ok(())
    }

    async fn tell(
        &self,
        alerts: &mut Vec<Alert>,
        sites: &mut HashSet<String>,
    ) -> anyhow::Result<()> {
        if alerts.is_empty() {
            return Ok(());
        }
        let record = |alert: &Alert| {
            let tenant = alert.tenant_id().unwrap_or_default();
            let of = partition_for(tenant.as_bytes(), self.alerts_partitions);
            NewRecord::event(TopicPartition::new(topic::ALERTS, of), alert.encode())
        };
        let records = alerts.iter().map(record).collect();
        tell(&*self.log, records, self.config.retry_delay_max).await.context("tell alerts")?;
        alerts.iter().for_each(|alert| self.metrics.told(alert));
        alerts.clear();
        sites.clear();
        Ok(())
    }

    /// Appends to the partition what it has not heard of the registry.
    async fn tell_registry(&self, owned: &mut Owned) -> anyhow::Result<()> {
        if let Some((version, told)) = owned.telling.take_if(|(_, told)| told.is_finished()) {
            told.await.context("tell of sites")?.context("tell of sites")?;
            owned.told = Some(version);
        }
        let (registry, version) = self.registry.current_at();
        let is_behind = owned.partition.next_offset() < owned.end;
        if owned.telling.is_some() || owned.told == Some(version) || is_behind {
            return Ok(());
        }
        let (number, count) = (owned.at.partition, self.uploads_partitions);
        let is_of_partition = |id: &str| partition_for(id.as_bytes(), count) == number;
        let records: Vec<NewRecord> = unsaid(&registry, version, &owned.partition, is_of_partition)
            .iter()
            .map(|said| NewRecord::event(owned.at.clone(), encode_watched(said)))
            .collect();
        let (log, delay_max) = (self.log.clone(), self.config.retry_delay_max);
        let telling = tokio::spawn(async move { tell(&*log, records, delay_max).await });
        owned.telling = Some((version, AbortOnDropHandle::new(telling)));
        Ok(())
    }

    /// Says in the partition that nobody ticks, where that is so. A log that does not take it is asked
    /// again the next time.
    fn miss_ticks(&self, owned: &mut Owned) {
        let waited = owned.ticked.elapsed();
        let is_under_way = owned.missing.as_ref().is_some_and(|missing| !missing.is_finished());
        if waited < TICKS_MISSING_AFTER || is_under_way {
            return;
        }
        owned.ticked = Instant::now();
        let (log, at, next) = (self.log.clone(), owned.at.clone(), owned.partition.next_offset());
        let missing = tokio::spawn(async move {
            // What lies before the end may be a tick.
            if !log.offsets(&at).await.is_ok_and(|range| next >= range.end) {
                return;
            }
            let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
            let missing = encode_ticks_missing(&TicksMissing { waited_ms });
            match log.append(NewRecord::event(at.clone(), missing)).await {
                Ok(_) => tracing::warn!(%at, ?waited, "no gateway ticks"),
                Err(error) => {
                    tracing::warn!(%at, ?waited, %error, "no gateway ticks, nor is it taken")
                }
            }
        });
        owned.missing = Some(AbortOnDropHandle::new(missing));
    }

    /// Keeps the state when it is time.
    async fn keep(&self, owned: &mut Owned) -> anyhow::Result<()> {
        let is_due = owned.kept.elapsed() >= self.config.snapshot_interval
            && owned.partition.next_offset() > owned.kept_offset;
        if !is_due {
            return Ok(());
        }
        let first = self.log.offsets(&owned.at).await.map_or(0, |range| range.first);
        let Owned { partition, generations, last_append, .. } = owned;
        generations.keep(partition, *last_append, first, self.config.retry_delay_max).await?;
        (owned.kept, owned.kept_offset) = (Instant::now(), owned.partition.next_offset());
        self.metrics.snapshots.inc();
        Ok(())
    }

    fn show(&self, ours: &BTreeMap<u32, Owned>) {
        let partitions = || ours.values().map(|owned| &owned.partition);
        let sum = |of: fn(&Partition) -> usize| partitions().map(of).sum::<usize>() as i64;
        self.metrics.sites.set(sum(|p| p.sites().len()));
        self.metrics.stale_sites.set(sum(Partition::stale_sites));
        let closed_ms = partitions().map(|p| p.clock().shut_ms()).max().unwrap_or(0);
        self.metrics.door_closed.set(closed_ms as f64 / 1_000.0);
    }
}

/// What has been read and not yet told. An alert that is told again may come behind those after it,
/// so a site has one at a time.
#[derive(Default)]
struct Open {
    alerts: Vec<Alert>,
    sites: HashSet<String>,
    done: Vec<Done>,
}

impl Open {
    fn has_room_for(&self, fresh: &[Alert]) -> bool {
        self.alerts.len() + fresh.len() <= ALERTS_MAX
            && fresh.iter().filter_map(Alert::site_id).all(|id| !self.sites.contains(id))
    }

    fn take(&mut self, fresh: &mut Vec<Alert>) {
        self.sites.extend(fresh.iter().filter_map(Alert::site_id).map(str::to_owned));
        self.alerts.append(fresh);
    }
}

fn tell_changes(record: &Record, changes: &[Change]) {
    for change in changes {
        let (at, offset) = (&record.at, record.offset);
        match change {
            Change::Joined { instance } => tracing::info!(%at, offset, instance, "a gateway ticks"),
            Change::Left { instance } => tracing::info!(%at, offset, instance, "a gateway left"),
            Change::Lost { instance } => {
                tracing::warn!(%at, offset, instance, "a gateway is lost: it counts no more");
            }
            Change::Closed { instance, why } => {
                tracing::warn!(%at, offset, instance, %why, "a door is closed");
            }
            Change::Opened { instance } => {
                tracing::info!(%at, offset, instance, "it is open again")
            }
        }
    }
}
