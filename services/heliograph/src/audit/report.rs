//! What the audit found.

use serde::Serialize;

/// Of each kind of difference so many are shown.
const EXAMPLES_MAX: usize = 20;

/// One difference: where, what was found, what should be there.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Example {
    pub site: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub device: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metric: String,
    /// The reading's time, or the start of the bucket with its step.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub at: String,
    pub got: String,
    pub want: String,
}

/// Examples of each kind of difference.
#[derive(Debug, Default, Serialize)]
pub struct Examples {
    /// What a summary says and the log does not; counted as missing.
    pub promised: Vec<Example>,
    pub missing: Vec<Example>,
    pub duplicate: Vec<Example>,
    pub rollup_mismatch: Vec<Example>,
}

/// What else was seen; none of it is a difference.
#[derive(Debug, Default, Serialize)]
pub struct Seen {
    /// Records of `heliograph.uploads`, ticks among them.
    pub log_records: u64,
    /// Uploads on the log.
    pub log_uploads: u64,
    /// Readings on the log, the repeated ones among them.
    pub log_readings: u64,
    /// Distinct readings on the log.
    pub log_distinct: u64,
    /// Records that cannot be decoded; each must be among the dead letters.
    pub undecodable: u64,
    /// Distinct readings that are not stored and are among the dead letters.
    pub dead_lettered: u64,
    /// Rows that are older than the log's first offset.
    pub older_than_log: u64,
    /// Rows that came after the audit had begun.
    pub newer_than_audit: u64,
    /// Rows with the right value from another record than the last one.
    pub origin_differs: u64,
    /// Rollup buckets that were compared.
    pub buckets: u64,
    /// Rollup buckets that were not compared, since they were changing.
    pub buckets_changing: u64,
}

/// The audit's result. The first five are what counts.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Distinct readings with a 2xx by the summaries; without a summary, on the log.
    pub acked: u64,
    /// Distinct readings in ClickHouse.
    pub stored: u64,
    /// Readings that are not in ClickHouse, or with another value.
    pub missing: u64,
    /// Rows in ClickHouse beyond one per reading, or that nothing on the log explains.
    pub duplicate: u64,
    /// Rollup buckets that are not what the readings say.
    pub rollup_mismatch: u64,
    pub seen: Seen,
    pub examples: Examples,
    pub notes: Vec<String>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.missing == 0 && self.duplicate == 0 && self.rollup_mismatch == 0
    }

    pub fn note(&mut self, text: String) {
        if self.notes.len() < EXAMPLES_MAX {
            self.notes.push(text);
        }
    }

    pub fn missing(&mut self, example: impl FnOnce() -> Example) {
        self.missing += 1;
        push(&mut self.examples.missing, example);
    }

    /// Shows a broken promise without counting it.
    pub fn promised_example(&mut self, example: Example) {
        push(&mut self.examples.promised, || example);
    }

    pub fn duplicate(&mut self, example: impl FnOnce() -> Example) {
        self.duplicate += 1;
        push(&mut self.examples.duplicate, example);
    }

    pub fn rollup_mismatch(&mut self, example: impl FnOnce() -> Example) {
        self.rollup_mismatch += 1;
        push(&mut self.examples.rollup_mismatch, example);
    }

    /// The result for people.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "acked            {:>12}\nstored           {:>12}\nmissing          {:>12}\n\
             duplicate        {:>12}\nrollup mismatch  {:>12}\n",
            self.acked, self.stored, self.missing, self.duplicate, self.rollup_mismatch
        );
        let Examples { promised, missing, duplicate, rollup_mismatch } = &self.examples;
        for (kind, examples) in [
            ("promised", promised),
            ("missing", missing),
            ("duplicate", duplicate),
            ("rollup mismatch", rollup_mismatch),
        ] {
            for e in examples {
                let place: Vec<&str> = [&e.site, &e.device, &e.metric, &e.at]
                    .into_iter()
                    .map(String::as_str)
                    .filter(|part| !part.is_empty())
                    .collect();
                text +=
                    &format!("{kind}: {}\n  got  {}\n  want {}\n", place.join(" "), e.got, e.want);
            }
        }
        for note in &self.notes {
            text += &format!("note: {note}\n");
        }
        text += match self.is_clean() {
            true => "the three ledgers agree\n",
            false => "the ledgers differ\n",
        };
        text
    }
}

fn push(list: &mut Vec<Example>, example: impl FnOnce() -> Example) {
    if list.len() < EXAMPLES_MAX {
        list.push(example());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_counts_and_a_few_are_shown() {
        let mut report = Report::default();
        assert!(report.is_clean() && report.to_text().contains("agree"));
        (0..100).for_each(|_| report.missing(Example::default));
        assert_eq!((report.missing, report.examples.missing.len()), (100, EXAMPLES_MAX));
        assert!(!report.is_clean());
        let json = serde_json::to_value(&report).unwrap();
        for key in ["acked", "stored", "missing", "duplicate", "rollup_mismatch"] {
            assert!(json[key].is_u64(), "{key}");
        }
    }
}
