//! `traceparent` at every way in: what the record carries, what the answer names, what is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use heliograph_contract::{
    event::trace_of,
    topic,
    v1::{self, upload_service_client::UploadServiceClient},
};
use heliograph_domain::trace::TraceContext;
use heliograph_log::Record;
use heliograph_testkit::logs;
use prost::Message;
use serde_json::Value;
use tonic::{Request, metadata::MetadataMap, transport::Endpoint};

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const OTHER: &str = "00-11111111111111111111111111111111-00f067aa0ba902b7-01";
const TOLD_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const LINE: &str = "inv1 ac_power=1.5 1767225600000000000";

/// Lines about uploads of [`TOLD_TRACE`].
fn told() -> Vec<Value> {
    let mut lines = logs::lines("upload");
    lines.retain(|line| line["fields"]["trace_id"] == TOLD_TRACE);
    lines
}

async fn gateway() -> Running {
    logs::listen();
    start(config()).await
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Json,
    Protobuf,
    Influx2,
    Influx1,
    Grpc,
    /// A stream of two uploads.
    GrpcStream,
}

const WAYS: [Way; 6] =
    [Way::Json, Way::Protobuf, Way::Influx2, Way::Influx1, Way::Grpc, Way::GrpcStream];

fn good() -> v1::UploadRequest {
    let reading = v1::SentReading {
        device: "inv1".into(),
        metric: "ac_power".into(),
        ts_ms: Some(1_767_225_600_000),
        value: Some(1.5),
        ..Default::default()
    };
    v1::UploadRequest { readings: vec![reading], ..Default::default() }
}

impl Way {
    /// Uploads with these headers, and gives the `traceresponse` of the answer.
    async fn upload(self, gateway: &Running, token: &str, headers: &[&str]) -> TraceContext {
        let named = match self {
            Self::Grpc | Self::GrpcStream => self.grpc(gateway, token, headers).await,
            _ => self.http(gateway, token, headers).await,
        };
        TraceContext::parse(named.as_bytes()).unwrap()
    }

