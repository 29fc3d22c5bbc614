//! The embedded log and the death of its process: it is killed, or its disk fails, in mid-stream.
//!
//! Each test runs itself again in a process of its own, a child that appends and says what was
//! acknowledged.

use crate::support::{bytes, read_all, unique, value};
use heliograph_log::local::{LocalConfig, LocalLog};
use heliograph_log::topics::{Cleanup, TopicSpec};
use heliograph_log::{GroupSpec, Log, LogError, LogRead, NewRecord, TopicPartition};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const PARTITIONS: u32 = 3;
const DIR: &str = "HELIOGRAPH_TEST_CHILD_DIR";

fn open(dir: &Path) -> Result<Arc<LocalLog>, LogError> {
    // A small memtable, so that tables are written and journals change while it runs.
    LocalLog::open(LocalConfig {
        dir: dir.into(),
        min_free_bytes: 0,
        memtable_bytes: 1 << 20,
        ..LocalConfig::default()
    })
}

fn topic() -> TopicSpec {
    TopicSpec {
        name: "t".into(),
        partitions: PARTITIONS,
        cleanup: Cleanup::Delete,
        retention_hours: Some(24),
        max_message_bytes: 10_000,
    }
}

fn record(partition: u32, value: &str) -> NewRecord {
    let to = TopicPartition::new("t", partition);
    NewRecord { to, key: None, headers: vec![], value: Some(bytes(value)) }
}

/// Says a line on the real standard output, past what the test harness catches.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
}

/// Runs `test` of this binary again, as a child that works in `dir`.
fn spawn(test: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("process::{test}"), "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Where the child works; `None` in the test itself.
fn as_child() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Says `ack <partition> <offset> <value>` and `commit <offset>` after each has been acknowledged.
async fn append_until_killed(dir: &Path) {
    let log = open(dir).unwrap();
    log.ensure_topics(&[topic()]).await.unwrap();
    let run = unique("run");
    for task in 0..24 {
        let (log, run) = (log.clone(), run.clone());
        tokio::spawn(async move {
            for n in 0.. {
                let value = format!("{run}-{task}-{n}-{}", "x".repeat(n % 2_000));
                let partition = task % PARTITIONS;
                let offset = log.append(record(partition, &value)).await.unwrap().offset;
                say(&format!("ack {partition} {offset} {value}"));
            }
        });
    }
    let spec = GroupSpec {
        group: "g".into(),
        topic: "t".into(),
        instance: None,
        session_timeout: Duration::from_secs(10),
    };
    let mut member = log.subscribe(spec).await.unwrap();
    member.next().await.unwrap();
    let tp = TopicPartition::new("t", 0);
    let from = log.committed("g", &tp).await.unwrap().unwrap_or(0);
    for offset in from + 1.. {
        member.commit(&[(tp.clone(), offset)]).await.unwrap();
        say(&format!("commit {offset}"));
    }
}

/// All that children have said to be acknowledged.
#[derive(Default)]
struct Told {
    acks: BTreeMap<(u32, u64), String>,
    commit: u64,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["ack", partition, offset, value] => {
                let at = (partition.parse().unwrap(), offset.parse().unwrap());
                let before = self.acks.insert(at, value.to_owned());
                assert_eq!(before, None, "{at:?} was acknowledged twice");
            }
            ["commit", offset] => self.commit = offset.parse().unwrap(),
            // The test harness's own words.
            _ => {}
        }
    }

    async fn check(&self, dir: &Path) {
        let log = open(dir).unwrap();
        for partition in 0..PARTITIONS {
            let tp = TopicPartition::new("t", partition);
            let records = read_all(&*log, &tp).await;
            let offsets = records.iter().map(|r| r.offset);
            assert!(offsets.eq(0..records.len() as u64), "{tp}: offsets without gaps");
            assert_eq!(log.offsets(&tp).await.unwrap().end, records.len() as u64);
            for (&(_, offset), told) in self.acks.range((partition, 0)..(partition + 1, 0)) {
                let found = records.get(offset as usize).map(value);
                assert_eq!(found.as_ref(), Some(told), "{tp} at {offset}");
            }
        }
        let committed = log.committed("g", &TopicPartition::new("t", 0)).await.unwrap();
        assert!(committed.unwrap_or(0) >= self.commit, "{committed:?} after {}", self.commit);
        log.close().await.unwrap();
    }
}

