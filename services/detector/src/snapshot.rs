//! The state of a partition as it is kept on the log, in chunks. Pure.
//!
//! Invariant: what is restored decides as what was kept, and a snapshot that is not whole is none.
//! What it is not: the truth; records of the partition are, from any snapshot on.

use crate::{
    clock::Clock,
    planted::{Bug, is_planted},
    sites::{Columns, Profile, Sites},
    staleness::{At, Partition},
};
use bytes::Bytes;
use heliograph_contract::v1::{DetectorProfile, DetectorStale, DetectorState, SnapshotManifest};
use heliograph_domain::Timestamp;
use prost::Message;
use sha2::{Digest, Sha256};

/// The largest chunk, so that it fits into a record of the log.
const CHUNK_BYTES_MAX: usize = 512 << 10;

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SnapshotError {
    #[error(
        "snapshot: got {got} bytes that do not add up to the manifest's, want its {chunks} chunks"
    )]
    NotWhole { got: usize, chunks: u32 },
    #[error("snapshot: not a state of a detector: {0}")]
    Malformed(String),
    #[error("snapshot: of partition {got}, want that of {want}")]
    OtherPartition { got: u32, want: u32 },
}

/// A state in pieces, and what makes them valid.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub manifest: SnapshotManifest,
    pub chunks: Vec<Bytes>,
}

impl Snapshot {
    /// The state of a partition, reached at `at`.
    pub fn of(partition: &Partition, at: Timestamp) -> Self {
        let state = Bytes::from(state(partition).encode_to_vec());
        let pieces = (0..state.len()).step_by(CHUNK_BYTES_MAX);
        let chunks: Vec<Bytes> =
            pieces.map(|from| state.slice(from..state.len().min(from + CHUNK_BYTES_MAX))).collect();
        let manifest = SnapshotManifest {
            offset: partition.next_offset(),
            at_ms: at.as_ms(),
            chunks: chunks.len() as u32,
            sha256: Bytes::copy_from_slice(&Sha256::digest(&state)),
        };
        Self { manifest, chunks }
    }

    /// The partition as it was.
    ///
    /// # Errors
    /// [`SnapshotError`] when chunks are missing or are of another snapshot, or make no sense.
    pub fn restore(&self, number: u32) -> Result<Partition, SnapshotError> {
        let bytes = self.chunks.concat();
        let is_whole = self.chunks.len() == self.manifest.chunks as usize
            && Sha256::digest(&bytes)[..] == self.manifest.sha256[..];
        if !is_whole {
            let (got, chunks) = (bytes.len(), self.manifest.chunks);
            return Err(SnapshotError::NotWhole { got, chunks });
        }
        let state = DetectorState::decode(&bytes[..])
            .map_err(|error| SnapshotError::Malformed(error.to_string()))?;
        if state.partition != number {
            return Err(SnapshotError::OtherPartition { got: state.partition, want: number });
        }
        partition(state)
    }
}

fn state(partition: &Partition) -> DetectorState {
    let Partition { number, clock, door, sites, stale, retry_after_ms, next, .. } = partition;
    let (ids, id_ends) = sites.ids();
    DetectorState {
        partition: *number,
        offset: next + u64::from(is_planted(Bug::SnapshotTooFar)),
        clock: Some(clock.into()),
        door: Some(door.into()),
        retry_after_ms: *retry_after_ms,
        site_ids: Bytes::copy_from_slice(ids),
        site_id_ends: id_ends.to_vec(),
        since: sites.since.clone(),
        due: sites.due.clone(),
        last_upload_s: match is_planted(Bug::SnapshotWithoutUploads) {
            true => vec![0; sites.len()],
            false => sites.last_upload_s.clone(),
        },
        profile: sites.profile.clone(),
        version: sites.version.clone(),
        profiles: sites
            .profiles
            .iter()
            .map(|p| DetectorProfile {
                tenant_id: p.tenant.to_string(),
                upload_interval_s: p.upload_interval_s,
                stale_after_s: p.stale_after_s,
            })
            .collect(),
        stale: stale
            .iter()
            .filter(|_| !is_planted(Bug::SnapshotWithoutStale))
            .map(|(site, at)| DetectorStale {
                site: *site,
                offset: at.offset,
                decided_at_ms: at.append_time.as_ms(),
            })
            .collect(),
    }
}

fn partition(state: DetectorState) -> Result<Partition, SnapshotError> {
    let malformed = |what: &str| SnapshotError::Malformed(what.to_owned());
    let profiles = state.profiles.into_iter().map(|p| Profile {
        tenant: p.tenant_id.into(),
        upload_interval_s: p.upload_interval_s,
        stale_after_s: p.stale_after_s,
    });
    let sites = Sites::from_columns(Columns {
        ids: state.site_ids.into(),
        id_ends: state.site_id_ends,
        since: state.since,
        due: state.due,
        last_upload_s: state.last_upload_s,
        profile: state.profile,
        version: state.version,
        profiles: profiles.collect(),
    })
    .ok_or_else(|| malformed("columns of different lengths"))?;
    if state.stale.iter().any(|s| s.site as usize >= sites.len()) {
        return Err(malformed("a stale site that is not there"));
    }
    let stale = state.stale.into_iter().map(|s| {
        let append_time = Timestamp::from_ms(s.decided_at_ms);
        (s.site, At { offset: s.offset, append_time })
    });
    Ok(Partition {
        number: state.partition,
        stale: stale.collect(),
        clock: Clock::from(state.clock.ok_or_else(|| malformed("no clock"))?),
        door: state.door.unwrap_or_default().into(),
        sites,
        retry_after_ms: state.retry_after_ms,
        next: state.offset,
        judging: None,
    })
}
