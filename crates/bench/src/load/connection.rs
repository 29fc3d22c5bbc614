//! One kept-alive connection of HTTP/1.1 that sends bytes as they are and reads answers just far
//! enough to find their ends.

use anyhow::{Context, bail, ensure};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const HEADERS_MAX: usize = 32;
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What an answer's head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub has_retry_after: bool,
    /// The server closes after it.
    pub closes: bool,
}

pub struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub async fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await.with_context(|| format!("connect {addr}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads its answer to the end. A server may answer before it has read the
    /// whole request.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        let written = self.stream.write_all(request).await;
        self.read.clear();
        loop {
            let got = self.stream.read_buf(&mut self.read).await?;
            if got == 0 {
                written?;
                bail!("the connection ended before an answer");
            }
            if let Some((mut answer, length)) = parse(&self.read)?
                && self.read.len() >= length
            {
                ensure!(self.read.len() == length, "more came than was asked for");
                answer.closes |= written.is_err();
                return Ok(answer);
            }
            ensure!(self.read.len() < ANSWER_BYTES_MAX, "an answer without an end");
        }
    }
}

/// The answer's head, once it is whole, and the length of the whole answer.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(bytes)? else { return Ok(None) };
    let status = head.code.context("an answer without a status")?;
    let mut answer = Answer { status, has_retry_after: false, closes: false };
    let mut body = (status == 204 || status == 304).then_some(0);
    for header in head.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default();
        match header.name {
            name if name.eq_ignore_ascii_case("content-length") => body = Some(value.parse()?),
            name if name.eq_ignore_ascii_case("retry-after") => answer.has_retry_after = true,
            name if name.eq_ignore_ascii_case("connection") => {
                answer.closes = value.eq_ignore_ascii_case("close");
            }
            _ => {}
        }
    }
    let body: usize = body.context("an answer without a content-length")?;
    Ok(Some((answer, head_length + body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let refused =
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\ncontent-length: 2\r\n\
                        Connection: close\r\n\r\n{}";
        let want = Answer { status: 503, has_retry_after: true, closes: true };
        assert_eq!(parse(refused).unwrap(), Some((want, refused.len())));
        assert_eq!(parse(&refused[..40]).unwrap(), None);
        let taken = b"HTTP/1.1 204 No Content\r\n\r\n";
        let want = Answer { status: 204, has_retry_after: false, closes: false };
        assert_eq!(parse(taken).unwrap(), Some((want, taken.len())));
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse(b"SMTP\r\n\r\n").is_err());
    }
}
