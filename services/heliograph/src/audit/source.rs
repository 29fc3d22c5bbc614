//! Where the audit reads the log: `AdminService` over gRPC, or a list in a test.

use crate::access::{Authorized, explain};
use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use heliograph_contract::v1::{
    ListOffsetsRequest, LogRecord, PartitionOffsets, ReadLogRequest,
    admin_service_client::AdminServiceClient,
};
use std::future::Future;

/// Reading a log from one offset to another.
pub trait LogSource {
    /// The partitions of `topic` with what they hold and what `group` has committed.
    fn offsets(
        &self,
        topic: &str,
        group: &str,
    ) -> impl Future<Output = anyhow::Result<Vec<PartitionOffsets>>> + Send;

    /// The records of one partition in `[from, end)`, in batches, in offset order.
    fn read(
        &self,
        topic: &str,
        partition: u32,
        from: u64,
        end: u64,
    ) -> BoxStream<'static, anyhow::Result<Vec<LogRecord>>>;
}

/// The log behind an `AdminService`.
#[derive(Clone)]
pub struct GrpcLog(pub AdminServiceClient<Authorized>);

impl LogSource for GrpcLog {
    async fn offsets(&self, topic: &str, group: &str) -> anyhow::Result<Vec<PartitionOffsets>> {
        let request = ListOffsetsRequest { topic: topic.to_owned(), group: group.to_owned() };
        let answer = self.0.clone().list_offsets(request).await.map_err(|s| explain(&s));
        Ok(answer.with_context(|| format!("offsets of {topic}"))?.into_inner().partitions)
    }

    fn read(
        &self,
        topic: &str,
        partition: u32,
        from: u64,
        end: u64,
    ) -> BoxStream<'static, anyhow::Result<Vec<LogRecord>>> {
        let topic = topic.to_owned();
        let mut client = self.0.clone();
        let open = async move {
            let what = format!("read {topic}/{partition}");
            let request =
                ReadLogRequest { topic, partition, from_offset: from, end_offset: Some(end) };
            let batches = client.read_log(request).await.with_context(|| what.clone())?;
            let batches = batches
                .into_inner()
                .map(move |batch| batch.map(|b| b.records).with_context(|| what.clone()));
            anyhow::Ok(batches)
        };
        futures::stream::once(open).try_flatten().boxed()
    }
}
