//! Durable means durable: under `strace`, no 2xx is written before the `fdatasync` that covers
//! its record, and no offset is committed before the insert's.

use crate::{
    support::{OnLog, Setup, data_dir, wait_for},
    unguarded,
};
use anyhow::{Context, ensure};
use heliograph_domain::partition::partition_for;
use serde_json::json;
use std::{collections::HashMap, path::Path, time::Duration};

const UPLOADS: usize = 5;
const PARTITIONS: u32 = 12;
const SITE: &str = "s1";

/// One system call: between which lines of the trace it ran.
#[derive(Debug, Clone, PartialEq)]
struct Call {
    name: String,
    /// Arguments as strace prints them, with the paths of descriptors.
    text: String,
    begin: usize,
    end: usize,
}

/// Calls in the order in which they began. A call that others interrupt stands as
/// `… <unfinished ...>` where it began and `<... NAME resumed>…` where it ended.
fn parse(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            if let Some(index) = open.remove(thread) {
                calls[index].end = at;
                calls[index].text.push_str(resumed);
            }
            continue;
        }
        let Some((name, text)) = rest.split_once('(') else { continue };
        if text.ends_with("<unfinished ...>") {
            open.insert(thread, calls.len());
        }
        calls.push(Call { name: name.into(), text: text.into(), begin: at, end: at });
    }
    calls
}

fn is_sync(call: &Call, path: &str) -> bool {
    matches!(call.name.as_str(), "fdatasync" | "fsync") && call.text.contains(path)
}

fn is_write(call: &Call, needle: &str) -> bool {
    matches!(call.name.as_str(), "write" | "writev" | "sendto" | "pwrite64")
        && call.text.contains(needle)
}

/// A sync of `path` that began after `after` had ended, and ended before `before` began.
fn synced_between(calls: &[Call], path: &str, after: &Call, before: &Call) -> bool {
    calls.iter().any(|c| is_sync(c, path) && c.begin > after.end && c.end < before.begin)
}

/// The 2xx of `upload_id` comes after the sync of the journal that holds its record.
fn check_answer(calls: &[Call], upload_id: &str) -> anyhow::Result<()> {
    let journal = ".jnl";
    let record = calls
        .iter()
        .find(|c| is_write(c, journal) && c.text.contains(upload_id))
        .with_context(|| format!("{upload_id} was never written to the journal"))?;
    let answer = calls
        .iter()
        .find(|c| is_write(c, "HTTP/1.1 200") && c.text.contains(upload_id))
        .with_context(|| format!("{upload_id} was never answered"))?;
    ensure!(
        synced_between(calls, journal, record, answer),
        "{upload_id}: answered without a sync between {record:?} and {answer:?}"
    );
    Ok(())
}

/// The first commit behind `offset` comes after the sync of a part of `readings` that was written
/// after the record.
fn check_commit(
    calls: &[Call],
    upload_id: &str,
    offset: u64,
    partition: u32,
    readings: &str,
) -> anyhow::Result<()> {
    let record = calls
        .iter()
        .find(|c| is_write(c, ".jnl") && c.text.contains(upload_id))
        .with_context(|| format!("{upload_id} was never written to the journal"))?;
    let key = format!("commit/writer/heliograph.uploads/{partition}");
    let commit = calls
        .iter()
        .filter(|c| is_write(c, ".jnl"))
        .find(|c| committed(&c.text, &key).is_some_and(|committed| committed > offset))
        .with_context(|| format!("{upload_id}: {offset} of {partition} was never committed"))?;
    let part = calls
        .iter()
        .find(|c| {
            let of_insert = c.text.contains(readings) && c.text.contains("/tmp_insert_");
            is_write(c, "data.bin") && of_insert && c.begin > record.end
        })
        .with_context(|| format!("{upload_id}: no part was written after its record"))?;
    let path = part.text.split(['<', '>']).nth(1).context("the part's path")?;
    ensure!(
        synced_between(calls, path, part, commit),
        "{upload_id}: committed without a sync of {path} before {commit:?}"
    );
    Ok(())
}

