//! The log fails, hangs or is full: nobody gets a 2xx for what is not on it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use heliograph_contract::{
    topic,
    v1::{self, upload_service_client::UploadServiceClient},
};
use reqwest::{Response, StatusCode};
use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use tokio::io::AsyncWriteExt;

fn is_503(response: &Response) {
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let after: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3..=7).contains(&after), "{after}");
}

#[tokio::test]
async fn a_failed_append_is_a_503_and_nothing_is_stored() {
    let gateway = start(config()).await;
    gateway.log.faults(|r| if is_upload_of(r, "s1") { Fault::Fail } else { Fault::None });
    is_503(&gateway.upload("s1", "u1").await);
    assert_eq!(gateway.stored_ids().await, [""; 0]);
    gateway.log.faults(|_| Fault::None);
    assert_eq!(gateway.upload("s1", "u1").await.status(), StatusCode::OK);
    assert_eq!(gateway.stored_ids().await, ["u1"]);
    let at = partition_of("s1");
    let ticks = gateway.ticks_until(at, |t| accepted(t) > 0).await;
    assert_eq!((accepted(&ticks), refused(&ticks)), (1, 1));
    gateway.stop().await;
}

#[tokio::test]
async fn a_dead_letter_that_is_not_on_the_log_is_no_2xx_either() {
    let gateway = start(config()).await;
    let is_letter = |topic: &str| topic == topic::DEAD_LETTERS;
    gateway.log.faults(move |r| if is_letter(&r.to.topic) { Fault::Fail } else { Fault::None });
    let readings = [reading("inv1", "1"), reading("inv2", "null")];
    let response = gateway.post("token-s1", body("s1", "u1", &readings)).send().await.unwrap();
    is_503(&response);
    assert_eq!(gateway.dead_letters().await, []);
    gateway.stop().await;
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_a_503() {
    let mut limits = config();
    limits.append_timeout = Duration::from_millis(50);
    let gateway = start(limits).await;
    gateway.log.faults(|r| if is_upload_of(r, "s1") { Fault::Hang } else { Fault::None });
    is_503(&gateway.upload("s1", "u1").await);
    let ticks = gateway.ticks_until(partition_of("s1"), |t| refused(t) > 0).await;
    assert_eq!((accepted(&ticks), refused(&ticks)), (0, 1));
    gateway.stop().await;
}

#[tokio::test]
async fn over_the_limit_the_answer_comes_at_once_and_counts_on_the_partition_of_the_site() {
    let mut limits = config();
    limits.in_flight_max = 1;
    // Its own uploads need the one place, too; here they come seldom.
    limits.tick_interval = Duration::from_secs(3);
    let gateway = start(limits).await;
    gateway.log.faults(|r| if is_upload_of(r, "s1") { Fault::Hang } else { Fault::None });
    let first = async {
        loop {
            let response = gateway.upload("s1", "u1").await;
            if response.status() != StatusCode::SERVICE_UNAVAILABLE {
                return response;
            }
        }
    };
    let second = async {
        gateway.log.hangs(1).await;
        let response = gateway.upload("s2", "u2").await;
        gateway.log.release();
        response
    };
    let (first, second) = tokio::join!(first, second);
    is_503(&second);
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(gateway.stored_ids().await, ["u1"]);
    gateway.ticks_until(partition_of("s2"), |t| refused(t) == 1).await;
    gateway.stop().await;
}

#[tokio::test]
async fn bytes_in_flight_are_limited_too() {
    let mut limits = config();
    limits.body_bytes_max = 1_000;
    limits.decompressed_bytes_max = 1_000;
    limits.in_flight_bytes_max = 2_000;
    limits.tick_interval = Duration::from_secs(3);
    let gateway = start(limits).await;
    let is_first = |r: &_| is_upload_of(r, "s1") || is_upload_of(r, "s3");
    gateway.log.faults(move |r| if is_first(r) { Fault::Hang } else { Fault::None });
    let large = |site: &str| {
        let body = format!("{}{}", body(site, "u1", &[]), " ".repeat(900));
        gateway.post(&format!("token-{site}"), body)
    };
    let first = |site: &'static str| async move {
        loop {
            let response = large(site).send().await.unwrap();
            if response.status() != StatusCode::SERVICE_UNAVAILABLE {
                return response;
            }
        }
    };
    let second = async {
        gateway.log.hangs(2).await;
        let response = large("s2").send().await.unwrap();
        let small = gateway.post("token-s2", body("s2", "u3", &[])).send().await.unwrap();
        gateway.log.release();
        (response, small)
    };
    let (first, third, (second, small)) = tokio::join!(first("s1"), first("s3"), second);
    is_503(&second);
    for good in [first, third, small] {
        assert_eq!(good.status(), StatusCode::OK);
    }
    gateway.stop().await;
}

