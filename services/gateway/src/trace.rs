//! Tracing at the door: an upload goes on with its sender's trace, or with one that is made for it.
//!
//! Invariant: a `traceparent` never makes an upload fail; one that breaks the rules, or comes twice,
//! is passed over, as the standard says. Every answer of every way in names the trace as
//! `traceresponse`: `traceparent` is defined for requests alone, and this is the name, with the same
//! value, that the W3C keeps for answers. Lines told here hold no token. What it is not: a decision;
//! who began a trace says whether it is sampled, and one that is made here is not.

use crate::{
    accept::{Answer, Sender},
    problem::Problem,
};
use axum::{
    extract::Request,
    http::{Extensions, HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use heliograph_domain::trace::{TRACEPARENT, TraceContext};
use heliograph_log::{Appended, TopicPartition};
use heliograph_service::trace::{root, step};
use tonic::Code;

const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// Gives a request its step of a trace, for handlers to find with [`of`], and its answer the name.
pub async fn traced(mut request: Request, next: Next) -> Response {
    let trace = begin(request.headers());
    request.extensions_mut().insert(trace);
    let mut response = next.run(request).await;
    // Digits and dashes: always a header.
    if let Ok(value) = HeaderValue::try_from(trace.to_string()) {
        response.headers_mut().insert(TRACERESPONSE, value);
    }
    response
}

/// The step that [`traced`] gave; a new trace where it did not stand before the handler.
pub fn of(extensions: &Extensions) -> TraceContext {
    extensions.get().copied().unwrap_or_else(|| root(false))
}

fn begin(headers: &HeaderMap) -> TraceContext {
    let mut all = headers.get_all(TRACEPARENT).iter();
    match (all.next(), all.next()) {
        (Some(one), None) => TraceContext::parse(one.as_bytes()).map_or_else(|| root(false), step),
        _ => root(false),
    }
}

/// One line per upload: for who looks closely, or for everybody when its trace is sampled.
macro_rules! tell {
    ($trace:expr, $($what:tt)*) => {{
        let trace: TraceContext = $trace;
        let (trace_id, span_id) = (trace.trace_id, trace.span_id);
        match trace.is_sampled() {
            true => tracing::info!(%trace_id, %span_id, $($what)*),
            false => tracing::debug!(%trace_id, %span_id, $($what)*),
        }
    }};
}

/// Says that an upload is on the log.
pub fn tell_stored(
    trace: TraceContext,
    sender: &Sender,
    at: &TopicPartition,
    appended: Appended,
    answer: &Answer,
) {
    tell!(
        trace,
        outcome = "stored",
        site = %sender.site,
        partition = at.partition,
        offset = appended.offset,
        readings = answer.accepted,
        rejected = answer.rejected.len(),
        "upload"
    );
}

/// Says that an upload was not taken.
pub fn tell_refused(trace: TraceContext, problem: &Problem) {
    tell!(trace, outcome = "refused", why = problem.kind(), "upload");
}

/// Says that a call ended before its upload was whole.
pub fn tell_ended(trace: TraceContext, code: Code) {
    tell!(trace, outcome = "refused", why = ?code, "upload");
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "00-11111111111111111111111111111111-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_gone_on_with_or_made() {
        let rows: [(&str, &[&str], Option<bool>); 7] = [
            ("none came", &[], None),
            ("sampled", &[SAMPLED], Some(true)),
            ("not sampled", &[&SAMPLED.replace("-01", "-00")], Some(false)),
            ("a later version", &[&(SAMPLED.replace("00-4", "01-4") + "-x")], Some(true)),
            ("nonsense", &["00-nonsense"], None),
            ("two", &[SAMPLED, OTHER], None),
            ("the same twice", &[SAMPLED, SAMPLED], None),
        ];
        for (name, came, sampled) in rows {
            let mut headers = HeaderMap::new();
            for value in came {
                headers.append(TRACEPARENT, value.parse().unwrap());
            }
            let parent = TraceContext::parse(SAMPLED.as_bytes()).unwrap();
            let (one, two) = (begin(&headers), begin(&headers));
            assert_eq!(one.trace_id == parent.trace_id, sampled.is_some(), "{name}");
            assert_eq!(one.trace_id == two.trace_id, sampled.is_some(), "{name}: made anew");
            assert_eq!(one.is_sampled(), sampled.unwrap_or(false), "{name}");
            assert!(one.span_id != parent.span_id && one.span_id != two.span_id, "{name}: a step");
        }
    }
}
