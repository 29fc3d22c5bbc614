//! Waiting until the writer has done what was on the log when the audit began.

use super::{
    compare::Horizon,
    decode::{self, Decoded},
    source::LogSource,
    store,
};
use anyhow::Context;
use clickhouse::Client;
use futures::TryStreamExt;
use heliograph_contract::{topic, v1::PartitionOffsets};
use std::{ops::Range, time::Duration};
use tokio::time::Instant;

/// Consumer group of the writer.
const WRITER_GROUP: &str = "writer";
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// So few records are looked into: ticks alone are not worth waiting for a writer that is not
/// running.
const TAIL_RECORDS_MAX: u64 = 5_000;

/// What the writer still has to do.
///
/// The less, the nearer: records come first, since storing them is what makes buckets dirty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Behind {
    /// Records that it has not committed.
    pub records: u64,
    /// Buckets whose rollups are behind their readings.
    pub buckets: u64,
}

/// Per partition what the writer has not committed of the audit's part of the log.
fn tails(horizon: &Horizon, offsets: &[PartitionOffsets]) -> Vec<(u32, Range<u64>)> {
    let tail = |p: &PartitionOffsets| {
        let (first, end) = horizon.partitions.get(&p.partition).copied().unwrap_or_default();
        (p.partition, p.committed_offset.unwrap_or(first).max(first)..end)
    };
    offsets.iter().map(tail).filter(|(_, tail)| !tail.is_empty()).collect()
}

/// How many records of the tails mean something to the writer; where there are many, all do.
async fn records_behind(log: &impl LogSource, tails: &[(u32, Range<u64>)]) -> anyhow::Result<u64> {
    let all = tails.iter().map(|(_, tail)| tail.end - tail.start).sum();
    if all > TAIL_RECORDS_MAX {
        return Ok(all);
    }
    let mut meant = 0;
    for (partition, tail) in tails {
        let mut batches = log.read(topic::UPLOADS, *partition, tail.start, tail.end);
        while let Some(batch) = batches.try_next().await? {
            let counts = |r: &&_| !matches!(decode::upload(r), Decoded::Other);
            meant += batch.iter().filter(counts).count() as u64;
        }
    }
    Ok(meant)
}

/// Which marks are of something before the audit's end: version = 2 × offset.
fn before_end(horizon: &Horizon) -> String {
    let of_partition = |(partition, (_, end)): (&u32, &(u64, u64))| {
        format!("(log_partition = {partition} AND version < {})", end.saturating_mul(2))
    };
    let all: Vec<String> = horizon.partitions.iter().map(of_partition).collect();
    if all.is_empty() { "false".to_owned() } else { all.join(" OR ") }
}

/// Waits until nothing is left to do, or less of it was never seen for `patience`; says what is left.
///
/// # Errors
/// When log or store cannot be read.
pub async fn wait(
    log: &impl LogSource,
    client: &Client,
    horizon: &Horizon,
    patience: Duration,
) -> anyhow::Result<Behind> {
    let which = before_end(horizon);
    let mut least: Option<Behind> = None;
    let mut deadline = Instant::now() + patience;
    loop {
        let offsets =
            log.offsets(topic::UPLOADS, WRITER_GROUP).await.context("writer's offsets")?;
        let behind = Behind {
            records: records_behind(log, &tails(horizon, &offsets)).await?,
            buckets: store::dirty(client, &which).await?,
        };
        if least.as_ref().is_none_or(|least| behind < *least) {
            least = Some(behind.clone());
            deadline = Instant::now() + patience;
        }
        if behind == Behind::default() || Instant::now() >= deadline {
            return Ok(behind);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, stream::BoxStream};
    use heliograph_contract::v1::{LogHeader, LogRecord};
    use std::collections::{BTreeMap, HashMap};

    fn horizon() -> Horizon {
        Horizon { partitions: BTreeMap::from([(0, (0, 10)), (1, (5, 5))]), dead: HashMap::new() }
    }

    #[test]
    fn what_came_later_is_not_waited_for() {
        let at = |partition, committed_offset| PartitionOffsets {
            partition,
            committed_offset,
            ..Default::default()
        };
        let rows = [
            ("nothing was committed", vec![at(0, None), at(1, None)], vec![(0, 0..10)]),
            ("not quite", vec![at(0, Some(8)), at(1, None)], vec![(0, 8..10)]),
            ("up to the end", vec![at(0, Some(10)), at(1, Some(5))], vec![]),
            ("beyond it", vec![at(0, Some(99)), at(1, Some(7))], vec![]),
        ];
        for (name, offsets, want) in rows {
            assert_eq!(tails(&horizon(), &offsets), want, "{name}");
        }
        let want = "(log_partition = 0 AND version < 20) OR (log_partition = 1 AND version < 10)";
        assert_eq!(before_end(&horizon()), want, "dirty by offset 9, or by offset 4");
    }

    /// A log of which every tenth record is an upload.
    struct Ticking;

    impl LogSource for Ticking {
        async fn offsets(&self, _: &str, _: &str) -> anyhow::Result<Vec<PartitionOffsets>> {
            Ok(Vec::new())
        }

        fn read(
            &self,
            _: &str,
            _: u32,
            from: u64,
            end: u64,
        ) -> BoxStream<'static, anyhow::Result<Vec<LogRecord>>> {
            let record = |offset| {
                let kind = if offset % 10 == 0 { "UploadAccepted" } else { "DoorTick" };
                let value = format!("heliograph.v1.{kind}").into();
                let headers = vec![LogHeader { name: "ce_type".into(), value }];
                LogRecord { offset, headers, value: Some(Vec::new().into()), ..Default::default() }
            };
            futures::stream::iter([Ok((from..end).map(record).collect())]).boxed()
        }
    }

    #[tokio::test]
    async fn ticks_alone_are_not_waited_for() {
        let behind = |tail| async move { records_behind(&Ticking, &[(0, tail)]).await.unwrap() };
        assert_eq!(behind(1..9).await, 0);
        assert_eq!(behind(1..29).await, 2);
        assert_eq!(behind(0..1_000_000).await, 1_000_000, "too many to look at");
    }
}
