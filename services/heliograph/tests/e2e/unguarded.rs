//! Guards switched off, one at a time, to see that torture or `strace` misses them
//! (`make torture-guards`).
//!
//! `UNGUARDED` names one: a guard of the program, which a build with the feature `unguarded` then does
//! without, or one of the tables', which is taken away here. Without it everything is as delivered.

use crate::support::Installation;
use anyhow::{Context, ensure};
use std::io::{Read, Write};

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
pub fn tables(up: &Installation) -> anyhow::Result<()> {
    let guard = guard();
    let found = OF_TABLES.iter().find(|(name, ..)| guard.as_deref() == Some(name));
    let Some((_, with, without)) = found else { return Ok(()) };
    let create = sql(up, "SHOW CREATE TABLE heliograph.readings FORMAT TSVRaw")?;
    ensure!(create.contains(with), "no {with} in {create}");
    sql(up, "DROP TABLE heliograph.readings")?;
    sql(up, &create.replace(with, without))?;
    Ok(())
}

fn sql(up: &Installation, statement: &str) -> anyhow::Result<String> {
    let address = up.clickhouse.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(address)?;
    write!(
        stream,
        "POST / HTTP/1.0\r\nhost: h\r\ncontent-length: {}\r\n\r\n{statement}",
        statement.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    ensure!(head.contains(" 200 "), "{statement}: {answer}");
    Ok(body.trim().to_owned())
}
