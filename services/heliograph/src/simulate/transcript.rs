//! What was accepted, in the order in which each site sent it: JSON lines that
//! `tests/oracle/readings_oracle.py --uploads` reads.

use super::{batch::Sent, client::ReadingJson};
use anyhow::Context;
use serde::Serialize;
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

#[derive(Serialize)]
struct Line<'a> {
    site: &'a str,
    upload_id: &'a str,
    /// Indexes of the readings that were rejected.
    rejected: &'a [usize],
    readings: Vec<ReadingJson>,
}

/// A file of accepted uploads, one per line.
#[derive(Debug)]
pub struct Transcript(Mutex<BufWriter<File>>);

impl Transcript {
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("transcript {}", path.display()))?;
        Ok(Self(Mutex::new(BufWriter::new(file))))
    }

    /// Adds one upload.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(
        &self,
        site: &str,
        upload_id: &str,
        readings: &[Sent],
        rejected: &[usize],
    ) -> anyhow::Result<()> {
        let readings = readings.iter().map(ReadingJson::from).collect();
        let mut line = serde_json::to_vec(&Line { site, upload_id, rejected, readings })?;
        line.push(b'\n');
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)?;
        Ok(())
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&self) -> anyhow::Result<()> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()?)
    }
}
