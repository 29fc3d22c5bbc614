//! Clients that send upload after upload until nobody listens, and say what they were told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use heliograph_contract::v1::{
    self, upload_service_client::UploadServiceClient, upload_stream_response::Result as Outcome,
};
use std::{error::Error, io, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, watch},
};
use tonic::{
    Request, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

/// What the clients send against, and how many answers they got.
#[derive(Clone)]
pub struct Load {
    addr: SocketAddr,
    answers: Arc<watch::Sender<usize>>,
}

/// What a client was told.
#[derive(Debug, Default)]
pub struct Told {
    /// Uploads that were answered with a 2xx.
    pub accepted: Vec<String>,
    /// Uploads that were sent whole and got no answer, or none that makes sense.
    pub broken: Vec<String>,
    /// Answers that said that their connection ends.
    pub goodbyes: usize,
}

impl Told {
    pub fn add(&mut self, other: Self) {
        self.accepted.extend(other.accepted);
        self.broken.extend(other.broken);
        self.goodbyes += other.goodbyes;
    }
}

impl Load {
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, answers: Arc::new(watch::Sender::new(0)) }
    }

    /// Waits for so many answers.
    pub async fn answers(&self, count: usize) {
        self.answers.subscribe().wait_for(|n| *n >= count).await.unwrap();
    }

    fn answered(&self) {
        self.answers.send_modify(|n| *n += 1);
    }

    /// `None`: nobody listens any more.
    async fn connect(&self) -> Option<TcpStream> {
        match TcpStream::connect(self.addr).await {
            Ok(stream) => Some(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => None,
            Err(error) => panic!("connect: {error}"),
        }
    }

    async fn channel(&self) -> Option<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.addr)).unwrap();
        match endpoint.connect().await {
            Ok(channel) => Some(channel),
            Err(error) if is(&error, io::ErrorKind::ConnectionRefused) => None,
            // It came in to a GOAWAY, or was closed with nothing sent over it.
            Err(_) => Some(endpoint.connect_lazy()),
        }
    }
}

fn body(site: &str, id: &str) -> String {
    format!(
        r#"{{"upload_id":"{id}","site":"{site}","readings":[{{"device":"inv1","metric":"ac_power","ts":"2026-01-01T00:00:00Z","value":1}}]}}"#
    )
}

fn request(site: &str, id: &str, more: &str) -> String {
    let body = body(site, id);
    format!(
        "POST /v1/uploads HTTP/1.1\r\nhost: a\r\nauthorization: Bearer token-{site}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n{more}\r\n{body}",
        body.len()
    )
}

/// The head and the body of one answer; `None`: the connection was closed before its first byte.
async fn answer(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
            if body.len() >= length.ok_or(io::ErrorKind::InvalidData)? {
                return Ok(Some(text));
            }
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return match answer.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    }
}

/// HTTP/1, one connection for as long as it is kept.
pub async fn keep_alive(load: Load, site: &'static str) -> Told {
    let (mut told, mut count) = (Told::default(), 0);
    while let Some(mut stream) = load.connect().await {
        let mut is_fresh = true;
        loop {
            count += 1;
            let id = format!("keep-alive-{site}-{count}");
            match ask(&load, &mut stream, &request(site, &id, ""), &id, &mut told).await {
                Asked::Answered { ends: false } => is_fresh = false,
                Asked::Answered { ends: true } => {
                    told.goodbyes += 1;
                    break;
                }
                // Closed between two requests, while this one was under way.
                Asked::Closed if !is_fresh => break,
                Asked::Closed => {
                    told.broken.push(format!("{id}: closed without an answer"));
                    break;
                }
                Asked::Broken => break,
            }
        }
    }
    told
}

/// HTTP/1, a connection for each upload.
pub async fn one_by_one(load: Load, site: &'static str) -> Told {
    let (mut told, mut count) = (Told::default(), 0);
    while let Some(mut stream) = load.connect().await {
        count += 1;
        let id = format!("one-by-one-{site}-{count}");
        let request = request(site, &id, "connection: close\r\n");
        if let Asked::Closed = ask(&load, &mut stream, &request, &id, &mut told).await {
            told.broken.push(format!("{id}: closed without an answer"));
        }
    }
    told
}

enum Asked {
    Answered { ends: bool },
    Closed,
    Broken,
}

