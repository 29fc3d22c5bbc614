//! Who may do what, over the wire.

use crate::support::{OPERATOR, Stage, site};
use heliograph_contract::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

async fn stage() -> Stage {
    Stage::start_with(Default::default(), Default::default()).await
}

async fn get_site(stage: &Stage, token: &str, id: &str) -> Status {
    let request = v1::GetSiteRequest { site_id: id.into() };
    stage.query(token).await.get_site(request).await.unwrap_err()
}

#[tokio::test]
async fn another_tenants_site_is_as_unknown_as_one_that_is_not_there() {
    let stage = stage().await;
    stage.put_site("t1", "mine", "UTC").await;
    stage.put_site("t2", "theirs", "UTC").await;
    let viewer = stage.viewer_of("t1").await;
    let (theirs, nobodys) =
        (get_site(&stage, &viewer, "theirs").await, get_site(&stage, &viewer, "nobody").await);
    assert_eq!(theirs.code(), Code::NotFound);
    assert_eq!(nobodys.code(), Code::NotFound);
    assert_eq!(theirs.message().replace("theirs", "X"), nobodys.message().replace("nobody", "X"));
    let asked =
        |id: &str| v1::QueryReadingsRequest { site_id: id.into(), end_ms: 1, ..Default::default() };
    let status = stage.query(&viewer).await.query_readings(asked("theirs")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

#[tokio::test]
async fn tokens_open_what_their_role_allows_and_nothing_else() {
    let stage = stage().await;
    let upload_token = stage.put_site("t1", "s1", "UTC").await;
    let viewer = stage.viewer_of("t1").await;
    for (token, want) in [
        ("", Code::Unauthenticated),
        ("frobs", Code::Unauthenticated),
        (upload_token.as_str(), Code::Unauthenticated),
    ] {
        assert_eq!(get_site(&stage, token, "s1").await.code(), want);
    }
    let mut admin = stage.admin(&viewer).await;
    let site = Some(site("t1", "s2", "UTC"));
    let denied = [
        admin.put_tenant(v1::PutTenantRequest::default()).await.unwrap_err(),
        admin.put_site(v1::PutSiteRequest { site, ..Default::default() }).await.unwrap_err(),
        admin.create_api_token(v1::CreateApiTokenRequest::default()).await.unwrap_err(),
        admin.list_offsets(v1::ListOffsetsRequest::default()).await.unwrap_err(),
        admin.read_log(v1::ReadLogRequest::default()).await.unwrap_err(),
    ];
    for status in denied {
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
    let listed = stage.query(OPERATOR).await.list_sites(v1::ListSitesRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().sites.len(), 1, "nothing was added");
}

#[tokio::test]
async fn health_and_reflection_are_open_and_follow_the_service() {
    let stage = stage().await;
    let mut health = HealthClient::new(stage.channel().await);
    for service in ["", "heliograph.v1.QueryService", "heliograph.v1.AdminService"] {
        let request = HealthCheckRequest { service: service.into() };
        let got = health.check(request).await.unwrap().into_inner();
        assert_eq!(got.status(), ServingStatus::Serving, "{service:?}");
    }
    let mut reflection = ServerReflectionClient::new(stage.channel().await);
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers =
        reflection.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<String> = list.service.into_iter().map(|s| s.name).collect();
    for service in
        ["heliograph.v1.QueryService", "heliograph.v1.AdminService", "grpc.health.v1.Health"]
    {
        assert!(names.iter().any(|name| name == service), "{service}: {names:?}");
    }
}

async fn http_get(stage: &Stage, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(stage.addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn probes_are_open_and_the_service_leaves_when_told() {
    let mut stage = stage().await;
    assert!(http_get(&stage, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(http_get(&stage, "/readyz").await.starts_with("HTTP/1.1 200"));
    // A logger at the wrong port must not take a gRPC status for a 200.
    for path in ["/frobs", "/v1/uploads"] {
        let refused = http_get(&stage, path).await;
        assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
        assert!(refused.contains("uploads go to the gateway"), "{refused}");
    }
    stage.shutdown.cancel();
    (&mut stage.running).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(stage.addr).await.is_err());
}
