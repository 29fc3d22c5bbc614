//! Native blocks: the fastest way into ClickHouse, and the types that our tables need.
//!
//! A block is built column by column with the `clickhouse` crate's [`BlockBuilder`]
//! (`builder.upsert_column::<&str>("site_id")?.add(site)?`) and sent by [`insert_block`]. The crate
//! has no encoders for times and dates; [`Millis`], [`Seconds`] and [`Day`] are those. An `Enum8`
//! column is written as its name (`&str`), a `LowCardinality(String)` as a `&str`.
//!
//! It never tries again: an insert is idempotent by the tables' design, and whoever holds the block
//! decides by [`StoreError::class`].

use std::sync::LazyLock;

use clickhouse::Client;
pub use clickhouse::native::builder::BlockBuilder;
use clickhouse::native::encode::{Encode, ValueWriter};
pub use clickhouse::native::{Block, DataTypeNode};

use crate::client::{StoreErrorClass, explain};

/// A statement that the store did not carry out.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct StoreError {
    /// What was tried.
    pub what: String,
    #[source]
    pub source: clickhouse::error::Error,
}

impl StoreError {
    pub fn class(&self) -> StoreErrorClass {
        explain(&self.source).0
    }

    /// Why it is in its class.
    pub fn why(&self) -> &'static str {
        explain(&self.source).1
    }
}

/// Sends one block and waits until the server has stored it. Settings of the request are those of
/// the client: `client.clone().with_setting(…)`.
pub async fn insert_block(client: &Client, table: &str, block: &Block) -> Result<(), StoreError> {
    let insert = async {
        let mut insert = client
            .insert_native(table)
            // A server that gathers inserts answers before they are on its disk.
            .with_setting("async_insert", "0")
            // Replacing inside of the block costs two thirds of the insert's CPU time, for what
            // every read does anyway with FINAL.
            .with_setting("optimize_on_insert", "0");
        insert.write(block).await?;
        insert.end().await
    };
    let rows = block.num_rows();
    insert
        .await
        .map_err(|source| StoreError { what: format!("insert {rows} rows into {table}"), source })
}

macro_rules! encode_as {
    ($(#[$doc:meta])* $name:ident($inner:ty) => $clickhouse:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl Encode for $name {
            fn produces() -> DataTypeNode {
                static TYPE: LazyLock<Option<DataTypeNode>> =
                    LazyLock::new(|| DataTypeNode::new($clickhouse).ok());
                // The names are literals of this file and a test parses them all.
                TYPE.clone().unwrap_or(DataTypeNode::String)
            }

            fn encode(
                &self,
                writer: &mut ValueWriter<'_>,
            ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
                Ok(writer.write_fixed(&self.0.to_le_bytes())?)
            }
        }
    };
}

encode_as! {
    /// Milliseconds since 1970, UTC: `DateTime64(3, 'UTC')`.
    Millis(i64) => "DateTime64(3, 'UTC')"
}
encode_as! {
    /// Seconds since 1970, UTC: `DateTime('UTC')`.
    Seconds(u32) => "DateTime('UTC')"
}
encode_as! {
    /// Days since 1970: `Date`.
    Day(u16) => "Date"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_dates_have_their_own_types() {
        assert_eq!(Millis::produces().to_string(), "DateTime64(3, 'UTC')");
        assert_eq!(Seconds::produces().to_string(), "DateTime('UTC')");
        assert_eq!(Day::produces(), DataTypeNode::Date);
    }
}
