//! A record of the log as the audit understands it, read straight from the protobuf.
//!
//! What it is not: the writer's decoder. It applies no rule of names or times; whether the writer
//! refused a record is told by the dead letters.

use heliograph_contract::v1;
use prost::Message;
use std::collections::HashMap;

const TYPE_HEADER: &str = "ce_type";
const UPLOAD_ACCEPTED: &str = "heliograph.v1.UploadAccepted";
const KNOWN_OTHERS: [&str; 1] = ["heliograph.v1.DoorTick"];

/// What stands on `heliograph.uploads`.
#[derive(Debug, PartialEq)]
pub enum Decoded {
    Upload(v1::UploadAccepted),
    /// A tick, a newer event, the platform's own upload: nothing that is stored.
    Other,
    Undecodable(String),
}

/// Reads one record of `heliograph.uploads`. In an upload each (device, metric, ts) is left once:
/// the last.
pub fn upload(record: &v1::LogRecord) -> Decoded {
    let kind = record.headers.iter().find(|h| h.name == TYPE_HEADER);
    let Some(kind) = kind.and_then(|h| std::str::from_utf8(&h.value).ok()) else {
        return Decoded::Undecodable("no ce_type".into());
    };
    let Some(value) = &record.value else {
        return Decoded::Undecodable(format!("a tombstone instead of {kind}"));
    };
    if kind != UPLOAD_ACCEPTED {
        return match KNOWN_OTHERS.contains(&kind) && v1::DoorTick::decode(value.clone()).is_err() {
            true => Decoded::Undecodable(format!("not a {kind}")),
            false => Decoded::Other,
        };
    }
    match v1::UploadAccepted::decode(value.clone()) {
        Ok(upload) if upload.site_id.starts_with('_') => Decoded::Other,
        Ok(upload) if upload.readings.iter().any(|r| !r.value.is_finite()) => {
            Decoded::Undecodable("a value that is no finite number".into())
        }
        Ok(upload) => Decoded::Upload(one_of_each(upload)),
        Err(error) => Decoded::Undecodable(error.to_string()),
    }
}

fn one_of_each(mut upload: v1::UploadAccepted) -> v1::UploadAccepted {
    let last: HashMap<(&str, &str, i64), usize> = upload
        .readings
        .iter()
        .enumerate()
        .map(|(i, r)| ((r.device.as_str(), r.metric.as_str(), r.ts_ms), i))
        .collect();
    if last.len() < upload.readings.len() {
        let mut keep: Vec<usize> = last.into_values().collect();
        keep.sort_unstable();
        let mut at = 0;
        upload.readings.retain(|_| {
            at += 1;
            keep.binary_search(&(at - 1)).is_ok()
        });
    }
    upload
}

/// 1 good, 2 suspect, 3 bad; not said is good.
pub fn quality(reading: &v1::Reading) -> u8 {
    match reading.quality() {
        v1::Quality::Unspecified | v1::Quality::Good => 1,
        v1::Quality::Suspect => 2,
        v1::Quality::Bad => 3,
    }
}

/// The record of `heliograph.uploads` that a dead letter is about, with the reason.
pub fn dead_upload(record: &v1::LogRecord, topic: &str) -> Option<((u32, u64), String)> {
    let letter = v1::DeadLetter::decode(record.value.clone()?).ok()?;
    let at = (letter.origin_partition?, letter.origin_offset?);
    (letter.origin_topic == topic).then_some((at, letter.reason))
}

