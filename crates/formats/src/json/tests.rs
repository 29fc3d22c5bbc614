//! Every reason of every field, and that both ways through the JSON agree.

use super::*;
use crate::RejectedReading;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600); // 2026-01-01T00:00:00Z
const MAX: usize = 100;

const READING: &str = r#"{"device":"inv1","metric":"ac_power","ts":"2026-01-01T00:00:00Z","value":1.2,"unit":"kW","quality":"good"}"#;

fn upload(readings: &str) -> String {
    format!(r#"{{"site":"s1","readings":[{readings}]}}"#)
}

fn checked(body: &str) -> Checked<'_> {
    decode(body.as_bytes(), NOW, MAX).unwrap().checked
}

fn fields(violations: &[Violation]) -> Vec<&str> {
    violations.iter().map(|v| v.field.as_str()).collect()
}

#[test]
fn a_sound_upload_is_taken() {
    let body = format!(
        r#"{{"upload_id":"u1","site":"s1","sent_at":"2026-01-01T00:00:01Z","readings":[{READING}]}}"#
    );
    let Decoded { site, upload_id, sent_at, checked } = decode(body.as_bytes(), NOW, MAX).unwrap();
    assert_eq!(site.as_ref().map(SiteId::as_str), Some("s1"));
    assert_eq!(upload_id.as_ref().map(UploadId::as_str), Some("u1"));
    assert_eq!(sent_at, Some(NOW.plus_ms(1_000)));
    let reading = &checked.readings[0];
    assert_eq!((checked.sent, checked.readings.len(), checked.rejected.len()), (1, 1, 0));
    assert_eq!((reading.value, reading.ts), (1200.0, NOW));
}

