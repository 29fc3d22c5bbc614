//! `heliograph rebuild`: the tables made anew from the log, then swapped in.
//!
//! ```text
//! live tables ──older than the log──▶ shadow ◀── replay of the log ── rollups ── swap ── tail
//! ```
//!
//! Invariant: what the log still holds decides; what is older than its first offset is copied
//! and left as it is. A writer may run meanwhile: what it puts into the old tables until the swap
//! is read again from the log into the new ones afterwards (the tail), which changes nothing where
//! it was there already. Dead letters are not written again: they stand on their topic.

use crate::{
    config::WriterConfig,
    insert::{Inserter, Refused},
    metrics::Metrics,
    rollup::{recompute::Recompute, sql},
    rows::{Outcome, Rows, SiteBucket, decode},
    tables::Tables,
};
use anyhow::Context;
use clickhouse::Client;
use heliograph_contract::topic;
use heliograph_domain::partition::partition_for;
use heliograph_log::{LogRead, OffsetRange, TopicPartition, consumer::Done, registry::Projection};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const READ_BYTES_MAX: usize = 4 << 20;
/// Until the swap, the replay follows the log's end; within so many records the tail is short.
const TAIL_RECORDS_MAX: u64 = 10_000;

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    pub records: u64,
    pub rows: u64,
    /// Records that cannot be decoded or stored; their dead letters stand already.
    pub passed_over: u64,
    /// Per table: rows and checksum before and after.
    pub tables: Vec<TableReport>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TableReport {
    pub table: String,
    pub rows_before: u64,
    pub rows_after: u64,
    pub checksum_before: String,
    pub checksum_after: String,
}

impl Report {
    /// Whether the tables are what they were.
    pub fn is_equal(&self) -> bool {
        self.tables
            .iter()
            .all(|t| t.rows_before == t.rows_after && t.checksum_before == t.checksum_after)
    }
}

/// Rebuilds one store from one log.
pub struct Rebuild {
    pub log: Arc<dyn LogRead>,
    pub client: Client,
    pub registry: Projection,
    pub config: WriterConfig,
}

#[derive(Debug, Default)]
struct Progress {
    records: u64,
    rows: u64,
    passed_over: u64,
}

impl Rebuild {
    /// # Errors
    /// When log or store fail; the live tables are then as they were.
    pub async fn run(&self) -> anyhow::Result<Report> {
        let (live, shadow) = (Tables::live(), Tables::shadow());
        let before = self.checksums(&live).await?;
        self.fresh_shadow(&live, &shadow).await?;
        let ranges = self.ranges().await?;
        self.copy_older(&live, &shadow, &ranges).await?;

        let into_shadow = self.inserter(shadow.clone());
        let mut progress = Progress::default();
        let mut next: BTreeMap<u32, u64> = ranges.iter().map(|(p, r)| (*p, r.first)).collect();
        self.replay_all(&into_shadow, &mut next, &mut progress).await?;
        self.swap(&live, &shadow).await?;

        let into_live = self.inserter(live.clone());
        let ends = self.ranges().await?.into_iter().map(|(p, r)| (p, r.end)).collect();
        self.replay(&into_live, &mut next, &ends, &mut progress).await?;
        let after = self.checksums(&live).await?;
        for table in shadow.all() {
            self.execute(&format!("DROP TABLE {table}")).await?;
        }
        let Progress { records, rows, passed_over } = progress;
        Ok(Report { records, rows, passed_over, tables: pair(&live, before, after) })
    }

    /// Counts nothing: what operators watch is the writer.
    fn inserter(&self, tables: Tables) -> Inserter {
        Inserter::new(self.client.clone(), tables, &self.config, Metrics::default())
    }

    async fn ranges(&self) -> anyhow::Result<BTreeMap<u32, OffsetRange>> {
        let mut ranges = BTreeMap::new();
        for partition in 0..self.log.partitions(topic::UPLOADS).await? {
            let tp = TopicPartition::new(topic::UPLOADS, partition);
            ranges.insert(partition, self.log.offsets(&tp).await?);
        }
        Ok(ranges)
    }

    async fn fresh_shadow(&self, live: &Tables, shadow: &Tables) -> anyhow::Result<()> {
        for (live, shadow) in live.all().into_iter().zip(shadow.all()) {
            self.execute(&format!("DROP TABLE IF EXISTS {shadow}")).await?;
            self.execute(&format!("CREATE TABLE {shadow} AS {live}")).await?;
        }
        Ok(())
    }

    /// Copies rows that come from offsets the log no longer has. Rollups whose newest reading is
    /// such a row are copied as they are: their readings may be gone.
    async fn copy_older(
        &self,
        live: &Tables,
        shadow: &Tables,
        ranges: &BTreeMap<u32, OffsetRange>,
    ) -> anyhow::Result<()> {
        let sites = self.sites_by_partition(live, ranges.len() as u32).await?;
        for (partition, OffsetRange { first, .. }) in ranges {
            if *first == 0 {
                continue;
            }
            self.execute(&format!(
                "INSERT INTO {} SELECT * FROM {} FINAL \
                 WHERE log_partition = {partition} AND log_offset < {first}",
                shadow.readings, live.readings
            ))
            .await?;
            let Some(sites) = sites.get(partition) else { continue };
            let sites = sites.iter().map(|s| format!("'{s}'")).collect::<Vec<_>>().join(", ");
            for (live, shadow) in live.all().into_iter().zip(shadow.all()).skip(1) {
                self.execute(&format!(
                    "INSERT INTO {shadow} SELECT * FROM {live} FINAL \
                     WHERE site_id IN ({sites}) AND version < {first}"
                ))
                .await?;
            }
        }
        Ok(())
    }

