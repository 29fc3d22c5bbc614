//! `ReadLog`: the records of one partition, in batches, as fast as the caller takes them.
//!
//! Invariant: nothing is read ahead of the caller, so a slow one costs one batch of memory; the
//! stream ends at the end that was known when it began, so it ends. What it is not: a way to follow
//! the log.

use crate::{edge::Place, error::log_status};
use futures::{Stream, stream};
use heliograph_contract::{error::ErrorClass, v1};
use heliograph_log::{Log, Record, TopicPartition};
use heliograph_service::Shutdown;
use prost::Message;
use std::{collections::VecDeque, sync::Arc};
use tonic::Status;

/// A batch is at most this large, unless one record alone is larger.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// A read under way.
pub struct LogReader {
    pub log: Arc<dyn Log>,
    pub at: TopicPartition,
    pub next: u64,
    pub end: u64,
    /// Read from the log, not yet sent.
    pub pending: VecDeque<v1::LogRecord>,
    pub shutdown: Shutdown,
    /// Kept for as long as the stream lives.
    pub _place: Option<Place>,
}

impl LogReader {
    /// Batches until the end.
    pub fn into_stream(self) -> impl Stream<Item = Result<v1::ReadLogResponse, Status>> + Send {
        stream::try_unfold(self, |mut reader| async move {
            let batch = reader.batch().await?;
            Ok(batch.map(|records| (v1::ReadLogResponse { records }, reader)))
        })
    }

    async fn batch(&mut self) -> Result<Option<Vec<v1::LogRecord>>, Status> {
        if self.shutdown.is_cancelled() {
            return Err(ErrorClass::Unavailable.status("the service is leaving; read on later"));
        }
        if self.pending.is_empty() && self.next < self.end {
            self.fetch().await?;
        }
        let batch = take_batch(&mut self.pending, BATCH_BYTES_MAX);
        Ok(Some(batch).filter(|batch| !batch.is_empty()))
    }

    async fn fetch(&mut self) -> Result<(), Status> {
        let read = self.log.read(&self.at, self.next, BATCH_BYTES_MAX).await;
        let records = read.map_err(|e| log_status(&e))?;
        self.next = records.last().map_or(self.end, |last| last.offset + 1);
        let before_end = records.into_iter().filter(|record| record.offset < self.end);
        self.pending.extend(before_end.map(to_wire));
        Ok(())
    }
}

fn take_batch(pending: &mut VecDeque<v1::LogRecord>, bytes_max: usize) -> Vec<v1::LogRecord> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while let Some(record) = pending.front() {
        // The field's tag and its length, at most.
        bytes += record.encoded_len() + 6;
        if bytes > bytes_max && !batch.is_empty() {
            break;
        }
        batch.extend(pending.pop_front());
    }
    batch
}

fn to_wire(record: Record) -> v1::LogRecord {
    let header = |(name, value): (_, _)| v1::LogHeader { name: String::from(name), value };
    v1::LogRecord {
        offset: record.offset,
        append_time_ms: record.append_time.as_ms(),
        key: record.key,
        value: record.value,
        headers: record.headers.into_iter().map(header).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64, bytes: usize) -> v1::LogRecord {
        v1::LogRecord { offset, value: Some(vec![0; bytes].into()), ..Default::default() }
    }

    #[test]
    fn a_batch_stays_under_its_limit_and_a_large_record_goes_alone() {
        let mut pending: VecDeque<_> =
            [400, 400, 400, 3_000, 10].iter().zip(1..).map(|(b, at)| record(at, *b)).collect();
        let mut batches: Vec<Vec<u64>> = Vec::new();
        while !pending.is_empty() {
            let batch = take_batch(&mut pending, 1_000);
            let bytes = v1::ReadLogResponse { records: batch.clone() }.encoded_len();
            assert!(bytes <= 1_000 || batch.len() == 1, "{bytes}");
            batches.push(batch.iter().map(|r| r.offset).collect());
        }
        assert_eq!(batches, [vec![1, 2], vec![3], vec![4], vec![5]]);
    }
}
