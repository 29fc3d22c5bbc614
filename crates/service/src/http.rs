//! Serving HTTP/1 and HTTP/2 on one port with a limit on everything: connections, the size of a
//! request's head and the time for it, streams of a connection, time without a request, time to
//! drain.
//!
//! `axum::serve` leaves a half-sent header open for ever, so hyper-util is driven here with a
//! header timer, and each connection with a watch on its open requests.

mod connection;
mod stream;

use crate::Shutdown;
use axum::{Router, extract::ConnectInfo};
use connection::OpenRequests;
use heliograph_domain::{Violation, Violations};
use heliograph_metrics::{Counter, Gauge, Held, Register};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use stream::Streams;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;

/// How often a silent HTTP/2 connection is asked whether it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const HTTP2_STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// Connections that the kernel keeps until there is a place for them; `net.core.somaxconn` bounds
/// it. Over it the kernel forgets clients that believe themselves connected (SYN cookies): one that
/// sends is found again, one that only waits would wait for ever. The libraries' own 128 is soon
/// full.
const BACKLOG: u32 = 4096;
/// hyper takes no smaller buffer.
const HEADER_BYTES_LEAST: usize = 8 * 1024;

/// Limits of a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpLimits {
    /// Open connections; further ones wait in the kernel's backlog.
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
    /// Time for open requests to finish after the shutdown began.
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
        found.range("header_bytes_max", self.header_bytes_max, HEADER_BYTES_LEAST, 1 << 20);
        found.range("headers_max", self.headers_max, 1, 1_000);
        found.range("http2_streams_max", self.http2_streams_max, 1, 10_000);
        found.into_vec()
    }
}

/// What is counted of a listener.
#[derive(Debug, Clone, Default)]
pub struct HttpMetrics {
    accepted: Counter,
    open: Gauge,
    open_max: Gauge,
    accept_errors: Counter,
}

impl HttpMetrics {
    pub fn register(of: &mut Register<'_>) -> Self {
        Self {
            accepted: of.counter("connections_accepted", "Connections that were accepted"),
            open: of.gauge("connections", "Open connections"),
            open_max: of.gauge(
                "connections_max",
                "Most connections that may be open; further ones wait in the kernel",
            ),
            accept_errors: of.counter(
                "accept_errors",
                "Failures to accept a connection, mostly for want of file descriptors",
            ),
        }
    }
}

/// Binds a listener; port 0 takes a free one.
///
/// # Errors
/// When the address cannot be bound; the message names it.
pub async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    use anyhow::Context;
    listen(addr).with_context(|| format!("cannot listen on {addr}"))
}

fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart need not wait for the connections of before to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Serves `router` until `shutdown`, then lets open requests finish within the drain time.
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
    let builder = builder(&limits);
    // Layered once: a layer of each connection would copy every route for it.
    let routes =
        TowerToHyperService::new(router.layer(axum::middleware::from_fn(connection::count)));
    let (connections, cut) = (TaskTracker::new(), Shutdown::new());
    let places = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                metrics.accept_errors.inc();
                // Out of descriptors, mostly. Waiting keeps this loop from spinning on it.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        metrics.accepted.inc();
        let open = Held::one(&metrics.open);
        let requests = OpenRequests::default();
        let (routes, counted) = (routes.clone(), requests.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(counted.clone());
            routes.call(request)
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let idle = requests.idle(limits.header_read_timeout, limits.idle_timeout);
        let until = (shutdown.clone(), cut.clone());
        connections.spawn(async move {
            let until = connection::Until { idle, leave: until.0, cut: until.1 };
            if let Err(error) = connection::drive(connection, &requests, until).await {
                tracing::debug!(%error, %peer, "connection ended");
            }
            drop((open, place));
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(drain_timeout = ?limits.drain_timeout, "connections cut at the deadline");
        cut.cancel();
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

type Accepted = (tokio::net::TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn open_requests_finish_after_the_shutdown_and_new_ones_are_not_taken() {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (entered, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (e, g) = (entered.clone(), go.clone());
        let router = Router::new().route(
            "/",
            get(move || async move {
                e.add_permits(1);
                let _go = g.acquire().await;
                "done"
            }),
        );
        let shutdown = Shutdown::new();
        let server = tokio::spawn(serve(
            listener,
            router,
            HttpLimits::default(),
            HttpMetrics::default(),
            shutdown.clone(),
        ));
        let mut client = tokio::net::TcpStream::connect(addr).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        drop(entered.acquire().await.unwrap());
        shutdown.cancel();
        go.add_permits(1);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        server.await.unwrap();
        assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    }

    #[tokio::test]
    async fn what_is_open_at_the_deadline_is_cut() {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let entered = Arc::new(Semaphore::new(0));
        let e = entered.clone();
        let endless = move || async move {
            e.add_permits(1);
            std::future::pending::<&str>().await
        };
        let limits = HttpLimits { drain_timeout: Duration::from_millis(20), ..Default::default() };
        let shutdown = Shutdown::new();
        let router = Router::new().route("/", get(endless));
        let server =
            tokio::spawn(serve(listener, router, limits, HttpMetrics::default(), shutdown.clone()));
        let mut client = tokio::net::TcpStream::connect(addr).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        drop(entered.acquire().await.unwrap());
        shutdown.cancel();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.is_empty());
        server.await.unwrap();
    }

    #[tokio::test]
    async fn who_waits_for_a_place_is_not_forgotten() {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut clients = Vec::new();
        for _ in 0..1_000 {
            // Where the kernel's queue is full this fails after minutes.
            clients.push(tokio::net::TcpStream::connect(addr).await.unwrap());
        }
        for client in &clients {
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
    }

    #[test]
    fn a_limit_that_makes_no_sense_names_its_key() {
        assert_eq!(HttpLimits::default().violations("s"), []);
        let zero = Duration::ZERO;
        let rows = [
            ("connections_max", HttpLimits { connections_max: 0, ..Default::default() }),
            ("header_read_timeout", HttpLimits { header_read_timeout: zero, ..Default::default() }),
            ("idle_timeout", HttpLimits { idle_timeout: zero, ..Default::default() }),
            ("write_timeout", HttpLimits { write_timeout: zero, ..Default::default() }),
            ("keep_alive_timeout", HttpLimits { keep_alive_timeout: zero, ..Default::default() }),
            ("header_bytes_max", HttpLimits { header_bytes_max: 8_191, ..Default::default() }),
            ("headers_max", HttpLimits { headers_max: 0, ..Default::default() }),
            ("http2_streams_max", HttpLimits { http2_streams_max: 0, ..Default::default() }),
        ];
        for (key, limits) in rows {
            let got = limits.violations("s").iter().map(ToString::to_string).collect::<String>();
            assert!(got.contains(&format!("s.{key}: got ")), "{got}");
        }
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_comes_is_closed_and_an_open_request_is_not_idle() {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let soon = Duration::from_millis(50);
        let limits =
            HttpLimits { idle_timeout: soon, header_read_timeout: soon, ..Default::default() };
        let go = Arc::new(Semaphore::new(0));
        let g = go.clone();
        let slow = move || async move {
            let _go = g.acquire().await;
            "done"
        };
        let router = Router::new().route("/", get(slow));
        let shutdown = Shutdown::new();
        let server =
            tokio::spawn(serve(listener, router, limits, HttpMetrics::default(), shutdown.clone()));
        let mut busy = tokio::net::TcpStream::connect(addr).await.unwrap();
        busy.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        // Nothing; the beginning of HTTP/2; HTTP/2 without a request.
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let settings = [&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
        for sent in [&b""[..], &preface[..10], &settings] {
            let mut idle = tokio::net::TcpStream::connect(addr).await.unwrap();
            idle.write_all(sent).await.unwrap();
            let mut rest = Vec::new();
            // Closed or reset; either way it ends.
            let _ = idle.read_to_end(&mut rest).await;
        }
        go.add_permits(1);
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        shutdown.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_cut() {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let limits =
            HttpLimits { header_read_timeout: Duration::from_millis(50), ..Default::default() };
        let shutdown = Shutdown::new();
        let server = tokio::spawn(serve(
            listener,
            Router::new(),
            limits,
            HttpMetrics::default(),
            shutdown.clone(),
        ));
        let mut client = tokio::net::TcpStream::connect(addr).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        shutdown.cancel();
        server.await.unwrap();
    }
}
