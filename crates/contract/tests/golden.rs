//! Golden events: what was once written to the log is read for ever.
//!
//! Each event of `schemas/events` was encoded once: `NAME.bin` is its value, `NAME.txt` shows its
//! key, its headers and the value for people. The tests compare every field that is read, and that
//! today's code writes the same bytes, headers and ids. A golden file is never changed: an event
//! that changes gets a further file beside the old one. `HELIOGRAPH_BLESS=1 cargo test -p
//! heliograph-contract --test golden` writes files that are missing, and no others.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use heliograph_contract::{
    alert::{Alert, decode_report, encode_report},
    event::{
        Encoded, Header, UploadsEvent, decode_uploads, encode_dead_letter, encode_tick,
        encode_ticks_missing, encode_upload, encode_watched, header, trace_header, trace_of,
    },
    registry, v1,
};
use heliograph_domain::{
    DeviceId, MetricName, Quality, Reading, SiteId, TenantId, Timestamp, UploadId,
    registry::{ApiToken, Entry, RemovedSite, Role, Site, Tenant},
    trace::TraceContext,
    upload::Upload,
};
use prost::Message;
use std::{borrow::Cow, collections::BTreeSet, fmt, fs, path::PathBuf};

/// SHA-256 of `abc`.
const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas/events")
}

fn readable(encoded: &Encoded, value: &impl fmt::Debug) -> String {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let mut lines = vec![format!("key: {}", encoded.key.as_ref().map_or("none".into(), text))];
    lines.extend(encoded.headers.iter().map(|(n, v)| format!("header {n}: {}", text(v))));
    lines.push(format!("value, {} bytes: {value:#?}\n", encoded.value.len()));
    lines.join("\n")
}

/// Key and headers as the `.txt` shows them.
fn shown(text: &str) -> (Option<String>, Vec<Header>) {
    let mut lines = text.lines();
    let key = lines.next().and_then(|l| l.strip_prefix("key: ")).unwrap();
    let headers = lines.map_while(|l| l.strip_prefix("header ")?.split_once(": "));
    let own = |(n, v): (&str, &str)| (Cow::Owned(n.to_owned()), Bytes::from(v.to_owned()));
    ((key != "none").then(|| key.to_owned()), headers.map(own).collect())
}

/// Compares today's encoding with the golden one and gives back what stands in the files.
fn golden<M: Message + Default + PartialEq + fmt::Debug>(
    name: &str,
    today: &Encoded,
    want: &M,
) -> (Vec<Header>, Bytes) {
    let (bin, txt) = (dir().join(format!("{name}.bin")), dir().join(format!("{name}.txt")));
    if std::env::var_os("HELIOGRAPH_BLESS").is_some() && !bin.exists() && !txt.exists() {
        fs::write(&bin, &today.value).unwrap();
        fs::write(&txt, readable(today, want)).unwrap();
    }
    let value = Bytes::from(fs::read(&bin).unwrap_or_else(|e| panic!("{name}.bin: {e}")));
    let text = fs::read_to_string(&txt).unwrap_or_else(|e| panic!("{name}.txt: {e}"));
    let (key, headers) = shown(&text);
    assert_eq!(M::decode(value.clone()).unwrap(), *want, "{name}: what was written is read");
    assert_eq!(today.value, value, "{name}: the same bytes are written");
    let today_key = today.key.as_ref().map(|k| String::from_utf8(k.to_vec()).unwrap());
    assert_eq!(today_key, key, "{name}: the key decides the partition");
    assert_eq!(today.headers, headers, "{name}: headers and the event's id");
    (headers, value)
}

fn reading(device: &str, metric: &str, ts_ms: i64, value: f64, quality: Quality) -> Reading {
    Reading {
        device: DeviceId::parse(device).unwrap(),
        metric: MetricName::parse(metric).unwrap(),
        ts: Timestamp::from_ms(ts_ms),
        value,
        quality,
    }
}

fn wire(device: &str, metric: &str, ts_ms: i64, value: f64, quality: v1::Quality) -> v1::Reading {
    let (device, metric) = (device.to_owned(), metric.to_owned());
    v1::Reading { device, metric, ts_ms, value, quality: quality.into() }
}

