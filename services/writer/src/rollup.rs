//! Rollups: 15 minutes, UTC hour, the site's local day; always a recompute of whole buckets.
//!
//! Invariant: a bucket is marked clean only after its rollups are in ClickHouse, and a change
//! that comes meanwhile leaves it dirty. After a crash, or when a partition changes hands, what is
//! still dirty is read back from ClickHouse. What this is not: it never adds to a rollup.

mod clean;
pub mod recompute;
pub mod roller;
pub mod sql;
mod work;

use crate::rows::{Change, SiteBucket};

pub use clean::CleanMarks;
pub use work::{DirtySet, RoundSize};

/// A bucket whose rollups are behind, and the newest change that they lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirtyMark {
    pub bucket: SiteBucket,
    pub change: Change,
}

impl From<(SiteBucket, Change)> for DirtyMark {
    fn from((bucket, change): (SiteBucket, Change)) -> Self {
        Self { bucket, change }
    }
}
