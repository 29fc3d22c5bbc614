//! What the embedded log promises beyond the port: forgetting, refusing, coming back.

use super::db::Db;
use super::retention::Retention;
use super::{LocalConfig, LocalLog};
use crate::port::{
    GroupEvent, GroupSpec, Log, LogError, LogRead, NewRecord, OffsetRange, TopicPartition,
};
use crate::topics::{Cleanup, TopicSpec};
use bytes::Bytes;
use futures::future::{FutureExt, join_all};
use heliograph_domain::Timestamp;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;

fn config(dir: &Path) -> LocalConfig {
    LocalConfig { dir: dir.into(), min_free_bytes: 0, ..LocalConfig::default() }
}

fn topic(cleanup: Cleanup) -> TopicSpec {
    TopicSpec {
        name: "t".into(),
        partitions: 1,
        cleanup,
        retention_hours: (cleanup == Cleanup::Delete).then_some(10),
        max_message_bytes: 10_000,
    }
}

fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn record(key: &str, value: Option<&str>) -> NewRecord {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    NewRecord { to: tp(), key: Some(bytes(key)), headers: vec![], value: value.map(bytes) }
}

/// A log whose clock the test turns.
struct Bench {
    log: Arc<LocalLog>,
    clock_ms: Arc<AtomicI64>,
    config: LocalConfig,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new(cleanup: Cleanup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock_ms = Arc::new(AtomicI64::new(1_000 * HOUR_MS));
        let config = config(dir.path());
        let log = open(&config, &clock_ms);
        log.ensure_topics(&[topic(cleanup)]).await.unwrap();
        Self { log, clock_ms, config, _dir: dir }
    }

    async fn reopen(&mut self) {
        self.log.close().await.unwrap();
        self.log = open(&self.config, &self.clock_ms);
    }

    fn pass_hours(&self, hours: i64) {
        self.clock_ms.fetch_add(hours * HOUR_MS, Ordering::Relaxed);
    }

    async fn append(&self, key: &str, value: Option<&str>) -> u64 {
        self.log.append(record(key, value)).await.unwrap().offset
    }

    async fn forget(&self) {
        let mut retention =
            Retention::new(self.log.core.shared.clone(), self.log.core.ops.downgrade());
        tokio::task::spawn_blocking(move || retention.round()).await.unwrap().unwrap();
    }

    fn db<T>(&self, f: impl FnOnce(&Db) -> T) -> T {
        self.log.core.shared.read_db(|db| Ok(f(db))).unwrap()
    }

    async fn offsets(&self) -> OffsetRange {
        self.log.offsets(&tp()).await.unwrap()
    }

    async fn read(&self) -> Vec<(u64, String, Option<String>)> {
        let text = |b: &Bytes| String::from_utf8(b.to_vec()).unwrap();
        let records = self.log.read(&tp(), 0, usize::MAX).await.unwrap();
        records
            .iter()
            .map(|r| (r.offset, text(r.key.as_ref().unwrap()), r.value.as_ref().map(text)))
            .collect()
    }
}

fn open(config: &LocalConfig, clock_ms: &Arc<AtomicI64>) -> Arc<LocalLog> {
    let clock_ms = clock_ms.clone();
    let clock = Arc::new(move || Timestamp::from_ms(clock_ms.load(Ordering::Relaxed)));
    LocalLog::open_with_clock(config.clone(), clock).unwrap()
}

#[tokio::test]
async fn records_past_their_time_go_and_give_back_the_disk() {
    let mut bench = Bench::new(Cleanup::Delete).await;
    for _ in 0..3 {
        for _ in 0..50 {
            bench.append("k", Some(&"x".repeat(1_000))).await;
        }
        bench.db(|db| db.flush(&tp()));
        bench.pass_hours(4);
    }
    assert_eq!(bench.db(|db| db.table_count(&tp())), 3);
    bench.forget().await;
    assert_eq!(bench.offsets().await, OffsetRange { first: 50, end: 150 });
    assert_eq!(bench.read().await[0].0, 50, "reading from below begins at the first kept");
    assert_eq!(bench.db(|db| db.table_count(&tp())), 2, "the oldest table is gone");
    bench.reopen().await;
    assert_eq!(bench.offsets().await, OffsetRange { first: 50, end: 150 });
}

