//! Rollups out of their readings: 15-minute buckets, then the hours and days that hold them.
//!
//! Invariant: it only recomputes; that a bucket is clean is said by whoever asked for it.

use super::{DirtyMark, sql};
use crate::{
    insert::{Inserter, Refused},
    rows::SiteBucket,
};
use heliograph_contract::topic;
use heliograph_domain::{
    SiteId, Timestamp,
    registry::Registry,
    rollup::{BUCKET_1H_MS, bucket_start, local_day, zone},
};
use heliograph_log::{LogError, LogRead, TopicPartition, registry::Projection};
use heliograph_store::{StoreErrorClass, classify};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Statements carry lists of buckets, which are longer than ClickHouse's default allows.
const MAX_QUERY_SIZE_BYTES: &str = "16777216";
/// Days of sites that the registry does not know are cut by UTC.
const ZONE_UNKNOWN: &str = "UTC";

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
    pub(super) async fn round(&self, round: &[DirtyMark]) -> Result<(), Trouble> {
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
pub(super) fn by_month<T>(
    all: impl IntoIterator<Item = T>,
    start: impl Fn(&T) -> Timestamp,
) -> Vec<Vec<T>> {
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
pub(super) enum Trouble {
    Passing(anyhow::Error),
    Lasting(anyhow::Error),
}

impl Trouble {
    pub(super) fn into_error(self) -> anyhow::Error {
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
    use crate::{config::WriterConfig, metrics::Metrics, tables::Tables};
    use heliograph_contract::registry;
    use heliograph_domain::{
        TenantId,
        registry::{Entry, Site},
    };
    use heliograph_log::{Log, NewRecord, memory::MemoryLog, topics};
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
            stale_after_s: None,
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