#[test]
fn an_accepted_upload() {
    let upload = Upload {
        site: SiteId::parse("plant-1").unwrap(),
        tenant: TenantId::parse("green-energy").unwrap(),
        upload_id: UploadId::parse("logger-7:000042").unwrap(),
        received_at: Timestamp::from_ms(1_767_225_661_234),
        sent_at: Some(Timestamp::from_ms(1_767_225_660_000)),
        replayed: false,
        readings: vec![
            reading("inv1", "ac_power", 1_767_225_600_000, 49_500.0, Quality::Good),
            reading("bus1/inv:2", "ac_power", 1_767_225_600_500, -1.5, Quality::Suspect),
            reading("inv1", "operating_state", 1_767_225_600_000, 4.0, Quality::Bad),
            reading("pyr", "poa_irradiance", 1_767_225_600_000, 0.0, Quality::Good),
        ],
    };
    let want = v1::UploadAccepted {
        site_id: "plant-1".into(),
        tenant_id: "green-energy".into(),
        upload_id: "logger-7:000042".into(),
        received_at_ms: 1_767_225_661_234,
        sent_at_ms: Some(1_767_225_660_000),
        readings: vec![
            wire("inv1", "ac_power", 1_767_225_600_000, 49_500.0, v1::Quality::Good),
            wire("bus1/inv:2", "ac_power", 1_767_225_600_500, -1.5, v1::Quality::Suspect),
            wire("inv1", "operating_state", 1_767_225_600_000, 4.0, v1::Quality::Bad),
            wire("pyr", "poa_irradiance", 1_767_225_600_000, 0.0, v1::Quality::Good),
        ],
        replayed: false,
    };
    let mut today = encode_upload(&upload, "gw-a");
    let (headers, value) = golden("upload_accepted", &today, &want);
    assert_eq!(trace_of(&headers), None);
    assert_eq!(decode_uploads(&headers, Some(&value)), Ok(UploadsEvent::Upload(upload.clone())));
    // The same as a step of a trace.
    let trace = TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    today.headers.extend(trace.map(trace_header));
    let (headers, value) = golden("upload_accepted_traced", &today, &want);
    assert_eq!(trace_of(&headers), trace);
    assert_eq!(decode_uploads(&headers, Some(&value)), Ok(UploadsEvent::Upload(upload)));
}

#[test]
fn an_accepted_upload_that_says_little() {
    let upload = Upload {
        site: SiteId::gateway_self("gw-a"),
        tenant: TenantId::parse("platform").unwrap(),
        upload_id: UploadId::parse("self-1767225600000-1").unwrap(),
        received_at: Timestamp::from_ms(1_767_225_601_000),
        sent_at: None,
        replayed: false,
        readings: vec![],
    };
    let want = v1::UploadAccepted {
        site_id: "_gateway.gw-a".into(),
        tenant_id: "platform".into(),
        upload_id: "self-1767225600000-1".into(),
        received_at_ms: 1_767_225_601_000,
        sent_at_ms: None,
        readings: vec![],
        replayed: false,
    };
    let (headers, value) = golden("upload_accepted_empty", &encode_upload(&upload, "gw-a"), &want);
    assert_eq!(decode_uploads(&headers, Some(&value)), Ok(UploadsEvent::Upload(upload)));
}

#[test]
fn an_upload_taken_from_a_dead_letter() {
    let upload = Upload {
        site: SiteId::parse("plant-1").unwrap(),
        tenant: TenantId::parse("green-energy").unwrap(),
        upload_id: UploadId::parse("replay-000042").unwrap(),
        received_at: Timestamp::from_ms(1_767_225_661_234),
        sent_at: None,
        replayed: true,
        readings: vec![reading("inv1", "ac_power", 1_767_225_600_000, 1.0, Quality::Good)],
    };
    let want = v1::UploadAccepted {
        site_id: "plant-1".into(),
        tenant_id: "green-energy".into(),
        upload_id: "replay-000042".into(),
        received_at_ms: 1_767_225_661_234,
        sent_at_ms: None,
        readings: vec![wire("inv1", "ac_power", 1_767_225_600_000, 1.0, v1::Quality::Good)],
        replayed: true,
    };
    let (headers, value) =
        golden("upload_accepted_replayed", &encode_upload(&upload, "gw-a"), &want);
    assert_eq!(decode_uploads(&headers, Some(&value)), Ok(UploadsEvent::Upload(upload)));
}

