use super::*;
use bytes::Bytes;
use heliograph_contract::event::UploadsEvent;
use heliograph_domain::{
    SiteId, TenantId,
    registry::{Entry, Site},
};

/// 2026-01-01T00:00:00Z.
const THEN: Timestamp = Timestamp::from_secs(1_767_225_600);
const PARTITIONS: u32 = 12;

fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.put(Entry::Site(Site {
        id: SiteId::parse("s1").unwrap(),
        tenant: TenantId::parse("t1").unwrap(),
        name: "Site 1".into(),
        zone: "Asia/Tokyo".into(),
        upload_interval_s: 60,
        reading_interval_s: 60,
        rated_power_w: 0.0,
        stale_after_s: None,
        token_hash: "00".into(),
    }));
    registry
}

fn planned(letter: v1::DeadLetter) -> Result<Replay, Violation> {
    plan(letter, 42, &registry(), PARTITIONS, THEN.plus_ms(7 * 86_400_000))
}

/// Rejected at [`THEN`] for being four days ahead, and for having no value.
fn rejected_readings(site: &str) -> v1::DeadLetter {
    let item = |index: u32, value: &str| {
        format!(
            r#"{{"index":{index},"field":"ts","got":"","want":"","reading":{{"device":"inv1","metric":"ac_power","ts":"2026-01-05T00:00:00Z","value":{value}}}}}"#
        )
    };
    v1::DeadLetter {
        origin_topic: FROM_GATEWAY.into(),
        site_id: site.into(),
        value: format!("[{},{}]", item(3, "1.5"), item(5, "null")).into(),
        at_ms: THEN.as_ms(),
        ..Default::default()
    }
}

#[test]
fn readings_that_pass_now_become_an_upload_that_is_no_sign_of_life() {
    let got = planned(rejected_readings("s1")).unwrap();
    assert_eq!(got.accepted, 1);
    assert_eq!(got.rejected.iter().map(|r| r.index).collect::<Vec<_>>(), [5]);
    let record = got.record.unwrap();
    assert_eq!(record.to, TopicPartition::new(topic::UPLOADS, partition_for(b"s1", PARTITIONS)));
    let event = decode_uploads(&record.headers, record.value.as_ref()).unwrap();
    let UploadsEvent::Upload(upload) = event else { panic!("{event:?}") };
    assert!(upload.replayed);
    assert_eq!((upload.site.as_str(), upload.tenant.as_str()), ("s1", "t1"));
    assert_eq!((upload.upload_id.as_str(), upload.received_at), ("dead-letter:42", THEN));
    assert_eq!(upload.readings[0].value, 1.5);
}

#[test]
fn a_record_goes_back_byte_by_byte_once_it_can_be_read() {
    let upload = planned(rejected_readings("s1")).unwrap().record.unwrap();
    let header = |(name, value): &(Cow<'static, str>, Bytes)| v1::DeadLetterHeader {
        name: name.to_string(),
        value: value.clone(),
    };
    let letter = v1::DeadLetter {
        origin_topic: topic::UPLOADS.into(),
        origin_partition: Some(7),
        origin_offset: Some(1),
        key: upload.key.clone().unwrap(),
        headers: upload.headers.iter().map(header).collect(),
        value: upload.value.clone().unwrap(),
        ..Default::default()
    };
    let got = planned(letter.clone()).unwrap();
    let to = TopicPartition::new(topic::UPLOADS, 7);
    assert_eq!(got.record, Some(NewRecord { to, ..upload }));
    assert_eq!((got.accepted, got.rejected.len()), (0, 0));

    let broken = v1::DeadLetter { value: Bytes::from_static(b"\xff"), ..letter.clone() };
    assert_eq!(planned(broken).unwrap_err().field, "value");
    let nowhere = v1::DeadLetter { origin_partition: None, ..letter };
    assert_eq!(planned(nowhere).unwrap_err().field, "origin_partition");
}

#[test]
fn what_cannot_go_anywhere_says_why() {
    assert_eq!(planned(rejected_readings("s9")).unwrap_err().field, "site_id");
    let elsewhere = v1::DeadLetter { origin_topic: "t".into(), ..Default::default() };
    assert_eq!(planned(elsewhere).unwrap_err().field, "origin_topic");
    let mut none = rejected_readings("s1");
    none.value = "[]".into();
    assert_eq!(planned(none), Ok(Replay { record: None, accepted: 0, rejected: vec![] }));
}
