//! UploadService over a real connection: the same rules, the same limits, one result per upload.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use futures::{StreamExt, channel::mpsc, future::join_all};
use heliograph_contract::v1::{
    self, upload_service_client::UploadServiceClient, upload_stream_response::Result as Outcome,
};
use heliograph_gateway::GatewayConfig;
use prost::Message;
use std::time::Duration;
use tonic::{
    Code, Request, Status, Streaming,
    codec::CompressionEncoding,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

type Client = UploadServiceClient<Channel>;

async fn client(gateway: &Running) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
    UploadServiceClient::new(endpoint.connect().await.unwrap())
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn sent(device: &str) -> v1::SentReading {
    v1::SentReading {
        device: device.into(),
        metric: "ac_power".into(),
        ts_ms: Some(1_767_225_600_000),
        value: Some(1.5),
        ..Default::default()
    }
}

fn upload(id: &str, readings: Vec<v1::SentReading>) -> v1::UploadRequest {
    v1::UploadRequest { upload_id: id.into(), readings, ..Default::default() }
}

fn in_stream(upload: v1::UploadRequest) -> v1::UploadStreamRequest {
    v1::UploadStreamRequest { upload: Some(upload) }
}

fn fields(status: &Status) -> Vec<String> {
    let violations = status.get_details_bad_request().map(|b| b.field_violations);
    violations.unwrap_or_default().into_iter().map(|v| v.field).collect()
}

/// A stream that stays open, and where its uploads go.
async fn open(
    client: &mut Client,
) -> (mpsc::UnboundedSender<v1::UploadStreamRequest>, Streaming<v1::UploadStreamResponse>) {
    let (sender, uploads) = mpsc::unbounded();
    let results = client.upload_stream(with_token(uploads, "token-s1")).await.unwrap();
    (sender, results.into_inner())
}

#[tokio::test]
async fn an_upload_is_on_the_log_when_it_is_acknowledged() {
    let gateway = start(config()).await;
    let mut client = client(&gateway).await.send_compressed(CompressionEncoding::Gzip);
    let mut bad = sent("inv2");
    bad.value = None;
    let request = with_token(upload("u1", vec![sent("inv1"), bad.clone()]), "token-s1");
    let answer = client.upload(request).await.unwrap().into_inner();
    assert_eq!((answer.upload_id.as_str(), answer.accepted), ("u1", 1));
    let [rejected] = &answer.rejected[..] else { panic!("{answer:?}") };
    assert_eq!((rejected.index, rejected.field.as_str()), (1, "value"));
    assert_eq!(gateway.stored_ids().await, ["u1"]);
    let [letter] = &gateway.dead_letters().await[..] else { panic!("want one dead letter") };
    assert_eq!(letter.format, "application/protobuf");
    let value: serde_json::Value = serde_json::from_slice(&letter.value).unwrap();
    use base64::Engine;
    let kept = base64::engine::general_purpose::STANDARD
        .decode(value[0]["reading"].as_str().unwrap())
        .unwrap();
    assert_eq!(kept, bad.encode_to_vec(), "as it was sent");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_a_status_with_its_fields_and_nothing_is_stored() {
    let gateway = start(GatewayConfig { readings_max: 2, ..config() }).await;
    let mut client = client(&gateway).await;
    let of_site = |site: &str| v1::UploadRequest { site_id: site.into(), ..upload("u", vec![]) };
    let three = vec![sent("a"), sent("b"), sent("c")];
    let large = vec![sent(&"x".repeat(1_100_000))];
    let rows = [
        ("an unknown token", "token-s9", upload("u", vec![]), Code::Unauthenticated, ""),
        ("another site", "token-s1", of_site("s2"), Code::PermissionDenied, "site"),
        ("no site's name", "token-s1", of_site("a b"), Code::InvalidArgument, "site_id"),
        ("a bad id", "token-s1", upload("a b", vec![]), Code::InvalidArgument, "upload_id"),
        ("many readings", "token-s1", upload("u", three), Code::InvalidArgument, "readings"),
        ("too large", "token-s1", upload("u", large), Code::InvalidArgument, "body"),
    ];
    for (name, token, upload, code, field) in rows {
        let status = client.upload(with_token(upload, token)).await.unwrap_err();
        assert_eq!(status.code(), code, "{name}: {status:?}");
        let want: Vec<&str> = Some(field).into_iter().filter(|f| !f.is_empty()).collect();
        assert_eq!(fields(&status), want, "{name}");
    }
    let status = client.upload(upload("u", vec![])).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "no token");
    let mut zstd = with_token(upload("u", vec![]), "token-s1");
    zstd.metadata_mut().insert("grpc-encoding", "zstd".parse().unwrap());
    let status = client.upload(zstd).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "a compression that has no limit");
    assert_eq!(gateway.stored_ids().await, [""; 0]);
    gateway.stop().await;
}

