//! What a dead letter becomes when it is put back.
//!
//! Pure. A record goes back onto its topic byte by byte, so it must be one that can be read now;
//! rejected readings go through the rules again and become an upload of their site, marked as
//! replayed: no sign of life. Invariant: putting the same letter back twice stores nothing twice,
//! since a reading is its identity and the upload's id is the letter's. A value that was sent for
//! the same reading since is replaced: the newest on the log counts. What it is not: it appends
//! nothing.

use heliograph_contract::{
    event::{decode_uploads, encode_upload},
    topic, v1,
};
use heliograph_domain::{
    Timestamp, UploadId, Violation,
    partition::partition_for,
    registry::Registry,
    upload::{Rejected, Upload},
};
use heliograph_formats::dead_letter::{Again, again};
use heliograph_log::{NewRecord, TopicPartition};
use std::borrow::Cow;

/// Where the gateway's letters say that they come from.
const FROM_GATEWAY: &str = "gateway";
/// Stands in `ce_source` where an upload has the gateway that took it.
const SOURCE: &str = "dead-letters";

/// What becomes of a letter.
#[derive(Debug, PartialEq)]
pub struct Replay {
    /// `None`: nothing of it can be used.
    pub record: Option<NewRecord>,
    /// Readings that pass the rules now.
    pub accepted: usize,
    pub rejected: Vec<Rejected>,
}

/// Plans what becomes of `letter`, which stands at `offset`, where uploads have `partitions`.
///
/// # Errors
/// A [`Violation`] when nothing can become of it: what it got and what it wants.
pub fn plan(
    letter: v1::DeadLetter,
    offset: u64,
    registry: &Registry,
    partitions: u32,
    now: Timestamp,
) -> Result<Replay, Violation> {
    match letter.origin_topic.as_str() {
        FROM_GATEWAY => readings(&letter, offset, registry, partitions, now),
        topic::UPLOADS => record(letter),
        other => Err(Violation::new(
            "origin_topic",
            format_args!("{other:?}"),
            format!("{FROM_GATEWAY:?} or {:?}", topic::UPLOADS),
        )),
    }
}

fn readings(
    letter: &v1::DeadLetter,
    offset: u64,
    registry: &Registry,
    partitions: u32,
    now: Timestamp,
) -> Result<Replay, Violation> {
    let site = registry.site(&letter.site_id).ok_or_else(|| {
        let want = "a site that is registered; `heliograph site add` adds one";
        Violation::new("site_id", format_args!("{:?}", letter.site_id), want)
    })?;
    let received_at = Timestamp::from_ms(letter.at_ms);
    let Again { readings, rejected } =
        again(&letter.format, &letter.value, &site.id, received_at, now)?;
    let accepted = readings.len();
    let upload = Upload {
        site: site.id.clone(),
        tenant: site.tenant.clone(),
        upload_id: UploadId::parse(&format!("dead-letter:{offset}"))?,
        received_at,
        sent_at: None,
        readings,
        replayed: true,
    };
    let partition = partition_for(site.id.as_str().as_bytes(), partitions);
    let to = TopicPartition::new(topic::UPLOADS, partition);
    let record = (accepted > 0).then(|| NewRecord::event(to, encode_upload(&upload, SOURCE)));
    Ok(Replay { record, accepted, rejected })
}

fn record(letter: v1::DeadLetter) -> Result<Replay, Violation> {
    let partition = letter.origin_partition.ok_or_else(|| {
        Violation::new("origin_partition", "nothing", "the partition that the record stood on")
    })?;
    let headers: Vec<_> =
        letter.headers.into_iter().map(|h| (Cow::Owned(h.name), h.value)).collect();
    decode_uploads(&headers, Some(&letter.value)).map_err(|error| {
        let want = "a record that can be read; a newer version may, or correct it and upload it";
        Violation::new("value", error, want)
    })?;
    let record = NewRecord {
        to: TopicPartition::new(letter.origin_topic, partition),
        key: (!letter.key.is_empty()).then_some(letter.key),
        headers,
        value: Some(letter.value),
    };
    Ok(Replay { record: Some(record), accepted: 0, rejected: Vec::new() })
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
