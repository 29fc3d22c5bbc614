//! Calls that stay open: what anybody may hold without a token, and streams that nobody reads.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use futures::{StreamExt, channel::mpsc, future::join_all};
use heliograph_contract::v1::{self, upload_service_client::UploadServiceClient};
use heliograph_gateway::GatewayConfig;
use heliograph_service::{aside::AsideLimits, http::HttpLimits};
use std::{future::Future, time::Duration};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
};

async fn channel(gateway: &Running) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
    endpoint.initial_stream_window_size(65_535).connect().await.unwrap()
}

async fn watch(channel: &Channel) -> Result<impl Sized + use<>, Status> {
    HealthClient::new(channel.clone()).watch(HealthCheckRequest::default()).await
}

async fn reflect(channel: &Channel) -> Result<impl Sized + use<>, Status> {
    // Dropped, the sender ends the request.
    let (sender, silent) = mpsc::unbounded::<ServerReflectionRequest>();
    let answers = ServerReflectionClient::new(channel.clone()).server_reflection_info(silent).await;
    answers.map(|answers| (sender, answers))
}

/// Asks again until it is granted: each refusal is an answer that was waited for.
async fn granted<T, F: Future<Output = Result<T, Status>>>(ask: impl Fn() -> F) -> T {
    let asked = async {
        loop {
            match ask().await {
                Ok(granted) => return granted,
                Err(status) => assert_eq!(status.code(), Code::ResourceExhausted, "{status}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("a place comes back")
}

#[tokio::test]
async fn streams_of_health_and_reflection_are_few_and_take_nothing_from_checks() {
    let AsideLimits { streams_max, connection_streams_max, .. } = AsideLimits::DEFAULT;
    let gateway = start(config()).await;
    let channels = join_all((0..=streams_max / connection_streams_max).map(|_| channel(&gateway)));
    let channels = channels.await;
    let mut held = Vec::new();
    let (last, all) = channels.split_last().unwrap();
    for channel in all {
        for _ in 1..connection_streams_max {
            held.push(watch(channel).await.unwrap());
        }
        let silent = reflect(channel).await.unwrap();
        let status = watch(channel).await.map(drop).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted, "over a connection's share: {status}");
        // Its place comes back for another one.
        drop(silent);
        held.push(granted(|| watch(channel)).await);
    }
    assert_eq!(held.len(), streams_max);
    let status = reflect(last).await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "over all: {status}");
    for channel in &channels {
        let check = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
        assert_eq!(check.unwrap().into_inner().status, 1);
    }
    drop(held);
    granted(|| watch(last)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_whose_results_nobody_reads_is_ended() {
    let http = HttpLimits { write_timeout: Duration::from_millis(50), ..HttpLimits::default() };
    let gateway = start(GatewayConfig { site_streams_max: 1, http, ..config() }).await;
    let with_token = |uploads: Vec<v1::UploadStreamRequest>| {
        // What was sent is followed by nothing: the client does not end the stream either.
        let uploads = futures::stream::iter(uploads).chain(futures::stream::pending());
        let mut request = Request::new(uploads);
        request.metadata_mut().insert("authorization", "Bearer token-s1".parse().unwrap());
        request
    };
    // The result of an upload is larger than what the client lets in.
    let bad: Vec<_> = (0..2_000).map(|_| v1::SentReading::default()).collect();
    let upload = v1::UploadRequest { readings: bad, ..Default::default() };
    let uploads = vec![v1::UploadStreamRequest { upload: Some(upload) }; 20];
    let client = UploadServiceClient::new(channel(&gateway).await);
    let open = |uploads| {
        let mut client = client.clone().max_decoding_message_size(1 << 20);
        async move { client.upload_stream(with_token(uploads)).await }
    };
    let mut unread = open(uploads).await.unwrap().into_inner();
    let _second = granted(|| open(vec![])).await;
    let end = loop {
        match unread.message().await {
            Ok(result) => assert!(result.is_some(), "the stream did not end well"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Cancelled, "{end}");
    assert!(gateway.stored_ids().await.len() < 20, "no more was taken than was answered");
    gateway.stop().await;
}
