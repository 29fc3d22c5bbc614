//! The tables of `schemas/clickhouse/NNNN_*.sql`, made once and never made differently.
//!
//! Guarantee: after `Ok` every file of this build has been applied, in order; applied files are
//! remembered with their hash, and a file that changed, or one that was slipped in or taken out
//! below the newest, is refused by name before anything is executed. ClickHouse has no transaction
//! around DDL: a crash in the middle is repaired by running again, because every statement is
//! repeatable (`IF NOT EXISTS`) and a file is remembered only after its last statement.
//!
//! It deliberately goes forward only: what a release has brought, the next one changes by a new
//! file.

use std::collections::BTreeMap;

use clickhouse::{Client, Row};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::blocks::StoreError;
use crate::client::{StoreConfig, StoreErrorClass};
use crate::embedded::sql::statements;

/// The files, in the binary: nothing is read from disk at run time.
const FILES: &[File] = &[
    File {
        name: "0001_readings.sql",
        text: include_str!("../../../schemas/clickhouse/0001_readings.sql"),
    },
    File {
        name: "0002_rollups.sql",
        text: include_str!("../../../schemas/clickhouse/0002_rollups.sql"),
    },
    File {
        name: "0003_dirty_buckets.sql",
        text: include_str!("../../../schemas/clickhouse/0003_dirty_buckets.sql"),
    },
];

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS schema_migrations {on_cluster}
(
    version UInt32 COMMENT 'Number in front of the file name',
    name String COMMENT 'File name below schemas/clickhouse',
    sha256 String COMMENT 'SHA-256 of the file as it was applied, in hex',
    applied_at DateTime64(3, 'UTC') COMMENT 'When its last statement was through; milliseconds, UTC'
)
ENGINE = {replacing_merge_tree}(applied_at)
ORDER BY version
SETTINGS {durability}
COMMENT 'Which files of schemas/clickhouse this database has'";

/// One file of migrations.
#[derive(Debug, Clone, Copy)]
struct File {
    name: &'static str,
    text: &'static str,
}

impl File {
    fn version(&self) -> Option<u32> {
        self.name.split('_').next()?.parse().ok()
    }

