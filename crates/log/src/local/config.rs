//! Configuration of the embedded log.

use crate::port::LogError;
use heliograph_domain::{Violation, Violations};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const DAY_MS: u64 = 24 * 3_600_000;

/// How the embedded log stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LocalConfig {
    /// Where it stores; one process at a time.
    pub dir: PathBuf,
    /// With less free space than this on the disk, appends are refused.
    pub min_free_bytes: u64,
    /// Appends that wait to be written: so many, and together so large. More wait in the callers.
    pub queue_records_max: usize,
    pub queue_bytes_max: usize,
    /// Memory for blocks read from disk.
    pub cache_bytes: u64,
    /// What a partition gathers in memory before it writes a table; up to five times that while
    /// tables are written more slowly than records come.
    pub memtable_bytes: u64,
    /// What the journals may take on disk before the partitions that hold them up are written
    /// out; the one being written comes on top. Bounds what opening has to replay, and the memory
    /// of all partitions together.
    pub journal_bytes_max: u64,
    /// How often records that are past their time are dropped.
    pub retention_interval_ms: u64,
    /// How long a compacted topic keeps tombstones, so that whoever reads it from its start
    /// learns of them.
    pub tombstone_retention_ms: u64,
}

impl Default for LocalConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data/log"),
            min_free_bytes: 512 * MIB,
            queue_records_max: 4_096,
            queue_bytes_max: 32 << 20,
            cache_bytes: 16 * MIB,
            memtable_bytes: 4 * MIB,
            journal_bytes_max: 64 * MIB,
            retention_interval_ms: 60_000,
            tombstone_retention_ms: 24 * 3_600_000,
        }
    }
}

impl LocalConfig {
    pub(super) fn retention_interval(&self) -> Duration {
        Duration::from_millis(self.retention_interval_ms)
    }

    /// # Errors
    /// [`LogError::Config`] naming each wrong key, what it is and what is wanted.
    pub fn validate(&self) -> Result<(), LogError> {
        match self.violations() {
            found if found.is_empty() => Ok(()),
            found => Err(LogError::invalid(&found)),
        }
    }

    /// Every value that makes no sense.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::of("log.local");
        if self.dir.as_os_str().is_empty() {
            found.add("dir", "\"\"", "a directory");
        }
        found.range("queue_records_max", self.queue_records_max, 1, 1_000_000);
        found.range("queue_bytes_max", self.queue_bytes_max, 1, u32::MAX as usize);
        found.range("cache_bytes", self.cache_bytes, 0, TIB);
        found.range("memtable_bytes", self.memtable_bytes, MIB, 1024 * MIB);
        found.range("journal_bytes_max", self.journal_bytes_max, 64 * MIB, TIB);
        found.range("retention_interval_ms", self.retention_interval_ms, 1, DAY_MS);
        found.range("tombstone_retention_ms", self.tombstone_retention_ms, 0, 366 * DAY_MS);
        found.into_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_impossible_values_are_refused() {
        let parsed: LocalConfig = toml::from_str("dir = \"x\"\nmin_free_bytes = 5").unwrap();
        assert_eq!((parsed.min_free_bytes, parsed.validate()), (5, Ok(())));
        assert!(toml::from_str::<LocalConfig>("frobs = 1").is_err());
        for bad in [
            "dir = \"\"",
            "queue_records_max = 0",
            "queue_bytes_max = 0",
            "memtable_bytes = 1",
            "cache_bytes = 9223372036854775807",
            "tombstone_retention_ms = 9223372036854775807",
            "journal_bytes_max = 1",
            "retention_interval_ms = 0",
        ] {
            let config: LocalConfig = toml::from_str(bad).unwrap();
            let key = bad.split(' ').next().unwrap();
            let said = config.validate().unwrap_err().to_string();
            assert!(said.contains(key), "{bad}: {said}");
        }
    }
}
