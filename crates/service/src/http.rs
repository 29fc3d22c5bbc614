//! Serving HTTP/1 and HTTP/2 on one port with a limit on everything: connections, time for a
//! request head, time to drain.
//!
//! `axum::serve` leaves a half-sent header open for ever, so hyper-util is driven here with a
//! header timer.

use crate::Shutdown;
use axum::Router;
use heliograph_domain::{Violation, Violations};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore};

/// Limits of a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpLimits {
    /// Open connections; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// Time for a client to send a request's head.
    #[serde(with = "crate::config::duration")]
    pub header_read_timeout: Duration,
    /// Time for open requests to finish after the shutdown began.
    #[serde(with = "crate::config::duration")]
    pub drain_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            header_read_timeout: Duration::from_secs(10),
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
        found.time("header_read_timeout", self.header_read_timeout, short, hour);
        found.time("drain_timeout", self.drain_timeout, short, hour);
        found.into_vec()
    }
}

/// Binds a listener; port 0 takes a free one.
///
/// # Errors
/// When the address cannot be bound; the message names it.
pub async fn bind(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    use anyhow::Context;
    TcpListener::bind(addr).await.with_context(|| format!("cannot listen on {addr}"))
}

/// Serves `router` until `shutdown`, then lets open requests finish within the drain time.
/// The peer's address is in the extension `axum::extract::ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, router: Router, limits: HttpLimits, shutdown: Shutdown) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_read_timeout);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));
    let graceful = GracefulShutdown::new();
    let cut = Shutdown::new();
    let places = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly. Waiting keeps this loop from spinning on it.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let service = router.clone().layer(axum::Extension(axum::extract::ConnectInfo(peer)));
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service))
            .into_owned();
        let connection = graceful.watch(connection);
        let cut = cut.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, %peer, "connection ended");
                },
                () = cut.cancelled() => {}
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(drain_timeout = ?limits.drain_timeout, "connections cut at the deadline");
        cut.cancel();
    }
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
        let server = tokio::spawn(serve(listener, router, HttpLimits::default(), shutdown.clone()));
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
        let server = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
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
    async fn a_head_that_never_ends_is_cut() {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let limits =
            HttpLimits { header_read_timeout: Duration::from_millis(50), ..Default::default() };
        let shutdown = Shutdown::new();
        let server = tokio::spawn(serve(listener, Router::new(), limits, shutdown.clone()));
        let mut client = tokio::net::TcpStream::connect(addr).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        shutdown.cancel();
        server.await.unwrap();
    }
}
