//! The consumer against a scripted group.

use super::*;
use async_trait::async_trait;
use heliograph_domain::Timestamp;
use heliograph_metrics::{Registry, text};
use std::sync::{Arc, Mutex};

#[derive(Debug, Default)]
struct Seen {
    commits: Vec<(TopicPartition, u64)>,
    released: Vec<TopicPartition>,
    pauses: usize,
    resumes: usize,
    closed: bool,
    /// Thrown out, and not yet told: nothing is ours.
    refuses: bool,
}

impl Seen {
    fn answer(&self) -> Result<(), LogError> {
        match self.refuses {
            true => Err(LogError::NotOwner("all of it".to_owned())),
            false => Ok(()),
        }
    }
}

/// Plays events in order, then waits for ever.
struct Scripted {
    events: mpsc::UnboundedReceiver<GroupEvent>,
    seen: Arc<Mutex<Seen>>,
    changed: tokio::sync::watch::Sender<()>,
}

impl Scripted {
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.changed.send_replace(());
    }
}

#[async_trait]
impl GroupConsumer for Scripted {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        match self.events.recv().await {
            Some(event) => Ok(event),
            None => std::future::pending().await,
        }
    }
    fn pause(&mut self, _: &[TopicPartition]) -> Result<(), LogError> {
        self.note(|s| s.pauses += 1);
        Ok(())
    }
    fn resume(&mut self, _: &[TopicPartition]) -> Result<(), LogError> {
        self.note(|s| s.resumes += 1);
        Ok(())
    }
    async fn commit(&mut self, offsets: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        self.note(|s| s.commits.extend_from_slice(offsets));
        self.seen.lock().unwrap().answer()
    }
    fn release(&mut self, tps: &[TopicPartition]) -> Result<(), LogError> {
        self.note(|s| s.released.extend_from_slice(tps));
        self.seen.lock().unwrap().answer()
    }
    async fn close(self: Box<Self>) -> Result<(), LogError> {
        self.note(|s| s.closed = true);
        Ok(())
    }
}

struct Rig {
    events: mpsc::UnboundedSender<GroupEvent>,
    seen: Arc<Mutex<Seen>>,
    changed: tokio::sync::watch::Receiver<()>,
    side: ProcessorSide,
    metrics: Registry,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), LogError>>,
}

fn start(config: ConsumerConfig) -> Rig {
    let (events, receiver) = mpsc::unbounded_channel();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (changed, watch) = tokio::sync::watch::channel(());
    let group = Scripted { events: receiver, seen: seen.clone(), changed };
    let mut metrics = Registry::default();
    let of_group = ConsumerFamilies::register(&mut metrics, &["g"]).of("g");
    let (consumer, side) = Consumer::new(Box::new(group), config, of_group);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(consumer.run(shutdown.clone()));
    Rig { events, seen, changed: watch, side, metrics, shutdown, running }
}

impl Rig {
    async fn until(&mut self, what: impl Fn(&Seen) -> bool) {
        let work = async {
            while !what(&self.seen.lock().unwrap()) {
                self.changed.changed().await.unwrap();
            }
        };
        // Of the test's own time, which passes when nothing happens any more.
        let patience = Duration::from_secs(600);
        let came = tokio::time::timeout(patience, work).await;
        assert!(came.is_ok(), "it never came to that: {:?}", self.seen);
    }

    async fn records(&mut self) -> Vec<Taken> {
        loop {
            if let Work::Records(taken) = self.side.work.recv().await.unwrap() {
                return taken;
            }
        }
    }
}

