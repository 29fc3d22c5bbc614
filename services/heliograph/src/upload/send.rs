//! Sends uploads one after the other, each until it is taken or refused for good.
//!
//! Invariant: an upload counts only after its 2xx was read; what got none is sent again, the same
//! bytes, after the time that the gateway asks for.

use crate::simulate::client::{retry_after_ms, said};
use anyhow::{Context, bail};
use bytes::Bytes;
use heliograph_service::retry::Backoff;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Tries without any answer, or with "not now", after which the command gives up.
const TRIES_MAX: usize = 20;
const TIMEOUT: Duration = Duration::from_secs(30);

/// A reading as `POST /v1/uploads` takes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReadingJson {
    pub device: String,
    pub metric: String,
    pub ts: String,
    pub value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What the gateway says to an upload that it took.
#[derive(Debug, Deserialize)]
pub struct Taken {
    pub accepted: usize,
    pub rejected: Vec<Rejected>,
}

/// A reading that it did not take.
#[derive(Debug, Deserialize)]
pub struct Rejected {
    pub index: usize,
    pub field: String,
    pub got: String,
    pub want: String,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    readings: &'a [ReadingJson],
}

/// The end of it.
enum Answer {
    Taken(Taken),
    /// For good, and why.
    Refused(StatusCode, String),
}

/// Where to send, and as whom.
pub struct Sender {
    http: reqwest::Client,
    url: String,
    token: String,
    site: Option<String>,
}

impl Sender {
    /// # Errors
    /// When the address is none.
    pub fn new(gateway: &str, token: String, site: Option<String>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        let url = format!("{}/v1/uploads", gateway.trim_end_matches('/'));
        url.parse::<reqwest::Url>()
            .with_context(|| format!("--gateway: got {gateway:?}, want http://HOST:PORT"))?;
        Ok(Self { http, url, token, site })
    }

    /// Asks whether the token is a site's, with a body that is refused only after the token was
    /// taken: nothing is stored, not even a sign of life.
    ///
    /// # Errors
    /// What is wrong with the token, or nobody answers for a long time.
    pub async fn check_token(&self) -> anyhow::Result<()> {
        match self.answered(Bytes::new()).await? {
            Answer::Refused(StatusCode::UNAUTHORIZED, why) => bail!("{why}"),
            Answer::Refused(..) | Answer::Taken(_) => Ok(()),
        }
    }

    /// Sends one upload until it is answered.
    ///
    /// # Errors
    /// When it is refused for good, or nobody takes it for a long time.
    pub async fn send(&self, readings: &[ReadingJson]) -> anyhow::Result<Taken> {
        let body = serde_json::to_vec(&Body { site: self.site.as_deref(), readings })?;
        match self.answered(body.into()).await? {
            Answer::Taken(taken) => Ok(taken),
            Answer::Refused(_, why) => bail!("{why}"),
        }
    }

    /// Sends until somebody takes it or refuses it for good.
    async fn answered(&self, body: Bytes) -> anyhow::Result<Answer> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        let mut last = String::new();
        for tries in 0..TRIES_MAX {
            let wait = match self.post(body.clone()).await {
                Ok(response) if response.status().is_success() => {
                    match response.json().await {
                        Ok(taken) => return Ok(Answer::Taken(taken)),
                        Err(error) => last = format!("{}: {error}", self.url),
                    }
                    None
                }
                Ok(response) if is_not_now(response.status()) => {
                    let wait_ms = retry_after_ms(response.headers());
                    last = refusal(response).await;
                    wait_ms.map(Duration::from_millis)
                }
                Ok(response) => {
                    return Ok(Answer::Refused(response.status(), refusal(response).await));
                }
                Err(error) => {
                    last = format!("{:#}", anyhow::Error::from(error.without_url()));
                    None
                }
            };
            let delay = wait.unwrap_or_default().max(backoff.next_delay());
            if tries == 1 {
                tracing::warn!(%last, "sending again; is the gateway running? `heliograph doctor` looks");
            }
            tokio::time::sleep(delay).await;
        }
        bail!("{} did not take it in {TRIES_MAX} tries; the last answer: {last}", self.url)
    }

    async fn post(&self, body: Bytes) -> reqwest::Result<reqwest::Response> {
        let request = self.http.post(&self.url).bearer_auth(&self.token);
        request.header("content-type", "application/json").body(body).send().await
    }
}

fn is_not_now(status: StatusCode) -> bool {
    let waits = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT];
    waits.contains(&status) || status.is_server_error()
}

async fn refusal(response: reqwest::Response) -> String {
    let status = response.status();
    format!("{status}: {}", said(&response.bytes().await.unwrap_or_default()))
}
