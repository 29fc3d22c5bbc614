//! The log: partitions of records in order, with append times by a clock that may step.

use heliograph_contract::v1::{DoorTick, SiteWatched};
use heliograph_detector::staleness::At;
use heliograph_domain::Timestamp;
use prost::Message;

use crate::spans::Ms;

/// Where simulated time starts, in ms since 1970.
pub const EPOCH_MS: i64 = 1_538_700_000_000;
/// An append takes less than this.
const APPEND_MAX: Ms = 50;

#[derive(Debug)]
pub enum Body {
    /// Of the site with this number.
    Upload(usize),
    Watched(SiteWatched),
    Tick(DoorTick),
}

#[derive(Debug)]
pub struct Record {
    /// When it was truly appended.
    pub at: Ms,
    pub append_time: Timestamp,
    pub body: Body,
}

/// One partition.
#[derive(Debug)]
pub struct Partition {
    records: Vec<Record>,
    /// When the last record was appended, as the log would see it if its clock did not step.
    last: Ms,
    digest: u64,
}

impl Default for Partition {
    fn default() -> Self {
        Self { records: Vec::new(), last: 0, digest: FNV_OFFSET }
    }
}

impl Partition {
    /// Appends, and says at which offset. The log's clock is off by `step_ms`; no two appends take it
    /// the same time.
    pub fn append(&mut self, at: Ms, step_ms: i64, body: Body) -> u64 {
        self.last = self.last.max(at + self.digest % APPEND_MAX);
        let append_time = Timestamp::from_ms(EPOCH_MS + self.last as i64 + step_ms);
        let offset = self.records.len() as u64;
        self.fold(&append_time.as_ms().to_be_bytes());
        match &body {
            Body::Upload(site) => self.fold(&site.to_be_bytes()),
            Body::Watched(said) => self.fold(&said.encode_to_vec()),
            Body::Tick(tick) => self.fold(&tick.encode_to_vec()),
        }
        self.records.push(Record { at, append_time, body });
        offset
    }

    pub fn get(&self, offset: u64) -> Option<(At, &Record)> {
        let record = self.records.get(offset as usize)?;
        Some((At { offset, append_time: record.append_time }, record))
    }

    /// A hash of all that was ever appended.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    fn fold(&mut self, bytes: &[u8]) {
        self.digest = fnv1a(self.digest, bytes);
    }
}

pub const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a of 64 bits (Fowler, Noll, Vo), going on from `hash`.
pub fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