async fn ask(
    load: &Load,
    stream: &mut TcpStream,
    request: &str,
    id: &str,
    told: &mut Told,
) -> Asked {
    if let Err(error) = stream.write_all(request.as_bytes()).await {
        told.broken.push(format!("{id}: while it was sent: {error}"));
        return Asked::Broken;
    }
    let answer = match answer(stream).await {
        Ok(Some(answer)) => answer,
        Ok(None) => return Asked::Closed,
        Err(error) => {
            told.broken.push(format!("{id}: while its answer came: {error}"));
            return Asked::Broken;
        }
    };
    load.answered();
    if answer.starts_with("http/1.1 200") {
        told.accepted.push(id.to_owned());
    } else if !answer.starts_with("http/1.1 503") || !answer.contains("\r\nretry-after: ") {
        told.broken.push(format!("{id}: {answer}"));
    }
    Asked::Answered { ends: answer.contains("\r\nconnection: close") }
}

fn with_token<T>(message: T, site: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer token-{site}").parse().unwrap());
    request
}

fn upload(site: &str, id: &str) -> v1::UploadRequest {
    let reading = v1::SentReading {
        device: "inv1".into(),
        metric: "ac_power".into(),
        ts_ms: Some(1_767_225_600_000),
        value: Some(1.0),
        ..Default::default()
    };
    let site_id = site.into();
    v1::UploadRequest {
        upload_id: id.into(),
        site_id,
        readings: vec![reading],
        ..Default::default()
    }
}

/// What lies beneath an error, itself first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// Whether an I/O error of this kind is beneath it.
fn is(error: &(dyn Error + 'static), kind: io::ErrorKind) -> bool {
    chain(error).any(|e| e.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == kind))
}

/// Whether a GOAWAY without an error named an earlier stream as the last one taken, so that this one
/// was not and may be sent again (RFC 9113, section 6.8). `h2` ends only such streams by it.
fn is_goaway(error: &(dyn Error + 'static)) -> bool {
    let is_one =
        |e: &h2::Error| e.is_go_away() && e.is_remote() && e.reason() == Some(h2::Reason::NO_ERROR);
    chain(error).any(|e| e.downcast_ref().is_some_and(is_one))
}

/// How a call may end that the server did not take: with words and a time to come again, or unsent,
/// since GOAWAY said in time that it would not be taken. Nobody may be left without an answer.
fn judge(status: &Status, id: &str, told: &mut Told) {
    let is_answer = status.get_details_retry_info().is_some();
    const UNSENT: [&str; 3] =
        ["operation was canceled", "connection closed", "connection was not ready"];
    let causes: Vec<String> = chain(status).skip(1).map(ToString::to_string).collect();
    let is_unsent = causes.iter().any(|cause| UNSENT.contains(&cause.as_str()));
    let is_refused = is(status, io::ErrorKind::ConnectionRefused);
    if !is_answer && !is_unsent && !is_goaway(status) && !is_refused {
        told.broken.push(format!("{id}: {status:?}: {causes:?}"));
    }
}

/// gRPC, a call for each upload.
pub async fn unary(load: Load, site: &'static str) -> Told {
    let (mut told, mut count) = (Told::default(), 0);
    while let Some(channel) = load.channel().await {
        let mut client = UploadServiceClient::new(channel);
        loop {
            count += 1;
            let id = format!("unary-{site}-{count}");
            match client.upload(with_token(upload(site, &id), site)).await {
                Ok(_) => told.accepted.push(id),
                Err(status) => {
                    judge(&status, &id, &mut told);
                    break;
                }
            }
            load.answered();
        }
    }
    told
}

/// gRPC, all uploads in one stream for as long as it is kept.
pub async fn streaming(load: Load, site: &'static str) -> Told {
    let (mut told, mut count) = (Told::default(), 0);
    while let Some(channel) = load.channel().await {
        let (sender, mut receiver) = mpsc::channel(1);
        let uploads = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let mut client = UploadServiceClient::new(channel);
        let mut results = match client.upload_stream(with_token(uploads, site)).await {
            Ok(results) => results.into_inner(),
            Err(status) => {
                judge(&status, "stream", &mut told);
                continue;
            }
        };
        loop {
            count += 1;
            let id = format!("stream-{site}-{count}");
            let next = v1::UploadStreamRequest { upload: Some(upload(site, &id)) };
            // A stream that has ended says so by its status, which is read next.
            let _ = sender.send(next).await;
            match results.message().await.map(|result| result.and_then(|result| result.result)) {
                Ok(Some(Outcome::Accepted(answer))) => told.accepted.push(answer.upload_id),
                Ok(Some(Outcome::Refused(refused))) if refused.retry_after_ms.is_some() => {}
                Ok(other) => {
                    told.broken.push(format!("{id}: {other:?}"));
                    break;
                }
                Err(status) => {
                    judge(&status, &id, &mut told);
                    break;
                }
            }
            load.answered();
        }
    }
    told
}
