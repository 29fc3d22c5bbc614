//! The wire: generated protobuf code, its translation to and from the domain, and the one table
//! from error classes to gRPC and HTTP.
//!
//! Invariant: what leaves [`event::decode`] has passed the domain's rules. What it is not: it
//! knows nothing of where records lie or how requests arrive.

/// Generated from `proto/heliograph/v1`.
#[allow(clippy::all, clippy::unwrap_used, clippy::expect_used, missing_docs)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/heliograph.v1.rs"));

    /// The compiled descriptors, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/heliograph.v1.bin"));
}

pub mod access;
pub mod alert;
#[cfg(feature = "grpc")]
pub mod error;
pub mod event;
pub mod registry;
mod secret;
pub mod topic;
mod wire;
