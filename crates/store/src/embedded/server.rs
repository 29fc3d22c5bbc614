//! The HTTP front of the engine: connections, routes, limits.
//!
//! It speaks the part of ClickHouse's HTTP interface that the `clickhouse` crate, `curl` and
//! Grafana use. It is deliberately not a server for the open network: no TLS, one user, and who
//! comes in may do everything that the process may.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::EmbeddedConfig;
use super::engine::Engine;
use super::error::Failure;
use super::input::{self, BUDGET_UNIT_BYTES, BodyLimits};
use super::request::{Call, form_boundary};
use super::respond::{self, Answer, Labels};
use super::room::Room;
use super::run::{self, Job};
use super::sql;

/// What a client gets that comes when all connections are taken: cheap, and said once.
const NO_CONNECTION_FREE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    X-ClickHouse-Exception-Code: 202\r\nConnection: close\r\nContent-Length: 65\r\n\r\n\
    Code: 202. DB::Exception: Too many connections. (TOO_MANY_SIMULT)";

pub(super) struct Server {
    pub engine: Arc<Engine>,
    pub config: EmbeddedConfig,
    room: Room,
    /// One permit per query under way; all of them free means that the engine is idle.
    pub slots: Arc<Semaphore>,
    pub connections: Arc<Semaphore>,
    pub tasks: TaskTracker,
    /// No more connections; the ones that are open finish what they do.
    pub stopping: CancellationToken,
    /// The ones that are still open are cut, which cancels their queries.
    pub abandon: CancellationToken,
    body_limits: BodyLimits,
    ids: Ids,
}

impl Server {
    pub fn new(engine: Arc<Engine>, room: Room, config: EmbeddedConfig) -> Server {
        let budget_units = (config.max_buffered_bytes / BUDGET_UNIT_BYTES).max(1);
        let body_limits = BodyLimits {
            query_bytes: config.max_query_bytes,
            body_bytes: config.max_body_bytes,
            idle: config.io_timeout(),
            budget: Arc::new(Semaphore::new(
                usize::try_from(budget_units).unwrap_or(usize::MAX >> 3),
            )),
        };
        Server {
            slots: Arc::new(Semaphore::new(config.max_queries)),
            connections: Arc::new(Semaphore::new(config.max_connections)),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            abandon: CancellationToken::new(),
            engine,
            config,
            room,
            body_limits,
            ids: Ids::new(),
        }
    }

    /// Accepts until it is told to stop.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Some(accepted) = self.stopping.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => self.take_connection(stream),
                Err(error) => {
                    // Out of file descriptors, say: without a pause this loop would spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn take_connection(self: &Arc<Self>, stream: TcpStream) {
        let Ok(place) = Arc::clone(&self.connections).try_acquire_owned() else {
            // Best effort and without waiting: the kernel's buffer takes so little at once.
            let _ = stream.try_write(NO_CONNECTION_FREE);
            return;
        };
        let server = Arc::clone(self);
        self.tasks.spawn(async move {
            let abandon = server.abandon.clone();
            abandon.run_until_cancelled(server.drive(stream)).await;
            drop(place);
        });
    }

    async fn drive(self: Arc<Self>, stream: TcpStream) {
        // Small answers must not wait for the acknowledgement of the headers before them.
        let _ = stream.set_nodelay(true);
        let handler = Arc::clone(&self);
        let service = service_fn(move |request| {
            let server = Arc::clone(&handler);
            async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.io_timeout())
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let outcome = match self.stopping.run_until_cancelled(&mut connection).await {
            Some(outcome) => outcome,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/ping") => respond::text(StatusCode::OK, "Ok.\n"),
            (&Method::GET, "/") if !has_query(&request) => respond::text(StatusCode::OK, "Ok.\n"),
            (&Method::GET | &Method::POST, "/") => {
                let answer = self.answer_query(request).await;
                answer.unwrap_or_else(|failure| respond::to_failure(&failure, None))
            }
            _ => respond::text(StatusCode::NOT_FOUND, "There is / for queries, and /ping.\n"),
        }
    }

    async fn answer_query(&self, request: Request<Incoming>) -> Result<Response<Answer>, Failure> {
        let (parts, body) = request.into_parts();
        let mut call = Call::parse(&parts)?;
        call.authenticate(self.config.user.as_deref(), self.config.password.as_deref())?;
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            let max = self.config.max_queries;
            Failure::new(202, format!("Too many simultaneous queries. Maximum: {max}"))
        })?;
        let limits = &self.body_limits;
        let input = match form_boundary(&parts.headers) {
            Some(boundary) => {
                let form = input::read_text(body, limits).await?;
                call.take_form(&boundary, &form)?;
                input::from_text(call.query.take().unwrap_or_default(), limits).await?
            }
            None => input::read(call.query.take(), body, limits).await?,
        };
        if sql::inserts(&input.sql) {
            self.room.check()?;
        }
        let query_id = call.query_id.clone().unwrap_or_else(|| self.ids.query_id());
        let job = Job {
            call,
            input,
            send_timeout: self.config.io_timeout(),
            result_bytes_max: self.config.max_result_bytes,
            _slot: slot,
        };
        let labels = Labels {
            query_id,
            format: job.format().to_owned(),
            timezone: self.engine.about.timezone.clone(),
            exception_tag: self.ids.exception_tag(),
        };
        Ok(respond::to_query(run::start(Arc::clone(&self.engine), job), labels).await)
    }
}

fn has_query(request: &Request<Incoming>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("query="))
}

/// Ids that differ between processes and requests; nothing depends on their being secret.
struct Ids {
    seed: [u8; 32],
    next: AtomicU64,
}

impl Ids {
    fn new() -> Ids {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_nanos());
        let mut hash = Sha256::new();
        hash.update(nanos.to_le_bytes());
        hash.update(std::process::id().to_le_bytes());
        Ids { seed: hash.finalize().into(), next: AtomicU64::new(0) }
    }

    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.next.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        hash.finalize().into()
    }

    /// In the form of a UUID, as ClickHouse's own.
    fn query_id(&self) -> String {
        let hex: String = self.digest()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    /// Sixteen letters that no data holds by chance.
    fn exception_tag(&self) -> String {
        self.digest()[..16].iter().map(|byte| char::from(b'a' + byte % 26)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_a_connection_is_as_long_as_it_says() {
        let text = String::from_utf8_lossy(NO_CONNECTION_FREE);
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }

    #[test]
    fn ids_differ_and_have_the_form_that_clients_expect() {
        let ids = Ids::new();
        let (a, b) = (ids.query_id(), ids.query_id());
        assert_ne!(a, b);
        assert_eq!(a.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        let tag = ids.exception_tag();
        assert_eq!(tag.len(), 16);
        assert!(tag.bytes().all(|byte| byte.is_ascii_lowercase()), "{tag}");
    }
}
