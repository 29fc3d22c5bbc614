//! What is answered instead of a 2xx: `application/problem+json` (RFC 9457).
//!
//! Over gRPC it is a status with google.rpc details instead (`grpc`).
//!
//! Invariant: only [`Problem::Unavailable`] is our own fault; it alone counts as refused in a tick.
//! It, [`Problem::TooManyRequests`] and [`Problem::TooManyAtOnce`] carry `Retry-After`. What it is
//! not: it decides nothing, and tells a stranger no more than that the token does not fit.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use heliograph_contract::error::ErrorClass;
use heliograph_domain::{Violation, registry::UPLOAD_TOKEN_PREFIX};
use serde::Serialize;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why an upload was not taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Problem {
    /// The envelope breaks rules; nothing of it was stored.
    Malformed(Vec<Violation>),
    /// Larger than is ever taken.
    TooLarge(Violation),
    /// Not the format that this route takes.
    UnsupportedMedia(Violation),
    /// No token came.
    NoToken,
    /// The token is no site's upload token.
    WrongToken,
    /// The token is an API token, by its look.
    ApiToken,
    /// The token is a site's, and the readings are another's.
    AnotherSite(Violation),
    /// The body did not arrive in time.
    SlowBody,
    NotFound,
    /// The path is one of ours, the method is not.
    WrongMethod {
        got: String,
    },
    /// The site sends more uploads than one may.
    TooManyRequests {
        limit_per_second: u32,
        retry_after_secs: u64,
    },
    /// The site has more open than its share.
    TooManyAtOnce {
        retry_after_secs: u64,
    },
    /// We cannot now: full, or the log does not answer. Whether it was stored is not known.
    Unavailable {
        why: &'static str,
        retry_after_secs: u64,
    },
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "<[Violation]>::is_empty")]
    violations: &'a [Violation],
}

