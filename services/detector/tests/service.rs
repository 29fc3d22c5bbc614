//! The detector on a log that does not take its alerts for a while: an alert is told before its
//! record is done, and after a restart nothing is forgotten and nothing told under another id.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use heliograph_contract::{
    alert::Alert,
    event::{encode_tick, encode_upload},
    registry, topic,
    v1::DoorTick,
};
use heliograph_detector::{App, DetectorConfig, Metrics, config::GROUP};
use heliograph_domain::{
    SiteId, TenantId, Timestamp, UploadId,
    partition::partition_for,
    registry::{Entry, Site},
    upload::Upload,
};
use heliograph_log::{Log, LogRead, NewRecord, Record, TopicPartition, topics};
use heliograph_service::{Shutdown, health::Health};
use heliograph_testkit::faulty::{Fault, FaultyLog};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};

/// A log with one site that is stale after a second, and a door that ticks.
struct Story {
    log: Arc<FaultyLog>,
    at: TopicPartition,
    alerts: TopicPartition,
    ticking: JoinHandle<()>,
}

const SITE: &str = "s1";

impl Story {
    async fn new() -> Self {
        let log = FaultyLog::new();
        log.ensure_topics(&topics::declared().unwrap()).await.unwrap();
        let site = Entry::Site(Site {
            id: SiteId::parse(SITE).unwrap(),
            tenant: TenantId::parse("t1").unwrap(),
            name: String::new(),
            zone: "UTC".into(),
            upload_interval_s: 1,
            reading_interval_s: 1,
            rated_power_w: 0.0,
            stale_after_s: Some(1),
            token_hash: "00".into(),
        });
        let to = TopicPartition::new(topic::REGISTRY, 0);
        log.append(NewRecord::event(to, registry::encode(&site))).await.unwrap();
        let partition = async |topic: &str, key: &str| {
            let count = log.partitions(topic).await.unwrap();
            TopicPartition::new(topic, partition_for(key.as_bytes(), count))
        };
        let at = partition(topic::UPLOADS, SITE).await;
        let alerts = partition(topic::ALERTS, "t1").await;
        let ticking = tokio::spawn(tick(log.clone(), at.clone()));
        Self { log, at, alerts, ticking }
    }

    fn start(&self) -> (Shutdown, JoinHandle<anyhow::Result<()>>) {
        let (log, shutdown) = (self.log.clone(), Shutdown::new());
        let config = DetectorConfig {
            snapshot_interval: Duration::from_secs(1),
            retry_delay_max: Duration::from_millis(50),
            ..DetectorConfig::default()
        };
        let running = tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                let app = App::build(config, log, Health::default(), Metrics::default()).await?;
                app.run(shutdown).await
            }
        });
        (shutdown, running)
    }

    async fn upload(&self) {
        let upload = Upload {
            site: SiteId::parse(SITE).unwrap(),
            tenant: TenantId::parse("t1").unwrap(),
            upload_id: UploadId::parse("u1").unwrap(),
            received_at: Timestamp::from_ms(1_700_000_000_000),
            sent_at: None,
            replayed: false,
            readings: Vec::new(),
        };
        let record = NewRecord::event(self.at.clone(), encode_upload(&upload, "g1"));
        self.log.append(record).await.unwrap();
    }

    /// The first `count` alerts, as soon as they are there.
    async fn alerts(&self, count: usize) -> Vec<(Record, Alert)> {
        loop {
            let records = self.log.read(&self.alerts, 0, 1 << 20).await.unwrap();
            if records.len() >= count {
                let decode = |record: Record| {
                    let alert = Alert::decode(&record.headers, record.value.as_ref());
                    (record, alert.unwrap().unwrap())
                };
                return records.into_iter().map(decode).collect();
            }
            let end = records.len() as u64;
            self.log.wait_past(&self.alerts, end, Duration::from_secs(30)).await.unwrap();
        }
    }
}

/// A gateway that ticks faster than one does, so that less time is spent.
async fn tick(log: Arc<FaultyLog>, at: TopicPartition) {
    let mut due = tokio::time::interval(Duration::from_millis(100));
    for sequence in 1.. {
        due.tick().await;
        let tick = DoorTick {
            instance: "g1".into(),
            incarnation_ms: 1,
            sequence,
            accepted: 1,
            self_upload_ok: true,
            since_last_ms: (sequence > 1).then_some(100),
            retry_after_max_s: 1,
            ..DoorTick::default()
        };
        log.append(NewRecord::event(at.clone(), encode_tick(&tick))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_on_the_log_before_its_record_is_done() {
    let story = Story::new().await;
    let refused = Arc::new(watch::Sender::new(0));
    let mut refusals = refused.subscribe();
    story.log.faults(move |record| {
        if &*record.to.topic != topic::ALERTS {
            return Fault::None;
        }
        refused.send_modify(|n| *n += 1);
        Fault::Fail
    });
    let (_, running) = story.start();
    refusals.wait_for(|n| *n >= 3).await.unwrap();
    // It ends in the middle of it.
    running.abort();
    let committed = story.log.committed(GROUP, &story.at).await.unwrap().unwrap_or(0);
    story.log.faults(|_| Fault::None);
    let (shutdown, running) = story.start();
    let (_, alert) = story.alerts(1).await.remove(0);
    let Alert::WentStale(stale) = &alert else { panic!("{alert:?}") };
    assert_eq!((stale.site_id.as_str(), stale.limit_ms), (SITE, 1_000));
    assert!(committed <= stale.offset, "{committed} is behind {stale:?}");

    // What is done is not told again by the next, and the state goes on.
    shutdown.cancel();
    running.await.unwrap().unwrap();
    story.upload().await;
    let (shutdown, running) = story.start();
    let all = story.alerts(2).await;
    let Alert::Recovered(back) = &all[1].1 else { panic!("{all:?}") };
    assert_eq!(back.stale_id, alert.id());
    shutdown.cancel();
    running.await.unwrap().unwrap();
    story.ticking.abort();
}
