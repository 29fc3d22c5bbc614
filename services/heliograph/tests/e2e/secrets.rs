//! No token's secret in any log: every kind of token is made, sent wherever a client may put it,
//! rotated and revoked, while everything logs all it can; then the secrets are looked for.

use crate::support::{Installation, OnLog, Setup, data_dir, on_either_log};
use anyhow::ensure;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use heliograph_contract::v1::{
    CreateApiTokenRequest, GetSiteRequest, ListSitesRequest, PutSiteRequest, QueryReadingsRequest,
    RotateSiteTokenRequest, Site, admin_service_client::AdminServiceClient,
    query_service_client::QueryServiceClient,
};
use heliograph_testkit::leaks::{files_below, leaks};
use serde_json::json;
use std::{collections::BTreeSet, fs, path::Path};
use tonic::{Request, metadata::MetadataValue, transport::Channel};

on_either_log!(no_secret_is_in_any_log_or_file,);

fn run(up: &Installation, args: &[&str]) -> anyhow::Result<String> {
    let mut command = up.heliograph();
    command.env("RUST_LOG", "trace");
    command.args(args);
    let output = up.output(command)?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Uploads with the token in every place of a request; what is answered does not matter here.
async fn uploads(up: &Installation, token: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::new();
    let gateway = &up.gateway;
    let url = format!("{gateway}/v1/uploads");
    let basic = BASE64_STANDARD.encode(format!("user:{token}"));
    for authorization in [
        format!("Bearer {token}"),
        format!("bearer  {token} "),
        format!("Token {token}"),
        format!("Basic {basic}"),
        token.to_owned(),
        format!("Bearer {token}x"),
    ] {
        let body = json!({ "readings": [{ "device": "inv1" }] });
        client.post(&url).header("authorization", authorization).json(&body).send().await?;
    }
    for path in [
        format!("/v1/uploads?token={token}"),
        format!("/v1/uploads/{token}"),
        format!("/api/v2/write?u=user&p={token}"),
        format!("/write?u=user&p={token}&db={token}"),
        format!("/{token}"),
    ] {
        client.post(format!("{gateway}{path}")).json(&json!({})).send().await?;
        client.get(format!("{}{path}", up.query)).send().await?;
    }
    for header in ["x-api-key", "cookie", "content-type", "content-encoding", "user-agent"] {
        client.post(&url).header(header, token).body("{}").send().await?;
    }
    for body in [
        json!({ "site": token, "readings": [] }).to_string(),
        json!({ "token": token, "readings": [] }).to_string(),
        json!({ "upload_id": format!("{token} "), "readings": [] }).to_string(),
        format!("{{\"readings\": [{token}"),
        token.to_owned(),
    ] {
        for content_type in ["application/json", "application/protobuf", "text/plain"] {
            let post = client.post(&url).bearer_auth(token).header("content-type", content_type);
            post.body(body.clone()).send().await?;
        }
    }
    Ok(())
}

fn request<T>(message: T, authorization: &str) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", MetadataValue::try_from(authorization)?);
    Ok(request)
}

/// Calls with the token in every place of a call; what is answered does not matter here.
async fn calls(up: &Installation, token: &str, others: &str) -> anyhow::Result<()> {
    let channel = Channel::from_shared(up.query.clone())?.connect().await?;
    let (mut query, mut admin) =
        (QueryServiceClient::new(channel.clone()), AdminServiceClient::new(channel));
    for authorization in [
        format!("Bearer {token}"),
        format!("Basic {token}"),
        token.to_owned(),
        format!("Bearer {token}x"),
    ] {
        let list = ListSitesRequest { page_token: format!("{token} "), ..Default::default() };
        let _ = query.list_sites(request(list, &authorization)?).await;
        let one = GetSiteRequest { site_id: others.to_owned() };
        let _ = query.get_site(request(one, &authorization)?).await;
        let readings = QueryReadingsRequest {
            site_id: others.to_owned(),
            devices: vec![others.to_owned()],
            end_ms: 1,
            ..Default::default()
        };
        let _ = query.query_readings(request(readings, &authorization)?).await;
        let rotate = RotateSiteTokenRequest { site_id: others.to_owned() };
        let _ = admin.rotate_site_token(request(rotate, &authorization)?).await;
        // Not sound, so that it is refused whoever calls.
        let site = Site { id: others.to_owned(), zone: others.to_owned(), ..Default::default() };
        let put = PutSiteRequest { site: Some(site), ..Default::default() };
        let _ = admin.put_site(request(put, &authorization)?).await;
        let create = CreateApiTokenRequest::default();
        let _ = admin.create_api_token(request(create, &authorization)?).await;
    }
    Ok(())
}

async fn no_secret_is_in_any_log_or_file(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Setup::new(on, dir.path()).env("RUST_LOG", "trace").start()?;
    let site = run(&up, &["site", "add", "s1", "--tenant", "t1", "--zone", "UTC"])?;
    let file = dir.path().join("sites.csv");
    fs::write(&file, "id,tenant,zone\ns2,t1,UTC\n")?;
    run(&up, &["site", "import", &file.display().to_string()])?;
    let add = ["token", "add", "--tenant", "t1", "--name", "x", "--role"];
    let viewer = run(&up, &[&add[..], &["viewer"]].concat())?;
    let operator = run(&up, &[&add[..], &["operator"]].concat())?;
    let of_up = up.operator_token.clone();
    for token in [&site, &viewer, &operator, &of_up] {
        uploads(&up, token).await?;
        for others in [&site, token] {
            calls(&up, token, others).await?;
        }
    }
    let rotated = run(&up, &["site", "rotate-token", "s1"])?;
    uploads(&up, &rotated).await?;
    uploads(&up, &site).await?;
    let listed = run(&up, &["token", "list", "--json"])?;
    for line in listed.lines().filter(|line| line.contains("viewer")) {
        let token: serde_json::Value = serde_json::from_str(line)?;
        run(&up, &["token", "revoke", token["id"].as_str().unwrap_or_default()])?;
    }
    calls(&up, &viewer, &viewer).await?;
    run(&up, &["site", "remove", "s1", "--yes"])?;
    uploads(&up, &rotated).await?;

    let tokens = up.tokens();
    ensure!(tokens.len() == 6, "made {tokens:?}");
    let said = up.said();
    up.stop()?;
    ensure!(said.contains("\"TRACE\""), "it did not log all it can");
    no_file_tells(dir.path(), &tokens)
}

/// Everything on disk but the file that is made for it.
fn no_file_tells(dir: &Path, tokens: &BTreeSet<String>) -> anyhow::Result<()> {
    let files = files_below(dir, &["endpoint.json"]);
    ensure!(files.len() > 10, "{files:?}");
    for file in files {
        let leaked = leaks(&String::from_utf8_lossy(&fs::read(&file)?), tokens);
        ensure!(leaked.is_empty(), "{} tells {leaked:?}", file.display());
    }
    Ok(())
}