#[test]
fn door_ticks() {
    let open = v1::DoorTick {
        instance: "gw-a".into(),
        incarnation_ms: 1_767_225_600_000,
        sequence: 300,
        accepted: 1_234,
        refused: 5,
        self_upload_ok: true,
        leaving: false,
        since_last_ms: None,
        retry_after_max_s: 0,
    };
    let timed = v1::DoorTick { since_last_ms: Some(1_001), retry_after_max_s: 30, ..open.clone() };
    let leaving = v1::DoorTick {
        instance: "gw-a".into(),
        incarnation_ms: 1_767_225_600_000,
        sequence: 301,
        accepted: 0,
        refused: 0,
        self_upload_ok: false,
        leaving: true,
        since_last_ms: None,
        retry_after_max_s: 0,
    };
    let rows = [("door_tick", open), ("door_tick_timed", timed), ("door_tick_leaving", leaving)];
    for (name, tick) in rows {
        let (headers, value) = golden(name, &encode_tick(&tick), &tick);
        assert_eq!(headers.len(), 1, "ticks carry ce_type only");
        assert_eq!(decode_uploads(&headers, Some(&value)), Ok(UploadsEvent::Tick(tick)));
    }
}

#[test]
fn registry_entries() {
    use v1::registry_entry::Entry as Wire;
    let tenant = || TenantId::parse("green-energy").unwrap();
    let rows = [
        (
            "registry_tenant",
            Entry::Tenant(Tenant { id: tenant(), name: "みどり電力".into() }),
            Wire::Tenant(v1::Tenant { id: "green-energy".into(), name: "みどり電力".into() }),
        ),
        (
            "registry_site",
            Entry::Site(Site {
                id: SiteId::parse("plant-1").unwrap(),
                tenant: tenant(),
                name: "第一発電所".into(),
                zone: "Asia/Tokyo".into(),
                upload_interval_s: 300,
                reading_interval_s: 60,
                rated_power_w: 49_500.0,
                stale_after_s: None,
                token_hash: HASH.into(),
            }),
            Wire::Site(v1::Site {
                id: "plant-1".into(),
                tenant_id: "green-energy".into(),
                name: "第一発電所".into(),
                zone: "Asia/Tokyo".into(),
                upload_interval_s: 300,
                reading_interval_s: 60,
                rated_power_w: 49_500.0,
                stale_after_s: 0,
                token_hash: HASH.into(),
                removed_at_ms: None,
            }),
        ),
        (
            "registry_api_token",
            Entry::ApiToken(ApiToken {
                hash: HASH.into(),
                tenant: tenant(),
                role: Role::Viewer,
                name: "wall screen".into(),
                created_at: None,
            }),
            Wire::ApiToken(v1::ApiToken {
                hash: HASH.into(),
                tenant_id: "green-energy".into(),
                role: v1::Role::Viewer.into(),
                name: "wall screen".into(),
                created_at_ms: None,
            }),
        ),
        (
            "registry_api_token_operator",
            Entry::ApiToken(ApiToken {
                hash: HASH.into(),
                tenant: tenant(),
                role: Role::Operator,
                name: "first start".into(),
                created_at: None,
            }),
            Wire::ApiToken(v1::ApiToken {
                hash: HASH.into(),
                tenant_id: "green-energy".into(),
                role: v1::Role::Operator.into(),
                name: "first start".into(),
                created_at_ms: None,
            }),
        ),
    ];
    for (name, entry, wire) in rows {
        let want = v1::RegistryEntry { entry: Some(wire) };
        let (_, value) = golden(name, &registry::encode(&entry), &want);
        assert_eq!(registry::decode(&value), Ok(entry));
    }
}

#[test]
fn a_removed_site_and_a_dated_token() {
    use v1::registry_entry::Entry as Wire;
    let tenant = || TenantId::parse("green-energy").unwrap();
    let at_ms = 1_767_225_661_234;
    let site = Site {
        id: SiteId::parse("plant-1").unwrap(),
        tenant: tenant(),
        name: "第一発電所".into(),
        zone: "Asia/Tokyo".into(),
        upload_interval_s: 300,
        reading_interval_s: 60,
        rated_power_w: 49_500.0,
        stale_after_s: None,
        token_hash: String::new(),
    };
    let rows = [
        (
            "registry_site_removed",
            Entry::RemovedSite(RemovedSite { site, at: Timestamp::from_ms(at_ms) }),
            Wire::Site(v1::Site {
                id: "plant-1".into(),
                tenant_id: "green-energy".into(),
                name: "第一発電所".into(),
                zone: "Asia/Tokyo".into(),
                upload_interval_s: 300,
                reading_interval_s: 60,
                rated_power_w: 49_500.0,
                stale_after_s: 0,
                token_hash: String::new(),
                removed_at_ms: Some(at_ms),
            }),
        ),
        (
            "registry_api_token_dated",
            Entry::ApiToken(ApiToken {
                hash: HASH.into(),
                tenant: tenant(),
                role: Role::Viewer,
                name: "wall screen".into(),
                created_at: Some(Timestamp::from_ms(at_ms)),
            }),
            Wire::ApiToken(v1::ApiToken {
                hash: HASH.into(),
                tenant_id: "green-energy".into(),
                role: v1::Role::Viewer.into(),
                name: "wall screen".into(),
                created_at_ms: Some(at_ms),
            }),
        ),
    ];
    for (name, entry, wire) in rows {
        let want = v1::RegistryEntry { entry: Some(wire) };
        let (_, value) = golden(name, &registry::encode(&entry), &want);
        assert_eq!(registry::decode(&value), Ok(entry));
    }
}

