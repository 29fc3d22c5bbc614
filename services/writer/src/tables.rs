//! Names of the tables, so that a rebuild can run the same code on shadow tables.

/// The tables that the writer fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    pub readings: String,
    pub rollup_15m: String,
    pub rollup_1h: String,
    pub rollup_1d: String,
}

/// Buckets whose rollups are behind their readings.
pub const DIRTY_BUCKETS: &str = "dirty_buckets";

impl Tables {
    /// The tables that are read.
    pub fn live() -> Self {
        Self::suffixed("")
    }

    /// The tables that a rebuild fills before it swaps them in.
    pub fn shadow() -> Self {
        Self::suffixed("_rebuild")
    }

    fn suffixed(suffix: &str) -> Self {
        Self {
            readings: format!("readings{suffix}"),
            rollup_15m: format!("readings_15m{suffix}"),
            rollup_1h: format!("readings_1h{suffix}"),
            rollup_1d: format!("readings_1d{suffix}"),
        }
    }

    /// All of them, raw rows first.
    pub fn all(&self) -> [&str; 4] {
        [&self.readings, &self.rollup_15m, &self.rollup_1h, &self.rollup_1d]
    }
}
