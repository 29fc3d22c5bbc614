//! Counts a call when its answer has ended, whatever ends it.
//!
//! A gRPC status stands in the head of an answer without a message, else in the trailers behind it.
//! Invariant: each call is counted once; one whose answer nobody took to its end is CANCELLED.

use crate::metrics::Metrics;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};
use tonic::{Code, Status};

/// A call that is answered.
pub struct Call {
    metrics: Metrics,
    method: &'static str,
    started: Instant,
    code: Option<Code>,
}

impl Call {
    pub fn begin(metrics: Metrics, method: &'static str) -> Self {
        Self { metrics, method, started: Instant::now(), code: None }
    }

    /// The answer, which is counted when it ends.
    pub fn watch(mut self, response: Response) -> Response {
        self.code = Status::from_header_map(response.headers()).map(|status| status.code());
        response.map(|body| Body::new(Watched { body, call: self }))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        self.metrics.called(self.method, code, self.started);
    }
}

struct Watched {
    body: Body,
    call: Call,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.code = Status::from_header_map(trailers).map(|status| status.code());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
