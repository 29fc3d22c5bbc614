//! What must hold for whatever bytes a parser is given, one module a target.
//!
//! Each `check` panics where an invariant is broken; `src/bin` hands it to libFuzzer. The names of
//! the targets are the names of the files in `src/bin`. What it is not: a place for parsers, or for
//! tests of single inputs; those stand beside the parsers.

pub mod compression;
pub mod dead_letter;
pub mod event;
pub mod json;
pub mod line;
pub mod protobuf;
pub mod registry;
mod rules;

use heliograph_domain::{SiteId, Timestamp};

/// When every input is received: 2026-01-01T00:00:00Z.
pub const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);
/// Readings of an upload: few, so that short inputs reach the limit.
pub const READINGS_MAX: usize = 16;

/// The site of the sender.
pub fn own_site() -> SiteId {
    SiteId::parse("s1").expect("a sound name")
}
