//! Compression, limits, and a log that fails, hangs or is full.

use super::{common::*, *};
use flate2::{Compression, write::GzEncoder};
use heliograph_contract::topic;
use std::{io::Write, time::Duration};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_body_may_be_compressed_and_limits_hold() {
    let mut limits = config();
    limits.readings_max = 100;
    limits.body_bytes_max = 10_000;
    limits.decompressed_bytes_max = 20_000;
    let gateway = start(limits).await;
    let line = b"inv1 p=1 1767225600000000000".as_slice();
    let large = "# a comment that nobody reads\n".repeat(1_000);
    let bytes = "body: got more than 20000 bytes, decompressed, want at most 20000 bytes; send \
                 the readings in several uploads";
    let wire = "body: got 30000 bytes, want at most 10000 bytes; send the readings in several \
                uploads";
    let lines = "body: got more than 100 readings and rejected lines, want at most 100; send \
                 fewer lines at once";
    let br = "content-encoding: got \"br\", want gzip, zstd or identity, once";
    let rows = [
        ("gzip", Some("gzip"), gzip(line), 204, None),
        ("an empty body that says gzip", Some("gzip"), Vec::new(), 204, None),
        ("gzip of nothing", Some("gzip"), gzip(b""), 204, None),
        ("said aloud", Some("identity"), line.to_vec(), 204, None),
        ("another", Some("br"), line.to_vec(), 415, Some(br)),
        ("too large", None, large.clone().into(), 413, Some(wire)),
        ("too large, decompressed", Some("gzip"), gzip(large.as_bytes()), 413, Some(bytes)),
        ("too many lines", None, b"x\n".repeat(101), 413, Some(lines)),
        ("too many readings", None, b"inv1 p=1,q=2\n".repeat(51), 413, Some(lines)),
    ];
    let mut stored = 0;
    for (name, encoding, body, status, message) in rows {
        let mut request = write(&gateway, V2, body);
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let message = message.map(|m| (None, format!("nothing was stored: {m}")));
        let got = shown(request.send().await.unwrap(), name).await;
        assert_eq!(got, (status, message), "{name}");
        stored += usize::from(status == 204);
        assert_eq!(gateway.stored().await.len(), stored, "{name}");
    }
    let broken = write(&gateway, V2, line).header("content-encoding", "gzip").send().await.unwrap();
    let (status, answer) = shown(broken, "no gzip").await;
    assert_eq!(status, 400);
    assert!(answer.unwrap().1.contains("broken gzip"));
    assert_eq!(gateway.dead_letters().await, []);
    gateway.stop().await;
}

#[tokio::test]
async fn one_line_with_too_many_fields_is_a_bad_line() {
    let mut limits = config();
    limits.readings_max = 2;
    let gateway = start(limits).await;
    let body = "inv1 p=1 1767225600000000000\nm a=1,b=2,c=3";
    let response = write(&gateway, V2, body).send().await.unwrap();
    let (status, answer) = shown(response, "wide").await;
    assert_eq!(status, 400);
    let want = "partial write: line 2: fields: got more than 2, want fewer; send several lines; \
                1 reading is stored";
    assert_eq!(answer, Some((Some(2), want.to_owned())));
    gateway.stop().await;
}

#[tokio::test]
async fn what_the_log_does_not_take_is_a_503_and_counts_at_the_door() {
    let gateway = start(config()).await;
    let body = "inv1 p=1 1767225600000000000\nx";
    let letters = |topic: &str| topic == topic::DEAD_LETTERS;
    gateway.log.faults(|r| if is_upload_of(r, "s1") { Fault::Fail } else { Fault::None });
    let first = write(&gateway, V2, body).send().await.unwrap();
    gateway.log.faults(move |r| if letters(&r.to.topic) { Fault::Fail } else { Fault::None });
    let second = write(&gateway, V1, body).send().await.unwrap();
    for response in [first, second] {
        let after: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((3..=7).contains(&after), "{after}");
        let (status, answer) = shown(response, "the log fails").await;
        let (line, message) = answer.unwrap();
        assert_eq!((status, line), (503, None));
        let want = format!("the log did not take it; send the same again after {after} s");
        assert_eq!(message, want);
    }
    gateway.log.faults(|_| Fault::None);
    assert_eq!(write(&gateway, V2, body).send().await.unwrap().status(), StatusCode::BAD_REQUEST);
    let ticks = gateway.ticks_until(partition_of("s1"), |t| accepted(t) > 0).await;
    assert_eq!((accepted(&ticks), common::refused(&ticks)), (1, 2));
    gateway.stop().await;
}

