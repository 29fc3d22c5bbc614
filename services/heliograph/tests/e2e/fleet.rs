//! Loggers of a test, in a process of their own.

use crate::support::{Installation, terminate, text};
use anyhow::{Context, ensure};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

/// Loggers that upload until they are told to finish; killed when dropped.
pub struct Fleet {
    child: Child,
    summary: PathBuf,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Fleet {
    /// Registers `sites` and lets their loggers upload, with their own files in `dir`; `more` is
    /// added to the command line.
    pub fn start(up: &Installation, dir: &Path, sites: u16, more: &[&str]) -> anyhow::Result<Self> {
        let tokens = dir.join("tokens.json").display().to_string();
        let sites = sites.to_string();
        let made = up.command(&["site", "samples", "--sites", &sites, "--tokens", &tokens])?;
        ensure!(made.status.success(), "{}", text(&made));
        let summary = dir.join("summary.json");
        let child = up
            .heliograph()
            .args(["simulate", "--sites", &sites, "--days", "400", "--json"])
            .args(["--tokens", &tokens, "--summary"])
            .arg(&summary)
            .args(more)
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("fleet.log"))?)
            .spawn()?;
        Ok(Self { child, summary })
    }

    /// What the loggers have seen so far; nothing before their first summary.
    pub fn seen(&self) -> Value {
        let read = || serde_json::from_slice(&fs::read(&self.summary).ok()?).ok();
        read().unwrap_or_default()
    }

    /// Uploads that got a 2xx.
    pub fn accepted(&self) -> u64 {
        self.seen()["uploads_accepted"].as_u64().unwrap_or(0)
    }

    /// Uploads that were sent whole and got no answer.
    pub fn unanswered(&self) -> u64 {
        self.seen()["uploads_unanswered"].as_u64().unwrap_or(0)
    }

    /// Answers of this status.
    pub fn refused(&self, status: &str) -> u64 {
        self.seen()["refused_by_status"][status].as_u64().unwrap_or(0)
    }

    /// SIGTERM: open requests are finished and the last summary is written; returns where.
    pub fn finish(mut self) -> anyhow::Result<PathBuf> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "the loggers ended by themselves with {ended:?}");
        terminate(&mut self.child).context("the loggers")?;
        Ok(self.summary.clone())
    }
}
