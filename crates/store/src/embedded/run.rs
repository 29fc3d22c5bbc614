//! Runs one request on the engine: on a thread of its own, with a connection of its own.
//!
//! Guarantee: what the caller receives ends with [`Event::Done`] or [`Event::Failed`]; if the
//! channel closes without either, the result is not whole. A request whose [`Running`] is dropped
//! is cancelled, also in the middle of a long aggregation, and its slot is free again only when the
//! engine has let go of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::engine::Engine;
use super::error::Failure;
use super::ffi::{Handle, Output, Statement};
use super::format::Joiner;
use super::input::Input;
use super::request::Call;
use super::sql::Plan;

/// Chunks that wait for a slow reader: each is as large as a block of the engine (about 65,000
/// rows), so they are few.
const CHUNKS_WAITING_MAX: usize = 2;
const KILL_AGAIN_FIRST: Duration = Duration::from_millis(20);
const KILL_AGAIN_MAX: Duration = Duration::from_secs(1);
const DEFAULT_FORMAT: &str = "TabSeparated";

#[derive(Debug)]
pub(super) enum Event {
    Data(Bytes),
    Done { rows_written: u64 },
    Failed(Failure),
}

/// What a request is and what it may take.
pub(super) struct Job {
    pub call: Call,
    pub input: Input,
    /// A client that does not read its answer for so long is given up.
    pub send_timeout: Duration,
    pub result_bytes_max: u64,
    /// Held until the engine has let go of the request.
    pub _slot: OwnedSemaphorePermit,
}

impl Job {
    /// The output format: the statement's own, the request's, or ClickHouse's.
    pub fn format(&self) -> &str {
        let own = match &self.input.plan {
            Plan::Select { format, .. } | Plan::Other { format } => format.as_deref(),
            Plan::Insert(_) => None,
        };
        own.or(self.call.default_format.as_deref()).unwrap_or(DEFAULT_FORMAT)
    }

    /// `None`: the output has to be complete before any of it goes out.
    fn joiner(&self) -> Option<Joiner> {
        let shapes_output = |name: &str| name == "extremes" || name.starts_with("output_format_");
        let rows_only = matches!(self.input.plan, Plan::Select { streamable: true, .. })
            && !self.call.settings.iter().any(|(name, _)| shapes_output(name));
        (rows_only && !self.call.wait_for_end).then(|| Joiner::for_format(self.format()))?
    }
}

/// A request under way.
pub(super) struct Running {
    pub events: mpsc::Receiver<Event>,
    /// Cancels the request when it is dropped; after its end that means nothing.
    _cancel: DropGuard,
}

static MARKERS: AtomicU64 = AtomicU64::new(0);

/// Starts the request.
pub(super) fn start(engine: Arc<Engine>, job: Job) -> Running {
    let marker = format!("/*heliograph:{}:*/", MARKERS.fetch_add(1, Ordering::Relaxed));
    let cancelled = CancellationToken::new();
    let ended = CancellationToken::new();
    let (sender, events) = mpsc::channel(CHUNKS_WAITING_MAX);

    tokio::spawn(kill_when_cancelled(
        Arc::clone(&engine),
        marker.clone(),
        cancelled.clone(),
        ended.clone(),
    ));
    let outlet = Outlet {
        sender,
        runtime: runtime::Handle::current(),
        cancelled: cancelled.clone(),
        send_timeout: job.send_timeout,
    };
    let end = ended.drop_guard();
    tokio::task::spawn_blocking(move || {
        let last = run(&engine, &marker, &job, &outlet);
        // The slot first: who sees the end may start the next request at once.
        drop(job);
        drop(end);
        if let Some(last) = last {
            outlet.send(last);
        }
    });
    Running { events, _cancel: cancelled.drop_guard() }
}

/// A cancel may come before the engine knows the query, so it is repeated until the query ends.
async fn kill_when_cancelled(
    engine: Arc<Engine>,
    marker: String,
    cancelled: CancellationToken,
    ended: CancellationToken,
) {
    if ended.run_until_cancelled(cancelled.cancelled()).await.is_none() {
        return;
    }
    let mut pause = KILL_AGAIN_FIRST;
    while !ended.is_cancelled() && engine.kill(marker.clone()).await {
        let _ = timeout(pause, ended.cancelled()).await;
        pause = (pause * 2).min(KILL_AGAIN_MAX);
    }
}