#[tokio::test]
async fn offsets_go_on_when_everything_is_past_its_time() {
    let mut bench = Bench::new(Cleanup::Delete).await;
    for _ in 0..50 {
        bench.append("k", Some("x")).await;
    }
    bench.db(|db| db.flush(&tp()));
    bench.pass_hours(11);
    bench.forget().await;
    assert_eq!(bench.offsets().await, OffsetRange { first: 50, end: 50 });
    assert_eq!(bench.read().await, vec![]);
    bench.reopen().await;
    assert_eq!(bench.offsets().await, OffsetRange { first: 50, end: 50 });
    assert_eq!(bench.append("k", Some("y")).await, 50);
    assert_eq!(bench.read().await, [(50, "k".into(), Some("y".into()))]);
}

#[tokio::test]
async fn a_clock_that_goes_back_does_not_take_append_times_with_it() {
    let mut bench = Bench::new(Cleanup::Delete).await;
    let first = bench.log.append(record("k", None)).await.unwrap();
    bench.pass_hours(-5);
    assert_eq!(bench.log.append(record("k", None)).await.unwrap().append_time, first.append_time);
    bench.reopen().await;
    assert_eq!(bench.log.append(record("k", None)).await.unwrap().append_time, first.append_time);
}

#[tokio::test]
async fn a_compacted_topic_keeps_the_last_record_of_each_key() {
    let mut bench = Bench::new(Cleanup::Compact).await;
    bench.append("a", Some("1")).await;
    bench.append("b", Some("1")).await;
    bench.append("a", Some("2")).await;
    let together = ["3", "4", "5"].map(|v| bench.log.append(record("a", Some(v))));
    assert!(join_all(together).await.iter().all(Result::is_ok));
    let want = [(1, "b".into(), Some("1".into())), (5, "a".into(), Some("5".into()))];
    assert_eq!(bench.read().await, want);
    assert_eq!(bench.offsets().await, OffsetRange { first: 0, end: 6 });
    bench.reopen().await;
    assert_eq!(bench.read().await, want);
    assert_eq!(bench.append("b", Some("2")).await, 6);
    let want = [(5, "a".into(), Some("5".into())), (6, "b".into(), Some("2".into()))];
    assert_eq!(bench.read().await, want);
}

#[tokio::test]
async fn a_tombstone_stays_its_time_and_then_goes() {
    let mut bench = Bench::new(Cleanup::Compact).await;
    bench.append("a", Some("1")).await;
    bench.append("a", None).await;
    bench.append("b", Some("1")).await;
    bench.pass_hours(23);
    bench.forget().await;
    assert_eq!(bench.read().await.len(), 2, "whoever reads from the start learns of it");
    bench.append("c", None).await;
    bench.pass_hours(2);
    bench.forget().await;
    let want = [(2, "b".into(), Some("1".into())), (3, "c".into(), None)];
    assert_eq!(bench.read().await, want);
    bench.pass_hours(100);
    bench.forget().await;
    assert_eq!(bench.read().await, want, "the last record stays: offsets go on from it");
    bench.reopen().await;
    assert_eq!(bench.append("a", Some("2")).await, 4);
    bench.forget().await;
    let want = [(2, "b".into(), Some("1".into())), (4, "a".into(), Some("2".into()))];
    assert_eq!(bench.read().await, want);
}

#[tokio::test]
async fn topics_and_commits_survive_and_retention_may_change() {
    let mut bench = Bench::new(Cleanup::Delete).await;
    bench.append("k", Some("x")).await;
    let spec = GroupSpec {
        group: "a/b".into(),
        topic: "t".into(),
        instance: None,
        session_timeout: Duration::from_secs(1),
    };
    let mut member = bench.log.subscribe(spec).await.unwrap();
    assert!(matches!(member.next().await, Ok(GroupEvent::Assigned(_))));
    member.commit(&[(tp(), 1)]).await.unwrap();
    drop(member);
    bench.reopen().await;
    assert_eq!(bench.log.partitions("t").await, Ok(1));
    assert_eq!(bench.log.committed("a/b", &tp()).await, Ok(Some(1)));
    let shorter = TopicSpec { retention_hours: Some(1), ..topic(Cleanup::Delete) };
    bench.log.ensure_topics(&[shorter]).await.unwrap();
    bench.reopen().await;
    bench.pass_hours(2);
    bench.forget().await;
    assert_eq!(bench.offsets().await, OffsetRange { first: 1, end: 1 });
    let other = bench.log.ensure_topics(&[topic(Cleanup::Compact)]).await;
    assert!(matches!(other, Err(LogError::Config(_))), "{other:?}");
}

