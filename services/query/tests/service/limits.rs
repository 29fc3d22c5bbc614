//! Places, deadlines, and a store that is away: with a store of the test's own that answers when
//! it is told to, or never.

use crate::support::{OPERATOR, Stage};
use heliograph_contract::v1::{self, query_service_client::QueryServiceClient};
use heliograph_query::QueryConfig;
use heliograph_store::StoreConfig;
use hyper_util::rt::TokioExecutor;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::{Code, Request, Status};

/// A store that takes statements and answers none.
struct Mute(TcpListener);

impl Mute {
    async fn start() -> (Self, StoreConfig) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (Self(listener), StoreConfig { url, ..Default::default() })
    }

    /// The next statement's connection and the head of its request.
    async fn statement(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (stream, String::from_utf8(head).unwrap())
    }
}

fn readings() -> v1::QueryReadingsRequest {
    v1::QueryReadingsRequest { site_id: "s1".into(), end_ms: 1, ..Default::default() }
}

async fn stage(store: StoreConfig, config: QueryConfig) -> Stage {
    let stage = Stage::start_with(store, config).await;
    stage.put_site("t1", "s1", "UTC").await;
    stage
}

/// Starts a call that the store will hold.
async fn held(stage: &Stage) -> tokio::task::JoinHandle<Status> {
    let mut client = stage.query(OPERATOR).await;
    tokio::spawn(async move { client.query_readings(readings()).await.unwrap_err() })
}

/// The same, with a deadline that the client tells and does not itself keep, as a `Channel` would.
async fn held_for(stage: &Stage, timeout: &'static str) -> tokio::task::JoinHandle<Status> {
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let origin = format!("http://{}", stage.addr).parse().unwrap();
    let mut client = QueryServiceClient::with_origin(http, origin);
    tokio::spawn(async move {
        let mut request = Request::new(readings());
        let authorization = format!("Bearer {OPERATOR}").parse().unwrap();
        request.metadata_mut().insert("authorization", authorization);
        request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
        client.query_readings(request).await.unwrap_err()
    })
}

#[tokio::test]
async fn a_call_over_the_limit_is_refused_at_once_and_a_place_comes_back() {
    let (mute, store) = Mute::start().await;
    let stage = stage(store, QueryConfig { concurrency_max: 2, ..Default::default() }).await;
    let first = held(&stage).await;
    let (first_statement, _) = mute.statement().await;
    let _second = held(&stage).await;
    let _second_statement = mute.statement().await;
    let status = stage.query(OPERATOR).await.query_readings(readings()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");

    // The store breaks off: its caller hears of it, and the next call has a place.
    drop(first_statement);
    assert_eq!(first.await.unwrap().code(), Code::Unavailable);
    let listed = stage.query(OPERATOR).await.list_sites(v1::ListSitesRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().sites.len(), 1);
}

#[tokio::test]
async fn a_tenant_takes_its_share_and_leaves_places_to_others() {
    let (mute, store) = Mute::start().await;
    let config =
        QueryConfig { concurrency_max: 4, tenant_concurrency_max: 2, ..Default::default() };
    let stage = stage(store, config).await;
    let greedy = [stage.viewer_of("t1").await, stage.viewer_of("t1").await];
    let mut statements = Vec::new();
    for token in &greedy {
        let mut client = stage.query(token).await;
        tokio::spawn(async move { client.query_readings(readings()).await });
        statements.push(mute.statement().await);
    }
    let list = v1::ListSitesRequest::default;
    let status = stage.query(&greedy[0]).await.list_sites(list()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("this tenant's"), "{status}");
    stage.put_tenant("t2").await;
    let other = stage.viewer_of("t2").await;
    stage.query(&other).await.list_sites(list()).await.unwrap();
    drop(statements);
}

#[tokio::test]
async fn a_deadline_reaches_the_store_and_ends_the_statement() {
    let (mute, store) = Mute::start().await;
    let stage = stage(store, QueryConfig::default()).await;
    let call = held_for(&stage, "400m").await;
    let (mut statement, head) = mute.statement().await;
    let setting = |name: &str| {
        let rest = head.split(&format!("{name}=")).nth(1).unwrap_or_else(|| panic!("{head}"));
        rest.split(['&', ' ']).next().unwrap().to_owned()
    };
    let secs: f64 = setting("max_execution_time").parse().unwrap();
    assert!(secs > 0.0 && secs <= 0.4, "{secs}");
    assert_eq!(setting("cancel_http_readonly_queries_on_client_close"), "1");
    assert_eq!(setting("readonly"), "2");
    assert_eq!(call.await.unwrap().code(), Code::DeadlineExceeded);
    // Our end of the connection is closed: what the store takes for "cancel".
    let mut rest = Vec::new();
    statement.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn the_configured_deadline_holds_for_calls_without_one() {
    let (mute, store) = Mute::start().await;
    let config = QueryConfig { deadline_max: Duration::from_millis(200), ..Default::default() };
    let stage = stage(store, config).await;
    let call = held(&stage).await;
    let _statement = mute.statement().await;
    assert_eq!(call.await.unwrap().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_statement_along() {
    let (mute, store) = Mute::start().await;
    let stage = stage(store, QueryConfig { concurrency_max: 1, ..Default::default() }).await;
    let call = held(&stage).await;
    let (mut statement, _) = mute.statement().await;
    call.abort();
    let mut rest = Vec::new();
    statement.read_to_end(&mut rest).await.unwrap();
    let listed = stage.query(OPERATOR).await.list_sites(v1::ListSitesRequest::default()).await;
    assert!(listed.is_ok(), "its place is free again");
}

#[tokio::test]
async fn a_store_that_is_away_is_unavailable_and_one_that_refuses_is_our_bug() {
    let (mute, store) = Mute::start().await;
    let stage = stage(store, QueryConfig::default()).await;
    for (answer, want) in [
        ("404 Not Found\r\nX-ClickHouse-Exception-Code: 60", Code::Internal),
        ("503 Service Unavailable\r\nX-ClickHouse-Exception-Code: 202", Code::ResourceExhausted),
    ] {
        let call = held(&stage).await;
        let (mut statement, head) = mute.statement().await;
        let length: usize = head
            .to_ascii_lowercase()
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.split("\r\n").next()?.parse().ok())
            .unwrap_or_else(|| panic!("{head}"));
        statement.read_exact(&mut vec![0; length]).await.unwrap();
        let code = answer.rsplit(' ').next().unwrap();
        let body = format!("Code: {code}. DB::Exception: text");
        let response = format!(
            "HTTP/1.1 {answer}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        statement.write_all(response.as_bytes()).await.unwrap();
        assert_eq!(call.await.unwrap().code(), want, "{answer}");
    }
    drop(mute);
    let status = held(&stage).await.await.unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}
