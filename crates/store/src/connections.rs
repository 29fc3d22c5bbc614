//! How many connections one client may have to ClickHouse.
//!
//! Invariant: never more than its places are open, opening or closing; a place is free again when
//! the socket is closed. A statement beyond waits for one, for no longer than its caller waits for
//! the statement. It does not know what travels over them.

use hyper::{
    Uri,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::{BoxError, Service};

const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// Opens connections while there are places.
#[derive(Debug, Clone)]
pub(crate) struct Limited {
    http: HttpConnector,
    places: Arc<Semaphore>,
}

impl Limited {
    pub(crate) fn new(connections_max: usize) -> Self {
        let mut http = HttpConnector::new();
        http.set_keepalive(Some(TCP_KEEPALIVE));
        // Small statements must not wait for the acknowledgement of the head before them.
        http.set_nodelay(true);
        Self { http, places: Arc::new(Semaphore::new(connections_max)) }
    }
}

impl Service<Uri> for Limited {
    type Response = Placed;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Placed, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        ready!(self.http.poll_ready(cx))?;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let places = self.places.clone();
        let mut http = self.http.clone();
        Box::pin(async move {
            let place = places.acquire_owned().await?;
            Ok(Placed { io: http.call(to).await?, _place: place })
        })
    }
}

/// A connection in its place. The socket is closed before the place is given back.
pub(crate) struct Placed {
    io: TokioIo<TcpStream>,
    _place: OwnedSemaphorePermit,
}

impl Connection for Placed {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}

impl Read for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Placed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
