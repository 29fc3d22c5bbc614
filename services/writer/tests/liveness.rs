//! Liveness does not turn on ClickHouse or the log: without them the writer waits, and is not
//! restarted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use async_trait::async_trait;
use heliograph_contract::{event::encode_upload, topic};
use heliograph_domain::{
    DeviceId, MetricName, Quality, Reading, SiteId, TenantId, Timestamp, UploadId, upload::Upload,
};
use heliograph_log::{
    Appended, GroupConsumer, GroupEvent, GroupSpec, Log, LogError, LogRead, NewRecord, OffsetRange,
    Record, TopicPartition, memory::MemoryLog, topics,
};
use heliograph_service::{Shutdown, health::Health};
use heliograph_store::StoreConfig;
use heliograph_writer::{App, Metrics, WriterConfig};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// A log that is away once it has given so many answers.
#[derive(Clone)]
struct Passing {
    inner: Arc<MemoryLog>,
    answers: Arc<AtomicU64>,
}

impl Passing {
    fn over(inner: Arc<MemoryLog>, answers: u64) -> Self {
        Self { inner, answers: Arc::new(answers.into()) }
    }

    fn there(&self) -> Result<&MemoryLog, LogError> {
        let less = |left: u64| left.checked_sub(1);
        match self.answers.fetch_update(Relaxed, Relaxed, less) {
            Ok(_) => Ok(&self.inner),
            Err(_) => Err(LogError::Unavailable("the test says so".into())),
        }
    }
}

#[async_trait]
impl LogRead for Passing {
    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.there()?.partitions(topic).await
    }

    async fn offsets(&self, tp: &TopicPartition) -> Result<OffsetRange, LogError> {
        self.there()?.offsets(tp).await
    }

    async fn read(
        &self,
        tp: &TopicPartition,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.there()?.read(tp, from, max_bytes).await
    }

    async fn wait_past(
        &self,
        tp: &TopicPartition,
        offset: u64,
        timeout: Duration,
    ) -> Result<(), LogError> {
        self.there()?.wait_past(tp, offset, timeout).await
    }
}

#[async_trait]
impl Log for Passing {
    async fn ensure_topics(&self, specs: &[topics::TopicSpec]) -> Result<(), LogError> {
        self.there()?.ensure_topics(specs).await
    }

    async fn append(&self, record: NewRecord) -> Result<Appended, LogError> {
        self.there()?.append(record).await
    }

    async fn subscribe(&self, spec: GroupSpec) -> Result<Box<dyn GroupConsumer>, LogError> {
        let inner = self.there()?.subscribe(spec).await?;
        Ok(Box::new(Member { log: self.clone(), inner }))
    }

    async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<u64>, LogError> {
        self.there()?.committed(group, tp).await
    }
}

struct Member {
    log: Passing,
    inner: Box<dyn GroupConsumer>,
}

#[async_trait]
impl GroupConsumer for Member {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        self.log.there()?;
        self.inner.next().await
    }

    fn pause(&mut self, tps: &[TopicPartition]) -> Result<(), LogError> {
        self.inner.pause(tps)
    }

    fn resume(&mut self, tps: &[TopicPartition]) -> Result<(), LogError> {
        self.inner.resume(tps)
    }

    async fn commit(&mut self, offsets: &[(TopicPartition, u64)]) -> Result<(), LogError> {
        self.log.there()?;
        self.inner.commit(offsets).await
    }

    fn release(&mut self, tps: &[TopicPartition]) -> Result<(), LogError> {
        self.inner.release(tps)
    }

    async fn close(self: Box<Self>) -> Result<(), LogError> {
        self.inner.close().await
    }
}

fn upload() -> NewRecord {
    let reading = Reading {
        device: DeviceId::parse("inv1").unwrap(),
        metric: MetricName::parse("ac_power").unwrap(),
        ts: Timestamp::from_secs(1_700_000_000),
        value: 1.0,
        quality: Quality::Good,
    };
    let upload = Upload {
        site: SiteId::parse("s1").unwrap(),
        tenant: TenantId::parse("t1").unwrap(),
        upload_id: UploadId::parse("u1").unwrap(),
        received_at: Timestamp::from_secs(1_700_000_000),
        sent_at: None,
        replayed: false,
        readings: vec![reading],
    };
    NewRecord::event(TopicPartition::new(topic::UPLOADS, 3), encode_upload(&upload, "g1"))
}

/// The clock is the test's: an hour passes in no time.
#[tokio::test(start_paused = true)]
async fn the_loops_turn_while_clickhouse_hangs_and_while_the_log_is_away() {
    let inner = MemoryLog::new();
    inner.ensure_topics(&topics::declared().unwrap()).await.unwrap();
    let log = Passing::over(inner.clone(), u64::MAX);
    // Takes connections and answers nothing.
    let clickhouse = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", clickhouse.local_addr().unwrap());
    let store = StoreConfig { url, ..StoreConfig::default() };
    let health = Health::default();
    let (liveness, shutdown) = (health.liveness.clone(), Shutdown::new());
    let (config, as_log) = (WriterConfig::default(), Arc::new(log.clone()));
    let app = App::build(config, &store, as_log, health, Metrics::default()).await.unwrap();
    let running = tokio::spawn(app.run(shutdown.clone()));
    for is_away in [false, true, false] {
        log.answers.store(if is_away { 0 } else { u64::MAX }, Relaxed);
        // More than the block that is inserted and the one behind it: the channel is full.
        for _ in 0..4 {
            inner.append(upload()).await.unwrap();
            for _ in 0..90 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                assert_eq!(liveness.wedged(), [], "the log is away: {is_away}");
            }
        }
    }
    assert!(!running.is_finished());
    // It asked ClickHouse; the consumer has its shutdown and leaves at the end of its drain time.
    clickhouse.accept().await.unwrap();
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(liveness.wedged(), [], "who has left promised nothing");
}

/// Whoever starts it tries again as long as that may help: so it must be told before it runs.
#[tokio::test]
async fn a_log_that_goes_away_during_the_start_is_told_as_what_may_pass() {
    let mut refusals = 0;
    for answers in 0.. {
        let inner = MemoryLog::new();
        inner.ensure_topics(&topics::declared().unwrap()).await.unwrap();
        inner
            .append(NewRecord { to: TopicPartition::new(topic::REGISTRY, 0), ..upload() })
            .await
            .unwrap();
        let log = Arc::new(Passing::over(inner, answers));
        let store = StoreConfig::default();
        let app = App::build(
            WriterConfig::default(),
            &store,
            log,
            Default::default(),
            Metrics::default(),
        );
        match app.await {
            Ok(_) => break,
            Err(error) => {
                assert!(heliograph_log::may_pass(error.as_ref()), "after {answers}: {error:#}");
                refusals += 1;
            }
        }
    }
    // Topics, the registry's end, its records, the group.
    assert!(refusals >= 4, "{refusals} questions");
}
