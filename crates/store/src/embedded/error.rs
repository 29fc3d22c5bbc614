//! What can go wrong: with the store as a whole, and with one request.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use hyper::StatusCode;

use crate::codes;

/// Why the embedded store does not start or stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    #[error(
        "libchdb.so, the embedded ClickHouse, is missing: looked for {searched}. \
         `scripts/fetch-libchdb.sh` fetches it; or name it in the configuration or in {env}",
        env = super::LIBRARY_ENV
    )]
    LibraryMissing { searched: String },
    #[error("{library} cannot be loaded: {source}", library = library.display())]
    Load { library: PathBuf, source: libloading::Error },
    #[error(
        "another process has the embedded store at {path} open; only one at a time can",
        path = path.display()
    )]
    Locked { path: PathBuf },
    #[error("this process has an embedded store open already; the engine allows one at a time")]
    AlreadyOpen,
    #[error("the embedded ClickHouse does not open {path}: {message}", path = path.display())]
    Open { path: PathBuf, message: String },
    #[error("store.{key}: got {got}, want {want}")]
    Config { key: &'static str, got: String, want: &'static str },
    #[error("cannot listen on {addr}: {source}")]
    Bind { addr: SocketAddr, source: io::Error },
    #[error("cannot {what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{running} queries were still running {waited_ms} ms after the stop")]
    StillRunning { running: usize, waited_ms: u64 },
}

/// Why one request fails, in ClickHouse's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub code: u32,
    /// `Code: N. DB::Exception: …`, the form that clients look for.
    pub text: String,
}

impl Failure {
    pub fn new(code: u32, message: impl AsRef<str>) -> Failure {
        let name = codes::lookup(code).map_or("UNKNOWN_EXCEPTION", |code| code.name);
        let text = format!("Code: {code}. DB::Exception: {}. ({name})", message.as_ref());
        Failure { code, text }
    }

    /// What the engine said. It leaves the code out where it is not ClickHouse that speaks.
    pub fn from_engine(message: String) -> Failure {
        match codes::number_in(&message) {
            Some(code) if message.starts_with("Code: ") => Failure { code, text: message },
            _ => Failure::new(1001, message),
        }
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(codes::http_status(self.code))
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_code_and_a_status() {
        let rows: &[(&str, Failure, u32, u16)] = &[
            ("ours", Failure::new(202, "Too many"), 202, 503),
            ("the engine's", Failure::from_engine("Code: 60. DB::Exception: x".into()), 60, 404),
            ("without a code", Failure::from_engine("Connection is closed".into()), 1001, 500),
            ("a code inside", Failure::from_engine("no: Code: 60. DB::".into()), 1001, 500),
        ];
        for (name, failure, code, status) in rows {
            assert_eq!(failure.code, *code, "{name}");
            assert_eq!(failure.status().as_u16(), *status, "{name}");
            assert!(failure.text.starts_with(&format!("Code: {code}. DB::Exception: ")), "{name}");
        }
    }
}
