//! An HTTP front for ClickHouse that answers some statements as it is told, and hands all others to
//! the real store.
//!
//! Invariant: a statement that got a scripted answer never reached the store. It has a thread of its
//! own, so it goes on while a test blocks. Connections are `proxy`'s matter.

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};
use tokio::{net::TcpListener, sync::oneshot};

/// Words are looked for in so much of a body.
const STATEMENT_BYTES_MAX: usize = 64 << 10;

/// An answer in place of the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// As ClickHouse says it, with the header and the text of its code.
    Exception { status: u16, code: u32, name: &'static str },
    /// A page of something in front of it.
    Page { status: u16, html: &'static str },
    /// A 200 with a few bytes that mean nothing, and then no end.
    BreaksOff,
}

impl Answer {
    pub const TOO_MANY_PARTS: Self = Self::exception(503, 252, "TOO_MANY_PARTS");
    pub const MEMORY_LIMIT: Self = Self::exception(500, 241, "MEMORY_LIMIT_EXCEEDED");
    pub const TIME_OUT: Self = Self::exception(408, 159, "TIMEOUT_EXCEEDED");
    pub const TOO_MANY_QUERIES: Self = Self::exception(500, 202, "TOO_MANY_SIMULTANEOUS_QUERIES");
    pub const BAD_GATEWAY: Self =
        Self::Page { status: 502, html: "<html><h1>502 Bad Gateway</h1></html>" };
    /// All that a store which is away for now may say.
    pub const PASSING: [Self; 6] = [
        Self::TOO_MANY_PARTS,
        Self::MEMORY_LIMIT,
        Self::TIME_OUT,
        Self::TOO_MANY_QUERIES,
        Self::BAD_GATEWAY,
        Self::BreaksOff,
    ];

    const fn exception(status: u16, code: u32, name: &'static str) -> Self {
        Self::Exception { status, code, name }
    }

    fn response(self) -> Response {
        match self {
            Self::Exception { status, code, name } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                let said =
                    format!("Code: {code}. DB::Exception: scripted. ({name}) (version 26.5)\n");
                (status, [("x-clickhouse-exception-code", code.to_string())], said).into_response()
            }
            Self::Page { status, html } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                (status, [(header::CONTENT_TYPE, "text/html")], html).into_response()
            }
            Self::BreaksOff => {
                let pieces = [
                    Ok(Bytes::from_static(b"\0\xff\0")),
                    Err(std::io::Error::other("scripted: the connection breaks off")),
                ];
                Body::from_stream(futures::stream::iter(pieces)).into_response()
            }
        }
    }
}

#[derive(Debug, Default)]
struct Script {
    /// To statements with these words in them; the first that matches counts.
    rules: Vec<(String, Answer)>,
    answered: usize,
    forwarded: usize,
}

#[derive(Debug, Clone)]
struct Front {
    real: String,
    client: reqwest::Client,
    script: Arc<Mutex<Script>>,
}

/// A running front; it ends when it is dropped.
#[derive(Debug)]
pub struct ScriptedStore {
    addr: SocketAddr,
    script: Arc<Mutex<Script>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedStore {
    /// In front of the store at `real` (`http://host:port`), on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port or no thread can be had.
    pub fn start(real: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let script = Arc::new(Mutex::new(Script::default()));
        let front = Front {
            real: real.to_owned(),
            client: reqwest::Client::builder().no_proxy().build()?,
            script: script.clone(),
        };
        let router =
            Router::new().fallback(serve).layer(DefaultBodyLimit::disable()).with_state(front);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("test-store".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { addr, script, stop: Some(stop), thread: Some(thread) })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From now on statements with `words` in them get `answer`. An earlier rule goes first.
    pub fn answer(&self, words: &str, answer: Answer) {
        locked(&self.script).rules.push((words.to_owned(), answer));
    }

    /// From now on everything reaches the store.
    pub fn forward_all(&self) {
        locked(&self.script).rules.clear();
    }

    /// Statements so far that got an answer of the script's.
    pub fn answered(&self) -> usize {
        locked(&self.script).answered
    }

    /// Requests so far that were handed on.
    pub fn forwarded(&self) -> usize {
        locked(&self.script).forwarded
    }
}

impl Drop for ScriptedStore {
    fn drop(&mut self) {
        // The thread ends with the channel.
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn locked(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    State(front): State<Front>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(answer) = front.scripted(&uri, &body) {
        return answer.response();
    }
    match front.forward(method, &uri, headers, body).await {
        Ok(answer) => answer,
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Front {
    fn scripted(&self, uri: &Uri, body: &[u8]) -> Option<Answer> {
        let statement = statement(uri, body);
        let mut script = locked(&self.script);
        let rule = script.rules.iter().find(|(words, _)| statement.contains(words));
        let answer = rule.map(|(_, answer)| *answer);
        match answer {
            Some(_) => script.answered += 1,
            None => script.forwarded += 1,
        }
        answer
    }

    async fn forward(
        &self,
        method: Method,
        uri: &Uri,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<Response> {
        // They are of one connection, and the body is whole by now.
        for name in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING] {
            headers.remove(name);
        }
        headers.remove(header::CONTENT_LENGTH);
        let to = format!("{}{uri}", self.real);
        let sent = self.client.request(method, to).headers(headers).body(body).send().await?;
        let (status, mut headers) = (sent.status(), sent.headers().clone());
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(header::CONNECTION);
        Ok((status, headers, Body::from_stream(sent.bytes_stream())).into_response())
    }
}

/// The text of a statement stands in the address, with the data of an insert as the body, or is the
/// beginning of the body.
fn statement(uri: &Uri, body: &[u8]) -> String {
    let in_query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "query");
    match in_query {
        Some((_, text)) => text.into_owned(),
        None => String::from_utf8_lossy(&body[..body.len().min(STATEMENT_BYTES_MAX)]).into_owned(),
    }
}
