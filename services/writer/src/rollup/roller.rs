//! The task that keeps rollups up with their readings.

use super::{CleanMarks, DirtyMark, DirtySet, RoundSize, sql};
use crate::{
    config::{GROUP, WriterConfig},
    insert::{Inserter, Refused, marks_block},
    pipeline::until,
    rows::{Change, SiteBucket},
    tables::DIRTY_BUCKETS,
};
use heliograph_contract::topic;
use heliograph_domain::{
    SiteId, Timestamp,
    registry::Registry,
    rollup::{BUCKET_1H_MS, bucket_start, local_day, zone},
};
use heliograph_log::{Log, LogError, LogRead, TopicPartition, registry::Projection};
use heliograph_service::retry::Backoff;
use heliograph_store::{StoreErrorClass, classify};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// Statements carry lists of buckets, which are longer than ClickHouse's default allows.
const MAX_QUERY_SIZE_BYTES: &str = "16777216";
/// Marks that buckets are clean wait so many intervals of blocks for a block to go with.
const CLEAN_PATIENCE: u32 = 2;
/// However long an interval is: who waits until all is clean waits for this.
const CLEAN_PATIENCE_MAX: Duration = Duration::from_secs(5);
/// Days of sites that the registry does not know are cut by UTC.
const ZONE_UNKNOWN: &str = "UTC";

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

/// Recomputes rollups from their readings.
#[derive(Clone)]
pub struct Recompute {
    pub inserter: Inserter,
    pub log: Arc<dyn LogRead>,
    pub registry: Projection,
}

impl Recompute {
    /// Recomputes `buckets` without marking any.
    ///
    /// # Errors
    /// When ClickHouse does not carry it out.
    pub async fn all(&self, buckets: &[SiteBucket], round_max: usize) -> anyhow::Result<()> {
        for round in buckets.chunks(round_max) {
            for month in by_month(round, |b| b.start) {
                self.buckets(&month).await.map_err(Trouble::into_error)?;
            }
        }
        Ok(())
    }

    /// Recomputes a round of dirty buckets.
    async fn round(&self, round: &[DirtyMark]) -> Result<(), Trouble> {
        for buckets in by_month(round.iter().map(|m| &m.bucket), |b| b.start) {
            self.buckets(&buckets).await?;
        }
        Ok(())
    }

    /// Recomputes the 15-minute buckets, then the hours, then the days that hold them.
    async fn buckets(&self, buckets: &[&SiteBucket]) -> Result<(), Trouble> {
        let tables = &self.inserter.tables;
        self.execute(&sql::recompute_15m(tables, &sql::in_buckets(buckets))).await?;

        let hours: BTreeSet<_> = buckets
            .iter()
            .map(|b| {
                let start = bucket_start(b.start, BUCKET_1H_MS);
                (b.site.clone(), start.as_ms() / 1_000, start, start.plus_ms(BUCKET_1H_MS))
            })
            .collect();
        let scope = sql::in_intervals("toUnixTimestamp(toStartOfHour(bucket))", &hours);
        self.execute(&sql::recompute_1h(tables, &scope)).await?;

        let zones = self.days(buckets).await?;
        let zones: Vec<(&str, String)> = zones
            .iter()
            .map(|(zone, days)| {
                let key = format!("toInt32({})", sql::local_date("bucket", zone));
                (zone.as_str(), sql::in_intervals(&key, days))
            })
            .collect();
        if !zones.is_empty() {
            self.execute(&sql::recompute_1d(tables, &zones)).await?;
        }
        Ok(())
    }

    async fn days(&self, buckets: &[&SiteBucket]) -> Result<DaysByZone, Trouble> {
        let registry = self.registry_of(buckets).await?;
        let mut zones = DaysByZone::new();
        for bucket in buckets {
            let name = registry.zone(bucket.site.as_str()).unwrap_or(ZONE_UNKNOWN).to_owned();
            let zone = zone(&name).map_err(|e| Trouble::Lasting(e.into()))?;
            let day = local_day(bucket.start, &zone).map_err(|e| Trouble::Lasting(e.into()))?;
            let number = i64::from(day.days_since_epoch);
            let entry = (bucket.site.clone(), number, day.start, day.end);
            zones.entry(name).or_default().insert(entry);
        }
        Ok(zones)
    }