#[test]
fn an_upload_without_readings_is_a_sign_of_life() {
    let checked = checked(r#" {"site":"s1","readings":[]} "#);
    assert_eq!((checked.sent, checked.readings.len(), checked.rejected.len()), (0, 0, 0));
}

#[test]
fn null_is_as_good_as_absent_where_a_field_is_optional() {
    let reading = READING.replace(r#""kW""#, "null").replace(r#""good""#, "null");
    let body = format!(r#"{{"upload_id":null,"site":null,"sent_at":null,"readings":[{reading}]}}"#);
    let got = decode(body.as_bytes(), NOW, MAX).unwrap();
    assert_eq!((got.site, got.upload_id, got.sent_at), (None, None, None));
    assert_eq!(got.checked.readings[0].value, 1.2);
}

#[test]
fn a_malformed_envelope_names_each_field_that_is_wrong() {
    let full = |n| upload(&vec![READING; n].join(","));
    let rows: &[(&str, String, &[&str])] = &[
        ("nothing", String::new(), &["body"]),
        ("not JSON", "site=s1".into(), &["body"]),
        ("cut off", upload(READING)[..40].into(), &["body"]),
        ("something behind it", upload(READING) + "x", &["body"]),
        ("an array of the members", r#"["s1",null,null,[]]"#.into(), &["body"]),
        ("a string", r#""s1""#.into(), &["body"]),
        ("an empty object", "{}".into(), &["readings"]),
        ("a site that is a number", r#"{"site":1,"readings":[]}"#.into(), &["site"]),
        ("a site with no form", r#"{"site":"a b","readings":[]}"#.into(), &["site"]),
        ("an empty site", r#"{"site":"","readings":[]}"#.into(), &["site"]),
        (
            "an upload id with no form",
            r#"{"site":"s1","upload_id":"a b","readings":[]}"#.into(),
            &["upload_id"],
        ),
        (
            "an upload id that is a number",
            r#"{"site":"s1","upload_id":7,"readings":[]}"#.into(),
            &["upload_id"],
        ),
        (
            "a time that is none",
            r#"{"site":"s1","sent_at":"now","readings":[]}"#.into(),
            &["sent_at"],
        ),
        (
            "a time without an offset",
            r#"{"site":"s1","sent_at":"2026-01-01T00:00:00","readings":[]}"#.into(),
            &["sent_at"],
        ),
        (
            "a time that is a number",
            r#"{"site":"s1","sent_at":1767225600,"readings":[]}"#.into(),
            &["sent_at"],
        ),
        ("no readings", r#"{"site":"s1"}"#.into(), &["readings"]),
        ("readings that are an object", r#"{"site":"s1","readings":{}}"#.into(), &["readings"]),
        ("one reading too many", full(MAX + 1), &["readings"]),
        ("an unknown field", r#"{"site":"s1","reading":[],"readings":[]}"#.into(), &["reading"]),
        ("a field twice", r#"{"site":"s1","site":"s2","readings":[]}"#.into(), &["site"]),
        (
            "everything at once",
            r#"{"site":"a b","upload_id":"","sent_at":"x","readings":[]}"#.into(),
            &["site", "upload_id", "sent_at"],
        ),
        (
            "every shape at once",
            r#"{"site":1,"upload_id":2,"sent_at":3,"readings":4}"#.into(),
            &["site", "upload_id", "sent_at", "readings"],
        ),
    ];
    for (name, body, want) in rows {
        let got = Envelope::parse(body.as_bytes(), MAX).unwrap_err();
        assert_eq!(fields(&got), *want, "{name}: {got:?}");
        assert!(got.iter().all(|v| !v.got.is_empty() && !v.want.is_empty()), "{name}: {got:?}");
    }
    assert!(Envelope::parse(full(MAX).as_bytes(), MAX).is_ok());
}

#[test]
fn what_is_not_utf_8_or_not_json_says_where() {
    let got = Envelope::parse(b"{\"site\":\"s\xff\"}", MAX).unwrap_err();
    assert_eq!((got[0].field.as_str(), got.len()), ("body", 1));
    assert!(got[0].got.contains("position 10"), "{got:?}");
    let got = Envelope::parse(b"{\"site\":s1}", MAX).unwrap_err();
    assert!(got[0].got.contains("line 1 column 9"), "{got:?}");
}

#[test]
fn nonsense_gets_a_short_answer() {
    let many: Vec<String> = (0..10_000).map(|i| format!("\"k{i}\":0")).collect();
    let long = format!("{{\"{}\":0}}", "k".repeat(100_000));
    for body in [format!("{{{}}}", many.join(",")), long] {
        let got = Envelope::parse(body.as_bytes(), MAX).unwrap_err();
        let chars: usize = got.iter().map(|v| v.to_string().chars().count()).sum();
        assert!(chars < 4_000, "{chars}");
    }
}

#[test]
fn a_bad_reading_names_its_field_and_is_kept_as_it_was_sent() {
    let with = |from: &str, to: &str| READING.replace(from, to);
    let without = |field: &str| {
        let mut reading: serde_json::Value = serde_json::from_str(READING).unwrap();
        reading.as_object_mut().unwrap().remove(field).unwrap();
        reading.to_string()
    };
    let rows: &[(&str, String, &str)] = &[
        ("not an object", "7".into(), "readings"),
        ("null", "null".into(), "readings"),
        (
            "the members in an array",
            r#"["inv1","ac_power","2026-01-01T00:00:00Z",1]"#.into(),
            "readings",
        ),
        ("an unknown field", with("unit", "units"), "units"),
        ("a field twice", with(r#""unit":"kW""#, r#""value":2"#), "value"),
        ("no device", without("device"), "device"),
        ("a device that is null", with(r#""inv1""#, "null"), "device"),
        ("a device that is a number", with(r#""inv1""#, "1"), "device"),
        ("a device with no form", with("inv1", "inv 1"), "device"),
        ("half a surrogate pair", with("inv1", r"\ud800"), "device"),
        ("no metric", without("metric"), "metric"),
        ("a metric that is a list", with(r#""ac_power""#, "[]"), "metric"),
        ("a metric with no form", with("ac_power", "ac/power"), "metric"),
        ("no time", without("ts"), "ts"),
        ("a time that is a number", with(r#""2026-01-01T00:00:00Z""#, "1767225600"), "ts"),
        ("a time without an offset", with("00Z", "00"), "ts"),
        ("too old", with("2026", "1999"), "ts"),
        ("too far ahead", with("2026-01-01", "2026-01-03"), "ts"),
        ("no value", without("value"), "value"),
        ("a value that is null", with("1.2", "null"), "value"),
        ("a value that is true", with("1.2", "true"), "value"),
        ("a value in quotes", with("1.2", r#""1.2""#), "value"),
        ("more than a double holds", with("1.2", "1e999"), "value"),
        ("more than a double holds, in its unit", with("1.2", "1e308"), "value"),
        ("a unit that is a number", with(r#""kW""#, "1000"), "unit"),
        ("a unit of something else", with("kW", "V"), "unit"),
        ("a unit of an unknown metric", with("ac_power", "frobs"), "unit"),
        ("a quality that is a number", with(r#""good""#, "1"), "quality"),
        ("a quality that is none", with("good", "Good"), "quality"),
    ];
    let nested = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let nested = ("nested deeper than any stack", with("1.2", &nested), "value");
    for (name, bad, field) in rows.iter().chain([&nested]) {
        let good = READING.replace("inv1", "inv2");
        let body = upload(&format!("{good},\n {bad} ,{}", READING.replace("inv1", "inv3")));
        let got = checked(&body);
        assert_eq!((got.sent, got.readings.len(), got.rejected.len()), (3, 2, 1), "{name}");
        let RejectedReading { rejected, as_sent: AsSent::Json(json) } = &got.rejected[0] else {
            panic!("{name}: {got:?}");
        };
        assert_eq!((rejected.index, rejected.violation.field.as_str()), (1, *field), "{name}");
        assert!(!rejected.violation.got.is_empty() && !rejected.violation.want.is_empty());
        assert_eq!(json.get(), bad, "{name}");
    }
}

#[test]
fn an_operating_state_may_be_sent_by_its_name() {
    let state = |value: &str| {
        let reading = READING.replace("ac_power", "operating_state").replace("1.2", value);
        let body = upload(&reading.replace("kW", "enum"));
        let got = checked(&body);
        got.readings
            .first()
            .map(|r| r.value)
            .ok_or_else(|| got.rejected[0].rejected.violation.clone())
    };
    assert_eq!(state(r#""MPPT""#), Ok(4.0));
    assert_eq!(state("4"), Ok(4.0));
    let got = state(r#""mppt""#).unwrap_err();
    assert!(got.field == "value" && got.want.contains("MPPT"), "{got}");
}

#[test]
fn of_two_values_for_one_reading_the_last_is_taken_and_the_first_is_named() {
    let body = upload(&[READING, READING, &READING.replace("1.2", "1.3")].join(","));
    let got = checked(&body);
    assert_eq!(got.readings.iter().map(|r| r.value).collect::<Vec<_>>(), [1300.0]);
    let indexes: Vec<usize> = got.rejected.iter().map(|r| r.rejected.index).collect();
    assert_eq!(indexes, [0, 1]);
    let AsSent::Json(json) = got.rejected[0].as_sent else { panic!("{got:?}") };
    assert_eq!(json.get(), READING);
    let body = upload(&[READING, READING].join(","));
    let got = checked(&body);
    assert_eq!((got.sent, got.readings.len(), got.rejected.len()), (2, 1, 0));
}

#[test]
fn rejected_readings_come_in_the_order_of_their_index() {
    let other = READING.replace("1.2", "9");
    let body = upload(&[READING, "7", &other, "8"].join(","));
    let indexes: Vec<usize> = checked(&body).rejected.iter().map(|r| r.rejected.index).collect();
    assert_eq!(indexes, [0, 1, 3]);
}

/// Takes the readings one by one, as if the fast way had failed.
fn slowly(body: &str) -> Result<Checked<'_>, Vec<Violation>> {
    let (strings, raw) = explain::envelope(body)?;
    Ok(Envelope::check(body, &strings, Shape::Raw(raw), MAX)?.decoded(NOW)?.checked)
}

fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("\"\\u0069nv1\"".to_owned()),
        Just("\"ac_power\"".to_owned()),
        Just("\"operating_state\"".to_owned()),
        Just("\"MPPT\"".to_owned()),
        Just("\"2026-01-01T00:00:00.5Z\"".to_owned()),
        Just("\"kW\"".to_owned()),
        Just("\"good\"".to_owned()),
        Just("\"s1\"".to_owned()),
        Just("\"_gateway.g\"".to_owned()),
        "-?[0-9]{1,3}(\\.[0-9]{1,3})?([eE][0-9]{1,3})?",
        "\"[ -~]{0,8}\"",
    ];
    scalar.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3)
                .prop_map(|v| format!("[{}]", v.join(","))),
            inner.prop_map(|v| format!("{{\"device\":{v}}}")),
        ]
    })
}

/// Mostly what belongs in the field, now and then anything.
fn or_any(right: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![9 => Just(right.to_owned()), 1 => json()]
}

fn reading() -> impl Strategy<Value = String> {
    let value = prop_oneof![(-1e9f64..1e9).prop_map(|v| v.to_string()), json()];
    let parts = (
        or_any("\"inv1\""),
        prop_oneof![or_any("\"ac_power\""), or_any("\"operating_state\"")],
        prop_oneof![
            or_any("\"2026-01-01T00:00:00Z\""),
            (0u8..60).prop_map(|s| format!("\"2026-01-01T09:00:{s:02}+09:00\"")),
        ],
        value,
        proptest::option::of(or_any("\"kW\"")),
        proptest::option::of(or_any("\"bad\"")),
    );
    parts.prop_map(|(device, metric, ts, value, unit, quality)| {
        let unit = unit.map(|u| format!(",\"unit\":{u}")).unwrap_or_default();
        let quality = quality.map(|q| format!(",\"quality\":{q}")).unwrap_or_default();
        format!(
            "{{\"device\":{device}, \"metric\":{metric},\"ts\":{ts},\"value\":{value}{unit}{quality}}}"
        )
    })
}

fn body() -> impl Strategy<Value = String> {
    (
        or_any("\"s1\""),
        proptest::option::of(or_any("\"u1\"")),
        proptest::option::of(or_any("\"2026-01-01T00:00:00Z\"")),
        proptest::collection::vec(reading(), 0..6),
    )
        .prop_map(|(site, upload_id, sent_at, readings)| {
            let id = upload_id.map(|u| format!(",\"upload_id\":{u}")).unwrap_or_default();
            let sent = sent_at.map(|s| format!(",\"sent_at\":{s}")).unwrap_or_default();
            format!("{{\"site\":{site}{id}{sent},\"readings\":[{}]}}", readings.join(","))
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_agree_and_every_reading_is_taken_or_named(body in body()) {
        let fast = decode(body.as_bytes(), NOW, MAX).map(|d| d.checked);
        let slow = slowly(&body);
        match (fast, slow) {
            (Err(fast), Err(slow)) => prop_assert_eq!(fast, slow),
            (Ok(fast), Ok(slow)) => {
                let bits = |c: &Checked<'_>| c.readings.iter()
                    .map(|r| (r.clone(), r.value.to_bits())).collect::<Vec<_>>();
                prop_assert_eq!(bits(&fast), bits(&slow));
                prop_assert_eq!(fast.sent, slow.sent);
                let named = |c: &Checked<'_>| c.rejected.iter()
                    .map(|r| (r.rejected.clone(), serde_json::to_string(&r.as_sent).unwrap()))
                    .collect::<Vec<_>>();
                prop_assert_eq!(named(&fast), named(&slow));
                prop_assert!(fast.readings.len() + fast.rejected.len() <= fast.sent);
            }
            (fast, slow) => prop_assert!(false, "fast {fast:?}, slow {slow:?}"),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes, NOW, MAX);
    }

    #[test]
    fn no_damage_makes_it_panic(
        body in body(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = body.into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = decode(&bytes, NOW, MAX);
    }

    #[test]
    fn a_value_comes_through_to_the_last_bit(value in -1e300f64..1e300) {
        let reading = READING.replace("1.2", &value.to_string()).replace("kW", "W");
        let got = checked(&upload(&reading)).readings[0].value;
        prop_assert_eq!(got.to_bits(), value.to_bits());
    }
}
