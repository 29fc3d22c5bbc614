//! The one engine of the process: started once, on one directory, by one thread that also stops it.
//!
//! Guarantee: while an [`Engine`] lives, its directory is locked against other processes and a
//! second engine in this process is refused; the last thing that happens to the engine is that its
//! first connection is closed, by the thread that opened it. That thread also cancels queries:
//! a running query is stopped from another connection, found by the marker comment in its text.

use std::ffi::CString;
use std::fs::{self, File, TryLockError};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use super::ffi::{self, Api, Handle, Statement};
use super::{EmbedError, EmbeddedConfig, locate};

/// The lock lies beside the engine's own files, which are one level down.
const LOCK_FILE: &str = "heliograph.lock";
const ENGINE_DIR: &str = "clickhouse";

static RUNNING: AtomicBool = AtomicBool::new(false);

/// Keeps `RUNNING` true for as long as it lives.
struct OnlyOne;

impl OnlyOne {
    fn claim() -> Option<OnlyOne> {
        (!RUNNING.swap(true, Ordering::AcqRel)).then_some(OnlyOne)
    }
}

impl Drop for OnlyOne {
    fn drop(&mut self) {
        RUNNING.store(false, Ordering::Release);
    }
}

enum Command {
    Kill { marker: String, done: oneshot::Sender<()> },
    Merges { are_on: bool, done: oneshot::Sender<Result<(), String>> },
    Close { done: oneshot::Sender<()> },
}

/// What the engine says about itself at its start.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub version: String,
    pub timezone: String,
}

pub(super) struct Engine {
    api: &'static Api,
    args: Vec<CString>,
    commands: mpsc::Sender<Command>,
    pub about: About,
}

impl Engine {
    /// Loads the library, locks the directory and starts the engine. Blocks for up to a second.
    pub fn open(config: &EmbeddedConfig) -> Result<Engine, EmbedError> {
        let library = locate::libchdb(config.libchdb.as_deref())?;
        let path = prepare_dir(&config.path)?;
        let only_one = OnlyOne::claim().ok_or(EmbedError::AlreadyOpen)?;
        let lock = lock_dir(&path)?;
        let api = ffi::load(&library)
            .map_err(|source| EmbedError::Load { library: library.clone(), source })?;
        let args = engine_args(&path.join(ENGINE_DIR), config)?;

        let (commands, inbox) = mpsc::channel();
        let (ready, started) = mpsc::sync_channel(1);
        let keeper_args = args.clone();
        let keeper = thread::Builder::new()
            .name("chdb-keeper".into())
            .spawn(move || {
                let closing = keep(api, &keeper_args, &inbox, &ready);
                // In this order, so that whoever waits for the end can open the directory again.
                drop((lock, only_one));
                if let Some(done) = closing {
                    let _ = done.send(());
                }
            })
            .map_err(|source| EmbedError::Io {
                what: "start the engine's thread".into(),
                source,
            })?;
        match started.recv().unwrap_or_else(|_| Err("its thread ended".into())) {
            Ok(about) => Ok(Engine { api, args, commands, about }),
            Err(message) => {
                let _ = keeper.join();
                Err(EmbedError::Open { path, message })
            }
        }
    }

    /// A fresh connection, for the calling thread. One request, one connection.
    pub fn connect(&self) -> Result<Handle, String> {
        Handle::connect(self.api, &self.args).ok_or_else(|| "the engine refuses connections".into())
    }

    /// Cancels the running queries whose text starts with the marker. `false`: the engine is closed.
    pub async fn kill(&self, marker: String) -> bool {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Kill { marker, done }).is_ok() && answer.await.is_ok()
    }

    /// Stops merging, which cancels the merges that run, or lets it go on.
    pub async fn merges(&self, are_on: bool) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let closed = || "the engine is closed".to_owned();
        self.commands.send(Command::Merges { are_on, done }).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Stops the engine. Every [`Handle`] must be gone, or the engine outlives this call.
    pub async fn close(&self) {
        let (done, answer) = oneshot::channel();
        if self.commands.send(Command::Close { done }).is_ok() {
            // An error means that the thread has ended already, which is what we wait for.
            let _ = answer.await;
        }
    }
}

/// The keeper thread: the first connection is opened and, at the end, closed here.
fn keep(
    api: &'static Api,
    args: &[CString],
    inbox: &mpsc::Receiver<Command>,
    ready: &mpsc::SyncSender<Result<About, String>>,
) -> Option<oneshot::Sender<()>> {
    let Some(mut handle) = Handle::connect(api, args) else {
        let _ = ready.send(Err("the engine did not start; is the directory its own?".into()));
        return None;
    };
    let about = ask_about(&mut handle);
    let failed = about.is_err();
    if ready.send(about).is_err() || failed {
        return None;
    }
    loop {
        match inbox.recv() {
            Ok(Command::Kill { marker, done }) => {
                kill(&mut handle, &marker);
                let _ = done.send(());
            }
            Ok(Command::Merges { are_on, done }) => {
                let sql = if are_on { "SYSTEM START MERGES" } else { "SYSTEM STOP MERGES" };
                let statement = Statement { sql: sql.as_bytes(), format: "TSV", params: &[] };
                let _ = done.send(handle.query(statement).map(drop));
            }
            Ok(Command::Close { done }) => return Some(done),
            // The engine was dropped without `close`: end all the same.
            Err(mpsc::RecvError) => return None,
        }
    }
}

fn ask_about(handle: &mut Handle) -> Result<About, String> {
    let statement = Statement { sql: b"SELECT version(), timezone()", format: "TSV", params: &[] };
    let output = handle.query(statement)?;
    let text = String::from_utf8_lossy(&output.data);
    let (version, timezone) = text.trim_end().split_once('\t').ok_or("no version")?;
    Ok(About { version: version.into(), timezone: timezone.into() })
}

fn kill(handle: &mut Handle, marker: &str) {
    // ASYNC: the caller waits for its own query to end, not for the engine to say so.
    let sql = format!("KILL QUERY WHERE startsWith(query, '{marker}') ASYNC");
    let statement = Statement { sql: sql.as_bytes(), format: "TSV", params: &[] };
    if let Err(error) = handle.query(statement) {
        tracing::warn!(%marker, %error, "a query could not be cancelled; trying again");
    }
}

fn prepare_dir(path: &Path) -> Result<PathBuf, EmbedError> {
    let made = fs::create_dir_all(path.join(ENGINE_DIR)).and_then(|()| path.canonicalize());
    made.map_err(|source| EmbedError::Io { what: format!("create {}", path.display()), source })
}

fn lock_dir(path: &Path) -> Result<File, EmbedError> {
    let name = path.join(LOCK_FILE);
    let io = |source| EmbedError::Io { what: format!("lock {}", name.display()), source };
    let file = File::options().create(true).append(true).open(&name).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EmbedError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn engine_args(path: &Path, config: &EmbeddedConfig) -> Result<Vec<CString>, EmbedError> {
    let mut path_arg = b"--path=".to_vec();
    path_arg.extend_from_slice(path.as_os_str().as_bytes());
    let memory = config.max_memory_bytes;
    let args = [
        b"clickhouse".to_vec(),
        path_arg,
        format!("--max_server_memory_usage={memory}").into_bytes(),
        // The default is 5 GiB, more than all the memory that a small machine has.
        format!("--mark_cache_size={}", memory / 8).into_bytes(),
    ];
    let invalid = |_| EmbedError::Open {
        path: path.to_owned(),
        message: "the path contains a NUL byte".into(),
    };
    args.into_iter().map(|arg| CString::new(arg).map_err(invalid)).collect()
}