    fn sha256(&self) -> String {
        Sha256::digest(self.text).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a migration did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    pub database: String,
    /// Files that were applied now, in order.
    pub applied: Vec<String>,
    /// How many had been applied before.
    pub already_applied: usize,
}

/// Why a migration did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    #[error(
        "schemas/clickhouse/{file} is not the file that was applied: got sha256 {got}, want {want}; \
         an applied file never changes, a new one does"
    )]
    Changed { file: String, got: String, want: String },
    #[error(
        "the database has version {version} ({file}), which this build does not: it is older than \
         the database, or the file was taken out"
    )]
    Unknown { version: u32, file: String },
    #[error(
        "schemas/clickhouse/{file} was never applied, but {newest} after it was: a new file takes a \
         number above all others"
    )]
    OutOfOrder { file: String, newest: u32 },
    #[error("store.{key}: got {got:?}, want letters, digits and _")]
    BadName { key: &'static str, got: String },
    #[error("schemas/clickhouse/{file} has a placeholder that nobody fills in: {placeholder}")]
    Placeholder { file: String, placeholder: String },
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl MigrateError {
    /// Whether waiting can help.
    pub fn class(&self) -> StoreErrorClass {
        match self {
            MigrateError::Store(error) => error.class(),
            _ => StoreErrorClass::Stop,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
struct Applied {
    version: u32,
    name: String,
    sha256: String,
}

/// Creates the database if it is not there and applies what it does not have yet.
pub async fn migrate(
    client: &Client,
    config: &StoreConfig,
) -> Result<MigrationReport, MigrateError> {
    apply_files(client, config, FILES).await
}

/// What a migration would find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// How many files have been applied.
    pub applied: usize,
    /// Files that have not been, in order.
    pub pending: Vec<String>,
}

/// What of this build's files the database has. Reads only.
///
/// # Errors
/// As [`migrate`]: a file changed after it was applied, or the database is newer than this build.
pub async fn status(
    client: &Client,
    config: &StoreConfig,
) -> Result<MigrationStatus, MigrateError> {
    check_name("database", &config.database)?;
    let outside = client.clone().with_database("default");
    let there: u64 = outside
        .query_raw(
            "SELECT count() FROM system.tables \
             WHERE database = {database:String} AND name = 'schema_migrations'",
        )
        .param("database", &config.database)
        .fetch_one()
        .await
        .map_err(|source| StoreError { what: "look for schema_migrations".into(), source })?;
    let history = match there {
        0 => Vec::new(),
        _ => read_history(&client.clone().with_database(&config.database)).await?,
    };
    let pending: Vec<String> =
        pending(FILES, &history)?.into_iter().map(|file| file.name.to_owned()).collect();
    Ok(MigrationStatus { applied: FILES.len() - pending.len(), pending })
}

async fn apply_files(
    client: &Client,
    config: &StoreConfig,
    files: &[File],
) -> Result<MigrationReport, MigrateError> {
    let words = Words::new(config)?;
    let database = &config.database;
    // Not in the database that is to be made: no server would take the request.
    let outside = client.clone().with_database("default");
    let create = format!("CREATE DATABASE IF NOT EXISTS `{database}` {{on_cluster}}");
    execute(&outside, &words.fill("CREATE DATABASE", &create)?, "create the database").await?;
    let inside = client.clone().with_database(database);
    execute(&inside, &words.fill("schema_migrations", HISTORY)?, "create schema_migrations")
        .await?;

    let history = read_history(&inside).await?;
    let pending = pending(files, &history)?;
    let mut applied = Vec::new();
    for file in pending {
        for statement in statements(&words.fill(file.name, file.text)?) {
            execute(&inside, statement, file.name).await?;
        }
        remember(&inside, file).await?;
        tracing::info!(%database, file = file.name, "applied");
        applied.push(file.name.to_owned());
    }
    let already_applied = files.len() - applied.len();
    Ok(MigrationReport { database: database.clone(), applied, already_applied })
}

/// The files that are to be applied, or the reason why none may be.
fn pending<'f>(files: &'f [File], history: &[Applied]) -> Result<Vec<&'f File>, MigrateError> {
    let known: BTreeMap<u32, &File> =
        files.iter().filter_map(|file| Some((file.version()?, file))).collect();
    for Applied { version, name, sha256 } in history {
        let Some(file) = known.get(version) else {
            return Err(MigrateError::Unknown { version: *version, file: name.clone() });
        };
        let got = file.sha256();
        if got != *sha256 {
            let (file, want) = (file.name.to_owned(), sha256.clone());
            return Err(MigrateError::Changed { file, got, want });
        }
    }
    let newest = history.iter().map(|applied| applied.version).max().unwrap_or(0);
    let is_applied = |version: &u32| history.iter().any(|applied| applied.version == *version);
    let pending: Vec<_> = known.iter().filter(|(version, _)| !is_applied(version)).collect();
    if let Some((_, file)) = pending.iter().find(|(version, _)| **version < newest) {
        return Err(MigrateError::OutOfOrder { file: file.name.to_owned(), newest });
    }
    Ok(pending.into_iter().map(|(_, file)| *file).collect())
}

async fn read_history(client: &Client) -> Result<Vec<Applied>, StoreError> {
    client
        .query_raw("SELECT version, name, sha256 FROM schema_migrations FINAL ORDER BY version")
        .fetch_all::<Applied>()
        .await
        .map_err(|source| StoreError { what: "read schema_migrations".into(), source })
}

async fn remember(client: &Client, file: &File) -> Result<(), StoreError> {
    client
        .query_raw(
            "INSERT INTO schema_migrations (version, name, sha256, applied_at) \
             SELECT {version:UInt32}, {name:String}, {sha256:String}, now64(3)",
        )
        .param("version", file.version().unwrap_or_default())
        .param("name", file.name)
        .param("sha256", file.sha256())
        .execute()
        .await
        .map_err(|source| StoreError { what: format!("remember {}", file.name), source })
}

async fn execute(client: &Client, sql: &str, what: &str) -> Result<(), StoreError> {
    let outcome = client.query_raw(sql).execute().await;
    outcome.map_err(|source| StoreError { what: what.to_owned(), source })
}

/// What the placeholders stand for: on one node, or on a cluster.
struct Words {
    on_cluster: String,
    replacing_merge_tree: &'static str,
    durability: &'static str,
}

impl Words {
    fn new(config: &StoreConfig) -> Result<Words, MigrateError> {
        check_name("database", &config.database)?;
        let Some(cluster) = &config.cluster else {
            return Ok(Words {
                on_cluster: String::new(),
                replacing_merge_tree: "ReplacingMergeTree",
                durability: "fsync_after_insert = 1, fsync_part_directory = 1",
            });
        };
        check_name("cluster", cluster)?;
        Ok(Words {
            on_cluster: format!("ON CLUSTER `{cluster}`"),
            // Path and replica name are the server's defaults ({uuid}, {shard}, {replica}).
            replacing_merge_tree: "ReplicatedReplacingMergeTree",
            // A quorum of replicas holds the rows before the insert is answered: see `connect`.
            durability: "fsync_after_insert = 0, fsync_part_directory = 0",
        })
    }

    /// Fills the placeholders in; comments of the file may speak of them.
    fn fill(&self, file: &str, text: &str) -> Result<String, MigrateError> {
        let filled = text
            .replace("{on_cluster}", &self.on_cluster)
            .replace("{replacing_merge_tree}", self.replacing_merge_tree)
            .replace("{durability}", self.durability);
        match filled.split_once('{') {
            None => Ok(filled),
            Some((_, rest)) => {
                let name = rest.split('}').next().unwrap_or(rest);
                let placeholder = format!("{{{name}}}");
                Err(MigrateError::Placeholder { file: file.to_owned(), placeholder })
            }
        }
    }
}

/// Names go into DDL as they are.
fn check_name(key: &'static str, name: &str) -> Result<(), MigrateError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty() && name.chars().all(plain) {
        return Ok(());
    }
    Err(MigrateError::BadName { key, got: name.to_owned() })
}

#[cfg(test)]
#[path = "migrate_tests.rs"]
mod tests;
