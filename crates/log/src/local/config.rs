//! Configuration of the embedded log.

use crate::port::LogError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

const MIB: u64 = 1 << 20;

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
    /// [`LogError::Config`] naming the key, what it is and what is wanted.
    pub fn validate(&self) -> Result<(), LogError> {
        let wrong = |key: &str, got: &dyn std::fmt::Display, want: &str| {
            Err(LogError::Config(format!("{key}: got {got}, want {want}")))
        };
        if self.dir.as_os_str().is_empty() {
            return wrong("dir", &"\"\"", "a directory");
        }
        if self.queue_records_max == 0 {
            return wrong("queue_records_max", &0, "at least 1");
        }
        if self.queue_bytes_max == 0 || self.queue_bytes_max > u32::MAX as usize {
            return wrong("queue_bytes_max", &self.queue_bytes_max, "1 to 4294967295");
        }
        if self.memtable_bytes < MIB {
            return wrong("memtable_bytes", &self.memtable_bytes, "at least 1048576");
        }
        if self.journal_bytes_max < 64 * MIB {
            return wrong("journal_bytes_max", &self.journal_bytes_max, "at least 67108864");
        }
        if self.retention_interval_ms == 0 {
            return wrong("retention_interval_ms", &0, "at least 1");
        }
        Ok(())
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
