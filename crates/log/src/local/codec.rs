//! Bytes on disk: records, and the keys of everything.
//!
//! A record is version, append time, key, value, headers; lengths are `u32`, big-endian, one more
//! than the length where absence is possible. Keys and values stand as they came, so that what is
//! on disk can be searched. Checksums are the store's business.

use crate::port::{NewRecord, Record, TopicPartition};
use bytes::{Buf, Bytes};
use heliograph_domain::Timestamp;
use std::borrow::Cow;

const VERSION: u8 = 1;
const TIME_AT: std::ops::Range<usize> = 1..9;

/// Encodes all but the append time, which only the writer knows.
pub(super) fn encode(record: &NewRecord) -> Vec<u8> {
    let mut out = Vec::with_capacity(record.size_bytes() + 32 + 8 * record.headers.len());
    out.push(VERSION);
    out.extend_from_slice(&[0; 8]);
    put_option(&mut out, record.key.as_deref());
    put_option(&mut out, record.value.as_deref());
    put_len(&mut out, record.headers.len());
    for (name, value) in &record.headers {
        put_len(&mut out, name.len());
        out.extend_from_slice(name.as_bytes());
        put_len(&mut out, value.len());
        out.extend_from_slice(value);
    }
    out
}

pub(super) fn stamp(encoded: &mut [u8], append_time: Timestamp) {
    if let Some(at) = encoded.get_mut(TIME_AT) {
        at.copy_from_slice(&append_time.as_ms().to_be_bytes());
    }
}

/// The append time of an encoded record; `None` when it makes no sense.
pub(super) fn append_time(encoded: &[u8]) -> Option<Timestamp> {
    let ms = encoded.get(TIME_AT)?.try_into().ok()?;
    (encoded.first() == Some(&VERSION)).then(|| Timestamp::from_ms(i64::from_be_bytes(ms)))
}

/// Decodes a record; `None` when the bytes make no sense.
pub(super) fn decode(at: &TopicPartition, offset: u64, encoded: &[u8]) -> Option<Record> {
    let append_time = append_time(encoded)?;
    // One copy, so that records that are held do not hold the store's blocks.
    let mut rest = Bytes::copy_from_slice(encoded.get(TIME_AT.end..)?);
    let key = take_option(&mut rest)?;
    let value = take_option(&mut rest)?;
    let count = take_len(&mut rest)?;
    let mut headers = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let name = take(&mut rest)?;
        let name = std::str::from_utf8(&name).ok()?.to_owned();
        headers.push((Cow::Owned(name), take(&mut rest)?));
    }
    rest.is_empty().then(|| Record { at: at.clone(), offset, append_time, key, headers, value })
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_option(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_len(out, bytes.map_or(0, |b| b.len() + 1));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn take_len(rest: &mut Bytes) -> Option<usize> {
    (rest.len() >= 4).then(|| rest.get_u32() as usize)
}

fn take(rest: &mut Bytes) -> Option<Bytes> {
    let len = take_len(rest)?;
    (rest.len() >= len).then(|| rest.split_to(len))
}

fn take_option(rest: &mut Bytes) -> Option<Option<Bytes>> {
    let Some(len) = take_len(rest)?.checked_sub(1) else { return Some(None) };
    (rest.len() >= len).then(|| Some(rest.split_to(len)))
}

pub(super) fn offset_key(offset: u64) -> [u8; 8] {
    offset.to_be_bytes()
}

pub(super) fn offset_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// Names of topics hold no `/`, so the last two parts are always topic and partition.
pub(super) fn commit_key(group: &str, tp: &TopicPartition) -> String {
    format!("commit/{group}/{tp}")
}

pub(super) fn first_key(tp: &TopicPartition) -> String {
    format!("first/{tp}")
}

pub(super) const TOPIC_PREFIX: &str = "topic/";

pub(super) fn topic_key(topic: &str) -> String {
    format!("{TOPIC_PREFIX}{topic}")
}

/// Committed and first offsets are stored as text.
pub(super) fn offset_from_text(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_went(
            key in proptest::option::of(bytes()),
            value in proptest::option::of(bytes()),
            headers in proptest::collection::vec(("[a-z]{0,8}", bytes()), 0..5),
            ms in any::<i64>(),
            cut in 0usize..200,
        ) {
            let to = TopicPartition::new("t", 3);
            let headers: Vec<_> = headers.into_iter().map(|(n, v)| (Cow::Owned(n), v)).collect();
            let new = NewRecord { to: to.clone(), key, headers, value };
            let mut encoded = encode(&new);
            stamp(&mut encoded, Timestamp::from_ms(ms));
            let got = decode(&to, 7, &encoded).unwrap();
            prop_assert_eq!(got.append_time.as_ms(), ms);
            prop_assert_eq!((&got.key, &got.headers, &got.value), (&new.key, &new.headers, &new.value));
            if cut < encoded.len() {
                prop_assert_eq!(decode(&to, 7, &encoded[..cut]), None, "cut to {} bytes", cut);
            }
        }
    }
}
