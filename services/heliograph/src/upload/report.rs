//! What became of a file: how much was taken, and what was left out and why.

use super::send::{ReadingJson, Rejected, Taken};
use heliograph_domain::Timestamp;
use std::io::Write;

/// Mistakes that are shown one by one.
const MISTAKES_SHOWN_MAX: usize = 20;

#[derive(Debug, Default)]
pub struct Report {
    /// The first and the last time.
    pub span: Option<(Timestamp, Timestamp)>,
    uploads: usize,
    pub accepted: usize,
    pub mistakes: usize,
    shown: Vec<String>,
}

impl Report {
    pub fn mistake(&mut self, text: String) {
        self.mistakes += 1;
        if self.shown.len() < MISTAKES_SHOWN_MAX {
            self.shown.push(text);
        }
    }

    pub fn span(&mut self, readings: &[ReadingJson]) {
        for ts in readings.iter().filter_map(|r| Timestamp::parse_rfc3339("ts", &r.ts).ok()) {
            let (first, last) = self.span.unwrap_or((ts, ts));
            self.span = Some((first.min(ts), last.max(ts)));
        }
    }

    pub fn add(&mut self, batch: &[ReadingJson], taken: Taken) {
        self.uploads += 1;
        self.accepted += taken.accepted;
        for Rejected { index, field, got, want } in taken.rejected {
            let of = batch
                .get(index)
                .map_or_else(String::new, |r| format!("{}/{} at {}: ", r.device, r.metric, r.ts));
            self.mistake(format!("{of}{field}: got {got}, want {want}"));
        }
    }

    /// # Errors
    /// When `out` is gone.
    pub fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        for text in &self.shown {
            writeln!(out, "left out: {text}")?;
        }
        if self.mistakes > self.shown.len() {
            writeln!(out, "left out: {} more", self.mistakes - self.shown.len())?;
        }
        let Self { uploads, accepted, mistakes, .. } = self;
        writeln!(out, "{accepted} readings taken in {uploads} uploads, {mistakes} left out")
    }
}
