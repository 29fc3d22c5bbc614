//! What clients do with an installation.

use super::{Installation, text, wait_for};
use anyhow::ensure;
use heliograph_contract::v1::query_service_client::QueryServiceClient;
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    time::Duration,
};
use tonic::{
    Request, Status, metadata::MetadataValue, service::interceptor::InterceptedService,
    transport::Channel,
};

type AddToken = Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status> + Send + Sync>;

/// A channel that carries the operator's token.
pub type Authorized = InterceptedService<Channel, AddToken>;

impl Installation {
    /// A client of the query service, as the operator.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn queries(&self) -> anyhow::Result<QueryServiceClient<Authorized>> {
        Ok(QueryServiceClient::new(self.channel().await?))
    }

    /// A channel to the query service, as the operator.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn channel(&self) -> anyhow::Result<Authorized> {
        let channel = Channel::from_shared(self.query.clone())?.connect().await?;
        let token = MetadataValue::try_from(format!("Bearer {}", self.operator_token))?;
        let add: AddToken = Box::new(move |mut request: Request<()>| {
            request.metadata_mut().insert("authorization", token.clone());
            Ok(request)
        });
        Ok(InterceptedService::new(channel, add))
    }

    /// Registers a site and returns its token, once the gateways know it: within a second, as each
    /// learns of it from the registry's topic.
    ///
    /// # Errors
    /// When the site is refused, or a gateway does not learn of it.
    pub fn add_site(&self, id: &str, zone: &str) -> anyhow::Result<String> {
        let output = self.command(&["site", "add", id, "--tenant", "t1", "--zone", zone])?;
        ensure!(output.status.success(), "{}", text(&output));
        let token = String::from_utf8(output.stdout)?.trim().to_owned();
        for gateway in self.gateways() {
            let knows = || is_known(&gateway, &token).is_ok_and(|known| known);
            ensure!(wait_for(Duration::from_secs(30), knows), "{gateway} does not learn of {id}");
        }
        Ok(token)
    }

    /// Sends one upload.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn upload(
        &self,
        token: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<(u16, serde_json::Value)> {
        let response = reqwest::Client::new()
            .post(format!("{}/v1/uploads", self.gateway))
            .bearer_auth(token)
            .json(body)
            .send()
            .await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// Waits until writer and rollups are through, and compares the three ledgers.
    ///
    /// # Errors
    /// When they cannot be compared; that they differ is in the answer.
    pub fn audit(&self, summaries: &[&Path]) -> anyhow::Result<serde_json::Value> {
        let mut args = vec!["audit".to_owned(), "--json".to_owned()];
        for summary in summaries {
            args.extend(["--against".to_owned(), summary.display().to_string()]);
        }
        self.json(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Whether a gateway knows a token: asked by a request that is refused either way.
fn is_known(gateway: &str, token: &str) -> std::io::Result<bool> {
    let head = format!(
        "POST /v1/uploads HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    );
    Ok(ask(gateway.trim_start_matches("http://"), &head)?.starts_with("HTTP/1.1 415"))
}

/// Sends a request's head as it is and reads until the other side closes.
pub(super) fn ask(address: &str, head: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