/// Uploads over HTTP/1 and is gone while the log hangs.
async fn vanish(gateway: &Running) {
    gateway.log.faults(|r| if is_upload_of(r, "s1") { Fault::Hang } else { Fault::None });
    let mut client = tokio::net::TcpStream::connect(gateway.addr).await.unwrap();
    let body = body("s1", "u1", &[]);
    let request = format!(
        "POST /v1/uploads HTTP/1.1\r\nhost: h\r\nauthorization: Bearer token-s1\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(request.as_bytes()).await.unwrap();
    gateway.log.hangs(1).await;
    client.set_zero_linger().unwrap();
}

/// Who has closed its side may still want the answer; whether it does shows when it is written.
#[tokio::test]
async fn over_http1_a_client_that_vanished_counts_as_what_the_log_did() {
    let gateway = start(config()).await;
    vanish(&gateway).await;
    gateway.log.release();
    let ticks = gateway.ticks_until(partition_of("s1"), |t| accepted(t) + refused(t) > 0).await;
    assert_eq!((accepted(&ticks), refused(&ticks)), (1, 0), "the log took it");
    assert_eq!(gateway.stored_ids().await, ["u1"]);
    gateway.stop().await;

    let mut limits = config();
    limits.append_timeout = Duration::from_millis(50);
    let gateway = start(limits).await;
    vanish(&gateway).await;
    let ticks = gateway.ticks_until(partition_of("s1"), |t| accepted(t) + refused(t) > 0).await;
    assert_eq!((accepted(&ticks), refused(&ticks)), (0, 1), "the log did not answer");
    gateway.stop().await;
}

#[tokio::test]
async fn over_http2_a_client_that_gives_up_waiting_counts_as_refused() {
    let mut limits = config();
    // Nothing else ends the wait.
    limits.append_timeout = Duration::from_secs(3_600);
    limits.http.drain_timeout = limits.append_timeout;
    let gateway = start(limits).await;
    gateway.log.faults(|r| if is_upload_of(r, "s1") { Fault::Hang } else { Fault::None });
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", gateway.addr));
    let mut client = UploadServiceClient::new(endpoint.unwrap().connect().await.unwrap());
    let mut request = tonic::Request::new(v1::UploadRequest::default());
    request.metadata_mut().insert("authorization", "Bearer token-s1".parse().unwrap());
    tokio::select! {
        answer = client.upload(request) => panic!("the log hangs: {answer:?}"),
        () = gateway.log.hangs(1) => {}
    }
    let ticks = gateway.ticks_until(partition_of("s1"), |t| refused(t) > 0).await;
    assert_eq!((accepted(&ticks), refused(&ticks)), (0, 1));
    drop(client);
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_acknowledged_is_on_the_log_and_what_is_refused_is_not() {
    let gateway = start(config()).await;
    let count = AtomicUsize::new(0);
    gateway.log.faults(move |r| match count.fetch_add(1, Relaxed) % 3 {
        0 if !is_tick(r) => Fault::Fail,
        _ => Fault::None,
    });
    let uploads = (0..300).map(|i| {
        let (site, id) = (format!("s{}", i % 3 + 1), format!("u{i:03}"));
        let gateway = &gateway;
        async move { (gateway.upload(&site, &id).await.status(), id) }
    });
    let answers = futures::future::join_all(uploads).await;
    let (mut acknowledged, mut refused) = (Vec::new(), 0);
    for (status, id) in answers {
        match status {
            StatusCode::OK => acknowledged.push(id),
            StatusCode::SERVICE_UNAVAILABLE => refused += 1,
            other => panic!("{id}: {other}"),
        }
    }
    assert!(acknowledged.len() > 30 && refused > 30, "{} {refused}", acknowledged.len());
    assert_eq!(gateway.stored_ids().await, acknowledged);
    gateway.stop().await;
}

#[tokio::test]
async fn a_log_with_other_partitions_is_refused_at_start() {
    let log = heliograph_log::memory::MemoryLog::new();
    let mut topics = heliograph_log::topics::declared().unwrap();
    topics[0].partitions = 5;
    heliograph_log::Log::ensure_topics(&*log, &topics).await.unwrap();
    let Err(error) = build(config(), log).await else { panic!("it was taken") };
    let text = format!("{error:#}");
    assert!(text.contains("got 5 partitions, want the declared 12"), "{text}");
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_is_refused_at_start() {
    let mut limits = config();
    limits.readings_max = 0;
    let Err(error) = build(limits, log().await).await else { panic!("it was taken") };
    assert!(error.is::<heliograph_service::config::ConfigError>(), "{error:#}");
}
