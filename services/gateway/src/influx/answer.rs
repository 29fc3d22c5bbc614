//! Answers as InfluxDB's clients read them.
//!
//! One document serves all versions: `code` and `message` are version 2's, `error` is version 1's,
//! `line` is the first line at fault. Status, `Retry-After` and the words behind them are those of
//! [`Problem`]. What it is not: it decides nothing.

use crate::{accept::Answer, problem::Problem};
use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use heliograph_domain::upload::Rejected;
use serde::Serialize;

/// What answers: some clients show it, and one of version 1 wants it.
pub const VERSION: &str = concat!("heliograph-", env!("CARGO_PKG_VERSION"));

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"heliograph\"");
const X_INFLUXDB_VERSION: HeaderName = HeaderName::from_static("x-influxdb-version");
const X_INFLUXDB_BUILD: HeaderName = HeaderName::from_static("x-influxdb-build");
const X_INFLUXDB_ERROR: HeaderName = HeaderName::from_static("x-influxdb-error");
/// As InfluxDB cuts it.
const ERROR_HEADER_BYTES_MAX: usize = 1024;
/// Lines that an answer names.
const LINES_MAX: usize = 10;

#[derive(Serialize)]
struct Document<'a> {
    code: &'static str,
    message: &'a str,
    error: &'a str,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

/// To an upload that is on the log, and its dead letters with it.
pub fn taken(answer: &Answer) -> Response {
    let Some(first) = answer.rejected.first() else { return empty() };
    let message = partial_write(&answer.rejected, answer.accepted);
    failed(Response::new(Body::empty()), StatusCode::BAD_REQUEST, &message, Some(first.index + 1))
}

/// Whose clients are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

/// The status that makes a client keep what it sent and send it again. Telegraf's output for version
/// 1 throws a batch away on 429 and keeps it on 503, which InfluxDB 1 itself answers at its limits;
/// Telegraf and the official clients of both versions throw away what gets a 408.
fn kept(status: StatusCode, version: Version) -> StatusCode {
    match (status, version) {
        (StatusCode::TOO_MANY_REQUESTS, Version::One) | (StatusCode::REQUEST_TIMEOUT, _) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        (status, _) => status,
    }
}

/// To an upload of which nothing was taken.
pub fn refused(problem: Problem, version: Version) -> Response {
    let message = match &problem {
        Problem::NoToken => "send the site's token as `Authorization: Token …`, as the password \
                             of a login, or as the parameter `p`"
            .to_owned(),
        problem => problem.detail(),
    };
    let response = problem.into_response();
    let status = kept(response.status(), version);
    let mut response = failed(response, status, &message, None);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

/// To a request that no logger makes.
pub fn error(status: StatusCode, message: &str) -> Response {
    failed(Response::new(Body::empty()), status, message, None)
}

pub fn empty() -> Response {
    with_version(StatusCode::NO_CONTENT.into_response())
}

pub fn json(status: StatusCode, document: &impl Serialize) -> Response {
    with_json(status.into_response(), document)
}

fn failed(
    mut response: Response,
    status: StatusCode,
    message: &str,
    line: Option<usize>,
) -> Response {
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(X_INFLUXDB_ERROR, one_line(message));
    with_json(response, &Document { code: code(status), message, error: message, line })
}

fn with_json(mut response: Response, document: &impl Serialize) -> Response {
    // Strings and numbers always serialize; an empty body would still be a clear answer by its
    // status.
    *response.body_mut() = Body::from(serde_json::to_vec(document).unwrap_or_default());
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    with_version(response)
}

fn with_version(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(X_INFLUXDB_VERSION, HeaderValue::from_static(VERSION));
    headers.insert(X_INFLUXDB_BUILD, HeaderValue::from_static("heliograph"));
    response
}

/// The words of version 2.
fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not found",
        StatusCode::METHOD_NOT_ALLOWED => "method not allowed",
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        StatusCode::TOO_MANY_REQUESTS => "too many requests",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        status if status.is_client_error() => "invalid",
        _ => "internal error",
    }
}

/// `partial write` is what clients look for.
fn partial_write(rejected: &[Rejected], accepted: usize) -> String {
    let mut message = "partial write: ".to_owned();
    for Rejected { index, violation } in rejected.iter().take(LINES_MAX) {
        message.push_str(&format!("line {}: {violation}; ", index + 1));
    }
    if let Some(more @ 1..) = rejected.len().checked_sub(LINES_MAX) {
        message.push_str(&format!("{more} more lines have mistakes; "));
    }
    let (s, is) = if accepted == 1 { ("", "is") } else { ("s", "are") };
    message + &format!("{accepted} reading{s} {is} stored")
}

/// What a header can hold of it.
fn one_line(message: &str) -> HeaderValue {
    let shown = |c: char| if c.is_ascii_graphic() || c == ' ' { c as u8 } else { b'?' };
    let bytes: Vec<u8> = message.chars().take(ERROR_HEADER_BYTES_MAX).map(shown).collect();
    HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_domain::Violation;

    fn rejected(count: usize) -> Vec<Rejected> {
        let violation = || Violation::new("ac_power", "\"µ\n\"", "a number");
        (0..count).map(|index| Rejected { index, violation: violation() }).collect()
    }

    #[test]
    fn ten_lines_are_named_and_the_others_counted() {
        let got = partial_write(&rejected(1), 2);
        let want = "partial write: line 1: ac_power: got \"µ\n\", want a number; \
                    2 readings are stored";
        assert_eq!(got, want);
        let got = partial_write(&rejected(10), 1);
        assert!(
            got.ends_with("line 10: ac_power: got \"µ\n\", want a number; 1 reading is stored")
        );
        let got = partial_write(&rejected(12), 0);
        assert!(got.ends_with("; 2 more lines have mistakes; 0 readings are stored"), "{got}");
        assert_eq!(got.matches("ac_power").count(), LINES_MAX);
    }

    #[test]
    fn a_header_holds_one_short_line_of_ascii() {
        assert_eq!(one_line("got \"µ\n\""), "got \"??\"");
        assert_eq!(one_line(&"x".repeat(5_000)).len(), ERROR_HEADER_BYTES_MAX);
    }

    #[test]
    fn each_status_has_a_word() {
        for (status, want) in
            [(400, "invalid"), (408, "invalid"), (415, "invalid"), (500, "internal error")]
        {
            assert_eq!(code(StatusCode::from_u16(status).unwrap()), want);
        }
    }
}
