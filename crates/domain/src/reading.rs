//! A reading: one measured value.

use crate::{DeviceId, MetricName, Timestamp};

/// How far a value can be trusted; said by the logger.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    #[default]
    Good,
    /// Kept and aggregated, but marked.
    Suspect,
    /// Kept as it came; left out of every aggregate.
    Bad,
}

impl Quality {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Suspect => "suspect",
            Self::Bad => "bad",
        }
    }
}

/// One value of one metric of one device at one time. With the site it *is*
/// (site, device, metric, ts): sent again it is the same reading, and the later one wins.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub device: DeviceId,
    pub metric: MetricName,
    /// When it was measured.
    pub ts: Timestamp,
    /// In the stored unit of its metric (`unit::stored_unit`). Always finite.
    pub value: f64,
    pub quality: Quality,
}

impl Reading {
    /// What makes it this reading and no other, within its site.
    pub fn identity(&self) -> (&DeviceId, &MetricName, Timestamp) {
        (&self.device, &self.metric, self.ts)
    }
}