#[test]
fn dead_letters() {
    let rejected = v1::DeadLetter {
        origin_topic: "gateway".into(),
        origin_partition: None,
        origin_offset: None,
        reason: "rejected_readings".into(),
        detail: "1 of 2 readings; the first, at 1: value: got null, want a finite number".into(),
        site_id: "plant-1".into(),
        upload_id: "logger-7:000042".into(),
        key: Bytes::new(),
        value: Bytes::from_static(
            br#"[{"index":1,"field":"value","got":"null","want":"a finite number","reading":{"device":"inv1","metric":"ac_power","ts":"2026-01-01T00:00:00Z","value":null}}]"#,
        ),
        headers: vec![],
        at_ms: 1_767_225_661_234,
        format: String::new(),
    };
    let undecodable = v1::DeadLetter {
        origin_topic: "heliograph.uploads".into(),
        origin_partition: Some(0),
        origin_offset: Some(1_000_000),
        reason: "undecodable".into(),
        detail: "value: not a heliograph.v1.UploadAccepted".into(),
        site_id: "plant-1".into(),
        upload_id: String::new(),
        key: Bytes::from_static(b"plant-1"),
        value: Bytes::from_static(b"\x0a\xff\x00"),
        headers: vec![v1::DeadLetterHeader {
            name: "ce_type".into(),
            value: Bytes::from_static(b"heliograph.v1.UploadAccepted"),
        }],
        at_ms: 1_767_225_661_500,
        format: String::new(),
    };
    let protobuf = v1::DeadLetter {
        upload_id: "logger-7:000043".into(),
        value: Bytes::from_static(
            br#"[{"index":1,"field":"value","got":"nothing","want":"a finite number","reading":"CgRpbnYxEghhY19wb3dlcg=="}]"#,
        ),
        format: "application/protobuf".into(),
        ..rejected.clone()
    };
    for (name, letter) in [
        ("dead_letter_rejected", rejected),
        ("dead_letter_record", undecodable),
        ("dead_letter_protobuf", protobuf),
    ] {
        let (headers, _) = golden(name, &encode_dead_letter(&letter), &letter);
        assert_eq!(header(&headers, "ce_type"), Some("heliograph.v1.DeadLetter"));
    }
}

