//! What became of a file: how much was taken, and what was left out and why.

use super::send::{ReadingJson, Rejected, Taken};
use crate::views::number;
use heliograph_domain::Timestamp;
use std::io::Write;

/// Mistakes that are shown one by one.
const MISTAKES_SHOWN_MAX: usize = 20;

#[derive(Debug, Default)]
pub struct Report {
    /// The first and the last time of what was taken.
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

    pub fn add(&mut self, batch: &[ReadingJson], taken: Taken) {
        self.uploads += 1;
        self.accepted += taken.accepted;
        let is_taken = |at: &usize| !taken.rejected.iter().any(|r| r.index == *at);
        let taken_ones = batch.iter().enumerate().filter(|(at, _)| is_taken(at));
        for ts in taken_ones.filter_map(|(_, r)| Timestamp::parse_rfc3339("ts", &r.ts).ok()) {
            let (first, last) = self.span.unwrap_or((ts, ts));
            self.span = Some((first.min(ts), last.max(ts)));
        }
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
        let (readings, uploads) =
            (counted(self.accepted, "reading"), counted(self.uploads, "upload"));
        writeln!(out, "{readings} taken in {uploads}, {} left out", number(self.mistakes as f64))
    }
}

/// `1 reading`, `2,427 readings`
pub fn counted(n: usize, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {what}{s}", number(n as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_is_that_of_what_was_taken() {
        let reading = |n: usize| ReadingJson {
            device: "d".into(),
            metric: "ac_power".into(),
            ts: Timestamp::from_secs(n as i64).to_string(),
            value: 1.0,
            unit: None,
        };
        let rejected =
            |index| Rejected { index, field: "ts".into(), got: "x".into(), want: "y".into() };
        let batch: Vec<_> = (0..4).map(reading).collect();
        let mut report = Report::default();
        report.add(&batch, Taken { accepted: 2, rejected: vec![rejected(0), rejected(3)] });
        let at = Timestamp::from_secs;
        assert_eq!((report.span, report.accepted, report.mistakes), (Some((at(1), at(2))), 2, 2));
        let mut none = Report::default();
        none.add(&batch[..1], Taken { accepted: 0, rejected: vec![rejected(0)] });
        assert_eq!(none.span, None);
    }

    #[test]
    fn one_is_counted_in_the_singular() {
        let rows = [(0, "0 readings"), (1, "1 reading"), (2_427, "2,427 readings")];
        for (n, want) in rows {
            assert_eq!(counted(n, "reading"), want);
        }
    }
}
