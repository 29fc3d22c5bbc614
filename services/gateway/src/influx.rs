//! InfluxDB's HTTP API, as far as loggers need it: `POST /api/v2/write` and `POST /write` take line
//! protocol, `GET /ping` and `GET /health` say that somebody is there.
//!
//! Both versions of the API are answered alike, with what either's clients read (`answer`).
//! Organisations, buckets, databases and retention policies are taken and ignored: the token says
//! whose readings these are. An empty body, which clients send to try a connection, is a sign of
//! life. Invariant: an answer tells no token and nothing of a query string but a wrong precision.
//! What it is not: a database; there are no queries, and nothing can be created.

mod answer;
mod auth;

use self::answer::Version;
use crate::{
    accept::Answer, metrics::Protocol, pipeline::Gateway, problem::Problem, receive::receive, trace,
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode, header, request::Parts},
    middleware::from_fn,
    response::Response,
    routing::{any, get, post},
};
use heliograph_formats::{Format, line::Precision};
use heliograph_service::health::Readiness;
use serde_json::json;
use std::{borrow::Cow, sync::Arc};

/// A form that creates a database is a line.
const FORM_BYTES_MAX: usize = 4 * 1024;

/// The routes of the API.
pub fn routes(gateway: Arc<Gateway>, readiness: Readiness) -> Router {
    let health = get(health).with_state(readiness);
    Router::new()
        .route("/api/v2/write", post(|gateway, request| write(gateway, Version::Two, request)))
        .route("/write", post(|gateway, request| write(gateway, Version::One, request)))
        .route_layer(from_fn(trace::traced))
        .route("/query", get(query).post(query))
        .with_state(gateway)
        .route("/ping", get(ping))
        .route("/health", health)
        .route("/api/v3/write_lp", any(write_v3))
        .method_not_allowed_fallback(wrong_method)
}

async fn write(
    State(gateway): State<Arc<Gateway>>,
    version: Version,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let counting = gateway.metrics.begin(Protocol::Influxdb);
    let outcome = take(&gateway, &parts, body).await;
    counting.end(outcome.as_ref());
    match outcome {
        Ok(answer) => answer::taken(&answer),
        Err(problem) => {
            trace::tell_refused(trace::of(&parts.extensions), &problem);
            answer::refused(problem, version)
        }
    }
}

async fn take(gateway: &Gateway, parts: &Parts, body: Body) -> Result<Answer, Problem> {
    let query = parts.uri.query();
    let token = auth::token(&parts.headers, query).ok_or(Problem::NoToken)?;
    let sender = gateway.sender(&token)?;
    let precision = parameter(query, "precision").filter(|p| !p.is_empty());
    let precision = precision.map_or(Ok(Precision::default()), |p| Precision::parse(&p));
    let format = Format::LineProtocol(precision.map_err(Problem::malformed)?);
    let (mut place, body) = receive(gateway, &sender, &parts.headers, body).await?;
    gateway.take(trace::of(&parts.extensions), &mut place, &sender, format, &body).await
}

/// The first value of a parameter of a query string or of a form.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    let mut all = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    all.find(|(key, _)| key == name).map(|(_, value)| value)
}

async fn ping(request: Request) -> Response {
    match parameter(request.uri().query(), "verbose").as_deref() {
        None | Some("" | "0" | "false") => answer::empty(),
        Some(_) => answer::json(StatusCode::OK, &json!({ "version": answer::VERSION })),
    }
}

async fn health(State(readiness): State<Readiness>) -> Response {
    let (code, status, message) = match readiness.is_ready() {
        true => (StatusCode::OK, "pass", "ready for writes"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "fail", "starting or leaving"),
    };
    let document = json!({
        "name": "heliograph",
        "message": message,
        "status": status,
        "checks": [],
        "version": answer::VERSION,
    });
    answer::json(code, &document)
}

/// Clients of version 1 create their database before they write to it: there is nothing to create.
async fn query(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, FORM_BYTES_MAX);
    let form = match tokio::time::timeout(gateway.body_read_timeout, body).await {
        Ok(Ok(form)) => form,
        Ok(Err(_)) => return answer::error(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large"),
        Err(_) => return answer::refused(Problem::SlowBody, Version::One),
    };
    let form = String::from_utf8_lossy(&form);
    let statement = parameter(parts.uri.query(), "q").or_else(|| parameter(Some(&form), "q"));
    let statement = statement.unwrap_or_default().trim_start().to_ascii_uppercase();
    match statement.starts_with("CREATE DATABASE") {
        true => answer::json(StatusCode::OK, &json!({ "results": [{ "statement_id": 0 }] })),
        false => answer::error(
            StatusCode::NOT_FOUND,
            "there are no queries here: line protocol goes to POST /api/v2/write or POST /write",
        ),
    }
}

/// What is allowed is said by the router, in `Allow`.
async fn wrong_method(method: Method) -> Response {
    let message = format!(
        "got {method}, which is not taken here: line protocol goes to POST /api/v2/write or POST \
         /write, as the body"
    );
    answer::error(StatusCode::METHOD_NOT_ALLOWED, &message)
}

/// This status makes clients of version 3 say that their setting for version 2 is wanted.
async fn write_v3() -> Response {
    let message = "line protocol goes to POST /api/v2/write; let the client use its v2 API";
    let mut response = answer::error(StatusCode::METHOD_NOT_ALLOWED, message);
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(""));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_and_decoded() {
        let query = Some("bucket=b&precision=%C2%B5&precision=s&p=a+b&empty=");
        let rows =
            [("precision", Some("µ")), ("p", Some("a b")), ("empty", Some("")), ("org", None)];
        for (name, want) in rows {
            assert_eq!(parameter(query, name).as_deref(), want, "{name}");
        }
        assert_eq!(parameter(None, "p"), None);
    }
}
