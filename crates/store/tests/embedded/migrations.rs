//! Migrations against the engine: once, again, and not when the past was changed.

use clickhouse::Client;
use heliograph_store::{MigrateError, StoreConfig, connect, migrate, migrate::status};

use crate::support::{count, run, url};

fn config(database: &str) -> StoreConfig {
    StoreConfig { url: url().into(), database: database.into(), ..Default::default() }
}

async fn fresh(database: &str) -> (Client, StoreConfig) {
    let config = config(database);
    let client = connect(&config);
    let drop = format!("DROP DATABASE IF EXISTS {database}");
    run(&client.clone().with_database("default"), &drop).await;
    (client, config)
}

#[tokio::test]
async fn migrating_makes_the_database_and_again_changes_nothing() {
    let (client, config) = fresh("migrated").await;
    let before = status(&client, &config).await.expect("asked");
    assert_eq!((before.applied, before.pending.len()), (0, 3));
    let outside = client.clone().with_database("default");
    let made = "SELECT count() FROM system.databases WHERE name = 'migrated'";
    assert_eq!(count(&outside, made).await, 0, "asking makes nothing");
    let first = migrate(&client, &config).await.expect("applied");
    assert_eq!(first.applied.len(), 3, "{first:?}");
    assert_eq!(first.applied, before.pending);
    let after = status(&client, &config).await.expect("asked");
    assert_eq!((after.applied, after.pending.len()), (3, 0));
    assert_eq!(first.already_applied, 0);
    let again = migrate(&client, &config).await.expect("nothing to do");
    assert_eq!((again.applied.len(), again.already_applied), (0, 3));
    let tables = "SELECT count() FROM system.tables WHERE database = 'migrated' \
        AND name IN ('readings', 'readings_15m', 'readings_1h', 'readings_1d', 'dirty_buckets') \
        AND engine = 'ReplacingMergeTree' AND create_table_query LIKE '%fsync_after_insert = 1%'";
    assert_eq!(count(&client, tables).await, 5);
    let bare = "SELECT count() FROM system.columns WHERE database = 'migrated' AND comment = ''";
    assert_eq!(count(&client, bare).await, 0);
}

#[tokio::test]
async fn a_reading_sent_again_is_the_same_reading_and_the_later_offset_wins() {
    let (client, config) = fresh("identity").await;
    migrate(&client, &config).await.expect("applied");
    for (value, offset) in [(1.5, 7), (2.5, 9), (1.5, 7)] {
        let insert = format!(
            "INSERT INTO readings VALUES ('s', 'inv1', 'ac_power', '2018-10-05 04:50:00.123', \
             {value}, 'good', 0, {offset}, '2018-10-05 05:00:00')"
        );
        run(&client, &insert).await;
    }
    let sql = "SELECT toUInt64(sum(value) * 10) FROM readings FINAL";
    assert_eq!(count(&client, sql).await, 25);
}

#[tokio::test]
async fn a_past_that_was_changed_is_refused_and_nothing_is_applied() {
    let (client, config) = fresh("changed_past").await;
    migrate(&client, &config).await.expect("applied");
    let forge = "INSERT INTO schema_migrations SELECT version, name, 'beef', now64(3) \
        FROM schema_migrations FINAL WHERE version = 2";
    run(&client, forge).await;
    let error = migrate(&client, &config).await.expect_err("refused");
    let asked = status(&client, &config).await.expect_err("refused");
    assert_eq!(asked.to_string(), error.to_string());
    let MigrateError::Changed { file, want, got } = error else { panic!("{error}") };
    assert_eq!((file.as_str(), want.as_str(), got.len()), ("0002_rollups.sql", "beef", 64));
}

#[tokio::test]
async fn a_migration_that_broke_off_is_finished_by_the_next() {
    let (client, config) = fresh("broke_off").await;
    migrate(&client, &config).await.expect("applied");
    // As after a crash between the statements of the second file.
    run(
        &client,
        "ALTER TABLE schema_migrations DELETE WHERE version >= 2 SETTINGS mutations_sync = 2",
    )
    .await;
    run(&client, "DROP TABLE readings_1d").await;
    let report = migrate(&client, &config).await.expect("finished");
    assert_eq!(report.applied, ["0002_rollups.sql", "0003_dirty_buckets.sql"]);
    assert_eq!(count(&client, "SELECT count() FROM readings_1d").await, 0);
}
