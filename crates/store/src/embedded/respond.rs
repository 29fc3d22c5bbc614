//! Answers in ClickHouse's form.
//!
//! Guarantee: an error is always an error for the client. Before the first byte it is a status with
//! `X-ClickHouse-Exception-Code`; after it, ClickHouse's in-band exception ends the data and the
//! chunked body is broken off, so that also a client which knows no exceptions sees that the result
//! is not whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use super::error::Failure;
use super::format::content_type;
use super::run::{Event, Running};

/// The body of every answer.
pub(super) enum Answer {
    Text(Option<Bytes>),
    Stream(StreamBody),
}

/// The result of a query, while it is made.
pub(super) struct StreamBody {
    running: Running,
    exception_tag: String,
    state: State,
}

enum State {
    /// The first chunk is here already: it decided that the answer is a 200.
    First(Bytes),
    Flowing,
    /// The exception text is out; let it be flushed before the connection is cut.
    Flushing,
    Cut,
    Ended,
}

/// Cuts the connection; the text goes to the log only.
#[derive(Debug, thiserror::Error)]
#[error("the query failed after its first byte")]
pub(super) struct CutShort;

impl Body for Answer {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        match self.get_mut() {
            Answer::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Answer::Stream(stream) => {
                stream.poll_chunk(cx).map(|next| next.map(|c| c.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Text(text) => text.is_none(),
            Answer::Stream(stream) => matches!(stream.state, State::Ended),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Answer::Stream(_) => SizeHint::default(),
        }
    }
}

impl StreamBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutShort>>> {
        match std::mem::replace(&mut self.state, State::Flowing) {
            State::First(chunk) => return Poll::Ready(Some(Ok(chunk))),
            State::Flowing => {}
            State::Flushing => {
                self.state = State::Cut;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            State::Cut => {
                self.state = State::Ended;
                return Poll::Ready(Some(Err(CutShort)));
            }
            State::Ended => {
                self.state = State::Ended;
                return Poll::Ready(None);
            }
        }
        let failure = match ready!(self.running.events.poll_recv(cx)) {
            Some(Event::Data(chunk)) => return Poll::Ready(Some(Ok(chunk))),
            Some(Event::Done { .. }) => {
                self.state = State::Ended;
                return Poll::Ready(None);
            }
            Some(Event::Failed(failure)) => failure,
            None => unfinished(),
        };
        tracing::debug!(error = %failure.text, "a query failed after its first byte");
        self.state = State::Flushing;
        Poll::Ready(Some(Ok(in_band(&failure, &self.exception_tag))))
    }
}

/// The thread that ran the query is gone without a word: a client that did not read, or a bug.
fn unfinished() -> Failure {
    Failure::new(394, "the query ended without its result")
}

/// ClickHouse ≥ 25.11: the message between two marks that carry the tag of the answer's header.
fn in_band(failure: &Failure, tag: &str) -> Bytes {
    let message = format!("{}\n", failure.text);
    let len = message.len();
    Bytes::from(format!("\r\n__exception__\r\n{tag}\r\n{message}{len} {tag}\r\n__exception__\r\n"))
}

/// What the headers of an answer say.
pub(super) struct Labels {
    pub query_id: String,
    pub format: String,
    pub timezone: String,
    pub exception_tag: String,
}

/// Waits for the first thing that the query says: it decides between a result and an error.
pub(super) async fn to_query(mut running: Running, labels: Labels) -> Response<Answer> {
    let answer = match running.events.recv().await {
        Some(Event::Failed(failure)) => return to_failure(&failure, Some(&labels.query_id)),
        None => return to_failure(&unfinished(), Some(&labels.query_id)),
        Some(Event::Done { rows_written }) => {
            let mut response = text(StatusCode::OK, Bytes::new());
            put(&mut response, "x-clickhouse-summary", &summary(rows_written));
            label(&mut response, &labels);
            return response;
        }
        Some(Event::Data(first)) => Answer::Stream(StreamBody {
            running,
            exception_tag: labels.exception_tag.clone(),
            state: State::First(first),
        }),
    };
    let mut response = Response::new(answer);
    put(&mut response, CONTENT_TYPE.as_str(), content_type(&labels.format));
    put(&mut response, "x-clickhouse-exception-tag", &labels.exception_tag);
    label(&mut response, &labels);
    response
}

pub(super) fn to_failure(failure: &Failure, query_id: Option<&str>) -> Response<Answer> {
    let mut response = text(failure.status(), Bytes::from(format!("{}\n", failure.text)));
    put(&mut response, "x-clickhouse-exception-code", &failure.code.to_string());
    if let Some(query_id) = query_id {
        put(&mut response, "x-clickhouse-query-id", query_id);
    }
    response
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer::Text(Some(body.into()).filter(|b| !b.is_empty())));
    *response.status_mut() = status;
    put(&mut response, CONTENT_TYPE.as_str(), "text/plain; charset=UTF-8");
    response
}

fn label(response: &mut Response<Answer>, labels: &Labels) {
    put(response, "x-clickhouse-query-id", &labels.query_id);
    put(response, "x-clickhouse-format", &labels.format);
    put(response, "x-clickhouse-timezone", &labels.timezone);
}

fn summary(rows_written: u64) -> String {
    format!(r#"{{"read_rows":"0","read_bytes":"0","written_rows":"{rows_written}"}}"#)
}

/// A value that no header can hold comes from the client (a query id): it is left out.
fn put(response: &mut Response<Answer>, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_in_the_data_names_its_own_length() {
        let failure = Failure::new(241, "x");
        let text = in_band(&failure, "abcdefghijklmnop");
        let message = format!("{}\n", failure.text);
        let want = format!(
            "\r\n__exception__\r\nabcdefghijklmnop\r\n{message}{} abcdefghijklmnop\r\n__exception__\r\n",
            message.len()
        );
        assert_eq!(text, want.as_bytes());
    }
}
