//! Uploads over real HTTP: what is taken is on the log, what is refused is not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use heliograph_domain::{Quality, Timestamp};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn problem(response: reqwest::Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["status"], status);
    for key in ["type", "title", "detail"] {
        assert!(body[key].as_str().is_some_and(|s| !s.is_empty()), "{key}: {body}");
    }
    body
}

#[tokio::test]
async fn a_good_upload_is_on_the_log_when_it_is_acknowledged() {
    let gateway = start(config()).await;
    let body = r#"{"upload_id":"u1","site":"s1","sent_at":"2026-01-01T00:01:00Z","readings":[
        {"device":"inv1","metric":"ac_power","ts":"2026-01-01T00:00:00Z","value":1.2,"unit":"kW","quality":"suspect"},
        {"device":"inv1","metric":"operating_state","ts":"2026-01-01T09:00:00+09:00","value":"MPPT"}]}"#;
    let response = gateway.post("token-s1", body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer, json!({"upload_id": "u1", "accepted": 2, "rejected": []}));
    let [upload] = &gateway.stored().await[..] else { panic!("want one upload") };
    assert_eq!((upload.site.as_str(), upload.tenant.as_str()), ("s1", "t1"));
    assert_eq!(upload.sent_at, Some(Timestamp::from_secs(1_767_225_660)));
    assert!(plausible(upload.received_at));
    let ts = Timestamp::from_secs(1_767_225_600);
    let got: Vec<_> =
        upload.readings.iter().map(|r| (r.metric.as_str(), r.ts, r.value, r.quality)).collect();
    let want =
        [("ac_power", ts, 1200.0, Quality::Suspect), ("operating_state", ts, 4.0, Quality::Good)];
    assert_eq!(got, want);
    gateway.stop().await;
}