#[test]
fn every_golden_file_is_tested() {
    let source = include_str!("golden.rs");
    let names = fs::read_dir(dir()).unwrap().map(|e| e.unwrap().path());
    let stems: BTreeSet<String> =
        names.map(|p| p.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert!(!stems.is_empty());
    for stem in stems {
        assert!(source.contains(&format!("\"{stem}\"")), "{stem} is in no test");
    }
}

#[test]
fn a_site_with_a_limit_of_its_own() {
    use v1::registry_entry::Entry as Wire;
    let site = Site {
        id: SiteId::parse("plant-2").unwrap(),
        tenant: TenantId::parse("green-energy").unwrap(),
        name: "plant-2".into(),
        zone: "Asia/Tokyo".into(),
        upload_interval_s: 300,
        reading_interval_s: 300,
        rated_power_w: 0.0,
        stale_after_s: Some(1_800),
        token_hash: HASH.into(),
    };
    let wire = v1::Site {
        id: "plant-2".into(),
        tenant_id: "green-energy".into(),
        name: "plant-2".into(),
        zone: "Asia/Tokyo".into(),
        upload_interval_s: 300,
        reading_interval_s: 300,
        token_hash: HASH.into(),
        stale_after_s: 1_800,
        ..Default::default()
    };
    let (entry, want) = (Entry::Site(site), v1::RegistryEntry { entry: Some(Wire::Site(wire)) });
    let (_, value) = golden("registry_site_limited", &registry::encode(&entry), &want);
    assert_eq!(registry::decode(&value), Ok(entry));
}

#[test]
fn watched_sites() {
    let watched = v1::SiteWatched {
        site_id: "plant-1".into(),
        version: 17,
        tenant_id: "green-energy".into(),
        upload_interval_s: 300,
        stale_after_s: 900,
        removed: false,
    };
    let removed = v1::SiteWatched { version: 21, removed: true, ..watched.clone() };
    for (name, said) in [("site_watched", watched), ("site_watched_removed", removed)] {
        let (headers, value) = golden(name, &encode_watched(&said), &said);
        assert_eq!(decode_uploads(&headers, Some(&value)), Ok(UploadsEvent::Watched(said)));
    }
}

#[test]
fn alerts() {
    let stale = v1::SiteWentStale {
        site_id: "plant-1".into(),
        tenant_id: "green-energy".into(),
        reason: v1::StaleReason::Silent.into(),
        last_upload_at_ms: Some(1_767_225_600_000),
        silent_ms: 900_050,
        limit_ms: 900_000,
        grace_ms: 330_000,
        closed_ms: 61_000,
        partition: 7,
        offset: 1_234,
        decided_at_ms: 1_767_226_891_050,
    };
    let never = v1::SiteWentStale {
        reason: v1::StaleReason::NeverReported.into(),
        last_upload_at_ms: None,
        grace_ms: 0,
        closed_ms: 0,
        ..stale.clone()
    };
    for (name, want) in [("site_went_stale", stale), ("site_went_stale_never_reported", never)] {
        let alert = Alert::WentStale(want.clone());
        let (headers, value) = golden(name, &alert.encode(), &want);
        assert_eq!(Alert::decode(&headers, Some(&value)), Ok(Some(alert)));
    }
    let recovered = v1::SiteRecovered {
        site_id: "plant-1".into(),
        tenant_id: "green-energy".into(),
        stale_id: "00112233445566778899aabbccddeeff".into(),
        stale_since_ms: 1_767_226_891_050,
        removed: false,
        partition: 7,
        offset: 2_345,
        decided_at_ms: 1_767_230_000_000,
    };
    let alert = Alert::Recovered(recovered.clone());
    let (headers, value) = golden("site_recovered", &alert.encode(), &recovered);
    assert_eq!(header(&headers, "ce_id"), Some(alert.id().as_str()));
    assert_eq!(Alert::decode(&headers, Some(&value)), Ok(Some(alert)));
}

#[test]
fn doors_and_incidents() {
    let reason = |instance: &str, why: v1::DoorWhy| v1::DoorReason {
        instance: instance.into(),
        why: why.into(),
    };
    let missing = v1::TicksMissing { waited_ms: 30_210 };
    let (headers, value) = golden("ticks_missing", &encode_ticks_missing(&missing), &missing);
    assert_eq!(decode_uploads(&headers, Some(&value)), Ok(UploadsEvent::TicksMissing(missing)));
    let report = v1::DoorReport {
        partition: 7,
        offset: 1_234,
        at_ms: 1_767_225_661_234,
        closed: true,
        closed_since_ms: 1_767_225_650_000,
        reasons: vec![
            reason("gw-a", v1::DoorWhy::GatewayRefused),
            reason("", v1::DoorWhy::TicksMissing),
        ],
    };
    let open = v1::DoorReport { offset: 2_345, closed: false, ..report.clone() };
    for (name, report) in [("door_report", report), ("door_report_open", open)] {
        let (headers, value) = golden(name, &encode_report(&report), &report);
        assert_eq!(decode_report(&headers, Some(&value)), Ok(Some(report)));
    }
    let opened = v1::IncidentOpened {
        cause: v1::IncidentCause::Ours.into(),
        since_ms: 1_767_225_650_000,
        reasons: vec![reason("gw-a", v1::DoorWhy::GatewayLost)],
        partition: 7,
        offset: 3,
        decided_at_ms: 1_767_225_661_300,
    };
    let alert = Alert::IncidentOpened(opened.clone());
    let (headers, value) = golden("incident_opened", &alert.encode(), &opened);
    assert_eq!(Alert::decode(&headers, Some(&value)), Ok(Some(alert)));
    let closed = v1::IncidentClosed {
        incident_id: "00112233445566778899aabbccddeeff".into(),
        since_ms: 1_767_225_650_000,
        offset: 9,
        decided_at_ms: 1_767_229_000_000,
    };
    let alert = Alert::IncidentClosed(closed.clone());
    let (headers, value) = golden("incident_closed", &alert.encode(), &closed);
    assert_eq!(Alert::decode(&headers, Some(&value)), Ok(Some(alert)));
}