/// The site and zone that a record of `heliograph.registry` sets; `None` as zone: it is gone.
pub fn site_zone(record: &v1::LogRecord) -> Option<(String, Option<String>)> {
    let key = std::str::from_utf8(record.key.as_ref()?).ok()?;
    let id = key.strip_prefix("site/")?.to_owned();
    let Some(value) = &record.value else { return Some((id, None)) };
    match v1::RegistryEntry::decode(value.clone()).ok()?.entry? {
        v1::registry_entry::Entry::Site(site) => Some((id, Some(site.zone))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: &str, value: Option<Vec<u8>>) -> v1::LogRecord {
        let header = v1::LogHeader { name: TYPE_HEADER.into(), value: kind.to_owned().into() };
        v1::LogRecord { headers: vec![header], value: value.map(Into::into), ..Default::default() }
    }

    fn upload_of(site: &str, values: &[f64]) -> v1::UploadAccepted {
        let reading = |value: &f64| v1::Reading { value: *value, ts_ms: 5, ..Default::default() };
        let readings = values.iter().map(reading).collect();
        v1::UploadAccepted { site_id: site.into(), readings, ..Default::default() }
    }

    #[test]
    fn a_record_is_an_upload_or_nothing_to_store_or_undecodable() {
        let upload_record =
            |u: &v1::UploadAccepted| record(UPLOAD_ACCEPTED, Some(u.encode_to_vec()));
        let good = upload_of("s", &[1.0]);
        assert_eq!(upload(&upload_record(&good)), Decoded::Upload(good));
        assert_eq!(upload(&upload_record(&upload_of("_gateway.g1", &[]))), Decoded::Other);
        assert_eq!(upload(&record("heliograph.v1.DoorTick", Some(vec![]))), Decoded::Other);
        assert_eq!(upload(&record("heliograph.v9.New", Some(vec![0xff]))), Decoded::Other);
        let broken = [
            record("heliograph.v1.DoorTick", Some(vec![0xff])),
            record(UPLOAD_ACCEPTED, Some(vec![0xff])),
            record(UPLOAD_ACCEPTED, None),
            v1::LogRecord { value: Some(vec![].into()), ..Default::default() },
            upload_record(&upload_of("s", &[f64::NAN])),
        ];
        for r in broken {
            assert!(matches!(upload(&r), Decoded::Undecodable(_)), "{r:?}");
        }
    }

    #[test]
    fn the_last_of_equal_identities_in_an_upload_is_left() {
        let sent = upload_of("s", &[1.0, 2.0, 3.0]);
        let Decoded::Upload(got) = upload(&record(UPLOAD_ACCEPTED, Some(sent.encode_to_vec())))
        else {
            panic!("an upload")
        };
        assert_eq!(got.readings.iter().map(|r| r.value).collect::<Vec<_>>(), [3.0]);
    }

    #[test]
    fn registry_and_dead_letters_are_read() {
        use v1::registry_entry::Entry;
        let site = v1::Site { id: "s".into(), zone: "Asia/Tokyo".into(), ..Default::default() };
        let entry = v1::RegistryEntry { entry: Some(Entry::Site(site)) };
        let mut r = record("x", Some(entry.encode_to_vec()));
        r.key = Some("site/s".into());
        assert_eq!(site_zone(&r), Some(("s".into(), Some("Asia/Tokyo".into()))));
        let gone = v1::Site {
            id: "s".into(),
            zone: "Asia/Tokyo".into(),
            removed_at_ms: Some(1),
            ..Default::default()
        };
        let entry = v1::RegistryEntry { entry: Some(Entry::Site(gone)) };
        r.value = Some(entry.encode_to_vec().into());
        let want = Some(("s".into(), Some("Asia/Tokyo".into())));
        assert_eq!(site_zone(&r), want, "the days of a removed site are still compared");
        r.value = None;
        assert_eq!(site_zone(&r), Some(("s".into(), None)));
        let letter = v1::DeadLetter {
            origin_topic: "t".into(),
            origin_partition: Some(1),
            origin_offset: Some(7),
            reason: "undecodable".into(),
            ..Default::default()
        };
        let r = record("x", Some(letter.encode_to_vec()));
        assert_eq!(dead_upload(&r, "t"), Some(((1, 7), "undecodable".into())));
        assert_eq!(dead_upload(&r, "other"), None);
    }
}