#[tokio::test]
async fn our_own_fault_says_when_to_come_again() {
    let gateway = start(config()).await;
    gateway.log.faults(|r| if is_upload_of(r, "s1") { Fault::Fail } else { Fault::None });
    let mut client = client(&gateway).await;
    let status = client.upload(with_token(upload("u1", vec![]), "token-s1")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((3..=7).contains(&delay.as_secs()), "{delay:?}");
    let (sender, mut results) = open(&mut client).await;
    sender.unbounded_send(in_stream(upload("u2", vec![]))).unwrap();
    let result = results.message().await.unwrap().unwrap().result.unwrap();
    let Outcome::Refused(told) = result else { panic!("{result:?}") };
    assert_eq!(told.code, Code::Unavailable as i32);
    assert!((3_000..=7_000).contains(&told.retry_after_ms.unwrap()));
    gateway.ticks_until(partition_of("s1"), |t| refused(t) == 2).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_answers_each_upload_in_order_and_a_bad_one_does_not_end_it() {
    let gateway = start(config()).await;
    let mut client = client(&gateway).await;
    let uploads = vec![
        in_stream(upload("u1", vec![sent("a")])),
        in_stream(upload("a b", vec![])),
        v1::UploadStreamRequest { upload: None },
        in_stream(v1::UploadRequest { site_id: "s2".into(), ..upload("u2", vec![]) }),
        in_stream(upload("u3", vec![])),
    ];
    let request = with_token(futures::stream::iter(uploads), "token-s1");
    let results = client.upload_stream(request).await.unwrap().into_inner();
    let got: Vec<String> = results
        .map(|result| match result.unwrap().result.unwrap() {
            Outcome::Accepted(answer) => answer.upload_id,
            Outcome::Refused(refused) => {
                assert!(!refused.message.is_empty() && refused.retry_after_ms.is_none());
                format!("{:?} {}", Code::from(refused.code), refused.fields[0].field)
            }
        })
        .collect()
        .await;
    let bad = ["InvalidArgument upload_id", "InvalidArgument upload", "PermissionDenied site"];
    assert_eq!(got, ["u1", bad[0], bad[1], bad[2], "u3"]);
    assert_eq!(gateway.stored_ids().await, ["u1", "u3"]);
    gateway.stop().await;
}

#[tokio::test]
async fn who_reads_no_results_is_not_read_from() {
    let gateway = start(config()).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
    let channel = endpoint.initial_stream_window_size(65_535).connect().await.unwrap();
    // The result of an upload is larger than what the client lets in.
    let bad: Vec<_> = (0..2_000).map(|_| v1::SentReading::default()).collect();
    let uploads = (0..20).map(|i| in_stream(upload(&format!("u{i:02}"), bad.clone())));
    let request = with_token(futures::stream::iter(Vec::from_iter(uploads)), "token-s1");
    let mut stalled = UploadServiceClient::new(channel).max_decoding_message_size(1 << 20);
    let results = stalled.upload_stream(request).await.unwrap().into_inner();
    // Others have all the time that this one's would need.
    let mut other = client(&gateway).await;
    for i in 0..100 {
        let upload = upload(&format!("other{i}"), vec![]);
        other.upload(with_token(upload, "token-s2")).await.unwrap();
    }
    let stored = |ids: Vec<String>| ids.iter().filter(|id| id.starts_with('u')).count();
    let before = stored(gateway.stored_ids().await);
    assert!((1..=2).contains(&before), "{before} were taken");
    let all: Vec<_> = results.map(|result| result.unwrap()).collect().await;
    assert_eq!((all.len(), stored(gateway.stored_ids().await)), (20, 20));
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_the_gateway_after_what_was_taken_is_answered() {
    let mut gateway = start(config()).await;
    gateway.log.faults(|r| if is_upload_of(r, "s1") { Fault::Hang } else { Fault::None });
    let mut client = client(&gateway).await;
    let (sender, mut results) = open(&mut client).await;
    sender.unbounded_send(in_stream(upload("u1", vec![]))).unwrap();
    gateway.log.hangs(1).await;
    gateway.shutdown.cancel();
    gateway.log.release();
    let first = results.message().await.unwrap().unwrap();
    assert!(matches!(first.result, Some(Outcome::Accepted(_))), "{first:?}");
    let end = results.message().await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert!(end.get_details_retry_info().is_some());
    gateway.left().await;
    assert_eq!(gateway.stored_ids().await, ["u1"]);
    drop(sender);
}

#[tokio::test]
async fn streams_are_limited_and_idle_ones_end() {
    let limits = GatewayConfig { streams_max: 2, ..config() };
    let gateway = start(limits).await;
    let mut client = client(&gateway).await;
    let open_one = async |mut client: Client| open(&mut client).await;
    let held = join_all((0..2).map(|_| open_one(client.clone()))).await;
    let third = client.upload_stream(with_token(futures::stream::pending(), "token-s1")).await;
    let status = third.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
    drop(held);
    gateway.stop().await;
    let idle = Duration::from_millis(50);
    let gateway = start(GatewayConfig { stream_idle_timeout: idle, ..config() }).await;
    let mut client = self::client(&gateway).await;
    let (_sender, mut results) = open(&mut client).await;
    let end = results.message().await.unwrap_err();
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_message_that_does_not_come_gives_its_place_back() {
    let limits = GatewayConfig { body_read_timeout: Duration::from_millis(50), ..config() };
    let gateway = start(limits).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
    let mut grpc = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let never = with_token(futures::stream::pending::<v1::UploadRequest>(), "token-s1");
    let path = http::uri::PathAndQuery::from_static("/heliograph.v1.UploadService/Upload");
    let codec = tonic_prost::ProstCodec::<_, v1::UploadResponse>::default();
    let status = grpc.client_streaming(never, path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn health_reflection_and_unknown_methods_answer() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let gateway = start(config()).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    gateway.ticks_until(0, |t| !t.is_empty()).await;
    for service in ["", "heliograph.v1.UploadService"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = HealthClient::new(channel.clone()).check(request).await.unwrap();
        assert_eq!(answer.into_inner().status, 1, "{service}");
    }
    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let asked = futures::stream::iter([list]);
    let mut answers = ServerReflectionClient::new(channel.clone())
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let mut names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["grpc.health.v1.Health", "heliograph.v1.UploadService"]);
    let mut elsewhere = v1::query_service_client::QueryServiceClient::new(channel);
    let status = elsewhere.list_sites(v1::ListSitesRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    gateway.stop().await;
}