impl Problem {
    /// One broken rule of the envelope.
    pub fn malformed(violation: Violation) -> Self {
        Self::Malformed(vec![violation])
    }

    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Malformed(_) => ErrorClass::InvalidArgument,
            Self::TooLarge(_) => ErrorClass::TooLarge,
            Self::UnsupportedMedia(_) => ErrorClass::UnsupportedMedia,
            Self::NoToken | Self::WrongToken | Self::ApiToken => ErrorClass::Unauthenticated,
            Self::AnotherSite(_) => ErrorClass::PermissionDenied,
            Self::SlowBody => ErrorClass::RequestTimeout,
            Self::NotFound | Self::WrongMethod { .. } => ErrorClass::NotFound,
            Self::TooManyRequests { .. } | Self::TooManyAtOnce { .. } => {
                ErrorClass::ResourceExhausted
            }
            Self::Unavailable { .. } => ErrorClass::Unavailable,
        }
    }

    /// HTTP alone has methods, so the table of classes knows no wrong one.
    const fn http(&self) -> StatusCode {
        match self {
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            problem => problem.class().http(),
        }
    }

    /// A word for it, the same for ever: the last part of the type, and its name in metrics.
    pub const fn kind(&self) -> &'static str {
        self.names().0
    }

    /// (last part of `type`, title)
    const fn names(&self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed(_) => ("malformed-upload", "The upload is malformed"),
            Self::TooLarge(_) => ("too-large", "The upload is too large"),
            Self::UnsupportedMedia(_) => ("unsupported-media", "The format is not taken here"),
            Self::NoToken => ("no-token", "A token is needed"),
            Self::WrongToken => ("wrong-token", "The token is no site's upload token"),
            Self::ApiToken => ("api-token", "An API token does not upload"),
            Self::AnotherSite(_) => ("another-site", "The token is another site's"),
            Self::SlowBody => ("slow-body", "The body did not arrive in time"),
            Self::NotFound => ("not-found", "There is nothing here"),
            Self::WrongMethod { .. } => ("wrong-method", "The method is not taken here"),
            Self::TooManyRequests { .. } => ("too-many-uploads", "The site uploads too often"),
            Self::TooManyAtOnce { .. } => {
                ("too-many-at-once", "The site has too much open at once")
            }
            Self::Unavailable { .. } => ("unavailable", "Not now; keep the data and try again"),
        }
    }

    /// Every value of [`Problem::kind`].
    pub const KINDS: [&'static str; 13] = [
        "malformed-upload",
        "too-large",
        "unsupported-media",
        "no-token",
        "wrong-token",
        "api-token",
        "another-site",
        "slow-body",
        "not-found",
        "wrong-method",
        "too-many-uploads",
        "too-many-at-once",
        "unavailable",
    ];

    pub fn detail(&self) -> String {
        match self {
            Self::Malformed(all) => {
                let all: Vec<String> = all.iter().map(Violation::to_string).collect();
                format!("nothing was stored: {}", all.join("; "))
            }
            Self::TooLarge(v) | Self::UnsupportedMedia(v) | Self::AnotherSite(v) => {
                format!("nothing was stored: {v}")
            }
            Self::NoToken => "send the site's token as `Authorization: Bearer …`".to_owned(),
            Self::WrongToken => {
                "no site has this upload token, or it was replaced; `heliograph site rotate-token \
                 SITE` makes a new one and ends the old one"
                    .to_owned()
            }
            Self::ApiToken => format!(
                "this is an API token, which looks and operates; want the site's own upload token, \
                 which begins with {UPLOAD_TOKEN_PREFIX}"
            ),
            Self::SlowBody => {
                "nothing was stored; send the same again, the whole body without pauses".to_owned()
            }
            Self::NotFound => {
                "uploads go to POST /v1/uploads, line protocol to POST /api/v2/write".to_owned()
            }
            Self::WrongMethod { got } => format!(
                "got {got}, want POST with the readings as the body; with curl: -d '{{…}}' or \
                 --data-binary @FILE"
            ),
            Self::TooManyRequests { limit_per_second, retry_after_secs } => format!(
                "more than {limit_per_second} uploads a second; put more readings into one \
                 upload, or send the same again after {retry_after_secs} s"
            ),
            Self::TooManyAtOnce { retry_after_secs } => format!(
                "the site has as many uploads, bytes or streams open as one may; send one upload \
                 after the other, and the same again after {retry_after_secs} s"
            ),
            Self::Unavailable { why, retry_after_secs } => {
                format!("{why}; send the same again after {retry_after_secs} s")
            }
        }
    }

    /// Send the same again after so many seconds; none when that would not help.
    pub const fn retry_after_secs(&self) -> Option<u64> {
        match self {
            // The sender was slow, not we: nothing is gained by waiting.
            Self::SlowBody => Some(1),
            Self::TooManyRequests { retry_after_secs, .. }
            | Self::TooManyAtOnce { retry_after_secs }
            | Self::Unavailable { retry_after_secs, .. } => Some(*retry_after_secs),
            _ => None,
        }
    }

    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::Malformed(all) => all,
            Self::TooLarge(v) | Self::UnsupportedMedia(v) | Self::AnotherSite(v) => {
                std::slice::from_ref(v)
            }
            _ => &[],
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.http();
        let (kind, title) = self.names();
        let document = Document {
            kind: format!("urn:heliograph:problem:{kind}"),
            title,
            status: status.as_u16(),
            detail: self.detail(),
            violations: self.violations(),
        };
        // A struct of strings and numbers always serializes; an empty body would still be a
        // clear answer by its status.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        if let Some(secs) = self.retry_after_secs() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        let challenge = match self {
            Self::NoToken => HeaderValue::from_static("Bearer realm=\"heliograph\""),
            Self::WrongToken | Self::ApiToken => {
                HeaderValue::from_static("Bearer realm=\"heliograph\", error=\"invalid_token\"")
            }
            _ => return response,
        };
        headers.insert(header::WWW_AUTHENTICATE, challenge);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    async fn shown(problem: Problem) -> (u16, Vec<(String, String)>, Value) {
        let response = problem.into_response();
        let status = response.status().as_u16();
        let text = |v: &HeaderValue| v.to_str().unwrap().to_owned();
        let headers =
            response.headers().iter().map(|(n, v)| (n.to_string(), text(v))).collect::<Vec<_>>();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_malformed_upload_lists_its_violations() {
        let violation = Violation::new("site", "\"a b\"", "a name");
        let (status, headers, body) = shown(Problem::malformed(violation)).await;
        assert_eq!(status, 400);
        assert!(headers.contains(&("content-type".into(), "application/problem+json".into())));
        let want = json!({
            "type": "urn:heliograph:problem:malformed-upload",
            "title": "The upload is malformed",
            "status": 400,
            "detail": "nothing was stored: site: got \"a b\", want a name",
            "violations": [{"field": "site", "got": "\"a b\"", "want": "a name"}],
        });
        assert_eq!(body, want);
    }

    #[tokio::test]
    async fn each_problem_has_its_status_and_headers() {
        let v = || Violation::new("f", "g", "w");
        let too_many = Problem::TooManyRequests { limit_per_second: 5, retry_after_secs: 1 };
        let unavailable = Problem::Unavailable { why: "full", retry_after_secs: 7 };
        let rows = [
            ("too large", Problem::TooLarge(v()), 413, None),
            ("not JSON", Problem::UnsupportedMedia(v()), 415, None),
            ("no token", Problem::NoToken, 401, Some("www-authenticate")),
            ("wrong token", Problem::WrongToken, 401, Some("www-authenticate")),
            ("another site's", Problem::AnotherSite(v()), 403, None),
            ("slow", Problem::SlowBody, 408, Some("retry-after")),
            ("elsewhere", Problem::NotFound, 404, None),
            ("read", Problem::WrongMethod { got: "GET".into() }, 405, None),
            ("too often", too_many, 429, Some("retry-after")),
            (
                "too much open",
                Problem::TooManyAtOnce { retry_after_secs: 1 },
                429,
                Some("retry-after"),
            ),
            ("our own fault", unavailable, 503, Some("retry-after")),
        ];
        for (name, problem, want, header) in rows {
            let (status, headers, body) = shown(problem).await;
            assert_eq!(status, want, "{name}");
            assert_eq!(body["status"], want, "{name}");
            let kind = body["type"].as_str().unwrap().rsplit(':').next().unwrap();
            assert!(Problem::KINDS.contains(&kind), "{name}: {kind} is in no list");
            for one in ["www-authenticate", "retry-after"] {
                let has = headers.iter().any(|(n, _)| n == one);
                assert_eq!(has, header == Some(one), "{name}: {one}");
            }
        }
    }
}