    async fn sites_by_partition(
        &self,
        live: &Tables,
        partitions: u32,
    ) -> anyhow::Result<BTreeMap<u32, BTreeSet<String>>> {
        let query = format!("SELECT DISTINCT toString(site_id) FROM {}", live.readings);
        let sites: Vec<String> = self.client.query(&query).fetch_all().await?;
        let mut by_partition: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
        for site in sites {
            let partition = partition_for(site.as_bytes(), partitions);
            by_partition.entry(partition).or_default().insert(site);
        }
        Ok(by_partition)
    }

    /// Replays until the end of the log is near.
    async fn replay_all(
        &self,
        inserter: &Inserter,
        next: &mut BTreeMap<u32, u64>,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        loop {
            let ends: BTreeMap<u32, u64> =
                self.ranges().await?.into_iter().map(|(p, r)| (p, r.end)).collect();
            let left: u64 =
                ends.iter().map(|(p, end)| end.saturating_sub(*next.get(p).unwrap_or(&0))).sum();
            self.replay(inserter, next, &ends, progress).await?;
            if left <= TAIL_RECORDS_MAX {
                return Ok(());
            }
        }
    }

    async fn replay(
        &self,
        inserter: &Inserter,
        next: &mut BTreeMap<u32, u64>,
        ends: &BTreeMap<u32, u64>,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let mut rows = Rows::default();
        let mut buckets = BTreeSet::new();
        for (partition, end) in ends {
            let tp = TopicPartition::new(topic::UPLOADS, *partition);
            let at = next.entry(*partition).or_default();
            while *at < *end {
                let records = self.log.read(&tp, *at, READ_BYTES_MAX).await?;
                if records.is_empty() {
                    break;
                }
                for record in records.into_iter().take_while(|r| r.offset < *end) {
                    *at = record.offset + 1;
                    progress.records += 1;
                    match decode(&record) {
                        Outcome::Rows(decoded) => {
                            let done = Done { at: tp.clone(), epoch: 0, offset: record.offset };
                            rows.push(record, done, decoded);
                        }
                        Outcome::Ignored => {}
                        Outcome::DeadLetter(_) => progress.passed_over += 1,
                    }
                    if rows.len() >= self.config.block_rows_max {
                        self.store(inserter, &mut rows, &mut buckets, progress).await?;
                    }
                }
            }
        }
        self.store(inserter, &mut rows, &mut buckets, progress).await?;
        let buckets: Vec<SiteBucket> = buckets.into_iter().collect();
        let (log, registry) = (self.log.clone(), self.registry.clone());
        let recompute = Recompute { inserter: inserter.clone(), log, registry };
        recompute.all(&buckets, self.config.rollup_round_max).await
    }

    async fn store(
        &self,
        inserter: &Inserter,
        rows: &mut Rows,
        buckets: &mut BTreeSet<SiteBucket>,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let mut open = vec![std::mem::take(rows)];
        while let Some(rows) = open.pop() {
            let Some(block) = rows.to_block()? else { continue };
            match inserter.insert(&inserter.tables.readings, &block).await {
                Ok(()) => {
                    progress.rows += rows.len() as u64;
                    buckets.extend(rows.changed_buckets().into_keys());
                }
                Err(Refused::BadBlock(_)) => match rows.split() {
                    Ok((head, tail)) => open.extend([tail, head]),
                    Err(_) => progress.passed_over += 1,
                },
                Err(Refused::Stop(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn swap(&self, live: &Tables, shadow: &Tables) -> anyhow::Result<()> {
        for (live, shadow) in live.all().into_iter().zip(shadow.all()) {
            self.execute(&format!("EXCHANGE TABLES {live} AND {shadow}")).await?;
        }
        Ok(())
    }

    /// Rows and checksum of each table, resolved: equal sets of rows give equal checksums.
    async fn checksums(&self, tables: &Tables) -> anyhow::Result<Vec<(u64, String)>> {
        let mut checksums = Vec::new();
        for table in tables.all() {
            let query = format!("SELECT count(), {} FROM {table} FINAL", sql::ROWS_CHECKSUM);
            let row: (u64, String) =
                self.client.query(&query).fetch_one().await.context("checksum")?;
            checksums.push(row);
        }
        Ok(checksums)
    }

    async fn execute(&self, statement: &str) -> anyhow::Result<()> {
        self.client.query(statement).execute().await.with_context(|| statement.to_owned())
    }
}

fn pair(live: &Tables, before: Vec<(u64, String)>, after: Vec<(u64, String)>) -> Vec<TableReport> {
    let both = before.into_iter().zip(after);
    live.all()
        .into_iter()
        .zip(both)
        .map(|(table, ((rows_before, checksum_before), (rows_after, checksum_after)))| {
            TableReport {
                table: table.to_owned(),
                rows_before,
                rows_after,
                checksum_before,
                checksum_after,
            }
        })
        .collect()
}
