//! Protobuf bodies: good ones, bad ones, and bytes that are none.

use super::*;
use heliograph_domain::Quality;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600); // 2026-01-01T00:00:00Z

fn sent() -> v1::SentReading {
    v1::SentReading {
        device: "inv1".into(),
        metric: "ac_power".into(),
        ts_ms: Some(NOW.as_ms()),
        value: Some(1.5),
        unit: "kW".into(),
        quality: v1::Quality::Suspect.into(),
    }
}

fn request(readings: Vec<v1::SentReading>) -> v1::UploadRequest {
    v1::UploadRequest {
        site_id: "s1".into(),
        upload_id: "u1".into(),
        sent_at_ms: Some(NOW.as_ms() + 1),
        readings,
    }
}

fn read(body: impl Into<Bytes>) -> Result<Decoded<'static>, Vec<Violation>> {
    decode(&body.into(), NOW, 100)
}

#[test]
fn a_good_upload_is_taken() {
    let got = read(request(vec![sent()]).encode_to_vec()).unwrap();
    assert_eq!(got.site.unwrap().as_str(), "s1");
    assert_eq!(got.upload_id.unwrap().as_str(), "u1");
    assert_eq!(got.sent_at, Some(NOW.plus_ms(1)));
    let [reading] = &got.checked.readings[..] else { panic!("{:?}", got.checked) };
    assert_eq!((reading.device.as_str(), reading.metric.as_str()), ("inv1", "ac_power"));
    assert_eq!((reading.ts, reading.value), (NOW, 1_500.0));
    assert_eq!(reading.quality, Quality::Suspect);
    let empty = read(Vec::new()).unwrap();
    assert_eq!((empty.site, empty.upload_id, empty.sent_at), (None, None, None));
    assert_eq!(empty.checked.sent, 0, "a sign of life");
}

type Change = fn(&mut v1::SentReading);

#[test]
fn a_bad_reading_is_rejected_with_its_field_and_kept_as_it_was_sent() {
    let rows: &[(&str, Change, &str)] = &[
        ("no device", |r| r.device.clear(), "device"),
        ("no metric", |r| r.metric.clear(), "metric"),
        ("no time: not 1970", |r| r.ts_ms = None, "ts_ms"),
        ("1970 is too old", |r| r.ts_ms = Some(0), "ts_ms"),
        ("the end of time", |r| r.ts_ms = Some(i64::MAX), "ts_ms"),
        ("its beginning", |r| r.ts_ms = Some(i64::MIN), "ts_ms"),
        ("no value: not zero", |r| r.value = None, "value"),
        ("not a number", |r| r.value = Some(f64::NAN), "value"),
        ("a unit of something else", |r| r.unit = "V".into(), "unit"),
        ("no such quality", |r| r.quality = 9, "quality"),
    ];
    for (name, change, field) in rows {
        let mut bad = sent();
        change(&mut bad);
        let other = v1::SentReading { device: "inv2".into(), ..sent() };
        let got = read(request(vec![bad.clone(), other]).encode_to_vec()).unwrap().checked;
        assert_eq!((got.sent, got.readings.len()), (2, 1), "{name}");
        let [rejected] = &got.rejected[..] else { panic!("{name}: {:?}", got.rejected) };
        assert_eq!((rejected.rejected.index, &*rejected.rejected.violation.field), (0, *field));
        let AsSent::Protobuf(kept) = &rejected.as_sent else { panic!("{name}") };
        assert_eq!(*kept, bad.encode_to_vec(), "{name}");
        let json = serde_json::to_string(&rejected.as_sent).unwrap();
        assert!(json.starts_with('"') && json.ends_with('"'), "{json}");
    }
}

#[test]
fn a_reading_that_is_no_message_spoils_no_other() {
    let mut body = request(vec![sent()]).encode_to_vec();
    // Its device is no UTF-8.
    body.extend([READINGS as u8 * 8 + 2, 3, 0x0a, 1, 0xff]);
    let got = read(body).unwrap().checked;
    assert_eq!((got.readings.len(), got.rejected.len()), (1, 1));
    assert_eq!(got.rejected[0].rejected.violation.field, "reading");
}

#[test]
fn a_bad_envelope_says_what_is_wrong() {
    let with = |change: fn(&mut v1::UploadRequest)| {
        let mut request = request(vec![]);
        change(&mut request);
        request.encode_to_vec()
    };
    let rows = [
        ("a site's name has a form", with(|r| r.site_id = "a b".into()), vec!["site_id"]),
        ("an id has a form", with(|r| r.upload_id = "é".into()), vec!["upload_id"]),
        (
            "both are said",
            with(|r| {
                r.site_id = "a b".into();
                r.upload_id = "é".into();
            }),
            vec!["site_id", "upload_id"],
        ),
        ("JSON is no protobuf", br#"{"readings":[]}"#.to_vec(), vec!["body"]),
        ("it breaks off", request(vec![sent()]).encode_to_vec()[..9].to_vec(), vec!["body"]),
        ("a length beyond the end", vec![0x22, 0xff, 0xff, 0x7f], vec!["body"]),
        ("readings that are numbers", vec![0x20, 1], vec!["body"]),
        ("more readings than are taken", [0x22, 0].repeat(101), vec!["readings"]),
    ];
    for (name, body, want) in rows {
        let got = read(body).unwrap_err();
        let fields: Vec<_> = got.iter().map(|v| &*v.field).collect();
        assert_eq!(fields, want, "{name}: {got:?}");
    }
    assert_eq!(read([0x22, 0].repeat(100)).unwrap().checked.rejected.len(), 100);
}

#[test]
fn a_message_of_a_stream_has_an_upload() {
    let upload = request(vec![sent()]);
    let message = v1::UploadStreamRequest { upload: Some(upload.clone()) }.encode_to_vec();
    assert_eq!(upload_of_stream(message.into()), Ok(upload.encode_to_vec().into()));
    assert_eq!(upload_of_stream(Bytes::new()).unwrap_err().field, "upload");
    assert_eq!(upload_of_stream(Bytes::from_static(&[0xff])).unwrap_err().field, "body");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        cut in 0usize..60,
        flip in 0usize..60,
    ) {
        let _ = read(bytes);
        let mut body = request(vec![sent(), sent()]).encode_to_vec();
        body.truncate(cut);
        if let Some(byte) = body.get_mut(flip) {
            *byte ^= 1 << (flip % 8);
        }
        let _ = read(body);
    }
}
