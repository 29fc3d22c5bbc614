//! One connection: how many of its requests are open, and when it ends.
//!
//! A request is open until the last of its answer was handed to the connection. Invariant: a
//! connection without an open request ends, whatever its client does or does not send.

use super::stream::HandedOver;
use crate::Shutdown;
use axum::{
    Extension,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderValue, Version, header::CONNECTION},
    middleware::Next,
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use hyper_util::server::graceful::GracefulConnection;
use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// A client that was told to go has so long to do so while it has no open request.
const GOODBYE: Duration = Duration::from_secs(1);

/// The open requests of one connection.
#[derive(Debug, Clone)]
pub(super) struct OpenRequests {
    counts: watch::Sender<Counts>,
    leave: Shutdown,
}

#[derive(Debug, Clone, Copy)]
struct Counts {
    open: usize,
    any_came: bool,
    /// Since when the number is what it is.
    since: Instant,
}

/// One of them; closed when dropped.
struct Open(watch::Sender<Counts>);

/// When a connection ends.
pub(super) struct Until<I> {
    /// Nothing comes on it.
    pub idle: I,
    /// The request that is open or comes next is the last.
    pub leave: Shutdown,
    /// No further request is waited for.
    pub closed: Shutdown,
    /// Its place is needed.
    pub evicted: Shutdown,
    /// It ends.
    pub cut: Shutdown,
}

impl OpenRequests {
    pub fn new(leave: Shutdown) -> Self {
        let counts = Counts { open: 0, any_came: false, since: Instant::now() };
        Self { counts: watch::Sender::new(counts), leave }
    }

    /// Since when none is open.
    pub fn idle_since(&self) -> Option<Instant> {
        let counts = *self.counts.borrow();
        (counts.open == 0).then_some(counts.since)
    }

    /// Resolves when no request came for `first`, or after the first one none was open for
    /// `next`.
    pub fn idle(&self, first: Duration, next: Duration) -> impl Future<Output = ()> + use<> {
        let mut counts = self.counts.subscribe();
        async move {
            loop {
                // The senders live as long as the connection, which this must not outlive.
                let Ok(any_came) = counts.wait_for(|c| c.open == 0).await.map(|c| c.any_came)
                else {
                    return;
                };
                let timeout = if any_came { next } else { first.min(next) };
                if tokio::time::timeout(timeout, counts.changed()).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Resolves when the connection is to be told that no further request is taken: with a request
    /// open, so that its answer can say so, or when nobody comes in any more. Who has come in last
    /// has his first request on its way.
    async fn last(&self, leave: &Shutdown, closed: &Shutdown) {
        leave.cancelled().await;
        let mut counts = self.counts.subscribe();
        let open = closed.run_until_cancelled(counts.wait_for(|c| c.open > 0)).await.is_some();
        if !open {
            let _ = tokio::time::timeout(GOODBYE, counts.wait_for(|c| c.any_came)).await;
        }
    }

    fn open(&self) -> Open {
        let since = Instant::now();
        self.counts.send_modify(|c| *c = Counts { open: c.open + 1, any_came: true, since });
        Open(self.counts.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|c| {
            c.open = c.open.saturating_sub(1);
            c.since = Instant::now();
        });
    }
}

/// The middleware that counts.
pub(super) async fn count(
    Extension(requests): Extension<OpenRequests>,
    request: Request,
    next: Next,
) -> Response {
    let open = requests.open();
    let handed_over = HandedOver::here();
    let has_keep_alive = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    if has_keep_alive && requests.leave.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| Body::new(Counted { body, handed_over, _open: open }))
}

struct Counted {
    body: Body,
    handed_over: Option<HandedOver>,
    _open: Open,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.handed_over.iter().for_each(HandedOver::taken);
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.handed_over.iter().for_each(HandedOver::taken);
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(Some(Ok(_)))) {
            self.handed_over.iter().for_each(HandedOver::part);
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

/// Runs a connection to its end.
pub(super) async fn drive<C: GracefulConnection>(
    connection: C,
    requests: &OpenRequests,
    until: Until<impl Future<Output = ()>>,
) -> Result<(), C::Error> {
    let Until { idle, leave, closed, evicted, cut } = until;
    let mut connection = pin!(connection);
    let patience = tokio::select! {
        // What has come is taken before anything is ended.
        biased;
        ended = connection.as_mut() => return ended,
        () = requests.last(&leave, &closed) => GOODBYE,
        () = idle => GOODBYE,
        () = evicted.cancelled() => Duration::ZERO,
    };
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        ended = connection => ended,
        () = requests.idle(patience, patience) => Ok(()),
        () = cut.cancelled() => Ok(()),
    }
}
