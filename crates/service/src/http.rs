//! Serving HTTP/1 and HTTP/2 on one port with a limit on everything: connections, the size of a
//! request's head and the time for it, streams of a connection, time without a request, time to
//! drain.
//!
//! Leaving is the other half: nobody who came in is turned away. First everybody is told to go on
//! elsewhere (`Connection: close`, GOAWAY) while all are still answered, then the listener closes
//! (`listener`), then open requests finish, and each connection ends so that its last answer arrives
//! (`io`).
//!
//! `axum::serve` leaves a half-sent header open for ever, so hyper-util is driven here with a
//! header timer, and each connection with a watch on its open requests.

mod connection;
mod io;
mod listener;
mod metrics;
mod registry;
mod stream;

pub use listener::bind;
pub use metrics::HttpMetrics;

use crate::Shutdown;
use axum::{Router, extract::ConnectInfo};
use connection::{OpenRequests, Until};
use heliograph_domain::{Violation, Violations};
use heliograph_metrics::Held;
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use io::Lent;
use listener::HANDSHAKE;
use registry::Registry;
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use stream::Streams;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::task::TaskTracker;

/// How often a silent HTTP/2 connection is asked whether it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// How long one that was told to make room may take before the next one is.
const EVICT_AGAIN: Duration = Duration::from_millis(100);
/// hyper takes no smaller buffer.
const HEADER_BYTES_LEAST: usize = 8 * 1024;

/// Limits of a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpLimits {
    /// Open connections; one more takes the place of the one that has been idle longest, or waits in
    /// the kernel's backlog.
    pub connections_max: usize,
    /// Time for a client to send a request's head, from the beginning of the connection or, with
    /// HTTP/1, from the answer before.
    #[serde(with = "crate::config::duration")]
    pub header_read_timeout: Duration,
    /// A connection without an open request is closed after so long.
    #[serde(with = "crate::config::duration")]
    pub idle_timeout: Duration,
    /// Time for an HTTP/2 client to take the next part of an answer; after that its stream is reset.
    #[serde(with = "crate::config::duration")]
    pub write_timeout: Duration,
    /// Time for a silent HTTP/2 client to answer when it is asked whether it is still there.
    #[serde(with = "crate::config::duration")]
    pub keep_alive_timeout: Duration,
    /// The largest head of a request: its line and all headers.
    pub header_bytes_max: usize,
    /// Most headers of an HTTP/1 request; with HTTP/2 their bytes alone are limited.
    pub headers_max: usize,
    /// Open requests of one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Time from the beginning of the shutdown until the listener closes. For so long everybody is
    /// answered, and told to go on elsewhere.
    #[serde(with = "crate::config::duration")]
    pub leave_delay: Duration,
    /// Time for open requests to finish after the listener closed.
    #[serde(with = "crate::config::duration")]
    pub drain_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(60),
            keep_alive_timeout: Duration::from_secs(10),
            header_bytes_max: 32 * 1024,
            headers_max: 100,
            http2_streams_max: 100,
            leave_delay: Duration::from_millis(250),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl HttpLimits {
    /// Every value that makes no sense, under keys below `part`, the section it stands in.
    pub fn violations(&self, part: &'static str) -> Vec<Violation> {
        let (short, hour) = (Duration::from_millis(1), Duration::from_secs(3_600));
        let mut found = Violations::of(part);
        found.range("connections_max", self.connections_max, 1, 1_000_000);
        for (key, value) in [
            ("header_read_timeout", self.header_read_timeout),
            ("idle_timeout", self.idle_timeout),
            ("write_timeout", self.write_timeout),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("drain_timeout", self.drain_timeout),
        ] {
            found.time(key, value, short, hour);
        }
        found.time("leave_delay", self.leave_delay, Duration::ZERO, hour);
        found.range("header_bytes_max", self.header_bytes_max, HEADER_BYTES_LEAST, 1 << 20);
        found.range("headers_max", self.headers_max, 1, 1_000);
        found.range("http2_streams_max", self.http2_streams_max, 1, 10_000);
        found.into_vec()
    }

    /// The longest that [`serve`] takes from the shutdown to its end.
    pub fn leave_max(&self) -> Duration {
        self.leave_delay + HANDSHAKE + self.drain_timeout
    }
}