/// The way back to the client.
struct Outlet {
    sender: mpsc::Sender<Event>,
    runtime: runtime::Handle,
    cancelled: CancellationToken,
    send_timeout: Duration,
}

impl Outlet {
    /// `false`: nobody listens any more.
    fn send(&self, event: Event) -> bool {
        let sending = timeout(self.send_timeout, self.sender.send(event));
        matches!(self.runtime.block_on(sending), Ok(Ok(())))
    }
}

/// What is left to tell the client, if it still listens.
fn run(engine: &Engine, marker: &str, job: &Job, outlet: &Outlet) -> Option<Event> {
    match run_on_fresh_handle(engine, marker, job, outlet) {
        Ok(rows_written) => Some(Event::Done { rows_written }),
        Err(Stopped::Failed(failure)) => Some(Event::Failed(failure)),
        Err(Stopped::Unheard) => None,
    }
}

enum Stopped {
    Failed(Failure),
    /// The client is gone or does not read.
    Unheard,
}

impl From<String> for Stopped {
    fn from(message: String) -> Stopped {
        Stopped::Failed(Failure::from_engine(message))
    }
}

fn run_on_fresh_handle(
    engine: &Engine,
    marker: &str,
    job: &Job,
    outlet: &Outlet,
) -> Result<u64, Stopped> {
    let mut handle = engine.connect()?;
    prepare(&mut handle, job)?;
    if outlet.cancelled.is_cancelled() {
        return Err(Stopped::Unheard);
    }
    let sql = [marker.as_bytes(), b" ", &job.input.sql].concat();
    let statement = Statement { sql: &sql, format: job.format(), params: &job.call.params };
    match job.joiner() {
        Some(joiner) => send_stream(&mut handle, statement, joiner, outlet),
        None => send_whole(&mut handle, statement, outlet),
    }
}

/// Makes a fresh connection the request's own: database, settings, and last of all `readonly`.
fn prepare(handle: &mut Handle, job: &Job) -> Result<(), Stopped> {
    // As a server does it, a word that is no statement is an error and not `SELECT word`.
    let mut changes = vec!["implicit_select = 0".to_owned()];
    if matches!(job.input.plan, Plan::Select { .. }) && job.joiner().is_none() {
        changes.push(format!("max_result_bytes = {}", job.result_bytes_max));
    }
    let settings = job.call.settings.iter();
    changes.extend(settings.map(|(name, value)| format!("{name} = {}", quoted(value, '\''))));
    let mut statements = Vec::new();
    if let Some(database) = &job.call.database {
        statements.push(format!("USE {}", quoted(database, '`')));
    }
    statements.push(format!("SET {}", changes.join(", ")));
    if job.call.readonly > 0 {
        statements.push(format!("SET readonly = {}", job.call.readonly));
    }
    for sql in &statements {
        handle.query(Statement { sql: sql.as_bytes(), format: "Null", params: &[] })?;
    }
    Ok(())
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        if c == quote || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push(quote);
    out
}

fn send_whole(
    handle: &mut Handle,
    statement: Statement<'_>,
    outlet: &Outlet,
) -> Result<u64, Stopped> {
    let Output { data, rows_written, .. } = handle.query(statement)?;
    if !data.is_empty() && !outlet.send(Event::Data(data)) {
        return Err(Stopped::Unheard);
    }
    Ok(rows_written)
}

fn send_stream(
    handle: &mut Handle,
    statement: Statement<'_>,
    mut joiner: Joiner,
    outlet: &Outlet,
) -> Result<u64, Stopped> {
    let mut stream = handle.stream(statement)?;
    while let Some(chunk) = stream.next()? {
        let data = joiner.join(chunk.data)?;
        if !data.is_empty() && !outlet.send(Event::Data(data)) {
            return Err(Stopped::Unheard);
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_quotes() {
        let rows = [
            ("plain", "1", "'1'"),
            ("a quote", "a', readonly = '0", r"'a\', readonly = \'0'"),
            ("a backslash", r"a\", r"'a\\'"),
        ];
        for (name, value, want) in rows {
            assert_eq!(quoted(value, '\''), want, "{name}");
        }
        assert_eq!(quoted("d`; DROP", '`'), r"`d\`; DROP`");
    }
}
