//! Records between the port and librdkafka.
//!
//! Header names are read with a narrow call of our own: the crate's accessor panics on a name that
//! is not UTF-8, and what lies on a topic may have been written by anybody.

use crate::port::{LogError, NewRecord, Record, TopicPartition};
use bytes::Bytes;
use heliograph_contract::event::Header;
use heliograph_domain::Timestamp;
use rdkafka::{
    bindings,
    message::{self, BorrowedMessage, Message, OwnedHeaders},
    producer::FutureRecord,
};
use std::{borrow::Cow, ffi::CStr, ptr, slice};

/// Names that nearly every record has; they cost no allocation.
const KNOWN_NAMES: [&str; 8] = [
    "ce_type",
    "ce_id",
    "ce_source",
    "ce_specversion",
    "ce_time",
    "content-type",
    "traceparent",
    "tracestate",
];

/// The record for the producer. It borrows from `record` and `topic`.
pub(super) fn to_kafka<'a>(
    record: &'a NewRecord,
    topic: &'a str,
) -> Result<FutureRecord<'a, [u8], [u8]>, LogError> {
    let partition = i32::try_from(record.to.partition)
        .map_err(|_| LogError::UnknownTopic(record.to.to_string()))?;
    let mut out = FutureRecord::to(topic).partition(partition);
    out.key = record.key.as_deref();
    out.payload = record.value.as_deref();
    if !record.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (name, value) in &record.headers {
            if name.contains('\0') {
                return Err(LogError::Config(format!("header name {name:?} contains NUL")));
            }
            headers = headers.insert(message::Header { key: name, value: Some(value.as_ref()) });
        }
        out.headers = Some(headers);
    }
    Ok(out)
}

/// The record as the port has it, at the partition under the name it has above the port.
pub(super) fn from_kafka(message: &BorrowedMessage<'_>, topic: &TopicPartition) -> Record {
    let at = TopicPartition {
        topic: topic.topic.clone(),
        // librdkafka hands out records of real partitions and offsets only.
        partition: u32::try_from(message.partition()).unwrap_or(topic.partition),
    };
    Record {
        at,
        offset: u64::try_from(message.offset()).unwrap_or(0),
        append_time: append_time(message.timestamp()),
        key: message.key().map(Bytes::copy_from_slice),
        headers: headers(message),
        value: message.payload().map(Bytes::copy_from_slice),
    }
}

/// The broker stamps the records of our topics; `ensure_topics` sees to it.
pub(super) fn append_time(timestamp: message::Timestamp) -> Timestamp {
    Timestamp::from_ms(timestamp.to_millis().unwrap_or(0))
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let mut list = ptr::null_mut();
    // SAFETY: the message is alive, and the list belongs to it.
    let found = unsafe { bindings::rd_kafka_message_headers(message.ptr(), &mut list) };
    if found != bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || list.is_null() {
        return Vec::new();
    }
    // SAFETY: as above.
    let count = unsafe { bindings::rd_kafka_header_cnt(list) };
    (0..count).filter_map(|index| header(list, index, message)).collect()
}

/// Header `index` of `list`, which `_owner` keeps alive.
fn header(
    list: *const bindings::rd_kafka_headers_t,
    index: usize,
    _owner: &BorrowedMessage<'_>,
) -> Option<Header> {
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    // SAFETY: `list` is alive; the three places outlive the call.
    let answer =
        unsafe { bindings::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size) };
    if answer != bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
        return None;
    }
    // SAFETY: librdkafka ends every name with NUL.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    let name = match KNOWN_NAMES.iter().find(|known| **known == name) {
        Some(known) => Cow::Borrowed(*known),
        None => Cow::Owned(name.into_owned()),
    };
    let value = if value.is_null() || size == 0 {
        Bytes::new()
    } else {
        // SAFETY: librdkafka gives `size` readable bytes at `value`.
        Bytes::copy_from_slice(unsafe { slice::from_raw_parts(value.cast::<u8>(), size) })
    };
    Some((name, value))
}
