//! Who is let in, and what an upload becomes.

use super::*;
use crate::config::RECORD_OVERHEAD_BYTES;
use heliograph_contract::event::{UploadsEvent, decode_uploads, trace_of};
use heliograph_domain::registry::{Entry, Site};
use heliograph_formats::json;
use proptest::prelude::*;
use prost::Message;

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600); // 2026-01-01T00:00:00Z

fn registry(site: &str, tenant: &str) -> Registry {
    let mut registry = Registry::default();
    registry.put(Entry::Site(Site {
        id: SiteId::parse(site).unwrap(),
        tenant: TenantId::parse(tenant).unwrap(),
        name: "Site 1".into(),
        zone: "Asia/Tokyo".into(),
        upload_interval_s: 60,
        reading_interval_s: 60,
        rated_power_w: 0.0,
        stale_after_s: None,
        token_hash: token_hash("secret"),
    }));
    registry
}

#[test]
fn a_sender_is_known_by_its_token() {
    let (registry, itself) = (registry("s1", "t1"), Itself::new("g1", "own").unwrap());
    let rows = [
        ("a site's token", "secret", Some(("s1", "t1", false))),
        ("another token", "guess", None),
        ("the hash is no token", token_hash("secret").leak(), None),
        ("the gateway itself", "own", Some(("_gateway.g1", "platform", true))),
    ];
    for (name, token, want) in rows {
        let got = authenticate(&registry, &itself, token);
        let want = want.map(|(site, tenant, is_itself)| Sender {
            site: SiteId::parse_from_log(site).unwrap(),
            tenant: TenantId::parse(tenant).unwrap(),
            is_itself,
        });
        assert_eq!(got, want.ok_or(Problem::WrongToken), "{name}");
    }
}

