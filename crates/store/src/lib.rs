//! ClickHouse for heliograph: client set-up, migrations, blocks, and the embedded engine.
//!
//! The services know the store by the `clickhouse` crate alone; whether a cluster answers or the
//! engine in this process is a matter of configuration.

pub mod blocks;
pub mod client;
pub mod embedded;
pub mod migrate;

mod codes;
mod connections;

pub use blocks::{StoreError, insert_block};
pub use client::{StoreConfig, StoreErrorClass, classify, connect};
pub use embedded::{EmbedError, EmbeddedConfig, EmbeddedStore};
pub use migrate::{MigrateError, MigrationReport, MigrationStatus, migrate};