fn tp(partition: u32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn records(partition: u32, offsets: std::ops::Range<u64>) -> GroupEvent {
    let one = |offset| Record {
        at: tp(partition),
        offset,
        append_time: Timestamp::from_ms(0),
        key: None,
        headers: vec![],
        value: Some("0123456789".into()),
    };
    GroupEvent::Records(offsets.map(one).collect())
}

#[tokio::test(start_paused = true)]
async fn an_offset_is_committed_only_when_its_record_is_done() {
    let mut rig = start(ConsumerConfig::default());
    rig.events.send(GroupEvent::Assigned(vec![tp(0)])).unwrap();
    rig.events.send(records(0, 0..3)).unwrap();
    let taken = rig.records().await;
    rig.side.acks.done(taken[0].done());
    rig.side.acks.done(taken[2].done());
    rig.until(|s| s.commits == [(tp(0), 1)]).await;
    rig.side.acks.done(taken[1].done());
    rig.until(|s| s.commits == [(tp(0), 1), (tp(0), 3)]).await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_partition_is_drained_committed_then_released() {
    let mut rig = start(ConsumerConfig::default());
    rig.events.send(GroupEvent::Assigned(vec![tp(0), tp(1)])).unwrap();
    rig.events.send(records(0, 0..1)).unwrap();
    let taken = rig.records().await;
    rig.events.send(GroupEvent::Revoked(vec![tp(0)])).unwrap();
    assert!(matches!(rig.side.work.recv().await, Some(Work::Flush)));
    assert!(rig.seen.lock().unwrap().released.is_empty());
    rig.side.acks.done(taken[0].done());
    rig.until(|s| s.released == [tp(0)]).await;
    assert_eq!(rig.seen.lock().unwrap().commits, [(tp(0), 1)]);
    assert!(matches!(rig.side.work.recv().await, Some(Work::Forgotten(tps)) if tps == [tp(0)]));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_its_deadline_and_what_comes_later_is_not_committed() {
    let mut rig = start(ConsumerConfig::default());
    rig.events.send(GroupEvent::Assigned(vec![tp(0)])).unwrap();
    rig.events.send(records(0, 0..1)).unwrap();
    let taken = rig.records().await;
    rig.events.send(GroupEvent::Revoked(vec![tp(0)])).unwrap();
    rig.until(|s| s.released == [tp(0)]).await;
    rig.side.acks.done(taken[0].done());
    rig.shutdown.cancel();
    rig.until(|s| s.closed).await;
    assert!(rig.seen.lock().unwrap().commits.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_is_thrown_out_while_he_drains_goes_on_with_what_he_gets_next() {
    let mut rig = start(ConsumerConfig::default());
    rig.events.send(GroupEvent::Assigned(vec![tp(0)])).unwrap();
    rig.events.send(records(0, 0..1)).unwrap();
    let taken = rig.records().await;
    rig.seen.lock().unwrap().refuses = true;
    rig.events.send(GroupEvent::Revoked(vec![tp(0)])).unwrap();
    rig.side.acks.done(taken[0].done());
    rig.until(|s| s.released == [tp(0)]).await;
    rig.seen.lock().unwrap().refuses = false;
    rig.events.send(GroupEvent::Lost(vec![tp(0)])).unwrap();
    rig.events.send(GroupEvent::Assigned(vec![tp(0)])).unwrap();
    rig.events.send(records(0, 0..2)).unwrap();
    for t in rig.records().await {
        rig.side.acks.done(t.done());
    }
    rig.until(|s| s.commits.last() == Some(&(tp(0), 2))).await;
    rig.shutdown.cancel();
    rig.running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_log_that_goes_backwards_is_not_followed_and_is_counted() {
    let mut rig = start(ConsumerConfig::default());
    rig.events.send(GroupEvent::Assigned(vec![tp(0), tp(1)])).unwrap();
    rig.events.send(records(0, 3..6)).unwrap();
    let offsets = |taken: &[Taken]| taken.iter().map(|t| t.record.offset).collect::<Vec<_>>();
    assert_eq!(offsets(&rig.records().await), [3, 4, 5]);
    let counted = |rig: &Rig| {
        let got = text::encode(&rig.metrics, text::Format::Plain);
        let line = "heliograph_consumer_errors_total{group=\"g\",call=\"order\"} ";
        got.lines().find_map(|l| l.strip_prefix(line)?.parse::<u64>().ok()).unwrap()
    };
    assert_eq!(counted(&rig), 0);
    rig.events.send(records(0, 4..8)).unwrap();
    assert_eq!(offsets(&rig.records().await), [6, 7], "what is not there yet is taken");
    assert_eq!(counted(&rig), 1);
    rig.events.send(GroupEvent::Lost(vec![tp(1)])).unwrap();
    rig.events.send(records(1, 0..1)).unwrap();
    rig.events.send(records(0, 8..9)).unwrap();
    assert_eq!(offsets(&rig.records().await), [8]);
    assert_eq!(counted(&rig), 1, "what is not ours is no fault of the log");
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_it_pauses_and_it_resumes_when_half_is_done() {
    let mut rig = start(ConsumerConfig { open_records_max: 4, ..Default::default() });
    rig.events.send(GroupEvent::Assigned(vec![tp(0)])).unwrap();
    rig.events.send(records(0, 0..4)).unwrap();
    rig.until(|s| s.pauses == 1).await;
    let taken = rig.records().await;
    for t in &taken[..2] {
        rig.side.acks.done(t.done());
    }
    rig.until(|s| s.resumes == 1).await;
}

/// Whoever still works on what was lost holds its memory: nothing more is read until he is done.
#[tokio::test(start_paused = true)]
async fn at_the_limit_it_stays_paused_over_a_loss_until_what_it_handed_out_is_done() {
    let mut rig = start(ConsumerConfig { open_records_max: 4, ..Default::default() });
    rig.events.send(GroupEvent::Assigned(vec![tp(0)])).unwrap();
    rig.events.send(records(0, 0..4)).unwrap();
    rig.until(|s| s.pauses == 1).await;
    let taken = rig.records().await;
    rig.events.send(GroupEvent::Lost(vec![tp(0)])).unwrap();
    rig.events.send(GroupEvent::Assigned(vec![tp(0)])).unwrap();
    rig.until(|s| s.pauses == 2).await;
    assert_eq!(rig.seen.lock().unwrap().resumes, 0);
    for t in &taken[..2] {
        rig.side.acks.done(t.done());
    }
    rig.until(|s| s.resumes == 1).await;
    assert!(rig.seen.lock().unwrap().commits.is_empty(), "they are no longer ours to commit");
}

#[tokio::test(start_paused = true)]
async fn shutdown_flushes_commits_and_leaves() {
    let mut rig = start(ConsumerConfig::default());
    rig.events.send(GroupEvent::Assigned(vec![tp(0)])).unwrap();
    rig.events.send(records(0, 0..2)).unwrap();
    let taken = rig.records().await;
    rig.shutdown.cancel();
    assert!(matches!(rig.side.work.recv().await, Some(Work::Flush)));
    rig.events.send(records(0, 2..9)).unwrap();
    for t in &taken {
        rig.side.acks.done(t.done());
    }
    rig.until(|s| s.closed).await;
    assert_eq!(rig.seen.lock().unwrap().commits.last(), Some(&(tp(0), 2)));
    rig.running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_dies_stops_the_consumer() {
    let rig = start(ConsumerConfig::default());
    drop(rig.side);
    assert!(rig.running.await.unwrap().is_err());
}

#[test]
fn a_drain_must_be_shorter_than_the_session() {
    let config = ConsumerConfig { drain_timeout_ms: 6_000, ..Default::default() };
    let said = config.violations("writer.consumer", Duration::from_secs(6));
    assert!(said[0].to_string().starts_with("writer.consumer.drain_timeout_ms: got "), "{said:?}");
    assert!(config.violations("writer.consumer", Duration::from_secs(7)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_asked_for_waits_for_no_interval() {
    let mut rig = start(ConsumerConfig { commit_interval_ms: 60_000, ..ConsumerConfig::default() });
    rig.events.send(GroupEvent::Assigned(vec![tp(0)])).unwrap();
    rig.events.send(records(0, 0..2)).unwrap();
    let taken = rig.records().await;
    let asked = tokio::time::Instant::now();
    rig.side.acks.done(taken[0].done());
    rig.side.acks.commit();
    rig.until(|s| s.commits == [(tp(0), 1)]).await;
    assert_eq!(asked.elapsed(), Duration::ZERO, "of the test's own time");
}
