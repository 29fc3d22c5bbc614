//! What was found, before anybody judges it.

/// Everything that the checks judge. `None` is what was not to be asked here.
#[derive(Debug, Clone)]
pub struct Facts {
    /// This machine's clock.
    pub now_ms: i64,
    /// Of this program.
    pub version: String,
    pub config: ConfigFacts,
    pub directory: Option<Directory>,
    /// The engine's library, where this installation embeds the store.
    pub engine: Option<Result<String, String>>,
    pub descriptors: Option<Descriptors>,
    pub gateway: Option<Asked<Web>>,
    pub query: Option<Asked<Query>>,
    pub store: Option<Asked<Store>>,
    pub log: Option<Asked<LogFacts>>,
}

#[derive(Debug, Clone)]
pub struct ConfigFacts {
    /// `None`: environment and defaults alone.
    pub file: Option<String>,
    pub mistakes: Vec<String>,
    /// Open connections that the limits allow, all services of the process together.
    pub connections_max: u64,
    /// The log takes nothing with less room than this on its disk.
    pub min_free_bytes: u64,
}

/// The answer of something at an address.
#[derive(Debug, Clone)]
pub struct Asked<T> {
    pub at: String,
    pub answer: Result<T, String>,
}

/// `/readyz`.
#[derive(Debug, Clone)]
pub struct Web {
    pub ready: bool,
    pub reason: String,
    pub version: Option<String>,
    /// Its `Date` header: whole seconds.
    pub date_ms: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct Query {
    /// By gRPC's health service.
    pub serving: bool,
    pub version: Option<String>,
    pub token: Token,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    NotGiven,
    Operator,
    Viewer,
    Refused(String),
}

#[derive(Debug, Clone)]
pub struct Store {
    pub version: String,
    pub tables: Result<Tables, String>,
}

#[derive(Debug, Clone, Default)]
pub struct Tables {
    pub applied: usize,
    pub pending: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct LogFacts {
    pub topics: Vec<Topic>,
    pub lag: Result<Lag, String>,
    /// When the log took the newest record of a partition; each gets a tick a second.
    pub newest_append_ms: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct Topic {
    pub name: String,
    pub declared: u32,
    pub partitions: Result<u32, String>,
}

/// How far the writer is behind.
#[derive(Debug, Clone, Copy)]
pub struct Lag {
    /// Over all partitions, ticks among them.
    pub records: u64,
    pub has_committed: bool,
}

#[derive(Debug, Clone)]
pub struct Directory {
    pub path: String,
    pub state: State,
    pub endpoint: EndpointFacts,
    pub disk: Result<Disk, String>,
}

#[derive(Debug, Clone)]
pub enum State {
    Missing,
    NoDirectory,
    Unreadable(String),
    There { owner: u32, we: u32, is_writable: bool, has_log: bool },
}

#[derive(Debug, Clone)]
pub enum EndpointFacts {
    Missing,
    Broken(String),
    /// `others_read`: its mode lets others than its owner read the operator's token.
    There {
        pid: u32,
        is_alive: bool,
        others_read: bool,
    },
}

#[derive(Debug, Clone, Copy)]
pub struct Disk {
    pub free_bytes: u64,
    /// 0: this file system has no such limit.
    pub inodes: u64,
    pub inodes_free: u64,
}

/// The limit of open files of one process.
#[derive(Debug, Clone)]
pub struct Descriptors {
    /// Which process: the service's where it runs here, else this one.
    pub whose: String,
    pub soft_max: u64,
}
