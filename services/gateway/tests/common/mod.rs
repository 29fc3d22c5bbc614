//! A gateway on a free port over a log in memory whose appends can be made to fail or hang.

#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use heliograph_contract::{
    event::{UploadsEvent, decode_uploads},
    registry, topic, v1,
};
use heliograph_domain::{
    SiteId, TenantId, Timestamp,
    event_id::token_hash,
    partition::partition_for,
    registry::{Entry, Site},
    upload::Upload,
};
use heliograph_gateway::{App, GatewayConfig, Metrics};
use heliograph_log::{Log, LogRead, NewRecord, Record, TopicPartition, topics};
use heliograph_service::{Shutdown, health::Health};
pub use heliograph_testkit::faulty::{Fault, FaultyLog};
use prost::Message;
use reqwest::{RequestBuilder, Response};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// A gateway that runs.
pub struct Running {
    pub log: Arc<FaultyLog>,
    pub addr: SocketAddr,
    pub shutdown: Shutdown,
    pub client: reqwest::Client,
    task: JoinHandle<anyhow::Result<()>>,
}

pub const PARTITIONS: u32 = 12;
pub const INSTANCE: &str = "g1";

pub fn config() -> GatewayConfig {
    GatewayConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        instance: INSTANCE.into(),
        tick_interval: Duration::from_millis(100),
        retry_after_min: Duration::from_secs(3),
        retry_after_max: Duration::from_secs(7),
        ..GatewayConfig::default()
    }
}

/// A log with all topics and the sites s1 to s3, whose token is `token-` and their name.
pub async fn log() -> Arc<FaultyLog> {
    let log = FaultyLog::new();
    log.ensure_topics(&topics::declared().unwrap()).await.unwrap();
    for site in ["s1", "s2", "s3"] {
        put_site(&*log, site).await;
    }
    log
}

pub async fn put_site(log: &dyn Log, site: &str) {
    let entry = Entry::Site(Site {
        id: SiteId::parse(site).unwrap(),
        tenant: TenantId::parse("t1").unwrap(),
        name: site.into(),
        zone: "Asia/Tokyo".into(),
        upload_interval_s: 60,
        reading_interval_s: 60,
        rated_power_w: 0.0,
        stale_after_s: None,
        token_hash: token_hash(&format!("token-{site}")),
    });
    let to = TopicPartition::new(topic::REGISTRY, 0);
    log.append(NewRecord::event(to, registry::encode(&entry))).await.unwrap();
}

pub async fn build(config: GatewayConfig, log: Arc<dyn Log>) -> anyhow::Result<App> {
    App::build(config, log, Health::default(), Metrics::default()).await
}

pub async fn start(config: GatewayConfig) -> Running {
    start_on(log().await, config).await
}

pub async fn start_on(log: Arc<FaultyLog>, config: GatewayConfig) -> Running {
    let app = build(config, log.clone()).await.unwrap();
    let (addr, shutdown) = (app.addr(), Shutdown::new());
    let task = tokio::spawn(app.run(shutdown.clone()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Running { log, addr, shutdown, client, task }
}

pub fn reading(device: &str, value: &str) -> String {
    format!(
        r#"{{"device":"{device}","metric":"ac_power","ts":"2026-01-01T00:00:00Z","value":{value}}}"#
    )
}

pub fn body(site: &str, id: &str, readings: &[String]) -> String {
    let readings = readings.join(",");
    format!(r#"{{"upload_id":"{id}","site":"{site}","readings":[{readings}]}}"#)
}

impl Running {
    pub fn post(&self, token: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.client
            .post(format!("http://{}/v1/uploads", self.addr))
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(body)
    }

    /// Uploads one good reading of `site` under `id`.
    pub async fn upload(&self, site: &str, id: &str) -> Response {
        let body = body(site, id, &[reading("inv1", "1.5")]);
        self.post(&format!("token-{site}"), body).send().await.unwrap()
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Waits until it has left by itself.
    pub async fn left(&mut self) {
        (&mut self.task).await.unwrap().unwrap();
    }

    pub async fn records(&self, topic: &str, partition: u32) -> Vec<Record> {
        self.log.read(&TopicPartition::new(topic, partition), 0, usize::MAX).await.unwrap()
    }

    /// The sites' uploads on the log, without the gateway's own.
    pub async fn stored(&self) -> Vec<Upload> {
        let mut all = Vec::new();
        for partition in 0..PARTITIONS {
            for record in self.records(topic::UPLOADS, partition).await {
                if let UploadsEvent::Upload(upload) = event(&record)
                    && !upload.site.is_platform()
                {
                    assert_eq!(partition, partition_of(upload.site.as_str()));
                    all.push(upload);
                }
            }
        }
        all
    }

    pub async fn stored_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> =
            self.stored().await.iter().map(|u| u.upload_id.to_string()).collect();
        ids.sort();
        ids
    }

    pub async fn dead_letters(&self) -> Vec<v1::DeadLetter> {
        let records = self.records(topic::DEAD_LETTERS, 0).await;
        records.into_iter().map(|r| v1::DeadLetter::decode(r.value.unwrap()).unwrap()).collect()
    }

    pub async fn ticks(&self, partition: u32) -> Vec<v1::DoorTick> {
        let records = self.records(topic::UPLOADS, partition).await;
        let tick = |r: &Record| match event(r) {
            UploadsEvent::Tick(tick) => Some(tick),
            _ => None,
        };
        records.iter().filter_map(tick).collect()
    }

    /// Waits until the partition's ticks are as wanted.
    pub async fn ticks_until(
        &self,
        partition: u32,
        wanted: impl Fn(&[v1::DoorTick]) -> bool,
    ) -> Vec<v1::DoorTick> {
        let tp = TopicPartition::new(topic::UPLOADS, partition);
        let wait = async {
            loop {
                let end = self.log.offsets(&tp).await.unwrap().end;
                let ticks = self.ticks(partition).await;
                if wanted(&ticks) {
                    return ticks;
                }
                self.log.wait_past(&tp, end, Duration::from_secs(60)).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.expect("ticks as wanted")
    }
}

pub fn partition_of(site: &str) -> u32 {
    partition_for(site.as_bytes(), PARTITIONS)
}

pub fn event(record: &Record) -> UploadsEvent {
    decode_uploads(&record.headers, record.value.as_ref()).unwrap()
}

pub fn is_upload_of(record: &NewRecord, site: &str) -> bool {
    record.key.as_deref() == Some(site.as_bytes())
}

pub fn is_tick(record: &NewRecord) -> bool {
    &*record.to.topic == topic::UPLOADS && record.key.is_none()
}

pub fn accepted(ticks: &[v1::DoorTick]) -> u64 {
    ticks.iter().map(|t| t.accepted).sum()
}

pub fn refused(ticks: &[v1::DoorTick]) -> u64 {
    ticks.iter().map(|t| t.refused).sum()
}

/// Some time in this century.
pub fn plausible(t: Timestamp) -> bool {
    t > Timestamp::from_secs(1_700_000_000)
}