    async fn http(self, gateway: &Running, token: &str, headers: &[&str]) -> String {
        let (path, kind, body) = match self {
            Self::Json => {
                let body = format!(r#"{{"readings":[{}]}}"#, reading("inv1", "1"));
                ("/v1/uploads", "application/json", body.into_bytes())
            }
            Self::Protobuf => ("/v1/uploads", "application/protobuf", good().encode_to_vec()),
            Self::Influx2 => ("/api/v2/write", "text/plain", LINE.into()),
            _ => ("/write", "text/plain", LINE.into()),
        };
        let request = gateway.client.post(format!("http://{}{path}", gateway.addr));
        let request = request.bearer_auth(token).header("content-type", kind).body(body);
        let with =
            |request: reqwest::RequestBuilder, value: &&str| request.header("traceparent", *value);
        let response = headers.iter().fold(request, with).send().await.unwrap();
        response.headers()["traceresponse"].to_str().unwrap().to_owned()
    }

    async fn grpc(self, gateway: &Running, token: &str, headers: &[&str]) -> String {
        let endpoint = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
        let mut client = UploadServiceClient::new(endpoint.connect().await.unwrap());
        let metadata = |metadata: &mut MetadataMap| {
            metadata.insert("authorization", format!("Bearer {token}").parse().unwrap());
            for value in headers {
                metadata.append("traceparent", value.parse().unwrap());
            }
        };
        let answered = if self == Self::Grpc {
            let mut request = Request::new(good());
            metadata(request.metadata_mut());
            client.upload(request).await.map(|answer| answer.metadata().clone())
        } else {
            let upload = || v1::UploadStreamRequest { upload: Some(good()) };
            let mut request = Request::new(futures::stream::iter([upload(), upload()]));
            metadata(request.metadata_mut());
            match client.upload_stream(request).await {
                Ok(answer) => {
                    let metadata = answer.metadata().clone();
                    let mut results = answer.into_inner();
                    while results.message().await.unwrap().is_some() {}
                    Ok(metadata)
                }
                Err(status) => Err(status),
            }
        };
        let metadata = answered.unwrap_or_else(|status| status.metadata().clone());
        metadata.get("traceresponse").unwrap().to_str().unwrap().to_owned()
    }
}

/// The traces of the site's uploads, in the order of the log.
async fn on_the_log(gateway: &Running, site: &str) -> Vec<TraceContext> {
    let records = gateway.records(topic::UPLOADS, partition_of(site)).await;
    let of_site = |r: &&Record| r.key.as_deref() == Some(site.as_bytes());
    records.iter().filter(of_site).map(|r| trace_of(&r.headers).unwrap()).collect()
}

#[tokio::test]
async fn an_upload_goes_on_with_its_trace_or_gets_one_in_every_way_in() {
    let gateway = gateway().await;
    let parent = TraceContext::parse(SAMPLED.as_bytes()).unwrap();
    // Whether the record is of the sender's trace, and whether it is sampled.
    let rows: [(&str, &[&str], bool, bool); 5] = [
        ("sampled", &[SAMPLED], true, true),
        ("not sampled", &[UNSAMPLED], true, false),
        ("none came", &[], false, false),
        ("nonsense", &["00-00000000000000000000000000000000-00f067aa0ba902b7-01"], false, false),
        ("two", &[SAMPLED, OTHER], false, false),
    ];
    let mut before = 0;
    for way in WAYS {
        for (name, headers, same, sampled) in rows {
            let named = way.upload(&gateway, "token-s1", headers).await;
            let stored = on_the_log(&gateway, "s1").await.split_off(before);
            before += stored.len();
            assert_eq!(stored.len(), if way == Way::GrpcStream { 2 } else { 1 }, "{way:?} {name}");
            for trace in &stored {
                assert_eq!(trace.trace_id == parent.trace_id, same, "{way:?} {name}");
                assert_eq!(trace.is_sampled(), sampled, "{way:?} {name}");
                assert_eq!(trace.trace_id, named.trace_id, "{way:?} {name}: the answer names it");
                assert_ne!(trace.span_id, parent.span_id, "{way:?} {name}: a step of its own");
            }
            match stored[..] {
                [one] => assert_eq!(one, named, "{way:?} {name}"),
                [one, two] => assert_ne!(one.span_id, two.span_id, "{way:?} {name}"),
                _ => unreachable!(),
            }
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_named_too() {
    let gateway = gateway().await;
    let parent = TraceContext::parse(SAMPLED.as_bytes()).unwrap();
    for way in WAYS {
        let named = way.upload(&gateway, "no-such-token", &[SAMPLED]).await;
        assert_eq!(named.trace_id, parent.trace_id, "{way:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn rejected_readings_are_found_by_the_trace_of_their_upload() {
    let gateway = gateway().await;
    let body = body("s1", "u1", &[reading("inv1", "1"), reading("inv2", "null")]);
    let request = gateway.post("token-s1", body).header("traceparent", SAMPLED);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let letters = gateway.records(topic::DEAD_LETTERS, 0).await;
    let [letter] = &letters[..] else { panic!("want one dead letter") };
    assert_eq!(trace_of(&letter.headers), on_the_log(&gateway, "s1").await.pop());
    gateway.stop().await;
}

#[tokio::test]
async fn each_upload_is_one_line_for_all_to_see_when_it_is_sampled() {
    let gateway = gateway().await;
    let rows = [("token-s1", "01", "INFO"), ("token-s1", "00", "DEBUG"), ("wrong", "01", "INFO")];
    for way in WAYS {
        for (token, flags, level) in rows {
            let before = told().len();
            let header = format!("00-{TOLD_TRACE}-00f067aa0ba902b7-{flags}");
            way.upload(&gateway, token, &[&header]).await;
            let lines = told().split_off(before);
            let is_stored = token == "token-s1";
            let count = if way == Way::GrpcStream && is_stored { 2 } else { 1 };
            assert_eq!(lines.len(), count, "{way:?} {header}: {lines:?}");
            for line in lines {
                assert_eq!(line["level"], level, "{way:?}: {line}");
                let fields = &line["fields"];
                match is_stored {
                    true => {
                        assert_eq!(fields["outcome"], "stored", "{line}");
                        assert_eq!(fields["site"], "s1", "{line}");
                        assert_eq!(fields["partition"], partition_of("s1"), "{line}");
                        assert_eq!(fields["readings"], 1, "{line}");
                        assert!(fields["offset"].is_u64(), "{line}");
                    }
                    false => {
                        assert_eq!(fields["outcome"], "refused", "{line}");
                        assert_eq!(fields["why"], "wrong-token", "{line}");
                    }
                }
            }
        }
    }
    gateway.stop().await;
    assert!(!logs::text().contains("token-s1"), "a token is told");
}
