//! One site, whatever it does, leaves places to the others; and what it may not have is its own
//! doing, not a fault at the door.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use heliograph_contract::v1::{self, upload_service_client::UploadServiceClient};
use heliograph_gateway::GatewayConfig;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

async fn client(gateway: &Running) -> UploadServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
    UploadServiceClient::new(endpoint.connect().await.unwrap())
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// Nothing of what was refused before counts as refused.
async fn door_was_open(gateway: &Running, site: &str, uploads: u64) {
    let ticks = gateway.ticks_until(partition_of(site), |t| accepted(t) == uploads).await;
    assert_eq!(refused(&ticks), 0);
}

#[tokio::test]
async fn who_announces_much_and_sends_nothing_hinders_himself_alone() {
    let limits = GatewayConfig { body_read_timeout: Duration::from_secs(600), ..config() };
    let gateway = start(limits).await;
    let announce = async |path: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer token-s1\r\n\
             content-type: application/json\r\ncontent-length: 1000000\r\n\r\n"
        );
        let mut client = TcpStream::connect(gateway.addr).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4_096];
        let read = client.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..read]).into_owned()
    };
    // Eight megabytes are its share; who is in is not answered.
    let mut held: FuturesUnordered<_> = (0..80).map(|_| announce("/v1/uploads")).collect();
    for answer in held.by_ref().take(72).collect::<Vec<_>>().await {
        assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
        assert!(answer.contains("retry-after: ") && answer.contains("open"), "{answer}");
    }
    let answer = announce("/write?p=token-s1").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "version 1 of line protocol: {answer}");
    let spaces = " ".repeat(999_000);
    for site in ["s2", "s3"] {
        let good = body(site, "u1", &[reading("inv1", "1")]) + &spaces;
        let response = gateway.post(&format!("token-{site}"), good).send().await.unwrap();
        assert_eq!(response.status(), 200, "{site}");
    }
    door_was_open(&gateway, "s2", 1).await;
    assert_eq!(refused_of(&gateway, "s1").await, 0);
    drop(held);
    gateway.stop().await;
}

async fn refused_of(gateway: &Running, site: &str) -> u64 {
    let before = gateway.ticks(partition_of(site)).await.len();
    refused(&gateway.ticks_until(partition_of(site), |t| t.len() > before + 1).await)
}

#[tokio::test]
async fn calls_of_grpc_without_a_message_hold_no_bytes() {
    let gateway = start(GatewayConfig {
        site_in_flight_max: 3,
        in_flight_bytes_max: 2_000_000,
        site_uploads_burst: 1_000_000,
        body_read_timeout: Duration::from_secs(600),
        ..config()
    })
    .await;
    let channel = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
    let channel = channel.connect().await.unwrap();
    let silent = async || {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let never = with_token(futures::stream::pending::<v1::UploadRequest>(), "token-s1");
        let path = http::uri::PathAndQuery::from_static("/heliograph.v1.UploadService/Upload");
        let codec = tonic_prost::ProstCodec::<_, v1::UploadResponse>::default();
        grpc.client_streaming(never, path, codec).await.unwrap_err()
    };
    // One of those below may have the place.
    let until_in = || async { while silent().await.code() == Code::ResourceExhausted {} };
    let held = join_all((0..3).map(|_| until_in()));
    let others = async {
        let mut client = client(&gateway).await;
        let upload = |id: &str| v1::UploadRequest { upload_id: id.into(), ..Default::default() };
        let refused = loop {
            if let Err(status) = client.upload(with_token(upload("u"), "token-s1")).await {
                break status;
            }
        };
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert!(refused.message().contains("open"), "{refused:?}");
        assert!(refused.get_details_retry_info().is_some());
        client.upload(with_token(upload("u2"), "token-s2")).await.unwrap();
    };
    tokio::select! {
        _ = held => panic!("they were given up early"),
        () = others => {}
    }
    assert_eq!(refused_of(&gateway, "s1").await, 0);
    gateway.stop().await;
}

#[tokio::test]
async fn a_site_opens_so_many_streams_and_another_one_as_many() {
    let gateway = start(GatewayConfig { site_streams_max: 2, ..config() }).await;
    let client = client(&gateway).await;
    let open = async |token: &str| {
        let never = futures::stream::pending::<v1::UploadStreamRequest>();
        client.clone().upload_stream(with_token(never, token)).await
    };
    let held = [open("token-s1").await.unwrap(), open("token-s1").await.unwrap()];
    let status = open("token-s1").await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.get_details_retry_info().is_some());
    let other = open("token-s2").await.unwrap();
    assert_eq!(refused_of(&gateway, "s1").await, 0);
    drop((held, other));
    gateway.stop().await;
}

#[tokio::test]
async fn opening_streams_has_the_rate_of_uploads() {
    let limits = GatewayConfig { site_uploads_per_second: 1, site_uploads_burst: 1, ..config() };
    let gateway = start(limits).await;
    let client = client(&gateway).await;
    let open = async || {
        let none = futures::stream::empty::<v1::UploadStreamRequest>();
        client.clone().upload_stream(with_token(none, "token-s1")).await
    };
    open().await.unwrap();
    let status = open().await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn what_rejected_readings_become_is_counted_while_the_log_works() {
    let gateway = start(GatewayConfig { in_flight_bytes_max: 2_000_000, ..config() }).await;
    gateway.log.faults(|r| if is_upload_of(r, "s1") { Fault::Hang } else { Fault::None });
    let empty = format!(r#"{{"readings":[{}{{}}]}}"#, "{},".repeat(9_999));
    let first = gateway.post("token-s1", empty.clone()).send();
    let second = async {
        gateway.log.hangs(1).await;
        let response = gateway.post("token-s2", " ".repeat(900_000)).send().await.unwrap();
        gateway.log.release();
        response
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(second.status(), 503, "30 kB became more than a megabyte");
    assert_eq!(first.unwrap().status(), 200);
    assert_eq!(gateway.post("token-s3", " ".repeat(900_000)).send().await.unwrap().status(), 400);
    gateway.stop().await;
}