#[test]
fn a_sender_speaks_for_its_own_site_only() {
    let rows = [
        ("its own site", r#"{"site":"s1","readings":[]}"#, true),
        ("no site", r#"{"readings":[]}"#, true),
        ("another site", r#"{"site":"s2","readings":[]}"#, false),
        ("the gateway's site", r#"{"site":"_gateway.g1","readings":[]}"#, false),
    ];
    for (name, body, want) in rows {
        match (try_take(body, "t1", "g1"), want) {
            (Ok(taken), true) => {
                assert_eq!(taken.record.key.as_deref(), Some(b"s1".as_slice()), "{name}");
            }
            (Err(Problem::AnotherSite(v)), false) => assert_eq!(v.field, "site", "{name}"),
            (got, _) => panic!("{name}: {got:?}"),
        }
    }
}

fn try_take(body: &str, tenant: &str, instance: &str) -> Result<Taken, Problem> {
    let decoded = json::decode(body.as_bytes(), NOW, 1_000_000).unwrap();
    let (site, tenant) = (SiteId::parse("s1").unwrap(), TenantId::parse(tenant).unwrap());
    let sender = Sender { site, tenant, is_itself: false };
    take(Format::Json, decoded, &sender, TopicPartition::new(topic::UPLOADS, 3), instance, NOW)
}

fn taken(body: &str, tenant: &str, instance: &str) -> Taken {
    try_take(body, tenant, instance).unwrap()
}

fn reading(device: &str, value: &str) -> String {
    format!(r#"{{"device":"{device}","metric":"m","ts":"2026-01-01T00:00:00Z","value":{value}}}"#)
}

fn body(readings: &[String]) -> String {
    format!(r#"{{"site":"s1","readings":[{}]}}"#, readings.join(","))
}

fn letter(record: &NewRecord) -> v1::DeadLetter {
    v1::DeadLetter::decode(record.value.clone().unwrap()).unwrap()
}

#[test]
fn an_upload_becomes_one_record_and_an_answer() {
    let got = taken(&body(&[reading("a", "1"), reading("b", "2")]), "t1", "g1");
    assert_eq!(got.record.to, TopicPartition::new(topic::UPLOADS, 3));
    assert_eq!(got.record.key.as_deref(), Some(b"s1".as_slice()));
    let event = decode_uploads(&got.record.headers, got.record.value.as_ref()).unwrap();
    let UploadsEvent::Upload(upload) = event else { panic!("{event:?}") };
    assert_eq!((upload.tenant.as_str(), upload.received_at), ("t1", NOW));
    assert_eq!(upload.readings.len(), 2);
    assert_eq!(upload.upload_id, got.answer.upload_id);
    assert_eq!((got.answer.accepted, got.answer.rejected.len()), (2, 0));
    assert_eq!(got.dead_letters, []);
}

#[test]
fn without_an_id_equal_content_has_an_equal_one() {
    let id = |readings: &[String]| taken(&body(readings), "t1", "g1").answer.upload_id;
    assert_eq!(id(&[reading("a", "1")]), id(&[reading("a", "1.0")]));
    assert_ne!(id(&[reading("a", "1")]), id(&[reading("a", "2")]));
}

#[test]
fn bad_readings_are_listed_and_go_to_a_dead_letter_as_they_were_sent() {
    let bad = r#"{"device": "b",  "metric":"m","ts":"x","value":1}"#.to_owned();
    let got = taken(&body(&[reading("a", "1"), bad.clone()]), "t1", "g1");
    let listed = &got.answer.rejected[0];
    assert_eq!((got.answer.accepted, listed.index), (1, 1));
    assert_eq!(listed.violation.field, "ts");
    let [record] = &got.dead_letters[..] else { panic!("{:?}", got.dead_letters) };
    assert_eq!(record.to, TopicPartition::new(topic::DEAD_LETTERS, 0));
    let letter = letter(record);
    assert_eq!((letter.origin_topic.as_str(), letter.origin_partition), ("gateway", None));
    assert_eq!((letter.reason.as_str(), letter.site_id.as_str()), ("rejected_readings", "s1"));
    assert_eq!(
        (letter.upload_id.as_str(), letter.at_ms),
        (got.answer.upload_id.as_str(), NOW.as_ms())
    );
    assert!(letter.detail.starts_with("1 of 2 readings; the first, at 1: ts: got"));
    let value = std::str::from_utf8(&letter.value).unwrap();
    let head = r#"[{"index":1,"field":"ts","got":"\"x\"","want":"#;
    assert!(value.starts_with(head), "{value}");
    assert!(value.ends_with(&format!(r#""reading":{bad}}}]"#)), "{value}");
}

fn trace() -> TraceContext {
    let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    TraceContext::parse(header.as_bytes()).unwrap()
}

#[test]
fn all_that_an_upload_becomes_says_where_it_comes_from() {
    let mut got = taken(&body(&[reading("a", "1"), reading("b", "null")]), "t1", "g1");
    got.carry(trace());
    assert_eq!((got.dead_letters.len(), got.answer.accepted), (1, 1));
    for record in std::iter::once(&got.record).chain(&got.dead_letters) {
        assert_eq!(trace_of(&record.headers), Some(trace()));
    }
    assert!(decode_uploads(&got.record.headers, got.record.value.as_ref()).is_ok());
}

#[test]
fn many_bad_readings_are_split_and_none_is_lost() {
    let count = 4_000;
    let long = "é".repeat(200);
    let bad: Vec<String> = (0..count).map(|i| reading(&format!("{long}{i}"), "1")).collect();
    let got = taken(&body(&bad), "t1", "g1");
    assert_eq!((got.answer.accepted, got.answer.rejected.len()), (0, count));
    assert!(got.dead_letters.len() > 1);
    let mut indexes = Vec::new();
    for record in &got.dead_letters {
        let letter = letter(record);
        assert!(letter.value.len() <= DEAD_LETTER_BYTES_MAX);
        let items: Vec<serde_json::Value> = serde_json::from_slice(&letter.value).unwrap();
        indexes.extend(items.iter().map(|i| i["index"].as_u64().unwrap() as usize));
    }
    assert_eq!(indexes, (0..count).collect::<Vec<_>>());
}

#[test]
fn the_largest_bad_reading_fits_into_a_dead_letter() {
    let config = crate::GatewayConfig::default();
    let frame = body(&[String::new()]).len() + 2;
    let bad = format!("\"{}\"", "x".repeat(config.body_bytes_max - frame));
    let body = body(&[bad]);
    assert_eq!(body.len(), config.body_bytes_max);
    let got = taken(&body, "t1", "g1");
    let most = heliograph_log::topics::spec(topic::DEAD_LETTERS).unwrap().max_message_bytes;
    assert_eq!(got.dead_letters.len(), 1);
    assert!(got.dead_letters[0].size_bytes() <= most);
}

proptest! {
    #[test]
    fn a_record_never_outgrows_its_body_by_more_than_the_overhead(
        names in proptest::collection::vec(("[a-z]{1,64}", "[a-z]{1,64}", 0u32..86_400), 0..50),
        id in proptest::option::of("[a-z]{1,128}"),
    ) {
        let readings: Vec<String> = names.iter().map(|(device, metric, s)| {
            let ts = Timestamp::from_secs(NOW.as_ms() / 1_000 - i64::from(*s));
            // The shortest JSON there is for it, and the longest encoding: a bad quality.
            format!(r#"{{"device":"{device}","metric":"{metric}","ts":"{ts}","value":1,"quality":"bad"}}"#)
        }).collect();
        let id = id.map(|id| format!(",\"upload_id\":\"{id}\"")).unwrap_or_default();
        let body = format!(r#"{{"site":"s1"{id},"readings":[{}]}}"#, readings.join(","));
        let mut got = taken(&body, &"t".repeat(64), &"g".repeat(56));
        got.carry(trace());
        // Half of the overhead is left to the log's own framing.
        prop_assert!(got.record.size_bytes() <= body.len() + RECORD_OVERHEAD_BYTES / 2);
    }
}
