//! What only a real broker shows: crashes, fencing, settings of topics, records of others.
//!
//! The brokers are shared with other tests, except where a test kills its own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use futures::future::{join_all, select_all};
use heliograph_log::{
    GroupConsumer, GroupEvent, GroupSpec, Log as _, LogError, LogRead as _, NewRecord, OffsetRange,
    Record, TopicPartition,
    kafka::{KafkaConfig, KafkaLog},
    topics::{Cleanup, TopicSpec},
};
use heliograph_testkit::kafka::{Broker, shared};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    producer::{FutureProducer, FutureRecord, Producer as _},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::spawn_blocking;

const PATIENCE: Duration = Duration::from_secs(60);
const SESSION: Duration = Duration::from_secs(2);

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it never came to that")
}

async fn shared_broker() -> String {
    spawn_blocking(|| shared().unwrap()).await.unwrap()
}

async fn connect(servers: &str, prefix: &str) -> Arc<KafkaLog> {
    let config = KafkaConfig {
        bootstrap_servers: servers.to_owned(),
        topic_prefix: prefix.to_owned(),
        replicas: 1,
        min_insync_replicas: 1,
        ..KafkaConfig::default()
    };
    KafkaLog::connect(config).await.unwrap()
}

fn spec(partitions: u32) -> TopicSpec {
    TopicSpec {
        name: "t".to_owned(),
        partitions,
        cleanup: Cleanup::Delete,
        retention_hours: Some(24),
        max_message_bytes: 100_000,
    }
}

/// A log of its own with a topic `t`.
async fn log(prefix: &str, partitions: u32) -> Arc<KafkaLog> {
    let log = connect(&shared_broker().await, prefix).await;
    log.ensure_topics(&[spec(partitions)]).await.unwrap();
    log
}

async fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", shared_broker().await).create().unwrap()
}

