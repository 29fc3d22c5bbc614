//! Guards switched off, one at a time, to see that torture or `strace` misses them
//! (`make torture-guards`).
//!
//! `UNGUARDED` names one: a guard of the program, which a build with the feature `unguarded` then does
//! without, or one of the tables', which is taken away here. Without it everything is as delivered.

use crate::support::Installation;
use anyhow::ensure;

/// Guards of the tables, and what `CREATE TABLE readings` says instead of what.
const OF_TABLES: [(&str, &str, &str); 2] = [
    // A reading is its identity: without it each arrival is a reading.
    (
        "identity",
        "ORDER BY (site_id, device, metric, ts)",
        "ORDER BY (site_id, device, metric, ts, log_offset)",
    ),
    // An inserted part is on disk before it is acknowledged.
    ("insert_fsync", "fsync_after_insert = 1", "fsync_after_insert = 0"),
];

fn guard() -> Option<String> {
    std::env::var("UNGUARDED").ok().filter(|name| !name.is_empty())
}

/// For the processes of a build with the feature; others do not read it.
pub fn env() -> Option<(&'static str, &'static str)> {
    let guard = ["fsync", "acknowledgement", "revoke", "recompute"]
        .into_iter()
        .find(|name| guard().as_deref() == Some(name))?;
    Some(("HELIOGRAPH_UNGUARDED", guard))
}

/// Takes a guard away from the tables, while they are empty.
pub async fn tables(up: &Installation) -> anyhow::Result<()> {
    let guard = guard();
    let found = OF_TABLES.iter().find(|(name, ..)| guard.as_deref() == Some(name));
    let Some((_, with, without)) = found else { return Ok(()) };
    let store = clickhouse::Client::default()
        .with_url(&up.clickhouse)
        .with_compression(clickhouse::Compression::None);
    let create = "SELECT create_table_query FROM system.tables \
                  WHERE database = 'heliograph' AND name = 'readings'";
    let create: String = store.query(create).fetch_one().await?;
    ensure!(create.contains(with), "no {with} in {create}");
    store.query("DROP TABLE heliograph.readings").execute().await?;
    store.query_raw(&create.replace(with, without)).execute().await?;
    Ok(())
}
