//! Dead letters: what could not be used, appended to `heliograph.dead-letters` as it came.
//!
//! Invariant: the offset of a dead record is done only after its dead letter is durable. What
//! this deliberately is not: it has no retry and no state; who calls it owns both.

use crate::port::{Appended, Log, LogError, NewRecord, Record, TopicPartition};
use heliograph_contract::{
    event::{encode_dead_letter, trace_header},
    topic, v1,
};
use heliograph_domain::trace::{TRACEPARENT, TraceContext};

/// Appends a dead letter; resolves when it is durable. It belongs to the trace of the record that
/// it was.
///
/// # Errors
/// As [`Log::append`].
pub async fn append(log: &dyn Log, letter: &v1::DeadLetter) -> Result<Appended, LogError> {
    let to = TopicPartition::new(topic::DEAD_LETTERS, 0);
    let mut record = NewRecord::event(to, encode_dead_letter(letter));
    let header = letter.headers.iter().find(|header| header.name == TRACEPARENT);
    let trace = header.and_then(|header| TraceContext::parse(&header.value));
    record.headers.extend(trace.map(trace_header));
    log.append(record).await
}

/// The dead letter of a record that was read from the log: the record whole, and why.
pub fn of_record(record: &Record, reason: &str, detail: String) -> v1::DeadLetter {
    let key = record.key.clone().unwrap_or_default();
    v1::DeadLetter {
        origin_topic: record.at.topic.to_string(),
        origin_partition: Some(record.at.partition),
        origin_offset: Some(record.offset),
        reason: reason.to_owned(),
        detail,
        site_id: String::from_utf8_lossy(&key).into_owned(),
        upload_id: String::new(),
        key,
        value: record.value.clone().unwrap_or_default(),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| v1::DeadLetterHeader {
                name: name.to_string(),
                value: value.clone(),
            })
            .collect(),
        at_ms: record.append_time.as_ms(),
        format: String::new(),
    }
}