fn tp(partition: u32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn record(value: &str) -> NewRecord {
    NewRecord {
        to: tp(0),
        key: None,
        headers: vec![],
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

fn value(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap().into()).unwrap()
}

async fn member(log: &KafkaLog, instance: Option<&str>) -> Box<dyn GroupConsumer> {
    let spec = GroupSpec {
        group: "g".to_owned(),
        topic: "t".into(),
        instance: instance.map(str::to_owned),
        session_timeout: SESSION,
    };
    log.subscribe(spec).await.unwrap()
}

/// What a member owns once it owns `count` partitions; releases what is asked back.
async fn owns(members: &mut [&mut Box<dyn GroupConsumer>], counts: &[usize]) -> Vec<BTreeSet<u32>> {
    let mut owned = vec![BTreeSet::new(); members.len()];
    let work = async {
        while owned.iter().map(BTreeSet::len).ne(counts.iter().copied()) {
            let (event, at, _) = select_all(members.iter_mut().map(|m| m.next())).await;
            match event.unwrap() {
                GroupEvent::Assigned(tps) => owned[at].extend(tps.iter().map(|t| t.partition)),
                GroupEvent::Revoked(tps) => {
                    owned[at].retain(|p| tps.iter().all(|t| t.partition != *p));
                    members[at].release(&tps).unwrap();
                }
                GroupEvent::Lost(tps) => {
                    owned[at].retain(|p| tps.iter().all(|t| t.partition != *p));
                }
                GroupEvent::Records(_) => {}
            }
        }
    };
    within(work).await;
    owned
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_broker_loses_and_repeats_nothing() {
    let mut broker = spawn_blocking(|| Broker::start().unwrap()).await.unwrap();
    let log = connect(&broker.bootstrap_servers(), "").await;
    log.ensure_topics(&[spec(1)]).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let appenders = (0..8).map(|task| {
        let (log, is_over) = (Arc::clone(&log), Arc::clone(&is_over));
        tokio::spawn(async move {
            let (mut acknowledged, mut failed) = (BTreeMap::new(), 0);
            for n in 0.. {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                let value = format!("{task}-{n}");
                match log.append(record(&value)).await {
                    Ok(appended) => drop(acknowledged.insert(appended.offset, value)),
                    Err(error) => {
                        assert!(error.is_transient(), "{error}");
                        failed += 1;
                    }
                }
            }
            (acknowledged, failed)
        })
    });
    let appenders: Vec<_> = appenders.collect();
    within(log.wait_past(&tp(0), 500, PATIENCE)).await.unwrap();
    let broker = spawn_blocking(move || {
        broker.kill(0);
        broker.restart(0).unwrap();
        broker
    });
    let broker = broker.await.unwrap();
    let end = log.offsets(&tp(0)).await.unwrap().end;
    within(log.wait_past(&tp(0), end + 500, PATIENCE)).await.unwrap();
    is_over.store(true, Ordering::SeqCst);
    let mut acknowledged = BTreeMap::new();
    for done in join_all(appenders).await {
        acknowledged.extend(done.unwrap().0);
    }
    let mut stored = BTreeMap::new();
    let end = log.offsets(&tp(0)).await.unwrap().end;
    while (stored.len() as u64) < end {
        let batch = within(log.read(&tp(0), stored.len() as u64, 1 << 20)).await.unwrap();
        stored.extend(batch.iter().map(|r| (r.offset, value(r))));
    }
    for (offset, value) in &acknowledged {
        assert_eq!(stored.get(offset), Some(value), "acknowledged at {offset}");
    }
    let distinct: BTreeSet<&String> = stored.values().collect();
    assert_eq!(distinct.len(), stored.len(), "one append is stored once at most");
    drop(broker);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_member_comes_back_to_its_partitions() {
    let log = log("static.", 4).await;
    let mut one = member(&log, Some("w-0")).await;
    let mut two = member(&log, Some("w-1")).await;
    let before = owns(&mut [&mut one, &mut two], &[2, 2]).await;
    within(one.close()).await.unwrap();
    let mut one = member(&log, Some("w-0")).await;
    let mut only = [&mut one];
    let again = tokio::select! {
        owned = owns(&mut only, &[2]) => owned,
        event = two.next() => panic!("the other one is disturbed: {event:?}"),
    };
    assert_eq!(again[0], before[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_member_of_one_name_takes_its_place() {
    let log = log("fence.", 2).await;
    let mut old = member(&log, Some("w-0")).await;
    owns(&mut [&mut old], &[2]).await;
    let mut new = member(&log, Some("w-0")).await;
    owns(&mut [&mut new], &[2]).await;
    let event = within(old.next()).await.unwrap();
    assert!(matches!(&event, GroupEvent::Lost(tps) if tps.len() == 2), "{event:?}");
    let error = within(old.next()).await.unwrap_err();
    assert!(matches!(&error, LogError::NotOwner(why) if why.contains("w-0")), "{error}");
    within(new.commit(&[(tp(0), 0)])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_no_longer_asks_is_dead() {
    let log = log("silent.", 2).await;
    let mut silent = member(&log, None).await;
    owns(&mut [&mut silent], &[2]).await;
    let mut other = member(&log, None).await;
    // Nobody calls `silent.next()`: its partitions move without its release.
    owns(&mut [&mut other], &[2]).await;
    within(other.commit(&[(tp(0), 0)])).await.unwrap();
    let mut event = within(silent.next()).await.unwrap();
    if matches!(event, GroupEvent::Revoked(_)) {
        // It was asked first, and did not hear that either.
        event = within(silent.next()).await.unwrap();
    }
    assert!(matches!(&event, GroupEvent::Lost(tps) if tps.len() == 2), "{event:?}");
    let error = within(silent.commit(&[(tp(0), 0)])).await.unwrap_err();
    assert!(matches!(error, LogError::NotOwner(_)), "{error}");
    // Back among the living it gets its share again.
    drop(other);
    owns(&mut [&mut silent], &[2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_get_the_declared_settings() {
    let log = log("settings.", 1).await;
    let compacted = TopicSpec {
        name: "c".to_owned(),
        cleanup: Cleanup::Compact,
        retention_hours: None,
        max_message_bytes: 2_000_000,
        ..spec(1)
    };
    log.ensure_topics(&[compacted]).await.unwrap();
    let admin = admin().await;
    let wanted = [ResourceSpecifier::Topic("settings.t"), ResourceSpecifier::Topic("settings.c")];
    let answers = admin.describe_configs(&wanted, &AdminOptions::new()).await.unwrap();
    let got: Vec<BTreeMap<String, String>> = answers
        .into_iter()
        .map(|r| r.unwrap().entries.into_iter().filter_map(|e| Some((e.name, e.value?))).collect())
        .collect();
    for (topic, key, want) in [
        (0, "cleanup.policy", "delete"),
        (0, "retention.ms", "86400000"),
        (0, "message.timestamp.type", "LogAppendTime"),
        (0, "min.insync.replicas", "1"),
        (0, "max.message.bytes", "589824"),
        (1, "cleanup.policy", "compact"),
        (1, "max.message.bytes", "2065536"),
    ] {
        assert_eq!(got[topic][key], want, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_breaks_a_promise_is_refused() {
    let log = connect(&shared_broker().await, "broken.").await;
    let refusal = |name: &'static str, settings: Vec<(&'static str, &'static str)>| {
        let log = Arc::clone(&log);
        async move {
            let full_name = format!("broken.{name}");
            let topic = NewTopic::new(&full_name, 1, TopicReplication::Fixed(1));
            let topic =
                settings.into_iter().fold(topic, |topic, (key, value)| topic.set(key, value));
            admin().await.create_topics(&[topic], &AdminOptions::new()).await.unwrap();
            let spec = TopicSpec { name: name.to_owned(), ..spec(1) };
            log.ensure_topics(&[spec]).await.unwrap_err().to_string()
        }
    };
    let why = refusal("times", vec![]).await;
    assert!(why.contains("got CreateTime, want LogAppendTime"), "{why}");
    let unclean = ("unclean.leader.election.enable", "true");
    let why = refusal("unclean", vec![("message.timestamp.type", "LogAppendTime"), unclean]).await;
    assert!(why.contains("log configuration: topic broken.unclean: "), "{why}");
    assert!(why.contains("unclean.leader.election.enable: got true, want false"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_begins_at_what_is_kept() {
    let log = log("kept.", 1).await;
    for n in 0..10 {
        log.append(record(&n.to_string())).await.unwrap();
    }
    let mut upto = TopicPartitionList::new();
    upto.add_partition_offset("kept.t", 0, Offset::Offset(6)).unwrap();
    admin().await.delete_records(&upto, &AdminOptions::new()).await.unwrap();
    assert_eq!(log.offsets(&tp(0)).await.unwrap(), OffsetRange { first: 6, end: 10 });
    let got = within(log.read(&tp(0), 0, 1_000)).await.unwrap();
    assert_eq!((got[0].offset, got.len()), (6, 4));
    let mut m = member(&log, None).await;
    within(async {
        loop {
            if let GroupEvent::Records(records) = m.next().await.unwrap() {
                assert_eq!(records[0].offset, 6, "nothing was committed: from the first");
                break;
            }
        }
    })
    .await;
}

/// A transaction ends with a record that nobody gets to see: offsets have gaps, also at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_at_the_end_is_the_end() {
    let log = log("gap.", 1).await;
    let servers = shared_broker().await;
    let other: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("transactional.id", "gap")
        .create()
        .unwrap();
    let transaction = spawn_blocking(move || {
        other.init_transactions(PATIENCE).unwrap();
        other.begin_transaction().unwrap();
        let record: FutureRecord<'_, str, str> = FutureRecord::to("gap.t").payload("0");
        drop(other.send_result(record).map_err(|(e, _)| e).unwrap());
        other.commit_transaction(PATIENCE).unwrap();
    });
    transaction.await.unwrap();
    // The partition's leader hears of the end of the transaction a little later.
    let marked = async {
        while log.offsets(&tp(0)).await.unwrap().end < 2 {
            tokio::task::yield_now().await;
        }
    };
    within(marked).await;
    let got = within(log.read(&tp(0), 0, 1_000)).await.unwrap();
    assert_eq!(got.iter().map(value).collect::<Vec<_>>(), ["0"]);
    for _ in 0..3 {
        assert_eq!(within(log.read(&tp(0), 1, 1_000)).await.unwrap(), vec![]);
    }
    let appended = log.append(record("1")).await.unwrap();
    assert_eq!(appended.offset, 2);
    let got = within(log.read(&tp(0), 1, 1_000)).await.unwrap();
    assert_eq!((got[0].offset, value(&got[0])), (2, "1".to_owned()));
}

/// Reads that go on from where they were use a consumer that has met the end before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_follows_sees_every_record() {
    let log = log("follow.", 1).await;
    let mut from = 0;
    for n in 0..50u64 {
        log.append(record(&n.to_string())).await.unwrap();
        if n % 3 == 0 {
            within(log.wait_past(&tp(0), from, PATIENCE)).await.unwrap();
        }
        let got = within(log.read(&tp(0), from, 1_000)).await.unwrap();
        assert_eq!(got.iter().map(|r| r.offset).collect::<Vec<_>>(), [n]);
        from = n + 1;
        assert_eq!(within(log.read(&tp(0), from, 1_000)).await.unwrap(), vec![]);
    }
}

/// librdkafka may be waiting for an answer that nobody will give, or be about to ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_leave_at_any_point_of_a_rebalance() {
    let leave = |case: u64| async move {
        let log = log(&format!("leave{case}."), 4).await;
        let (mut one, mut two) = (member(&log, None).await, member(&log, None).await);
        for _ in 0..case * 5 {
            let _ = tokio::time::timeout(Duration::from_millis(7), async {
                tokio::select! {
                    event = one.next() => drop(event.unwrap()),
                    event = two.next() => drop(event.unwrap()),
                }
            })
            .await;
        }
        within(one.close()).await.unwrap();
        within(two.close()).await.unwrap();
    };
    join_all((0..12).map(leave)).await;
}
