//! Takes a request's body in: the SQL to memory, the rows to an anonymous file.
//!
//! Guarantee: rows reach the engine only when all of them have arrived, byte for byte; a body that
//! breaks off stores nothing. The engine reads them from `/proc/self/fd/N`, because binary rows
//! inside of the query text lose data without an error. Both have a limit, and so has the sum of
//! all bodies under way.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;
use super::sql::{self, InsertHead, Plan};

/// How bodies are limited.
#[derive(Clone)]
pub(super) struct BodyLimits {
    pub query_bytes: usize,
    pub body_bytes: u64,
    pub idle: Duration,
    /// In units of [`BUDGET_UNIT_BYTES`], for all requests together.
    pub budget: Arc<Semaphore>,
}

pub(super) const BUDGET_UNIT_BYTES: u64 = 64 << 10;

/// A statement that is complete and can be run.
pub(super) struct Input {
    pub sql: Vec<u8>,
    pub plan: Plan,
    /// The rows of an `INSERT`: kept open, because the engine opens them by the path inside `sql`.
    pub _rows: Option<Spool>,
}

/// Rows in an anonymous file in memory.
pub(super) struct Spool {
    file: File,
    len: u64,
    limits: BodyLimits,
    charged: Vec<OwnedSemaphorePermit>,
}

impl Spool {
    fn new(limits: &BodyLimits) -> Result<Spool, Failure> {
        let made = memfd_create("heliograph-insert", MemfdFlags::CLOEXEC);
        let file = File::from(made.map_err(|error| no_memory(&io::Error::from(error)))?);
        Ok(Spool { file, len: 0, limits: limits.clone(), charged: Vec::new() })
    }

    fn write(&mut self, rows: &[u8]) -> Result<(), Failure> {
        self.len += rows.len() as u64;
        if self.len > self.limits.body_bytes {
            let limit = self.limits.body_bytes;
            return Err(Failure::new(241, format!("the body is larger than {limit} bytes")));
        }
        while (self.charged.len() as u64) * BUDGET_UNIT_BYTES < self.len {
            // Not waited for: bodies that wait for each other's memory would wait for ever.
            let unit = self.limits.budget.clone().try_acquire_owned().map_err(|_| {
                Failure::new(241, "the bodies under way fill the memory that is set aside for them")
            })?;
            self.charged.push(unit);
        }
        self.file.write_all(rows).map_err(|error| no_memory(&error))
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

fn no_memory(error: &io::Error) -> Failure {
    Failure::new(241, format!("the body cannot be kept: {error}"))
}

/// Reads the statement, starting with what came as `query=`, and its rows.
pub(super) async fn read(
    query: Option<String>,
    mut body: Incoming,
    limits: &BodyLimits,
) -> Result<Input, Failure> {
    let mut text = query.unwrap_or_default().into_bytes();
    // A complete head in the URL: the body is rows and nothing else, whatever it begins with.
    if !text.is_empty()
        && let Ok(Plan::Insert(head)) = sql::plan(&text)
    {
        return read_rows(text, head, Some(body), limits).await;
    }
    let whole = read_up_to(&mut body, &mut text, limits).await?;
    match sql::plan(&text) {
        Ok(Plan::Insert(head)) => read_rows(text, head, Some(body), limits).await,
        _ if !whole => Err(too_long(limits)),
        Ok(plan) => Ok(Input { sql: text, plan, _rows: None }),
        Err(refusal) => Err(Failure::new(refusal.code, refusal.message)),
    }
}

/// Reads a body that must be text, as a form is.
pub(super) async fn read_text(mut body: Incoming, limits: &BodyLimits) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let whole = read_up_to(&mut body, &mut text, limits).await?;
    if whole { Ok(text) } else { Err(too_long(limits)) }
}

/// The statement of a form: what comes with it is in it.
pub(super) async fn from_text(query: String, limits: &BodyLimits) -> Result<Input, Failure> {
    let text = query.into_bytes();
    match sql::plan(&text) {
        Ok(Plan::Insert(head)) => read_rows(text, head, None, limits).await,
        Ok(plan) => Ok(Input { sql: text, plan, _rows: None }),
        Err(refusal) => Err(Failure::new(refusal.code, refusal.message)),
    }
}

fn too_long(limits: &BodyLimits) -> Failure {
    let limit = limits.query_bytes;
    Failure::new(62, format!("Max query size exceeded: more than {limit} bytes"))
}

/// `true` if the body has ended within the limit.
async fn read_up_to(
    body: &mut Incoming,
    text: &mut Vec<u8>,
    limits: &BodyLimits,
) -> Result<bool, Failure> {
    while text.len() <= limits.query_bytes {
        match next_chunk(body, limits.idle).await? {
            Some(chunk) => text.extend_from_slice(&chunk),
            None => return Ok(true),
        }
    }
    Ok(false)
}

async fn read_rows(
    text: Vec<u8>,
    head: InsertHead,
    body: Option<Incoming>,
    limits: &BodyLimits,
) -> Result<Input, Failure> {
    let mut spool = Spool::new(limits)?;
    spool.write(&text[head.data_at..])?;
    if let Some(mut body) = body {
        while let Some(chunk) = next_chunk(&mut body, limits.idle).await? {
            spool.write(&chunk)?;
        }
    }
    let file = format!(" FROM INFILE '{}' COMPRESSION 'none' ", spool.path());
    let format = format!("FORMAT {}", head.format);
    let (insert, settings) = (&text[..head.infile_at], &text[head.infile_at..head.format_at]);
    let sql = [insert, file.as_bytes(), settings, format.as_bytes()].concat();
    Ok(Input { sql, plan: Plan::Insert(head), _rows: Some(spool) })
}

async fn next_chunk(body: &mut Incoming, idle: Duration) -> Result<Option<Bytes>, Failure> {
    loop {
        let frame = tokio::time::timeout(idle, body.frame())
            .await
            .map_err(|_| Failure::new(209, "the body stopped coming"))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(Failure::new(210, format!("the body broke off: {error}")));
            }
            // Trailers carry nothing for us.
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
        }
    }
}