#[tokio::test]
async fn both_acknowledgements_are_awaited() {
    for hang in [topic::UPLOADS, topic::DEAD_LETTERS] {
        let gateway = start(config()).await;
        gateway.log.faults(move |r| match &*r.to.topic == hang && !is_tick(r) {
            true if hang == topic::DEAD_LETTERS || is_upload_of(r, "s1") => Fault::Hang,
            _ => Fault::None,
        });
        let response = write(&gateway, V2, "inv1 p=1\nx").send();
        tokio::pin!(response);
        tokio::select! {
            response = &mut response => panic!("{hang}: {:?}", response.map(|r| r.status())),
            () = gateway.log.hangs(1) => {}
        }
        // The other record is on the log, two ticks pass, and still there is no answer.
        let other = match hang {
            topic::UPLOADS => gateway.dead_letters().await.len(),
            _ => gateway.stored().await.len(),
        };
        assert_eq!(other, 1, "{hang}");
        let ticks = gateway.ticks(0).await.len();
        tokio::select! {
            response = &mut response => panic!("{hang}: {:?}", response.map(|r| r.status())),
            _ = gateway.ticks_until(0, |t| t.len() > ticks + 1) => {}
        }
        gateway.log.release();
        assert_eq!(response.await.unwrap().status(), StatusCode::BAD_REQUEST, "{hang}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_full_gateway_says_so_at_once() {
    let mut limits = config();
    limits.in_flight_max = 1;
    limits.tick_interval = Duration::from_secs(3);
    let gateway = start(limits).await;
    gateway.log.faults(|r| if is_upload_of(r, "s1") { Fault::Hang } else { Fault::None });
    let first = async {
        loop {
            let response = write(&gateway, V2, "inv1 p=1").send().await.unwrap();
            if response.status() != StatusCode::SERVICE_UNAVAILABLE {
                return response;
            }
        }
    };
    let second = async {
        gateway.log.hangs(1).await;
        let response = write(&gateway, V1, "inv2 p=1").send().await.unwrap();
        gateway.log.release();
        response
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.status(), StatusCode::NO_CONTENT);
    assert!(second.headers().contains_key("retry-after"));
    let (status, answer) = shown(second, "full").await;
    assert!(status == 503 && answer.unwrap().1.starts_with("all places are taken; send the same"));
    gateway.stop().await;
}

#[tokio::test]
async fn a_site_that_writes_too_often_waits() {
    let mut limits = config();
    (limits.site_uploads_per_second, limits.site_uploads_burst) = (1, 3);
    let gateway = start(limits).await;
    let mut stored = 0;
    let refused_one = loop {
        let response = write(&gateway, V2, "inv1 p=1").send().await.unwrap();
        match response.status() {
            StatusCode::NO_CONTENT => stored += 1,
            _ => break response,
        }
    };
    assert!(stored >= 3, "the burst: {stored}");
    assert_eq!(refused_one.headers()["retry-after"], "1");
    let (status, answer) = shown(refused_one, "too often").await;
    let want = "more than 1 uploads a second; put more readings into one upload, or send the same \
                again after 1 s";
    assert_eq!((status, answer), (429, Some((None, want.to_owned()))));
    assert_eq!(gateway.stored().await.len(), stored);
    gateway.stop().await;
}
