//! Limits for what anybody may ask over gRPC: health and reflection.
//!
//! Invariant: calls without a token hold a bounded number of places, few of them from one
//! connection, and each for a bounded time, whatever its client sends or reads. At the limit the
//! answer is RESOURCE_EXHAUSTED. What it is not: the probes of HTTP (`health`), which hold nothing.

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, header::CONTENT_TYPE},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use hyper::body::Frame;
use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Sleep, sleep};

const RESOURCE_EXHAUSTED: u8 = 8;
const UNAVAILABLE: u8 = 14;

/// How much there is of it.
#[derive(Debug, Clone, Copy)]
pub struct AsideLimits {
    /// Questions with one answer.
    pub calls_max: usize,
    /// Of one connection.
    pub connection_calls_max: usize,
    pub call_timeout: Duration,
    /// Streams: health's `Watch`, and reflection.
    pub streams_max: usize,
    /// Of one connection.
    pub connection_streams_max: usize,
    pub watch_timeout: Duration,
    pub reflection_timeout: Duration,
}

impl AsideLimits {
    /// Enough for the load balancers and tools of an installation.
    pub const DEFAULT: Self = Self {
        calls_max: 64,
        connection_calls_max: 8,
        call_timeout: Duration::from_secs(5),
        streams_max: 64,
        connection_streams_max: 4,
        watch_timeout: Duration::from_secs(3_600),
        reflection_timeout: Duration::from_secs(60),
    };
}

/// Puts the limits around the routes of health and reflection.
pub fn limited(routes: Router, limits: AsideLimits) -> Router {
    let places = Arc::new(Places { limits, held: Mutex::default() });
    routes.layer(from_fn_with_state(places, pass))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Call,
    Watch,
    Reflection,
}

impl Kind {
    fn of(path: &str) -> Self {
        match path {
            "/grpc.health.v1.Health/Check" => Self::Call,
            "/grpc.health.v1.Health/Watch" => Self::Watch,
            _ => Self::Reflection,
        }
    }

    fn is_stream(self) -> bool {
        self != Self::Call
    }

    fn timeout(self, limits: &AsideLimits) -> Duration {
        match self {
            Self::Call => limits.call_timeout,
            Self::Watch => limits.watch_timeout,
            Self::Reflection => limits.reflection_timeout,
        }
    }
}

#[derive(Debug)]
struct Places {
    limits: AsideLimits,
    held: Mutex<Held>,
}

/// Those of each connection; one that holds none is not remembered. The first of two counts
/// calls, the second streams.
#[derive(Debug, Default)]
struct Held {
    all: [usize; 2],
    of: HashMap<SocketAddr, [usize; 2]>,
}

/// Given back when dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    peer: SocketAddr,
    kind: Kind,
}

impl Places {
    fn take(self: &Arc<Self>, peer: SocketAddr, kind: Kind) -> Option<Place> {
        let (at, limits) = (usize::from(kind.is_stream()), &self.limits);
        let max = [limits.calls_max, limits.streams_max][at];
        let connection_max = [limits.connection_calls_max, limits.connection_streams_max][at];
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_peer = held.of.get(&peer).map_or(0, |of| of[at]);
        if held.all[at] >= max || of_peer >= connection_max {
            return None;
        }
        held.all[at] += 1;
        held.of.entry(peer).or_default()[at] += 1;
        Some(Place { places: self.clone(), peer, kind })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let at = usize::from(self.kind.is_stream());
        let mut held = self.places.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all[at] = held.all[at].saturating_sub(1);
        if let Some(of) = held.of.get_mut(&self.peer) {
            of[at] = of[at].saturating_sub(1);
            if *of == [0, 0] {
                held.of.remove(&self.peer);
            }
        }
    }
}

async fn pass(State(places): State<Arc<Places>>, request: Request, next: Next) -> Response {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map_or(unknown, |info| info.0);
    let kind = Kind::of(request.uri().path());
    let Some(place) = places.take(peer, kind) else {
        return refusal();
    };
    let timeout = kind.timeout(&places.limits);
    // A handler that waits for a message sees the end of its request.
    let request = request.map(|body| Body::new(Ending::new(body, timeout, None, None)));
    let end = kind.is_stream().then(time_is_over);
    next.run(request).await.map(|body| Body::new(Ending::new(body, timeout, end, Some(place))))
}

fn status(code: u8, message: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    headers.insert("grpc-message", HeaderValue::from_static(message));
    headers
}

fn refusal() -> Response {
    let mut response = Body::empty().into_response();
    let words = "all places for health and reflection are taken; try again later";
    *response.headers_mut() = status(RESOURCE_EXHAUSTED, words);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn time_is_over() -> HeaderMap {
    status(UNAVAILABLE, "the time for this stream is over; ask again")
}

/// A body that ends after some time, if it must with trailers.
struct Ending {
    body: Body,
    timer: Pin<Box<Sleep>>,
    is_over: bool,
    trailers: Option<HeaderMap>,
    _place: Option<Place>,
}

impl Ending {
    fn new(
        body: Body,
        timeout: Duration,
        trailers: Option<HeaderMap>,
        _place: Option<Place>,
    ) -> Self {
        Self { body, timer: Box::pin(sleep(timeout)), is_over: false, trailers, _place }
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if self.timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.is_over = true;
        self.body = Body::empty();
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        !self.is_over && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(limits: AsideLimits) -> Arc<Places> {
        Arc::new(Places { limits, held: Mutex::default() })
    }

    #[test]
    fn places_are_few_for_all_and_fewer_for_a_connection_and_come_back() {
        let limits = AsideLimits {
            calls_max: 3,
            connection_calls_max: 2,
            streams_max: 2,
            connection_streams_max: 1,
            ..AsideLimits::DEFAULT
        };
        let places = places(limits);
        let peer = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let watch = places.take(peer(1), Kind::Watch).unwrap();
        assert!(places.take(peer(1), Kind::Reflection).is_none(), "its only stream");
        let other = places.take(peer(2), Kind::Reflection).unwrap();
        assert!(places.take(peer(3), Kind::Watch).is_none(), "all streams");
        let calls: Vec<_> = [1, 1, 2].map(|p| places.take(peer(p), Kind::Call)).into();
        assert!(calls.iter().all(Option::is_some), "streams take nothing from calls");
        assert!(places.take(peer(1), Kind::Call).is_none(), "its two calls");
        assert!(places.take(peer(3), Kind::Call).is_none(), "all calls");
        drop((watch, other, calls));
        let held = places.held.lock().unwrap();
        assert_eq!((held.all, held.of.len()), ([0, 0], 0), "who holds nothing is not remembered");
    }

    async fn end_of(mut body: Ending) -> Vec<Option<HeaderMap>> {
        let mut frames = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            frames.push(frame.unwrap().into_trailers().ok());
        }
        frames
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_ends_when_its_time_is_over() {
        let never = || Body::new(Never);
        let minute = Duration::from_secs(60);
        let asked = end_of(Ending::new(never(), minute, None, None)).await;
        assert_eq!(asked, [], "a request ends");
        let answered = end_of(Ending::new(never(), minute, Some(time_is_over()), None)).await;
        assert_eq!(answered, [Some(time_is_over())], "an answer ends with a status");
        let short = end_of(Ending::new(Body::from("x"), minute, Some(time_is_over()), None)).await;
        assert_eq!(short, [None], "what ends before is left alone");
    }

    struct Never;

    impl HttpBody for Never {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            Poll::Pending
        }
    }
}
