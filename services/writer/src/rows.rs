//! Rows under way from records to a Native block.
//!
//! Pure. Invariant: a row carries the partition and offset it came from, and within one record
//! each identity stands once (the last), so that the block's content does not depend on how
//! records were cut into blocks.

use clickhouse::native::encode::Encode;
use heliograph_contract::event::{DecodeError, UploadsEvent, decode_uploads};
use heliograph_domain::{
    Quality, Reading, SiteId, Timestamp,
    rollup::{BUCKET_15M_MS, bucket_start},
    upload::last_of_each,
};
use heliograph_log::{Record, TopicPartition, consumer::Done};
use heliograph_store::blocks::{Block, BlockBuilder, Millis};
use std::{collections::BTreeMap, ops::Range};

/// What a record means for the store.
#[derive(Debug)]
pub enum Outcome {
    /// An upload: its rows, possibly none.
    Rows(Decoded),
    /// Not for the store: a tick, the gateway's upload to itself, a newer event.
    Ignored,
    /// It cannot be used.
    DeadLetter(DecodeError),
}

/// The readings of one upload.
#[derive(Debug)]
pub struct Decoded {
    pub site: SiteId,
    pub received_at: Timestamp,
    pub readings: Vec<Reading>,
}

/// Reads one record of `heliograph.uploads`.
pub fn decode(record: &Record) -> Outcome {
    match decode_uploads(&record.headers, record.value.as_ref()) {
        Ok(UploadsEvent::Upload(upload)) if upload.site.is_platform() => Outcome::Ignored,
        Ok(UploadsEvent::Upload(upload)) => Outcome::Rows(Decoded {
            site: upload.site,
            received_at: upload.received_at,
            readings: last_of_each(upload.readings.into_iter().enumerate().collect()).0,
        }),
        // For the pipeline itself, or of a newer version.
        Ok(_) => Outcome::Ignored,
        Err(error) => Outcome::DeadLetter(error),
    }
}

/// One row of `readings`.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub site: SiteId,
    pub reading: Reading,
    pub partition: u32,
    pub offset: u64,
    pub received_at: Timestamp,
}

/// A record and the rows that it became.
#[derive(Debug)]
pub struct Origin {
    /// Kept whole: if ClickHouse refuses its rows it becomes a dead letter.
    pub record: Record,
    pub done: Done,
    rows: Range<usize>,
}

/// A 15-minute bucket of a site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteBucket {
    pub site: SiteId,
    pub start: Timestamp,
}

/// The newest change of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub partition: u32,
    pub offset: u64,
}

/// Rows that go to ClickHouse together.
#[derive(Debug, Default)]
pub struct Rows {
    rows: Vec<Row>,
    origins: Vec<Origin>,
}

impl Rows {
    pub fn push(&mut self, record: Record, done: Done, decoded: Decoded) {
        let first = self.rows.len();
        let TopicPartition { partition, .. } = record.at;
        self.rows.extend(decoded.readings.into_iter().map(|reading| Row {
            site: decoded.site.clone(),
            reading,
            partition,
            offset: record.offset,
            received_at: decoded.received_at,
        }));
        self.origins.push(Origin { record, done, rows: first..self.rows.len() });
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to acknowledge either.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The records that these rows come from.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.origins.iter().map(|origin| &origin.record)
    }

    pub fn into_origins(self) -> Vec<Origin> {
        self.origins
    }

    /// Cuts the block in two between records; `Err` gives it back when it is one record.
    pub fn split(mut self) -> Result<(Self, Self), Self> {
        if self.origins.len() < 2 {
            return Err(self);
        }
        let mut tail_origins = self.origins.split_off(self.origins.len() / 2);
        let cut = tail_origins[0].rows.start;
        let tail_rows = self.rows.split_off(cut);
        for origin in &mut tail_origins {
            origin.rows = origin.rows.start - cut..origin.rows.end - cut;
        }
        Ok((self, Self { rows: tail_rows, origins: tail_origins }))
    }

    /// The buckets that these rows change, each with its newest change.
    pub fn changed_buckets(&self) -> BTreeMap<SiteBucket, Change> {
        let mut buckets: BTreeMap<SiteBucket, Change> = BTreeMap::new();
        for rows in self.origins.iter().map(|origin| &self.rows[origin.rows.clone()]) {
            // The rows of a record are of one site and one offset, and of few buckets.
            let Some(first) = rows.first() else { continue };
            let change = Change { partition: first.partition, offset: first.offset };
            let start = |row: &Row| bucket_start(row.reading.ts, BUCKET_15M_MS);
            let mut starts: Vec<Timestamp> = rows.iter().map(start).collect();
            starts.sort_unstable();
            starts.dedup();
            for start in starts {
                let bucket = SiteBucket { site: first.site.clone(), start };
                let newest = buckets.entry(bucket).or_insert(change);
                newest.offset = newest.offset.max(change.offset);
            }
        }
        buckets
    }

