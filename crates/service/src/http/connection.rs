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
use tokio::sync::watch;

/// A client that was told to go has so long to do so while it has no open request.
const GOODBYE: Duration = Duration::from_secs(1);

/// The open requests of one connection.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenRequests(watch::Sender<Counts>);

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    open: usize,
    any_came: bool,
}

/// One of them; closed when dropped.
struct Open(watch::Sender<Counts>);

/// When a connection ends.
pub(super) struct Until<I> {
    /// Nothing comes on it.
    pub idle: I,
    /// Open requests finish, then it ends.
    pub leave: Shutdown,
    /// It ends.
    pub cut: Shutdown,
}

impl OpenRequests {
    /// Resolves when no request came for `first`, or after the first one none was open for
    /// `next`.
    pub fn idle(&self, first: Duration, next: Duration) -> impl Future<Output = ()> + use<> {
        let mut counts = self.0.subscribe();
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

    fn open(&self) -> Open {
        self.0.send_modify(|c| *c = Counts { open: c.open + 1, any_came: true });
        Open(self.0.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|c| c.open = c.open.saturating_sub(1));
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
    next.run(request).await.map(|body| Body::new(Counted { body, handed_over, _open: open }))
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
    let Until { idle, leave, cut } = until;
    let mut connection = pin!(connection);
    let is_leaving = tokio::select! {
        ended = connection.as_mut() => return ended,
        () = leave.cancelled() => true,
        () = idle => false,
    };
    connection.as_mut().graceful_shutdown();
    let goodbye = async {
        match is_leaving {
            true => cut.cancelled().await,
            false => requests.idle(GOODBYE, GOODBYE).await,
        }
    };
    tokio::select! {
        ended = connection => ended,
        () = goodbye => Ok(()),
        () = cut.cancelled() => Ok(()),
    }
}
