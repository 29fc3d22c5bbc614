//! The stream of a connection, which comes back when HTTP has done with it.
//!
//! A socket that is closed while something that its client sent is unread resets the connection,
//! and a reset can overtake an answer that is still under way. So a connection ends in two steps:
//! our side is closed, and what still comes is read and thrown away until the client has closed
//! his. Invariant: that takes a bounded time, a bounded number of bytes and no memory.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

/// A client that sees the end has so long to close his side.
const LINGER: Duration = Duration::from_secs(1);
/// What is under way of an upload that was refused early. Who sends more is not going to read.
const LINGER_BYTES_MAX: usize = 4 << 20;

/// Where a stream lies when HTTP has done with it.
#[derive(Debug, Clone, Default)]
pub(super) struct Back(Arc<Mutex<Option<TcpStream>>>);

impl Back {
    fn take(&self) -> Option<TcpStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Closes our side and waits for the client to close his.
    pub async fn close(&self) {
        let Some(mut stream) = self.take() else { return };
        if stream.shutdown().await.is_err() {
            return;
        }
        let (mut ignored, mut bytes) = ([0; 1_024], 0);
        let gone = async {
            while let Ok(read @ 1..) = stream.read(&mut ignored).await
                && bytes < LINGER_BYTES_MAX
            {
                bytes += read;
            }
        };
        let _ = tokio::time::timeout(LINGER, gone).await;
    }
}

/// A stream on loan to HTTP.
#[derive(Debug)]
pub(super) struct Lent {
    /// There until it is given back.
    stream: Option<TcpStream>,
    back: Back,
}

impl Lent {
    pub fn new(stream: TcpStream) -> (Self, Back) {
        let back = Back::default();
        (Self { stream: Some(stream), back: back.clone() }, back)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(stream))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.back.0.lock().unwrap_or_else(PoisonError::into_inner) = self.stream.take();
    }
}

impl tokio::io::AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