#[tokio::test]
async fn appends_are_refused_below_the_free_space_mark() {
    let mut bench = Bench::new(Cleanup::Delete).await;
    bench.append("k", Some("x")).await;
    bench.config.min_free_bytes = u64::MAX;
    bench.reopen().await;
    let refused = bench.log.append(record("k", None)).await.unwrap_err();
    assert!(refused.is_transient() && refused.to_string().contains("min_free_bytes"), "{refused}");
    assert_eq!(bench.read().await.len(), 1, "reading goes on");
    bench.config.min_free_bytes = 0;
    bench.reopen().await;
    assert_eq!(bench.append("k", Some("y")).await, 1);
}

#[tokio::test]
async fn a_directory_is_open_once() {
    let bench = Bench::new(Cleanup::Delete).await;
    let refused = LocalLog::open(bench.config.clone()).err().unwrap();
    let LogError::Locked(why) = refused else { panic!("{refused}") };
    assert!(why.contains(&bench.config.dir.display().to_string()), "{why}");
    assert!(why.contains(&format!("process {}", std::process::id())), "{why}");
    bench.log.close().await.unwrap();
    LocalLog::open(bench.config.clone()).unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_full_queue_keeps_order_and_takes_more_later() {
    let mut bench = Bench::new(Cleanup::Delete).await;
    bench.config.queue_records_max = 1;
    bench.config.queue_bytes_max = 100;
    bench.reopen().await;
    let mut dropped: Vec<_> =
        (0..20).map(|_| bench.log.append(record("dropped", Some("x")))).collect();
    for waiting in &mut dropped {
        assert!(waiting.now_or_never().is_none(), "nothing is durable at once");
    }
    drop(dropped);
    let before = bench.append("k", Some("x")).await;
    let larger_than_the_queue = "x".repeat(1_000);
    let appends = (0..100).map(|_| bench.log.append(record("k", Some(&larger_than_the_queue))));
    let offsets: Vec<u64> =
        join_all(appends).await.into_iter().map(|a| a.unwrap().offset).collect();
    assert_eq!(offsets, (before + 1..before + 101).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_closed_log_says_so() {
    let bench = Bench::new(Cleanup::Delete).await;
    let spec = GroupSpec {
        group: "g".into(),
        topic: "t".into(),
        instance: None,
        session_timeout: Duration::from_secs(1),
    };
    let mut member = bench.log.subscribe(spec).await.unwrap();
    assert!(matches!(member.next().await, Ok(GroupEvent::Assigned(_))));
    let (next, closed) = tokio::join!(member.next(), bench.log.close());
    closed.unwrap();
    assert!(matches!(next, Err(LogError::Unavailable(_))), "a waiting member is woken: {next:?}");
    let append = bench.log.append(record("k", None)).await;
    assert!(matches!(append, Err(LogError::Unavailable(_))), "{append:?}");
    let read = bench.log.read(&tp(), 0, 1).await;
    assert!(matches!(read, Err(LogError::Unavailable(_))), "{read:?}");
    bench.log.close().await.unwrap();
}

#[tokio::test]
async fn a_restarted_instance_takes_over_from_its_ghost() {
    let bench = Bench::new(Cleanup::Delete).await;
    let join = || {
        bench.log.subscribe(GroupSpec {
            group: "g".into(),
            topic: "t".into(),
            instance: Some("writer-0".into()),
            session_timeout: Duration::from_secs(1),
        })
    };
    let mut ghost = join().await.unwrap();
    assert!(matches!(ghost.next().await, Ok(GroupEvent::Assigned(_))));
    let mut restarted = join().await.unwrap();
    assert!(matches!(restarted.next().await, Ok(GroupEvent::Assigned(_))));
    assert!(matches!(ghost.commit(&[(tp(), 1)]).await, Err(LogError::NotOwner(_))));
    assert!(matches!(ghost.next().await, Ok(GroupEvent::Lost(lost)) if lost == [tp()]));
    assert!(matches!(ghost.next().await, Err(LogError::NotOwner(_))));
}
