//! Waits until what the gateway took can be read.
//!
//! The writer commits an offset after its readings are in the store. So when it has committed, of
//! every partition, what was the end after the last 2xx, all of the upload is readable.

use super::UploadArgs;
use crate::{
    access::{Access, AccessArgs, explain},
    endpoint::Endpoint,
};
use heliograph_contract::{
    topic,
    v1::{ListOffsetsRequest, PartitionOffsets},
};
use heliograph_writer::config::GROUP;
use std::time::Duration;

/// A writer that is this far behind has other work; nothing is lost by not waiting.
const WAIT_MAX: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Whether all that was taken can be read; `None` where only the gateway is known, and nobody can
/// be asked.
pub async fn is_readable(args: &UploadArgs) -> Option<bool> {
    if args.gateway.is_some() {
        return None;
    }
    let endpoint = Endpoint::read(&args.data_dir).ok()??;
    let access = AccessArgs {
        data_dir: args.data_dir.clone(),
        query: Some(endpoint.query),
        token: Some(endpoint.operator_token),
        clickhouse: None,
    };
    let waited = Access::within(&access, async |access| {
        let taken = offsets(access).await?;
        let poll = async {
            while !is_past(&offsets(access).await?, &taken) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            anyhow::Ok(())
        };
        Ok(tokio::time::timeout(WAIT_MAX, poll).await.is_ok_and(|done| done.is_ok()))
    });
    waited.await.ok()
}

async fn offsets(access: &Access) -> anyhow::Result<Vec<PartitionOffsets>> {
    let request = ListOffsetsRequest { topic: topic::UPLOADS.into(), group: GROUP.into() };
    let answer = access.admin().list_offsets(request).await.map_err(|s| explain(&s))?;
    Ok(answer.into_inner().partitions)
}

/// Whether the writer has committed, of each partition, what was its end.
fn is_past(now: &[PartitionOffsets], taken: &[PartitionOffsets]) -> bool {
    taken.iter().all(|then| {
        let committed = now
            .iter()
            .find(|p| p.partition == then.partition)
            .and_then(|p| p.committed_offset)
            .unwrap_or_default();
        committed >= then.end_offset
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_readable_when_the_writer_is_past_every_end() {
        let at = |partition, end_offset, committed_offset| PartitionOffsets {
            partition,
            end_offset,
            committed_offset,
            ..Default::default()
        };
        let taken = [at(0, 5, None), at(1, 0, None)];
        let rows = [
            ("nothing committed", vec![at(0, 9, None), at(1, 3, Some(3))], false),
            ("one is behind", vec![at(0, 9, Some(4)), at(1, 3, Some(3))], false),
            ("each is there", vec![at(0, 9, Some(5)), at(1, 3, None)], true),
        ];
        for (name, now, want) in rows {
            assert_eq!(is_past(&now, &taken), want, "{name}");
        }
    }
}