/// What a journal write commits under `key`: the offset stands behind it in decimal.
fn committed(text: &str, key: &str) -> Option<u64> {
    let behind = text.split(key).nth(1)?;
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_before_its_sync_and_no_commit_before_the_inserts() -> anyhow::Result<()> {
    let dir = data_dir();
    let trace = dir.path().join("trace");
    let calls = "trace=write,writev,pwrite64,sendto,fdatasync,fsync";
    let file = trace.to_str().context("a path in UTF-8")?;
    // -D: the traced process is our child, the tracer is not.
    let strace = ["strace", "-D", "-f", "-y", "-s", "4096", "-e", calls, "-o", file];
    let mut setup = Setup::new(OnLog::Local, dir.path()).under(&strace);
    if let Some((name, value)) = unguarded::env() {
        setup = setup.env(name, value);
    }
    let up = setup.start()?;
    unguarded::tables(&up).await?;
    let token = up.add_site(SITE, "Asia/Tokyo")?;
    let partition = partition_for(SITE.as_bytes(), PARTITIONS);
    let store = clickhouse::Client::default()
        .with_url(&up.clickhouse)
        .with_compression(clickhouse::Compression::None);
    for i in 0..UPLOADS {
        let (status, answer) = up.upload(&token, &upload(i)).await?;
        ensure!(status == 200, "{answer}");
        // The next one only when this one is stored: so each commit has an insert of its own.
        let audit = up.audit(&[])?;
        ensure!(audit["missing"] == 0, "{audit}");
    }
    let query = |what: &str| store.query(&format!("SELECT {what}"));
    let path: String =
        query("data_paths[1] FROM system.tables WHERE name = 'readings'").fetch_one().await?;
    let offsets: Vec<u64> =
        query("log_offset FROM heliograph.readings FINAL ORDER BY ts").fetch_all().await?;
    ensure!(offsets.len() == UPLOADS, "{offsets:?}");
    let pid = up.process("up")?.pid();
    up.stop()?;

    let calls = parse(&whole(&trace, pid)?);
    for (i, offset) in offsets.into_iter().enumerate() {
        let upload_id = format!("durable-{i}");
        check_answer(&calls, &upload_id)?;
        check_commit(&calls, &upload_id, offset, partition, path.trim_end_matches('/'))?;
    }
    Ok(())
}

/// The trace, once the tracer has written its last line about the process.
fn whole(trace: &Path, pid: u32) -> anyhow::Result<String> {
    let (pid, last) = (pid.to_string(), "+++ exited with 0 +++");
    // strace pads short ids.
    let is_last = |line: &str| {
        line.split_once(' ').is_some_and(|(id, rest)| id == pid && rest.trim_start() == last)
    };
    let read = || String::from_utf8_lossy(&std::fs::read(trace).unwrap_or_default()).into_owned();
    ensure!(
        wait_for(Duration::from_secs(30), || read().lines().any(is_last)),
        "the trace does not end with {pid} {last}"
    );
    Ok(read())
}

fn upload(i: usize) -> serde_json::Value {
    json!({ "upload_id": format!("durable-{i}"), "site": SITE, "readings": [{
        "device": "inv1", "metric": "ac_power", "ts": format!("2026-01-01T00:00:0{i}Z"), "value": i,
    }]})
}

const JOURNAL: &str = r#"7 write(3</d/0.jnl>, "durable-0", 9) = 9"#;
const SYNC: &str = "7 fdatasync(3</d/0.jnl>) = 0";
const ANSWER: &str = r#"9 writev(5<socket:[1]>, "HTTP/1.1 200 OK durable-0", 1) = 1"#;
const PART: &str = r#"8 write(4</r/tmp_insert_1/data.bin>, "x", 1) = 1"#;
const PART_SYNC: &str = "8 fdatasync(4</r/tmp_insert_1/data.bin>) = 0";
const COMMIT: &str = r#"7 write(3</d/0.jnl>, "commit/writer/heliograph.uploads/95\3", 9) = 9"#;

/// The checks themselves: a trace in the wrong order does not pass.
#[test]
fn a_trace_in_the_wrong_order_is_found() {
    let check = |lines: &[&str]| {
        let calls = parse(&lines.join("\n"));
        (
            check_answer(&calls, "durable-0").is_ok(),
            check_commit(&calls, "durable-0", 4, 9, "/r").is_ok(),
        )
    };
    let good = [JOURNAL, SYNC, ANSWER, PART, PART_SYNC, COMMIT];
    assert_eq!(check(&good), (true, true));
    assert_eq!(check(&[JOURNAL, ANSWER, SYNC, PART, PART_SYNC, COMMIT]), (false, true));
    assert_eq!(check(&[SYNC, JOURNAL, ANSWER, PART, COMMIT, PART_SYNC]), (false, false));
    assert_eq!(check(&[JOURNAL, SYNC, ANSWER, PART, PART_SYNC]), (true, false));
    let unfinished = "7 fdatasync(3</d/0.jnl> <unfinished ...>";
    let resumed = "7 <... fdatasync resumed>) = 0";
    assert!(!check(&[JOURNAL, unfinished, ANSWER, resumed]).0, "ended too late");
    assert!(check(&[JOURNAL, unfinished, PART, resumed, ANSWER]).0);
}
