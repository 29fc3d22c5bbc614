//! Sends uploads one after the other, each until it is taken or refused for good.
//!
//! Invariant: an upload counts only after its 2xx was read; what got none is sent again, the same
//! bytes, after the time that the gateway asks for.

use crate::{
    say,
    simulate::client::{retry_after_ms, said},
};
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
    site: &'a str,
    readings: &'a [ReadingJson],
}

/// The end of it.
enum Answer {
    Taken(Taken),
    /// For good, and why.
    Refused(String),
}

/// Whether a token was looked at.
#[derive(Debug, PartialEq)]
pub enum Checked {
    Yes,
    /// And why not.
    No(String),
}

/// Where to send, and as whom.
pub struct Sender {
    http: reqwest::Client,
    gateway: String,
    url: String,
    token: String,
    site: String,
}

impl Sender {
    /// # Errors
    /// When the address is none.
    pub fn new(gateway: &str, token: String, site: String) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        let gateway = gateway.trim_end_matches('/').to_owned();
        let url = format!("{gateway}/v1/uploads");
        url.parse::<reqwest::Url>()
            .with_context(|| format!("--gateway: got {gateway:?}, want http://HOST:PORT"))?;
        Ok(Self { http, gateway, url, token, site })
    }

    /// Asks once whether the token is a site's, with a body that is refused only after the token
    /// was taken: nothing is stored, not even a sign of life.
    ///
    /// # Errors
    /// What is wrong with the token.
    pub async fn check_token(&self) -> anyhow::Result<Checked> {
        let response = match self.post(Bytes::new()).await {
            Ok(response) => response,
            Err(_) => return Ok(Checked::No(format!("nothing answers at {}", self.gateway))),
        };
        match response.status() {
            StatusCode::UNAUTHORIZED => bail!("{}", refusal(response).await),
            StatusCode::BAD_REQUEST => Ok(Checked::Yes),
            _ => Ok(Checked::No(refusal(response).await)),
        }
    }

    /// An upload without readings, a sign of life: whether the token is that of the site.
    ///
    /// # Errors
    /// When it is not, or nobody answers for a long time.
    pub async fn check_site(&self) -> anyhow::Result<()> {
        self.send(&[]).await.map(drop)
    }

    /// Sends one upload until it is answered.
    ///
    /// # Errors
    /// When it is refused for good, or nobody takes it for a long time.
    pub async fn send(&self, readings: &[ReadingJson]) -> anyhow::Result<Taken> {
        let body = serde_json::to_vec(&Body { site: &self.site, readings })?;
        match self.answered(body.into()).await? {
            Answer::Taken(taken) => Ok(taken),
            Answer::Refused(why) => bail!("{why}"),
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
                    return Ok(Answer::Refused(refusal(response).await));
                }
                Err(error) => {
                    if tries == 0 && error.is_connect() {
                        let at = &self.gateway;
                        say::hint(format_args!(
                            "nothing answers at {at}: is `heliograph up` running? Trying again"
                        ));
                    }
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
