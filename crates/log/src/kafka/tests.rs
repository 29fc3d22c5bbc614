//! The adapter against librdkafka's mock cluster, which can be told to fail.
//!
//! What needs a real broker (creating topics, compaction, append times, fencing) is in `tests/`.

use super::*;
use crate::port::GroupEvent;
use bytes::Bytes;
use futures::future::join_all;
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey as Api, RDKafkaRespErr as Resp},
};
use std::future::Future;

type Mock = MockCluster<'static, DefaultProducerContext>;

const TOPIC: &str = "t";
const PATIENCE: Duration = Duration::from_secs(30);

async fn within<T>(work: impl Future<Output = T>) -> T {
    time::timeout(PATIENCE, work).await.expect("it never came to that")
}

async fn start(partitions: i32, change: impl FnOnce(&mut KafkaConfig)) -> (Mock, Arc<KafkaLog>) {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic(TOPIC, partitions, 1).unwrap();
    let mut config =
        KafkaConfig { bootstrap_servers: mock.bootstrap_servers(), ..KafkaConfig::default() };
    change(&mut config);
    (mock, KafkaLog::connect(config).await.unwrap())
}

fn record(value: &str) -> NewRecord {
    NewRecord {
        to: TopicPartition::new(TOPIC, 0),
        key: None,
        headers: vec![],
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

async fn stored(log: &KafkaLog) -> Vec<String> {
    let tp = TopicPartition::new(TOPIC, 0);
    let (mut from, mut values) = (0, vec![]);
    loop {
        let batch = within(log.read(&tp, from, 1_000_000)).await.unwrap();
        let Some(last) = batch.last() else { return values };
        from = last.offset + 1;
        values.extend(
            batch.iter().map(|r| String::from_utf8(r.value.clone().unwrap().into()).unwrap()),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_error_of_the_broker_is_not_the_callers() {
    let (mock, log) = start(1, |_| ()).await;
    mock.request_errors(
        Api::Produce,
        &[
            Resp::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            Resp::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            Resp::RD_KAFKA_RESP_ERR__TRANSPORT,
        ],
    );
    let appends: Vec<_> = (0..50).map(|n| log.append(record(&n.to_string()))).collect();
    let offsets: Vec<u64> =
        within(join_all(appends)).await.into_iter().map(|a| a.unwrap().offset).collect();
    assert!(offsets.is_sorted(), "the order outlives the second try: {offsets:?}");
    let want: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(stored(&log).await, want, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_without_a_broker_is_unavailable_and_a_later_one_goes_through() {
    let (mock, log) = start(1, |c| c.delivery_timeout_ms = 1_000).await;
    // On a busy machine the first connection alone may take longer than that.
    let taken = async |value: &str| {
        while let Err(error) = within(log.append(record(value))).await {
            assert!(error.is_transient(), "{error}");
        }
    };
    within(taken("before")).await;
    mock.broker_down(-1).unwrap();
    let error = within(log.append(record("during"))).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    mock.broker_up(-1).unwrap();
    within(taken("after")).await;
    let stored = stored(&log).await;
    assert_eq!((&*stored[0], stored.last().map(String::as_str)), ("before", Some("after")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once() {
    let (mock, log) = start(1, |c| c.queue_max_records = 3).await;
    mock.broker_down(-1).unwrap();
    let mut waiting: Vec<_> = (0..3).map(|n| log.append(record(&n.to_string()))).collect();
    for append in &mut waiting {
        assert!(futures::poll!(append).is_pending());
    }
    let mut refused = log.append(record("one too many"));
    let std::task::Poll::Ready(answer) = futures::poll!(&mut refused) else { panic!("it waits") };
    let error = answer.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("too many"), "{error}");
    mock.broker_up(-1).unwrap();
    for append in within(join_all(waiting)).await {
        append.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_place_nobody_knows_may_be_tried_again() {
    let (mock, log) = start(1, |_| ()).await;
    mock.request_errors(Api::Produce, &[Resp::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER]);
    let error = within(log.append(record("x"))).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(within(log.append(record("x"))).await.unwrap().offset, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_producer_is_replaced() {
    let (_mock, log) = start(1, |_| ()).await;
    within(log.append(record("before"))).await.unwrap();
    log.producer.kill();
    let error = within(log.append(record("lost"))).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    within(log.append(record("after"))).await.unwrap();
    assert_eq!(stored(&log).await, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_not_passing() {
    let (mock, log) = start(1, |_| ()).await;
    mock.request_errors(Api::Produce, &[Resp::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let error = within(log.append(record("x"))).await.unwrap_err();
    assert!(matches!(error, LogError::Config(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_unavailable() {
    let config = KafkaConfig {
        bootstrap_servers: "127.0.0.1:1".to_owned(),
        request_timeout_ms: 1_000,
        ..KafkaConfig::default()
    };
    let error = within(KafkaLog::connect(config)).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
}

async fn member(log: &KafkaLog, instance: Option<&str>) -> Box<dyn GroupConsumer> {
    // The mock cluster lets the first member wait for 3 s, without a heartbeat.
    member_with_session(log, instance, Duration::from_secs(4)).await
}

async fn member_with_session(
    log: &KafkaLog,
    instance: Option<&str>,
    session_timeout: Duration,
) -> Box<dyn GroupConsumer> {
    let instance = instance.map(str::to_owned);
    let spec = GroupSpec { group: "g".to_owned(), topic: TOPIC.into(), instance, session_timeout };
    within(log.subscribe(spec)).await.unwrap()
}

/// The next event that is not records, in words.
async fn happens(member: &mut Box<dyn GroupConsumer>) -> Result<String, LogError> {
    loop {
        match within(member.next()).await? {
            GroupEvent::Records(_) => {}
            event => return Ok(format!("{event:?}")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_group_refuses_tells_what_is_ours() {
    let rows = [
        ("an unknown member has lost all", Resp::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, true),
        ("an old generation has lost all", Resp::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, true),
        ("a rebalance passes", Resp::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, false),
    ];
    join_all(rows.map(|(name, refusal, is_lost)| async move {
        let (mock, log) = start(1, |_| ()).await;
        let tp = TopicPartition::new(TOPIC, 0);
        let mut m = member(&log, None).await;
        assert_eq!(happens(&mut m).await.unwrap(), "Assigned([t/0])", "{name}");
        mock.request_errors(Api::OffsetCommit, &[refusal]);
        let error = within(m.commit(&[(tp.clone(), 1)])).await.unwrap_err();
        if is_lost {
            assert!(matches!(error, LogError::NotOwner(_)), "{name}: {error}");
            assert_eq!(happens(&mut m).await.unwrap(), "Lost([t/0])", "{name}");
            assert_eq!(happens(&mut m).await.unwrap(), "Assigned([t/0])", "{name}");
        } else {
            assert!(error.is_transient(), "{name}: {error}");
        }
        within(m.commit(&[(tp.clone(), 2)])).await.unwrap();
        assert_eq!(within(log.committed("g", &tp)).await.unwrap(), Some(2), "{name}");
        within(m.close()).await.unwrap();
    }))
    .await;
}

/// The member would not ask what happens next meanwhile, and be thrown out.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_gives_up_long_before_the_session_and_the_next_one_goes_through() {
    let (mock, log) = start(1, |_| ()).await;
    let tp = TopicPartition::new(TOPIC, 0);
    let mut m = member_with_session(&log, None, Duration::from_secs(8)).await;
    assert_eq!(happens(&mut m).await.unwrap(), "Assigned([t/0])");
    mock.broker_round_trip_time(1, Duration::from_secs(6)).unwrap();
    let error = within(m.commit(&[(tp.clone(), 1)])).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("no answer"), "{error}");
    mock.broker_round_trip_time(1, Duration::ZERO).unwrap();
    while let Err(error) = within(m.commit(&[(tp.clone(), 2)])).await {
        assert!(error.is_transient(), "{error}");
        let event = time::timeout(Duration::from_millis(10), m.next()).await;
        assert!(event.is_err(), "it is still a member: {event:?}");
    }
    assert_eq!(within(log.committed("g", &tp)).await.unwrap(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_the_group_forgets_loses_everything_and_joins_again() {
    let (mock, log) = start(2, |_| ()).await;
    let mut m = member(&log, None).await;
    assert_eq!(happens(&mut m).await.unwrap(), "Assigned([t/0, t/1])");
    mock.request_errors(Api::Heartbeat, &[Resp::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    assert_eq!(happens(&mut m).await.unwrap(), "Lost([t/0, t/1])");
    let error = m.commit(&[(TopicPartition::new(TOPIC, 0), 1)]).await.unwrap_err();
    assert!(matches!(error, LogError::NotOwner(_)), "{error}");
    assert_eq!(happens(&mut m).await.unwrap(), "Assigned([t/0, t/1])");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paused_when_it_was_lost_is_read_when_it_comes_back() {
    let (mock, log) = start(2, |_| ()).await;
    let mut m = member(&log, None).await;
    assert_eq!(happens(&mut m).await.unwrap(), "Assigned([t/0, t/1])");
    m.pause(&[TopicPartition::new(TOPIC, 0), TopicPartition::new(TOPIC, 1)]).unwrap();
    mock.request_errors(Api::Heartbeat, &[Resp::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    assert_eq!(happens(&mut m).await.unwrap(), "Lost([t/0, t/1])");
    m.resume(&[]).unwrap();
    assert_eq!(happens(&mut m).await.unwrap(), "Assigned([t/0, t/1])");
    within(log.append(record("x"))).await.unwrap();
    let event = within(m.next()).await.unwrap();
    assert!(matches!(&event, GroupEvent::Records(r) if r.len() == 1), "{event:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_may_leave_at_any_time() {
    let (_mock, log) = start(2, |_| ()).await;
    let m = member(&log, None).await;
    within(m.close()).await.unwrap();
    for polls in [1, 10, 100] {
        let mut m = member(&log, None).await;
        for _ in 0..polls {
            // Somewhere on its way into the group, with an event that nobody takes.
            let _ = time::timeout(Duration::from_millis(5), m.next()).await;
        }
        within(m.close()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_member_is_told_of_its_loss_and_is_of_no_use() {
    let (mock, log) = start(2, |_| ()).await;
    let mut m = member(&log, Some("w-0")).await;
    assert_eq!(happens(&mut m).await.unwrap(), "Assigned([t/0, t/1])");
    mock.request_errors(Api::Heartbeat, &[Resp::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID]);
    assert_eq!(happens(&mut m).await.unwrap(), "Lost([t/0, t/1])");
    let error = within(m.commit(&[(TopicPartition::new(TOPIC, 0), 1)])).await.unwrap_err();
    assert!(matches!(error, LogError::NotOwner(_)), "{error}");
    for _ in 0..2 {
        let error = happens(&mut m).await.unwrap_err();
        assert!(matches!(&error, LogError::NotOwner(why) if why.contains("w-0")), "{error}");
    }
    within(m.close()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_learns_from_its_commit_that_it_is_fenced_does_not_fight_back() {
    let (mock, log) = start(1, |_| ()).await;
    let tp = TopicPartition::new(TOPIC, 0);
    let mut m = member(&log, Some("w-0")).await;
    assert_eq!(happens(&mut m).await.unwrap(), "Assigned([t/0])");
    mock.request_errors(Api::OffsetCommit, &[Resp::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID]);
    let error = within(m.commit(&[(tp, 1)])).await.unwrap_err();
    assert!(matches!(&error, LogError::NotOwner(why) if why.contains("w-0")), "{error}");
    assert_eq!(happens(&mut m).await.unwrap(), "Lost([t/0])");
    assert!(matches!(happens(&mut m).await.unwrap_err(), LogError::NotOwner(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_while_it_drains_is_told() {
    let (mock, log) = start(2, |_| ()).await;
    let mut one = member(&log, None).await;
    assert_eq!(happens(&mut one).await.unwrap(), "Assigned([t/0, t/1])");
    let mut two = member(&log, None).await;
    let revoked = tokio::select! {
        event = happens(&mut one) => event.unwrap(),
        // It has to be polled to join; it gets nothing yet.
        event = happens(&mut two) => panic!("before the release: {event:?}"),
    };
    assert!(revoked.starts_with("Revoked([t/"), "{revoked}");
    let part = if revoked.contains("t/0") { 0 } else { 1 };
    let tp = TopicPartition::new(TOPIC, part);
    mock.request_errors(Api::OffsetCommit, &[Resp::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    let error = within(one.commit(&[(tp.clone(), 1)])).await.unwrap_err();
    assert!(matches!(error, LogError::NotOwner(_)), "{error}");
    assert_eq!(happens(&mut one).await.unwrap(), "Lost([t/0, t/1])");
    let error = one.release(&[tp]).unwrap_err();
    assert!(matches!(error, LogError::NotOwner(_)), "{error}");
    let again = loop {
        tokio::select! {
            event = happens(&mut one) => break event.unwrap(),
            event = happens(&mut two) => drop(event.unwrap()),
        }
    };
    assert!(again.starts_with("Assigned("), "it joins again: {again}");
}