    /// The rows as a Native block; `None` when there are none.
    pub fn to_block(&self) -> Result<Option<Block>, clickhouse::error::Error> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let mut block = BlockBuilder::new();
        let rows = &self.rows;
        column(&mut block, "site_id", rows.iter().map(|r| r.site.as_str()))?;
        column(&mut block, "device", rows.iter().map(|r| r.reading.device.as_str()))?;
        column(&mut block, "metric", rows.iter().map(|r| r.reading.metric.as_str()))?;
        column(&mut block, "ts", rows.iter().map(|r| Millis(r.reading.ts.as_ms())))?;
        column(&mut block, "value", rows.iter().map(|r| r.reading.value))?;
        column(&mut block, "quality", rows.iter().map(|r| quality_code(r.reading.quality)))?;
        column(&mut block, "log_partition", rows.iter().map(|r| r.partition))?;
        column(&mut block, "log_offset", rows.iter().map(|r| r.offset))?;
        column(&mut block, "received_at", rows.iter().map(|r| Millis(r.received_at.as_ms())))?;
        Ok(Some(block.build().map_err(other)?))
    }
}

/// Adds one column to a block.
///
/// # Errors
/// When a value does not fit its type.
pub fn column<T: Encode>(
    block: &mut BlockBuilder,
    name: &str,
    values: impl Iterator<Item = T>,
) -> Result<(), clickhouse::error::Error> {
    block.upsert_column::<T>(name).map_err(other)?.add_all(values).map_err(boxed)?;
    Ok(())
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> clickhouse::error::Error {
    boxed(Box::new(error))
}

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

fn boxed(error: BoxedError) -> clickhouse::error::Error {
    clickhouse::error::Error::Other(error)
}

/// The numbers of `Enum8('good' = 1, 'suspect' = 2, 'bad' = 3)`.
const fn quality_code(quality: Quality) -> i8 {
    match quality {
        Quality::Good => 1,
        Quality::Suspect => 2,
        Quality::Bad => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use heliograph_contract::event::encode_upload;
    use heliograph_domain::{DeviceId, MetricName, TenantId, UploadId, upload::Upload};
    use proptest::prelude::*;

    fn upload(readings: &[(i64, f64)]) -> Upload {
        Upload {
            site: SiteId::parse("s1").unwrap(),
            tenant: TenantId::parse("t1").unwrap(),
            upload_id: UploadId::parse("u1").unwrap(),
            received_at: Timestamp::from_secs(1_700_000_000),
            sent_at: None,
            replayed: false,
            readings: readings
                .iter()
                .map(|(minute, value)| Reading {
                    device: DeviceId::parse("inv1").unwrap(),
                    metric: MetricName::parse("ac_power").unwrap(),
                    ts: Timestamp::from_secs(1_700_000_000 + minute * 60),
                    value: *value,
                    quality: Quality::Good,
                })
                .collect(),
        }
    }

    fn record(offset: u64, upload: &Upload) -> Record {
        let event = encode_upload(upload, "g1");
        Record {
            at: TopicPartition::new("heliograph.uploads", 3),
            offset,
            append_time: Timestamp::from_ms(0),
            key: event.key,
            headers: event.headers,
            value: Some(event.value),
        }
    }

    fn push(rows: &mut Rows, offset: u64, readings: &[(i64, f64)]) {
        let record = record(offset, &upload(readings));
        let Outcome::Rows(decoded) = decode(&record) else { panic!("an upload has rows") };
        let done = Done { at: record.at.clone(), epoch: 1, offset };
        rows.push(record, done, decoded);
    }

    #[test]
    fn within_a_record_the_last_value_of_an_identity_stands() {
        let mut rows = Rows::default();
        push(&mut rows, 7, &[(0, 1.0), (0, 2.0)]);
        assert_eq!(rows.rows().iter().map(|r| r.reading.value).collect::<Vec<_>>(), [2.0]);
        assert_eq!((rows.rows()[0].partition, rows.rows()[0].offset), (3, 7));
    }

    #[test]
    fn the_gateways_upload_to_itself_and_unreadable_records() {
        let own = Upload { site: SiteId::gateway_self("g1"), ..upload(&[]) };
        assert!(matches!(decode(&record(0, &own)), Outcome::Ignored));
        let broken = Record { value: Some(Bytes::from_static(b"\xff")), ..record(0, &upload(&[])) };
        assert!(matches!(decode(&broken), Outcome::DeadLetter(_)));
    }

    #[test]
    fn a_bucket_is_dirty_up_to_its_newest_change() {
        let mut rows = Rows::default();
        push(&mut rows, 7, &[(0, 1.0), (20, 1.0)]);
        push(&mut rows, 9, &[(1, 1.0)]);
        let offsets: Vec<u64> = rows.changed_buckets().values().map(|c| c.offset).collect();
        assert_eq!(offsets, [9, 7]);
    }

    proptest! {
        #[test]
        fn splitting_loses_nothing_and_ends_at_one_record(
            sizes in proptest::collection::vec(0usize..5, 1..20)
        ) {
            let mut rows = Rows::default();
            for (offset, size) in sizes.iter().enumerate() {
                let readings: Vec<_> = (0..*size as i64).map(|m| (m, m as f64)).collect();
                push(&mut rows, offset as u64, &readings);
            }
            let want: Vec<Row> = rows.rows().to_vec();
            let (mut got, mut singles, mut open) = (vec![], 0, vec![rows]);
            while let Some(rows) = open.pop() {
                match rows.split() {
                    Ok((head, tail)) => open.extend([tail, head]),
                    Err(single) => {
                        prop_assert_eq!(single.origins[0].rows.clone(), 0..single.len());
                        got.extend(single.rows().to_vec());
                        singles += 1;
                    }
                }
            }
            prop_assert_eq!(got, want);
            prop_assert_eq!(singles, sizes.len());
        }
    }
}