#[tokio::test]
async fn without_an_upload_id_it_is_made_of_the_content() {
    let gateway = start(config()).await;
    let body = format!(r#"{{"site":"s1","readings":[{}]}}"#, reading("inv1", "1"));
    let mut ids = Vec::new();
    for _ in 0..2 {
        let response = gateway.post("token-s1", body.clone()).send().await.unwrap();
        let answer: Value = response.json().await.unwrap();
        ids.push(answer["upload_id"].as_str().unwrap().to_owned());
    }
    assert_eq!((ids[0].len(), &ids[0]), (32, &ids[1]));
    assert_eq!(gateway.stored_ids().await, ids, "each is a record: readers know them by identity");
    gateway.stop().await;
}

#[tokio::test]
async fn bad_readings_are_listed_and_in_the_dead_letters_and_the_good_ones_are_taken() {
    let gateway = start(config()).await;
    let bad = r#"{"device":"inv2", "metric":"ac_power","ts":"yesterday","value":1}"#;
    let readings = [reading("inv1", "1"), bad.into(), reading("inv3", "null")];
    let response = gateway.post("token-s1", body("s1", "u1", &readings)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["accepted"], 1);
    let rejected = answer["rejected"].as_array().unwrap();
    let fields: Vec<_> = rejected.iter().map(|r| (&r["index"], &r["field"])).collect();
    assert_eq!(fields, [(&json!(1), &json!("ts")), (&json!(2), &json!("value"))]);
    assert!(rejected[0]["got"].as_str().unwrap().contains("yesterday"));
    assert!(rejected[0]["want"].as_str().unwrap().contains("RFC 3339"));
    let [letter] = &gateway.dead_letters().await[..] else { panic!("want one dead letter") };
    assert_eq!((letter.site_id.as_str(), letter.upload_id.as_str()), ("s1", "u1"));
    let text = std::str::from_utf8(&letter.value).unwrap();
    assert!(text.contains(&format!(r#""reading":{bad}}}"#)), "as it was sent: {text}");
    assert_eq!(gateway.stored().await[0].readings.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn an_unknown_token_is_refused_and_a_known_one_speaks_for_its_site_only() {
    let gateway = start(config()).await;
    let rows = [
        ("an unknown token", "token-s9", "s1", 401),
        ("another site's token", "token-s2", "s1", 403),
        ("no such site", "token-s1", "s9", 403),
        ("the gateway's own site", "token-s1", "_gateway.g1", 403),
    ];
    for (name, token, site, status) in rows {
        let sent = gateway.post(token, body(site, "u1", &[reading("inv1", "1")]));
        let response = sent.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{name}");
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401, "{name}");
        problem(response).await;
    }
    let url = format!("http://{}/v1/uploads", gateway.addr);
    let response = gateway.client.post(url).json(&json!({})).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(response.headers().contains_key("www-authenticate"));
    problem(response).await;
    assert_eq!(gateway.stored_ids().await, [""; 0]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_malformed_upload_stores_nothing_and_says_which_field() {
    let mut limits = config();
    limits.readings_max = 2;
    limits.body_bytes_max = 2_000;
    let gateway = start(limits).await;
    let good = [reading("inv1", "1")];
    let three = [good[0].clone(), reading("inv2", "1"), reading("inv3", "1")];
    let rows = [
        ("not JSON", "{".to_owned(), 400, "body"),
        ("no such site name", body("a b", "u", &good), 400, "site"),
        ("no such upload id", body("s1", "a b", &good), 400, "upload_id"),
        ("too many readings", body("s1", "u", &three), 400, "readings"),
        ("too large", body("s1", "u", &[reading(&"x".repeat(2_000), "1")]), 413, "body"),
    ];
    for (name, body, status, field) in rows {
        let response = gateway.post("token-s1", body).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{name}");
        assert!(!response.headers().contains_key("retry-after"), "{name}: it is not our fault");
        let violations = problem(response).await["violations"].clone();
        assert_eq!(violations[0]["field"], field, "{name}: {violations}");
        assert!(violations[0]["got"].is_string() && violations[0]["want"].is_string());
    }
    let url = format!("http://{}/v1/uploads", gateway.addr);
    let form = gateway.client.post(url).bearer_auth("token-s1").body("a=b");
    let response = form.header("content-type", "text/plain").send().await.unwrap();
    assert_eq!(response.status().as_u16(), 415);
    problem(response).await;
    assert_eq!(gateway.stored_ids().await, [""; 0]);
    assert_eq!(gateway.dead_letters().await, []);
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_of_undeclared_length_is_limited_too() {
    let mut limits = config();
    limits.body_bytes_max = 2_000;
    let gateway = start(limits).await;
    let chunks = |text: String| {
        let bytes = text.into_bytes();
        let chunks: Vec<_> =
            bytes.chunks(100).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect();
        reqwest::Body::wrap_stream(futures::stream::iter(chunks))
    };
    let good = chunks(body("s1", "u1", &[reading("inv1", "1")]));
    assert_eq!(gateway.post("token-s1", good).send().await.unwrap().status(), StatusCode::OK);
    let long = chunks(" ".repeat(3_000));
    // The answer may be lost with the rest of the body still on its way; a 2xx it never is.
    if let Ok(response) = gateway.post("token-s1", long).send().await {
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert_eq!(gateway.stored_ids().await, ["u1"]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_gets_a_408() {
    let mut limits = config();
    limits.body_read_timeout = std::time::Duration::from_millis(50);
    let gateway = start(limits).await;
    let mut client = tokio::net::TcpStream::connect(gateway.addr).await.unwrap();
    let head = "POST /v1/uploads HTTP/1.1\r\nhost: h\r\nauthorization: Bearer token-s1\r\n\
                content-type: application/json\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let ticks = gateway.ticks_until(partition_of("s1"), |t| t.len() > 1).await;
    assert_eq!(refused(&ticks), 0, "the fault is the client's");
    gateway.stop().await;
}

#[tokio::test]
async fn a_site_may_upload_as_soon_as_it_is_registered() {
    let gateway = start(config()).await;
    let early = gateway.upload("s9", "u1").await;
    assert_eq!(early.status(), StatusCode::UNAUTHORIZED);
    put_site(&*gateway.log, "s9").await;
    let taken = async {
        while gateway.upload("s9", "u2").await.status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), taken).await.unwrap();
    assert_eq!(gateway.stored_ids().await, ["u2"]);
    gateway.stop().await;
}

#[tokio::test]
async fn other_routes_answer_for_themselves() {
    let gateway = start(config()).await;
    gateway.ticks_until(0, |t| !t.is_empty()).await;
    for (path, status) in [("livez", 200), ("readyz", 200), ("nothing", 404), ("v1/uploads", 405)] {
        let url = format!("http://{}/{path}", gateway.addr);
        let response = gateway.client.get(url).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn protobuf_is_answered_in_protobuf_and_refused_in_words() {
    use heliograph_contract::v1;
    use prost::Message;
    let gateway = start(config()).await;
    let good = v1::SentReading {
        device: "inv1".into(),
        metric: "ac_power".into(),
        ts_ms: Some(1_767_225_600_000),
        value: Some(1.2),
        unit: "kW".into(),
        ..Default::default()
    };
    let readings = vec![good, v1::SentReading::default()];
    let request = v1::UploadRequest { upload_id: "u1".into(), readings, ..Default::default() };
    let post = |body: Vec<u8>, kind: &str| {
        let url = format!("http://{}/v1/uploads", gateway.addr);
        gateway.client.post(url).bearer_auth("token-s1").header("content-type", kind).body(body)
    };
    for kind in ["application/protobuf", "application/x-protobuf"] {
        let response = post(request.encode_to_vec(), kind).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/protobuf");
        let answer = v1::UploadResponse::decode(response.bytes().await.unwrap()).unwrap();
        assert_eq!((answer.upload_id.as_str(), answer.accepted), ("u1", 1));
        assert_eq!((answer.rejected[0].index, &*answer.rejected[0].field), (1, "ts_ms"));
    }
    assert_eq!(gateway.stored().await[0].readings[0].value, 1_200.0);
    let response = post(vec![0xff; 9], "application/protobuf").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert_eq!(problem(response).await["violations"][0]["field"], "body");
    gateway.stop().await;
}

#[tokio::test]
async fn compressed_bodies_are_taken_and_broken_or_large_ones_are_not() {
    use std::io::Write;
    let gateway = start(config()).await;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |bytes: &[u8]| {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    };
    let good = |id: &str| body("s1", id, &[reading("inv1", "1")]).into_bytes();
    let large = vec![b' '; 1_000_001];
    let rows = [
        ("gzip", gzip(&good("u1")), 200, ""),
        ("zstd", zstd(&good("u2")), 200, ""),
        ("identity", good("u3"), 200, ""),
        ("gzip", good("u4"), 400, "body"),
        ("gzip", gzip(&good("u5"))[..40].to_vec(), 400, "body"),
        ("zstd", gzip(&good("u6")), 400, "body"),
        ("gzip", gzip(&large), 413, "body"),
        ("zstd", zstd(&large), 413, "body"),
        ("br", good("u7"), 415, "content-encoding"),
        ("gzip, gzip", gzip(&gzip(&good("u8"))), 415, "content-encoding"),
    ];
    for (encoding, body, status, field) in rows {
        let sent = gateway.post("token-s1", body).header("content-encoding", encoding);
        let response = sent.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{encoding}");
        if status != 200 {
            assert_eq!(problem(response).await["violations"][0]["field"], field, "{encoding}");
        }
    }
    assert_eq!(gateway.stored_ids().await, ["u1", "u2", "u3"]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_site_that_uploads_too_often_waits_and_it_is_no_fault_of_ours() {
    let mut limits = config();
    (limits.site_uploads_per_second, limits.site_uploads_burst) = (1, 3);
    let gateway = start(limits).await;
    let mut taken = Vec::new();
    let refused_one = loop {
        let id = format!("u{}", taken.len());
        let response = gateway.upload("s1", &id).await;
        match response.status() {
            StatusCode::OK => taken.push(id),
            _ => break response,
        }
    };
    assert!(taken.len() >= 3, "the burst: {taken:?}");
    assert_eq!(refused_one.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused_one.headers()["retry-after"], "1");
    problem(refused_one).await;
    assert_eq!(gateway.upload("s2", "u9").await.status(), StatusCode::OK, "each by itself");
    assert_eq!(gateway.stored_ids().await.len(), taken.len() + 1);
    let ticks = gateway.ticks_until(partition_of("s1"), |t| t.len() > 4).await;
    assert_eq!(refused(&ticks), 0);
    assert!(ticks.last().unwrap().self_upload_ok, "its own uploads have no such limit");
    gateway.stop().await;
}
