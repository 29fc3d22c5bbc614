//! The log as commands read it: through `AdminService`, wherever it is.
//!
//! It reads only. What is appended goes through the services' own calls.

use crate::access::{Authorized, explain};
use async_trait::async_trait;
use heliograph_contract::v1::{
    ListOffsetsRequest, LogRecord, PartitionOffsets, ReadLogRequest,
    admin_service_client::AdminServiceClient,
};
use heliograph_domain::Timestamp;
use heliograph_log::{LogError, LogRead, OffsetRange, Record, TopicPartition};
use std::{borrow::Cow, time::Duration};

/// How often the end is asked for while waiting for records.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Reads a log through gRPC.
pub struct RemoteLog(pub AdminServiceClient<Authorized>);

impl RemoteLog {
    async fn list(&self, topic: &str) -> Result<Vec<PartitionOffsets>, LogError> {
        let request = ListOffsetsRequest { topic: topic.to_owned(), group: String::new() };
        let answer = self.0.clone().list_offsets(request).await.map_err(error)?;
        Ok(answer.into_inner().partitions)
    }
}

#[async_trait]
impl LogRead for RemoteLog {
    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        Ok(self.list(topic).await?.len() as u32)
    }

    async fn offsets(&self, tp: &TopicPartition) -> Result<OffsetRange, LogError> {
        self.list(&tp.topic)
            .await?
            .into_iter()
            .find(|p| p.partition == tp.partition)
            .map(|p| OffsetRange { first: p.first_offset, end: p.end_offset })
            .ok_or_else(|| LogError::UnknownTopic(tp.to_string()))
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        let request = ReadLogRequest {
            topic: tp.topic.to_string(),
            partition: tp.partition,
            from_offset: from,
            end_offset: None,
        };
        let mut batches = self.0.clone().read_log(request).await.map_err(error)?.into_inner();
        let (mut records, mut bytes) = (Vec::new(), 0);
        while bytes < max_bytes {
            let Some(batch) = batches.message().await.map_err(error)? else { break };
            for record in batch.records.into_iter().map(|r| from_wire(tp, r)) {
                bytes += record.size_bytes();
                records.push(record);
            }
        }
        Ok(records)
    }

    async fn wait_past(
        &self,
        tp: &TopicPartition,
        offset: u64,
        timeout: Duration,
    ) -> Result<(), LogError> {
        let poll = async {
            while self.offsets(tp).await?.end <= offset {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            Ok(())
        };
        tokio::time::timeout(timeout, poll).await.unwrap_or(Ok(()))
    }
}

fn from_wire(tp: &TopicPartition, record: LogRecord) -> Record {
    Record {
        at: tp.clone(),
        offset: record.offset,
        append_time: Timestamp::from_ms(record.append_time_ms),
        key: record.key,
        headers: record.headers.into_iter().map(|h| (Cow::Owned(h.name), h.value)).collect(),
        value: record.value,
    }
}

fn error(status: tonic::Status) -> LogError {
    LogError::Unavailable(explain(&status).to_string())
}
