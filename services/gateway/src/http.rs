//! Routes, and the limits that a request meets before anything of it is believed.
//!
//! Invariant: what can be refused by the head is refused before the body is read; no more than
//! the configured uploads and bytes are held at once. What it is not: it knows no upload.

use crate::{
    pipeline::{self, Gateway},
    problem::Problem,
};
use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use heliograph_domain::Violation;
use heliograph_service::health::{self, Readiness};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Semaphore, SemaphorePermit};

pub const UPLOADS_PATH: &str = "/v1/uploads";

/// The routes of the gateway.
pub fn routes(gateway: Arc<Gateway>, readiness: Readiness) -> Router {
    Router::new()
        .route(UPLOADS_PATH, post(upload))
        .with_state(gateway)
        .merge(health::routes(readiness))
        .fallback(|| async { Problem::NotFound })
}

async fn upload(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    match pipeline::upload(&gateway, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// What the head of a sound request says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Head<'a> {
    pub token: &'a str,
    /// The length of the body, or the most it can have where none is declared.
    pub body_bytes: usize,
}

impl<'a> Head<'a> {
    /// Reads token, format and length.
    ///
    /// # Errors
    /// The sender's first mistake.
    pub fn read(headers: &'a HeaderMap, body_bytes_max: usize) -> Result<Self, Problem> {
        let token = bearer(headers).ok_or(Problem::NoToken)?;
        json_only(headers)?;
        let body_bytes = match headers.get(header::CONTENT_LENGTH) {
            None => body_bytes_max,
            Some(length) => match length.to_str().ok().and_then(|l| l.parse::<u64>().ok()) {
                // A length that is no number never gets here; hyper refuses it.
                Some(length) if length <= body_bytes_max as u64 => length as usize,
                length => return Err(too_large(length, body_bytes_max)),
            },
        };
        Ok(Self { token, body_bytes })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn json_only(headers: &HeaderMap) -> Result<(), Problem> {
    const WANT: &str = "application/json, not compressed";
    let wrong = |field: &str, got: &dyn std::fmt::Debug| {
        Err(Problem::UnsupportedMedia(Violation::new(field, format_args!("{got:?}"), WANT)))
    };
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return wrong("content-encoding", encoding);
    }
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return Err(Problem::UnsupportedMedia(Violation::new("content-type", "nothing", WANT)));
    };
    let essence = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    match essence.trim().eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => wrong("content-type", kind),
    }
}

fn too_large(length: Option<u64>, max: usize) -> Problem {
    let got = length.map_or_else(|| format!("more than {max} bytes"), |l| format!("{l} bytes"));
    let want = format!("at most {max} bytes; send the readings in several uploads");
    Problem::TooLarge(Violation::new("body", got, want))
}

/// Reads the body within its limits.
///
/// # Errors
/// The sender's fault in each case: too long, too slow, broken off.
pub async fn read_body(body: Body, max: usize, timeout: Duration) -> Result<Bytes, Problem> {
    match tokio::time::timeout(timeout, Limited::new(body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(None, max)),
        Ok(Err(error)) => {
            Err(Problem::malformed(Violation::new("body", error, "the body in full")))
        }
        Err(_) => Err(Problem::SlowBody),
    }
}

/// Places for uploads that are being worked on, and for the bytes of their bodies.
#[derive(Debug)]
pub struct Capacity {
    uploads: Semaphore,
    bytes: Semaphore,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub struct Place<'a> {
    _upload: SemaphorePermit<'a>,
    bytes: SemaphorePermit<'a>,
}

impl Capacity {
    pub fn new(uploads: usize, bytes: usize) -> Self {
        Self { uploads: Semaphore::new(uploads), bytes: Semaphore::new(bytes) }
    }

    /// A place for an upload of `body_bytes`, or none: nobody waits here.
    pub fn admit(&self, body_bytes: usize) -> Option<Place<'_>> {
        let upload = self.uploads.try_acquire().ok()?;
        let bytes = self.bytes.try_acquire_many(u32::try_from(body_bytes).ok()?).ok()?;
        Some(Place { _upload: upload, bytes })
    }
}

impl Place<'_> {
    /// The body turned out to be no longer than this.
    pub fn shrink_to(&mut self, body_bytes: usize) {
        let unused = self.bytes.num_permits().saturating_sub(body_bytes);
        drop(self.bytes.split(unused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const MAX: usize = 100;

    fn headers(change: impl FnOnce(&mut HeaderMap)) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer t"));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("content-length", HeaderValue::from_static("10"));
        change(&mut headers);
        headers
    }

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        headers(|h| drop(h.insert(name, HeaderValue::from_static(value))))
    }

    fn without(name: &'static str) -> HeaderMap {
        headers(|h| drop(h.remove(name)))
    }

    #[test]
    fn a_head_is_taken_or_says_what_is_wrong() {
        let rows = [
            ("sound", headers(|_| ()), None),
            ("a charset", with("content-type", "Application/JSON; charset=utf-8"), None),
            ("the scheme's case does not matter", with("authorization", "bearer t"), None),
            ("no length: the most there can be", without("content-length"), None),
            ("not compressed, said aloud", with("content-encoding", "identity"), None),
            ("no token", without("authorization"), Some(401)),
            ("another scheme", with("authorization", "Basic dDp0"), Some(401)),
            ("an empty token", with("authorization", "Bearer  "), Some(401)),
            ("no format", without("content-type"), Some(415)),
            ("a form", with("content-type", "application/x-www-form-urlencoded"), Some(415)),
            ("compressed", with("content-encoding", "gzip"), Some(415)),
            ("too long", with("content-length", "101"), Some(413)),
            ("far too long", with("content-length", "99999999999999999999999"), Some(413)),
        ];
        for (name, headers, want) in rows {
            let got = Head::read(&headers, MAX).err().map(|p| p.into_response().status().as_u16());
            assert_eq!(got, want, "{name}");
        }
        let sound = headers(|_| ());
        assert_eq!(Head::read(&sound, MAX), Ok(Head { token: "t", body_bytes: 10 }));
        let open = without("content-length");
        assert_eq!(Head::read(&open, MAX).map(|h| h.body_bytes), Ok(MAX));
    }

    #[test]
    fn places_are_limited_by_number_and_by_bytes_and_come_back() {
        let capacity = Capacity::new(2, 100);
        let first = capacity.admit(60).unwrap();
        assert!(capacity.admit(60).is_none(), "over the bytes");
        let mut second = capacity.admit(40).unwrap();
        assert!(capacity.admit(0).is_none(), "over the number");
        drop(first);
        second.shrink_to(10);
        assert!(capacity.admit(90).is_some(), "what was not needed is free again");
        drop(second);
        assert!(capacity.admit(100).is_some());
    }

    #[tokio::test]
    async fn a_body_longer_than_declared_is_refused() {
        let got = read_body(Body::from("12345"), 4, Duration::from_secs(60)).await;
        assert!(matches!(got, Err(Problem::TooLarge(_))), "{got:?}");
        let got = read_body(Body::from("1234"), 4, Duration::from_secs(60)).await;
        assert_eq!(got, Ok(Bytes::from_static(b"1234")));
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let got = read_body(never, 4, Duration::from_millis(1)).await;
        assert_eq!(got, Err(Problem::SlowBody));
    }
}
