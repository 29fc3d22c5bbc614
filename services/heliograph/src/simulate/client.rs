//! One HTTP request of a logger: body out, answer in.
//!
//! Invariant: [`Answer::Accepted`] means that the whole answer with a 2xx was read; anything cut
//! short is [`Answer::Unanswered`], and the logger sends again.

use super::{batch::Sent, logger::Answer};
use bytes::Bytes;
use heliograph_domain::Timestamp;
use hyper::body::{Body, Frame, SizeHint};
use serde::{Deserialize, Serialize};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

/// No server's wish is taken for longer than this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
/// Characters of an error's text that are kept as the reason.
const REASON_CHARS_MAX: usize = 120;

#[derive(Serialize)]
struct BodyJson<'a> {
    upload_id: &'a str,
    site: &'a str,
    sent_at: String,
    readings: Vec<ReadingJson>,
}

/// A reading as `POST /v1/uploads` takes it.
#[derive(Serialize)]
pub struct ReadingJson {
    device: &'static str,
    metric: &'static str,
    ts: String,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<&'static str>,
}

impl From<&Sent> for ReadingJson {
    fn from(r: &Sent) -> Self {
        let Sent { device, metric, ts_ms, value, unit, quality } = *r;
        let ts = Timestamp::from_ms(ts_ms).to_string();
        Self { device, metric, ts, value, unit, quality }
    }
}

/// The JSON of one upload.
///
/// # Errors
/// Never for finite values; what `serde_json` says otherwise.
pub fn body(
    site: &str,
    upload_id: &str,
    sent_at_ms: i64,
    readings: &[Sent],
) -> serde_json::Result<Bytes> {
    let sent_at = Timestamp::from_ms(sent_at_ms).to_string();
    let readings = readings.iter().map(ReadingJson::from).collect();
    serde_json::to_vec(&BodyJson { upload_id, site, sent_at, readings }).map(Bytes::from)
}

#[derive(Deserialize)]
struct AnswerJson {
    #[serde(default)]
    rejected: Vec<RejectedJson>,
}

#[derive(Deserialize)]
struct RejectedJson {
    index: usize,
}

/// A request body that remembers whether it was taken as a whole.
struct Watched {
    rest: Option<Bytes>,
    taken: Arc<AtomicBool>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let rest = self.rest.take();
        self.taken.store(true, Ordering::Release);
        Poll::Ready(rest.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.as_ref().map_or(0, |b| b.len() as u64))
    }
}

/// Where a fleet uploads to.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// # Errors
    /// When the address is none, or no HTTP client can be built.
    pub fn new(gateway: &str, timeout: Duration) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            .timeout(timeout)
            .no_proxy()
            .build()?;
        let url = format!("{}/v1/uploads", gateway.trim_end_matches('/'));
        url.parse::<reqwest::Url>().map_err(|e| {
            anyhow::anyhow!("gateway: got {gateway:?}, want http://HOST:PORT ({e})")
        })?;
        Ok(Self { http, url })
    }

    /// Sends one upload and waits for its answer.
    pub async fn post(&self, token: &str, body: Bytes) -> Answer {
        let taken = Arc::new(AtomicBool::new(false));
        let watched = Watched { rest: Some(body), taken: taken.clone() };
        let request = self
            .http
            .post(&self.url)
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(reqwest::Body::wrap(watched));
        let unanswered = || Answer::Unanswered { body_sent: taken.load(Ordering::Acquire) };
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "upload without an answer");
                return unanswered();
            }
        };
        let status = response.status();
        let retry_after_ms = retry_after_ms(response.headers());
        let text = match response.bytes().await {
            Ok(text) => text,
            Err(_) if status.is_success() => return unanswered(),
            Err(_) => Bytes::new(),
        };
        if status.is_success() {
            return accepted(&text);
        }
        Answer::Refused { status: status.as_u16(), retry_after_ms, reason: reason(&text) }
    }
}

fn accepted(text: &[u8]) -> Answer {
    match serde_json::from_slice::<AnswerJson>(text) {
        Ok(answer) => {
            Answer::Accepted { rejected: answer.rejected.into_iter().map(|r| r.index).collect() }
        }
        // A 2xx of something that is no gateway promises nothing.
        Err(_) => Answer::Refused {
            status: 502,
            retry_after_ms: None,
            reason: "2xx without the answer of a gateway".into(),
        },
    }
}

/// `Retry-After` in its form of whole seconds (RFC 9110 section 10.2.3).
pub fn retry_after_ms(headers: &reqwest::header::HeaderMap) -> Option<u64> {
    let text = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?;
    let secs: u64 = text.trim().parse().ok()?;
    Some(secs.min(RETRY_AFTER_MAX.as_secs()) * 1_000)
}

/// Shortened to what can be counted by.
fn reason(text: &[u8]) -> String {
    said(text).chars().take(REASON_CHARS_MAX).collect()
}

/// The detail or title of a problem document (RFC 9457), else the text itself.
pub fn said(text: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    let said = ["detail", "title"].iter().find_map(|k| problem.as_ref()?.get(k)?.as_str());
    said.map_or_else(|| String::from_utf8_lossy(text).into_owned(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderMap, RETRY_AFTER};

    #[test]
    fn an_upload_is_the_json_that_the_gateway_takes() {
        let sent = Sent {
            device: "inv1",
            metric: "ac_power",
            ts_ms: 1_767_225_600_000,
            value: 1.2,
            unit: Some("kW"),
            quality: None,
        };
        let got = body("s1", "u-1", 1_767_225_601_500, &[sent]).unwrap();
        let want = r#"{"upload_id":"u-1","site":"s1","sent_at":"2026-01-01T00:00:01.500Z","readings":[{"device":"inv1","metric":"ac_power","ts":"2026-01-01T00:00:00.000Z","value":1.2,"unit":"kW"}]}"#;
        assert_eq!(std::str::from_utf8(&got).unwrap(), want);
    }

    #[test]
    fn a_number_is_the_same_after_json() {
        // Without serde_json's float_roundtrip about one in ten of these comes back changed.
        for n in 1..20_000u64 {
            let value = f64::from_bits(0x3fb9_9999_9999_9999 ^ n.wrapping_mul(0x9e37_79b9_7f4a));
            let text = serde_json::to_string(&value).unwrap();
            let back: f64 = serde_json::from_str(&text).unwrap();
            assert_eq!(back.to_bits(), value.to_bits(), "{text}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_nothing() {
        let rows = [("3", Some(3_000)), (" 7 ", Some(7_000)), ("soon", None), ("-1", None)];
        for (text, want) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after_ms(&headers), want, "{text}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after_ms(&headers), None);
        headers.insert(RETRY_AFTER, "99999999".parse().unwrap());
        assert_eq!(retry_after_ms(&headers), Some(3_600_000), "no wish is taken for ever");
    }

    #[test]
    fn a_refusals_reason_is_the_problems_detail() {
        assert_eq!(reason(br#"{"title":"t","detail":"site: got x"}"#), "site: got x");
        assert_eq!(reason(b"plain"), "plain");
        assert_eq!(reason(&[b'x'; 500]).len(), REASON_CHARS_MAX);
    }

    #[test]
    fn a_2xx_of_something_else_is_no_promise() {
        assert!(matches!(accepted(b"<html>"), Answer::Refused { status: 502, .. }));
        let got =
            accepted(br#"{"upload_id":"u","accepted":1,"rejected":[{"index":4,"field":"ts"}]}"#);
        assert_eq!(got, Answer::Accepted { rejected: vec![4] });
    }
}