/// Serves `router` until `shutdown`, then leaves: for the leave delay everybody is still let in and
/// told to go on elsewhere, then the listener closes and open requests finish within the drain time.
/// The peer's address is in the extension `axum::extract::ConnectInfo<SocketAddr>`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    metrics: HttpMetrics,
    shutdown: Shutdown,
) {
    metrics.open_max.set(i64::try_from(limits.connections_max).unwrap_or(i64::MAX));
    crate::runtime::warn_of_descriptors(limits.connections_max);
    let HttpLimits { leave_delay, drain_timeout, .. } = limits;
    let mut server = Server {
        listener,
        // Layered once: a layer of each connection would copy every route for it.
        routes: TowerToHyperService::new(
            router.layer(axum::middleware::from_fn(connection::count)),
        ),
        builder: builder(&limits),
        places: Arc::new(Semaphore::new(limits.connections_max)),
        limits,
        metrics,
        waiting: None,
        registry: Registry::default(),
        connections: TaskTracker::new(),
        leave: shutdown.clone(),
        closed: Shutdown::new(),
        cut: Shutdown::new(),
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = server.accept() => {}
    }
    let _ = tokio::time::timeout(leave_delay, server.accept()).await;
    listener::ignore_handshakes(&server.listener);
    let _ = tokio::time::timeout(HANDSHAKE, server.accept()).await;
    let Server { listener, connections, closed, cut, .. } = server;
    drop(listener);
    closed.cancel();
    connections.close();
    if tokio::time::timeout(drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(?drain_timeout, "connections cut at the deadline");
        cut.cancel();
    }
}

struct Server {
    listener: TcpListener,
    routes: TowerToHyperService<Router>,
    builder: auto::Builder<Streams>,
    limits: HttpLimits,
    metrics: HttpMetrics,
    places: Arc<Semaphore>,
    /// Accepted, without a place.
    waiting: Option<(TcpStream, SocketAddr)>,
    registry: Registry,
    connections: TaskTracker,
    /// The shutdown began.
    leave: Shutdown,
    /// Nobody comes in any more.
    closed: Shutdown,
    /// The time to drain is over.
    cut: Shutdown,
}

impl Server {
    /// Lets in whoever comes. Dropped at any time, it turns nobody away.
    async fn accept(&mut self) {
        loop {
            if self.waiting.is_none() {
                match self.listener.accept().await {
                    Ok(accepted) => self.waiting = Some(accepted),
                    Err(error) => {
                        self.metrics.accept_errors.inc();
                        // Out of descriptors, mostly. Waiting keeps this loop from spinning on it.
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                }
            }
            let place = self.place().await;
            if let Some((stream, peer)) = self.waiting.take() {
                self.run(stream, peer, place);
            }
        }
    }

    /// A place for the one that waits: where there is none, that of who has been idle longest.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Some(place);
        }
        loop {
            self.registry.evict_longest_idle();
            let place = self.places.clone().acquire_owned();
            // One that was busy then may be idle now.
            if let Ok(place) = tokio::time::timeout(EVICT_AGAIN, place).await {
                return place.ok();
            }
        }
    }

    fn run(&self, stream: TcpStream, peer: SocketAddr, place: Option<OwnedSemaphorePermit>) {
        let _ = stream.set_nodelay(true);
        self.metrics.accepted.inc();
        let open = Held::one(&self.metrics.open);
        let requests = OpenRequests::new(self.leave.clone());
        let (routes, counted) = (self.routes.clone(), requests.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(counted.clone());
            routes.call(request)
        });
        let (stream, back) = Lent::new(stream);
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let registered = self.registry.add(requests.clone());
        let until = Until {
            idle: requests.idle(self.limits.header_read_timeout, self.limits.idle_timeout),
            leave: self.leave.clone(),
            closed: self.closed.clone(),
            evicted: registered.evicted.clone(),
            cut: self.cut.clone(),
        };
        let cut = self.cut.clone();
        self.connections.spawn(async move {
            let (_place, _open, registered) = (place, open, registered);
            if let Err(error) = connection::drive(connection, &requests, until).await {
                tracing::debug!(%error, %peer, "connection ended");
            }
            if !registered.evicted.is_cancelled() {
                let _ = cut.run_until_cancelled(back.close()).await;
            }
        });
    }
}

fn builder(limits: &HttpLimits) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams { write_timeout: limits.write_timeout });
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.header_bytes_max)
        // Who has sent all may close that side and still wants the answer.
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(limits.keep_alive_timeout)
        .max_concurrent_streams(limits.http2_streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        // What a connection can make us hold that no handler has asked for.
        .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(HTTP2_STREAM_WINDOW_BYTES as usize);
    builder
}

#[cfg(test)]
mod tests;
