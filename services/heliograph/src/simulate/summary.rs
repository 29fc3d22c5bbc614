//! What a run of the fleet sends, and what it was promised: the file that `heliograph audit
//! --against` compares with the log and the store.
//!
//! Invariant: a summary covers exactly what got a 2xx before it was written, and it is replaced
//! as a whole (temporary file, fsync, rename).

use anyhow::Context;
use heliograph_domain::checksum::ReadingsChecksum;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io::Write, path::Path};

/// Version of this file's format.
pub const FORMAT: u32 = 1;

/// What happened to requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests whose sending began, the repeated ones among them.
    pub uploads_sent: u64,
    /// Requests that got a 2xx.
    pub uploads_accepted: u64,
    /// Requests that got another answer.
    pub uploads_refused: u64,
    /// Requests that repeated an earlier one: after a refusal, after no answer, or on purpose.
    pub uploads_resent: u64,
    /// Requests whose body was sent as a whole and whose connection ended before the answer.
    pub uploads_unanswered: u64,
    /// Requests that did not get out: no connection, or it ended within the body.
    pub uploads_not_sent: u64,
    /// Uploads given up after a 4xx that is no 429.
    pub uploads_dropped: u64,
    /// Uploads held back and sent late, on purpose.
    pub uploads_late: u64,
    /// Corrections that got a 2xx.
    pub corrections_accepted: u64,
    /// Readings that an answer with 2xx listed as rejected.
    pub readings_rejected: u64,
    /// Answers other than 2xx, by status.
    pub refused_by_status: BTreeMap<String, u64>,
    /// Why uploads were given up.
    pub drop_reasons: BTreeMap<String, u64>,
}

/// More reasons than this are not told apart, so that a summary stays small.
const DROP_REASONS_MAX: usize = 20;

impl Counts {
    pub fn refused(&mut self, status: u16) {
        self.uploads_refused += 1;
        *self.refused_by_status.entry(status.to_string()).or_default() += 1;
    }

    pub fn dropped(&mut self, reason: &str) {
        self.uploads_dropped += 1;
        let known = self.drop_reasons.contains_key(reason);
        let room = self.drop_reasons.len() < DROP_REASONS_MAX;
        let key = if known || room { reason } else { "other" };
        *self.drop_reasons.entry(key.to_owned()).or_default() += 1;
    }

    fn add(&mut self, other: &Self) {
        self.uploads_sent += other.uploads_sent;
        self.uploads_accepted += other.uploads_accepted;
        self.uploads_refused += other.uploads_refused;
        self.uploads_resent += other.uploads_resent;
        self.uploads_unanswered += other.uploads_unanswered;
        self.uploads_not_sent += other.uploads_not_sent;
        self.uploads_dropped += other.uploads_dropped;
        self.uploads_late += other.uploads_late;
        self.corrections_accepted += other.corrections_accepted;
        self.readings_rejected += other.readings_rejected;
        for (status, n) in &other.refused_by_status {
            *self.refused_by_status.entry(status.clone()).or_default() += n;
        }
        for (reason, n) in &other.drop_reasons {
            *self.drop_reasons.entry(reason.clone()).or_default() += n;
        }
    }
}

/// One site's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteSummary {
    pub site: String,
    #[serde(flatten)]
    pub counts: Counts,
    /// Distinct readings with a 2xx.
    pub readings: u64,
    /// Their order-independent checksum (`heliograph_domain::checksum`), hex.
    pub checksum: String,
    /// Which uploads got a 2xx: `[first, last]` of the numbers at the end of their ids.
    pub acked_uploads: Vec<(u64, u64)>,
}

/// A run's summary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSummary {
    pub format: u32,
    /// Upload ids are `<run>-<number>`, numbered per site.
    pub run: String,
    /// Whether every upload was sent and answered; false for one cut short, or still running.
    pub complete: bool,
    #[serde(flatten)]
    pub counts: Counts,
    /// Distinct readings with a 2xx.
    pub readings: u64,
    /// Their order-independent checksum, hex.
    pub checksum: String,
    pub sites: Vec<SiteSummary>,
}

impl FleetSummary {
    /// Joins the sites of a run; `sums` are their checksums.
    pub fn new(
        run: String,
        complete: bool,
        sites: Vec<SiteSummary>,
        sums: &[ReadingsChecksum],
    ) -> Self {
        let (mut counts, mut sum) = (Counts::default(), ReadingsChecksum::default());
        sites.iter().for_each(|s| counts.add(&s.counts));
        sums.iter().for_each(|s| sum.merge(*s));
        let (readings, checksum) = (sum.count, sum.to_hex());
        Self { format: FORMAT, run, complete, counts, readings, checksum, sites }
    }

    /// Reads a summary back.
    ///
    /// # Errors
    /// When the file cannot be read or is no summary of this format.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("summary {}", path.display()))?;
        let summary: Self = serde_json::from_slice(&text)
            .with_context(|| format!("summary {}: want JSON of a run", path.display()))?;
        anyhow::ensure!(
            summary.format == FORMAT,
            "summary {}: got format {}, want {FORMAT}",
            path.display(),
            summary.format
        );
        Ok(summary)
    }

    /// Replaces the file at `path` by this summary.
    ///
    /// # Errors
    /// When it cannot be written; the old file is then as it was.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = dir.join(format!(".{name}.{}.tmp", std::process::id()));
        let write = || -> anyhow::Result<()> {
            let mut file = std::fs::File::create(&temporary)?;
            serde_json::to_writer(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            Ok(())
        };
        write().with_context(|| format!("summary {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> FleetSummary {
        let mut counts = Counts { uploads_sent: 2, uploads_accepted: 1, ..Default::default() };
        counts.refused(503);
        let mut sum = ReadingsChecksum::default();
        sum.add("s", "d", "m", 1, 1.0);
        let site = SiteSummary {
            site: "s".into(),
            counts,
            readings: 1,
            checksum: sum.to_hex(),
            acked_uploads: vec![(0, 0)],
        };
        FleetSummary::new("run".into(), true, vec![site.clone(), site], &[sum, sum])
    }

    #[test]
    fn a_summary_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("summary.json");
        summary().write(&path).unwrap();
        assert_eq!(FleetSummary::read(&path).unwrap(), summary());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
        assert_eq!((summary().counts.uploads_sent, summary().readings), (4, 2));
        assert_eq!(summary().counts.refused_by_status["503"], 2);
    }

    #[test]
    fn what_is_no_summary_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("summary.json");
        assert!(FleetSummary::read(&path).is_err(), "there is none");
        std::fs::write(&path, "{}").unwrap();
        assert!(format!("{:#}", FleetSummary::read(&path).unwrap_err()).contains("want JSON"));
        FleetSummary { format: 9, ..summary() }.write(&path).unwrap();
        assert!(FleetSummary::read(&path).unwrap_err().to_string().contains("got format 9"));
    }

    #[test]
    fn reasons_are_counted_but_not_without_end() {
        let mut counts = Counts::default();
        (0..100).for_each(|n| counts.dropped(&format!("reason {n}")));
        counts.dropped("reason 1");
        assert_eq!(counts.uploads_dropped, 101);
        assert_eq!(counts.drop_reasons.len(), DROP_REASONS_MAX + 1);
        assert_eq!(counts.drop_reasons["reason 1"], 2);
    }
}
