//! The log: one small port, three adapters, and the consumer that every service runs on.
//!
//! `port` is all that services know. `kafka`, `local` (embedded) and `memory` implement it and
//! pass one conformance suite (`tests/conformance.rs`). `consumer` turns records into processed records: it owns
//! backpressure, the offset `ledger` and draining, so that no service does.

pub mod config;
pub mod consumer;
pub mod dead_letter;
mod group;
pub mod kafka;
pub mod ledger;
pub mod local;
pub mod memory;
pub mod metered;
pub mod port;
pub mod registry;
pub mod topics;
pub mod turn;
pub mod unguarded;

pub use config::{LogConfig, LogKind, open};
pub use port::{
    Appended, GroupConsumer, GroupEvent, GroupSpec, Log, LogError, LogRead, NewRecord, OffsetRange,
    Record, TopicPartition, is_thrown_out, may_pass,
};