/// Lines up to a whole one: the kill may have cut the last.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    std::iter::from_fn(move || {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        line.pop().filter(|last| *last == '\n').map(|_| line)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    if let Some(dir) = as_child() {
        return append_until_killed(&dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for round in 1..=4 {
        let mut child = spawn("what_was_acknowledged_survives_kill_9", dir.path());
        let lines = lines(&mut child);
        let mut heard = 0;
        for line in lines {
            told.hear(&line);
            heard += 1;
            if heard == 1_500 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(heard >= 1_500 * round, "round {round}: the child ended by itself");
        told.check(dir.path()).await;
    }
    assert!(told.acks.len() > 10_000 && told.commit > 0, "{} acks", told.acks.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_killed_while_it_is_made_opens() {
    for stage in ["heliograph.lock", "db.new", "db.new/0.jnl", "db.new/keyspaces", "db", "db/lock"]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut child = spawn("what_was_acknowledged_survives_kill_9", dir.path());
        while !dir.path().join(stage).exists() {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            // `db.new` is there for a moment only.
            if dir.path().join("db").exists() {
                break;
            }
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let log = open(dir.path()).unwrap();
        log.ensure_topics(&[topic()]).await.unwrap();
        log.append(record(0, "x")).await.unwrap();
        log.close().await.unwrap();
    }
}

async fn hold_until_killed(dir: &Path) {
    let _log = open(dir).unwrap();
    say("open");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_is_told_who_has_the_log() {
    if let Some(dir) = as_child() {
        return hold_until_killed(&dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = spawn("a_second_process_is_told_who_has_the_log", dir.path());
    assert!(lines(&mut child).any(|line| line == "open"), "the child did not open it");
    let refused = open(dir.path()).err().unwrap();
    let LogError::Locked(why) = refused else { panic!("{refused}") };
    assert!(why.contains(&dir.path().display().to_string()), "{why}");
    assert!(why.contains(&format!("process {}", child.id())), "{why}");
    child.kill().unwrap();
    child.wait().unwrap();
    open(dir.path()).unwrap().close().await.unwrap();
}

/// Files larger than `bytes` cannot be written any more.
fn limit_file_size(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` outlives the call; ignoring the signal turns it into an error of `write`.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

/// Writes until the disk takes no more; then it takes more again.
async fn survive_a_failing_disk(dir: &Path) {
    let log = open(dir).unwrap();
    log.ensure_topics(&[topic()]).await.unwrap();
    limit_file_size(300_000);
    let (mut told, mut n) = (Told::default(), 0);
    let refused = loop {
        let value = format!("{n}-{}", "x".repeat(1_000));
        n += 1;
        match log.append(record(n % PARTITIONS, &value)).await {
            Ok(a) => told.hear(&format!("ack {} {} {value}", n % PARTITIONS, a.offset)),
            Err(e) => break e,
        }
    };
    assert!(refused.is_transient(), "{refused}");
    assert!(told.acks.len() > 100, "{} acks", told.acks.len());
    limit_file_size(libc::RLIM_INFINITY);
    // The store is being opened anew, so some may yet be refused.
    let again = loop {
        match log.append(record(0, "again")).await {
            Ok(appended) => break appended,
            Err(e) => assert!(e.is_transient(), "{e}"),
        }
        tokio::task::yield_now().await;
    };
    told.hear(&format!("ack 0 {} again", again.offset));
    log.close().await.unwrap();
    told.check(dir).await;
    say("survived");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_disk_is_survived_in_process() {
    if let Some(dir) = as_child() {
        return survive_a_failing_disk(&dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = spawn("a_failing_disk_is_survived_in_process", dir.path());
    let said: Vec<String> = lines(&mut child).collect();
    assert!(said.iter().any(|line| line == "survived"), "{said:?}");
    child.wait().unwrap();
}
