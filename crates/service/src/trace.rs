//! New steps of traces: ids at random, which the domain cannot make.
//!
//! What it is not: a tracer. Steps are told in log lines and headers; nothing is collected here.

use heliograph_domain::trace::{SpanId, TraceContext, TraceId};

/// The first step of a new trace.
pub fn root(sampled: bool) -> TraceContext {
    TraceContext::root(TraceId::new(rand::random()), span_id(), sampled)
}

/// A further step of a trace.
pub fn step(parent: TraceContext) -> TraceContext {
    parent.child(span_id())
}

fn span_id() -> SpanId {
    SpanId::new(rand::random())
}
