//! From bytes to an upload: the formats that loggers speak, one module each.
//!
//! Every decoder takes a whole body and gives a [`Decoded`], or says which rules the body as a
//! whole breaks. Invariants: no bytes make a decoder panic; one bad reading spoils no other; what
//! is rejected is kept as it was sent; memory is bounded by the body and by the limit of readings.
//! What it is not: it knows no token, no site and no log, and reads no clock.

pub mod json;

use heliograph_domain::{Reading, SiteId, Timestamp, UploadId, upload::Rejected};
use serde_json::value::RawValue;

/// A body whose envelope is sound, its readings told apart by the rules.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The site that the body names; without one it is the sender's.
    pub site: Option<SiteId>,
    /// The sender's own name for it.
    pub upload_id: Option<UploadId>,
    /// When the logger says that it sent it.
    pub sent_at: Option<Timestamp>,
    pub checked: Checked<'a>,
}

/// What the rules left of the readings.
#[derive(Debug, Default)]
pub struct Checked<'a> {
    /// How many there were.
    pub sent: usize,
    /// One for each identity, in the order in which they were sent.
    pub readings: Vec<Reading>,
    /// In the order of their index.
    pub rejected: Vec<RejectedReading<'a>>,
}

/// A reading that was refused, as it came.
#[derive(Debug, Clone)]
pub struct RejectedReading<'a> {
    pub rejected: Rejected,
    pub as_sent: AsSent<'a>,
}

/// What stands in a dead letter for a reading that was refused. Written as JSON it is the very
/// JSON that was sent, or a string.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(untagged)]
pub enum AsSent<'a> {
    Json(&'a RawValue),
}