    /// The registry with every site of `buckets` that was ever registered. The gateway that took an
    /// upload may have read further than we have: what it knew is on the topic by now.
    async fn registry_of(&self, buckets: &[&SiteBucket]) -> Result<Arc<Registry>, Trouble> {
        let registry = self.registry.current();
        if buckets.iter().all(|b| registry.zone(b.site.as_str()).is_some()) {
            return Ok(registry);
        }
        let end = self.log.offsets(&TopicPartition::new(topic::REGISTRY, 0)).await?.end;
        if let Some(last) = end.checked_sub(1) {
            let reached = self.registry.reached(last);
            match tokio::time::timeout(self.inserter.timeout, reached).await {
                Ok(reached) => reached?,
                Err(_) => {
                    let what = format!("the registry is not read up to offset {last} yet");
                    return Err(LogError::Unavailable(what).into());
                }
            }
        }
        Ok(self.registry.current())
    }

    async fn execute(&self, statement: &str) -> Result<(), Trouble> {
        // Whoever gave it up tries again: it must have ended by then, or it could land last.
        let execution_max = (self.inserter.timeout.as_secs() * 9 / 10).max(1);
        let query = self
            .inserter
            .client
            .query(statement)
            .with_setting("max_execution_time", execution_max.to_string())
            .with_setting("max_query_size", MAX_QUERY_SIZE_BYTES);
        match tokio::time::timeout(self.inserter.timeout, query.execute()).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(clickhouse::error::Error::TimedOut.into()),
        }
    }
}

/// Groups what is of the same month: tables of readings have a partition a month.
fn by_month<T>(all: impl IntoIterator<Item = T>, start: impl Fn(&T) -> Timestamp) -> Vec<Vec<T>> {
    let mut months: BTreeMap<i64, Vec<T>> = BTreeMap::new();
    for one in all {
        months.entry(start(&one).month()).or_default().push(one);
    }
    months.into_values().collect()
}

/// Zone → (site, day number, start, end).
type DaysByZone = BTreeMap<String, BTreeSet<(SiteId, i64, Timestamp, Timestamp)>>;

/// Whether waiting helps.
#[derive(Debug)]
enum Trouble {
    Passing(anyhow::Error),
    Lasting(anyhow::Error),
}

impl Trouble {
    fn into_error(self) -> anyhow::Error {
        let (Self::Passing(error) | Self::Lasting(error)) = self;
        error
    }
}

impl From<clickhouse::error::Error> for Trouble {
    fn from(error: clickhouse::error::Error) -> Self {
        let class = classify(&error);
        let error = anyhow::Error::from(error).context("recompute rollups");
        match class {
            StoreErrorClass::TryAgain => Self::Passing(error),
            StoreErrorClass::BadBlock | StoreErrorClass::Stop => Self::Lasting(error),
        }
    }
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Self {
        match error.is_transient() {
            true => Self::Passing(error.into()),
            false => Self::Lasting(error.into()),
        }
    }
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        let (Refused::BadBlock(error) | Refused::Stop(error)) = refused;
        Self::Lasting(anyhow::Error::from(error).context("mark buckets clean"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::Metrics, tables::Tables};
    use heliograph_contract::registry;
    use heliograph_domain::{
        TenantId,
        registry::{Entry, Site},
    };
    use heliograph_log::{NewRecord, memory::MemoryLog, topics};
    use heliograph_store::{StoreConfig, connect};
    use tokio_util::sync::CancellationToken;

    fn site(id: &str) -> Entry {
        Entry::Site(Site {
            id: SiteId::parse(id).unwrap(),
            tenant: TenantId::parse("t1").unwrap(),
            name: id.into(),
            zone: "Asia/Tokyo".into(),
            upload_interval_s: 60,
            reading_interval_s: 60,
            rated_power_w: 0.0,
            token_hash: String::new(),
        })
    }

    /// On one thread the follower of the registry cannot have run before it is waited for.
    #[tokio::test]
    async fn a_site_that_was_just_registered_has_its_days_in_its_zone() {
        let log = MemoryLog::new();
        log.ensure_topics(&topics::declared().unwrap()).await.unwrap();
        let projection = Projection::load(log.clone(), CancellationToken::new()).await.unwrap();
        let to = TopicPartition::new(topic::REGISTRY, 0);
        log.append(NewRecord::event(to, registry::encode(&site("s1")))).await.unwrap();
        let config = WriterConfig::default();
        let client = connect(&StoreConfig::default());
        let inserter = Inserter::new(client, Tables::live(), &config, Metrics::default());
        let recompute = Recompute { inserter, log, registry: projection };
        let bucket = |id: &str| SiteBucket {
            site: SiteId::parse(id).unwrap(),
            start: Timestamp::from_secs(1_700_000_100),
        };
        let (known, unknown) = (bucket("s1"), bucket("never"));
        let days = recompute.days(&[&known, &unknown]).await.unwrap();
        assert_eq!(days.keys().collect::<Vec<_>>(), ["Asia/Tokyo", ZONE_UNKNOWN]);
    }
}
