//! The writer against a ClickHouse that misbehaves: scripted HTTP answers behind the real client.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use heliograph_contract::{
    event::{encode_upload, trace_header, trace_of},
    topic, v1,
};
use heliograph_domain::{
    DeviceId, MetricName, Quality, Reading, SiteId, TenantId, Timestamp, UploadId,
    trace::TraceContext, upload::Upload,
};
use heliograph_log::{
    GroupSpec, Log, LogRead, NewRecord, TopicPartition, consumer::ConsumerConfig, is_thrown_out,
    memory::MemoryLog, topics,
};
use heliograph_service::{
    Shutdown,
    http::{HttpLimits, bind, serve},
};
use heliograph_store::StoreConfig;
use heliograph_testkit::logs;
use heliograph_writer::{App, WriterConfig, config::GROUP};
use prost::Message;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

/// How the scripted ClickHouse answers inserts into `readings`.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Mood {
    #[default]
    Well,
    /// `503`, "too many parts".
    TooManyParts,
    /// Refuses a block with a device named poison, as for a value that is not of its type.
    RefusesPoison,
    /// The table is not there.
    NoTable,
    /// Recomputing more than so many buckets takes longer than it may.
    SmallRounds(usize),
}

#[derive(Debug, Default)]
struct Script {
    mood: Mood,
    /// Bodies of accepted inserts into `readings`.
    stored: Vec<Bytes>,
    /// Their `traceparent`, and those of the marks before them.
    traces: Vec<(&'static str, TraceContext)>,
    tries: usize,
    /// 15-minute buckets that were recomputed.
    recomputed: usize,
    /// Questions for what an earlier owner left dirty.
    read_back: Vec<String>,
}

type Shared = Arc<Mutex<Script>>;

async fn answer(
    State(script): State<Shared>,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let refuse = |code: u16, number: u32| {
        let status = StatusCode::from_u16(code).unwrap();
        (status, format!("Code: {number}. DB::Exception: scripted. (SCRIPTED) (version 26.5)"))
    };
    let query = uri.query().unwrap_or_default();
    if !query.contains("INSERT") {
        let text = String::from_utf8_lossy(&body).into_owned();
        if text.contains("dirty_buckets FINAL") {
            script.lock().unwrap().read_back.push(text.clone());
        }
        let mut script = script.lock().unwrap();
        let Mood::SmallRounds(most) = script.mood else {
            // Rollups wait: they are not what is tested here.
            return refuse(500, 159);
        };
        let buckets = text.matches("('s1', ").count();
        if buckets > most {
            return refuse(408, 159);
        }
        script.recomputed += if text.contains("toStartOfFifteenMinutes") { buckets } else { 0 };
        return (StatusCode::OK, String::new());
    }
    let mut script = script.lock().unwrap();
    let trace = headers.get("traceparent");
    let trace = trace.map(|text| TraceContext::parse(text.as_bytes()).unwrap());
    if query.contains("dirty_buckets") {
        // Marks of clean buckets alone are of no upload's trace.
        script.traces.extend(trace.map(|trace| ("dirty_buckets", trace)));
        return (StatusCode::OK, String::new());
    }
    script.tries += 1;
    let has_poison = body.windows(6).any(|w| w == b"poison");
    match script.mood {
        Mood::TooManyParts => refuse(503, 252),
        Mood::NoTable => refuse(404, 60),
        Mood::RefusesPoison if has_poison => refuse(400, 6),
        Mood::Well | Mood::RefusesPoison | Mood::SmallRounds(_) => {
            script.stored.push(body);
            script.traces.push(("readings", trace.unwrap()));
            (StatusCode::OK, String::new())
        }
    }
}

struct Rig {
    log: Arc<MemoryLog>,
    script: Shared,
    shutdown: Shutdown,
    writer: tokio::task::JoinHandle<anyhow::Result<()>>,
}

async fn start(mood: Mood) -> Rig {
    logs::listen();
    let log = MemoryLog::new();
    log.ensure_topics(&topics::declared().unwrap()).await.unwrap();
    start_on(log, mood).await
}

async fn start_on(log: Arc<MemoryLog>, mood: Mood) -> Rig {
    let script: Shared = Arc::new(Mutex::new(Script { mood, ..Script::default() }));
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/", post(answer))
        .layer(DefaultBodyLimit::disable())
        .with_state(script.clone());
    let shutdown = Shutdown::new();
    tokio::spawn(serve(
        listener,
        router,
        HttpLimits::default(),
        Default::default(),
        shutdown.clone(),
    ));

    let config = WriterConfig {
        instance: INSTANCE.to_owned(),
        block_interval: Duration::from_millis(20),
        block_linger: Duration::from_millis(5),
        retry_delay_max: Duration::from_millis(20),
        rollup_interval: Duration::from_millis(10),
        consumer: ConsumerConfig {
            open_bytes_max: OPEN_BYTES_MAX,
            commit_interval_ms: 10,
            drain_timeout_ms: 100,
            ..ConsumerConfig::default()
        },
        ..WriterConfig::default()
    };
    let store = StoreConfig { url, ..StoreConfig::default() };
    let app = App::build(config, &store, log.clone(), Default::default(), Default::default())
        .await
        .unwrap();
    let writer = tokio::spawn(app.run(shutdown.clone()));
    Rig { log, script, shutdown, writer }
}

const OPEN_BYTES_MAX: usize = 1 << 20;
const INSTANCE: &str = "w1";

fn tp() -> TopicPartition {
    TopicPartition::new(topic::UPLOADS, 3)
}

impl Rig {
    async fn append(&self, device: &str) -> u64 {
        self.append_readings(device, 1).await
    }

    async fn append_readings(&self, device: &str, readings: i64) -> u64 {
        self.append_every(1, device, readings, None).await
    }

    async fn append_traced(&self, device: &str, readings: i64, trace: Option<TraceContext>) -> u64 {
        self.append_every(1, device, readings, trace).await
    }

    /// Readings so many seconds from one another.
    async fn append_every(
        &self,
        step_secs: i64,
        device: &str,
        readings: i64,
        trace: Option<TraceContext>,
    ) -> u64 {
        let reading = |i: i64| Reading {
            device: DeviceId::parse(device).unwrap(),
            metric: MetricName::parse("ac_power").unwrap(),
            ts: Timestamp::from_secs(1_700_000_000 + i * step_secs),
            value: 1.0,
            quality: Quality::Good,
        };
        let upload = Upload {
            site: SiteId::parse("s1").unwrap(),
            tenant: TenantId::parse("t1").unwrap(),
            upload_id: UploadId::parse(device).unwrap(),
            received_at: Timestamp::from_secs(1_700_000_000),
            sent_at: None,
            replayed: false,
            readings: (0..readings).map(reading).collect(),
        };
        let mut record = NewRecord::event(tp(), encode_upload(&upload, "g1"));
        record.headers.extend(trace.map(trace_header));
        self.log.append(record).await.unwrap().offset
    }

    async fn committed(&self) -> Option<u64> {
        self.log.committed(GROUP, &tp()).await.unwrap()
    }

    /// Waits until the writer has committed up to `offset`.
    async fn until_committed(&self, offset: u64) {
        while self.committed().await.is_none_or(|c| c < offset) {
            assert!(!self.writer.is_finished(), "the writer has stopped");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_stored(&self, device: &str) -> bool {
        let script = self.script.lock().unwrap();
        script.stored.iter().any(|body| body.windows(device.len()).any(|w| w == device.as_bytes()))
    }

    /// Devices by their names in the bodies, all of the form `inv-0000`.
    fn stored_devices(&self) -> BTreeSet<String> {
        let script = self.script.lock().unwrap();
        let mut devices = BTreeSet::new();
        for body in &script.stored {
            let text = String::from_utf8_lossy(body);
            for (at, _) in text.match_indices("inv-") {
                devices.extend(text.get(at..at + 8).map(str::to_owned));
            }
        }
        devices
    }

    async fn dead_letters(&self) -> Vec<v1::DeadLetter> {
        let tp = TopicPartition::new(topic::DEAD_LETTERS, 0);
        let records = self.log.read(&tp, 0, 1 << 20).await.unwrap();
        let decode = |r: heliograph_log::Record| v1::DeadLetter::decode(r.value.unwrap()).unwrap();
        records.into_iter().map(decode).collect()
    }
}

#[tokio::test]
async fn a_record_that_clickhouse_refuses_becomes_a_dead_letter_and_its_neighbours_are_stored() {
    let rig = start(Mood::RefusesPoison).await;
    let (mut poison, mut end) = (0, 0);
    for i in 0..30 {
        let device = if i == 17 { "poison".to_owned() } else { format!("inv-{i:02}") };
        let offset = rig.append(&device).await;
        if device == "poison" {
            poison = offset;
        }
        end = offset + 1;
    }
    rig.until_committed(end).await;
    for i in (0..30).filter(|i| *i != 17) {
        assert!(rig.is_stored(&format!("inv-{i:02}")), "{i}");
    }
    assert!(!rig.is_stored("poison"));
    let letters = rig.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].origin_partition, letters[0].origin_offset), (Some(3), Some(poison)));
    assert_eq!(letters[0].reason, "refused_by_store");
    assert!(letters[0].detail.contains("Code: 6"), "{}", letters[0].detail);
}

#[tokio::test]
async fn a_record_that_cannot_be_decoded_becomes_a_dead_letter_with_its_bytes() {
    let rig = start(Mood::Well).await;
    let mut record = NewRecord::event(tp(), encode_upload(&sample(), "g1"));
    record.value = Some(Bytes::from_static(b"\xff\xff"));
    let bad = rig.log.append(record.clone()).await.unwrap().offset;
    let end = rig.append("inv-00").await + 1;
    rig.until_committed(end).await;
    assert!(rig.is_stored("inv-00"));
    let letters = rig.dead_letters().await;
    assert_eq!((letters.len(), letters[0].origin_offset), (1, Some(bad)));
    assert_eq!(letters[0].value, record.value.unwrap());
    assert_eq!(letters[0].headers.len(), record.headers.len());
}

fn sample() -> Upload {
    Upload {
        site: SiteId::parse("s1").unwrap(),
        tenant: TenantId::parse("t1").unwrap(),
        upload_id: UploadId::parse("u1").unwrap(),
        received_at: Timestamp::from_ms(0),
        sent_at: None,
        replayed: false,
        readings: vec![],
    }
}

#[tokio::test]
async fn while_clickhouse_is_away_nothing_is_committed_and_what_is_open_is_bounded() {
    let rig = start(Mood::TooManyParts).await;
    let (records, readings) = (200, 1_000);
    let (mut end, mut bytes) = (0, 0);
    for i in 0..records {
        end = rig.append_readings(&format!("inv-{i:04}"), readings).await + 1;
    }
    for record in rig.log.read(&tp(), 0, usize::MAX).await.unwrap() {
        bytes += record.size_bytes();
    }
    assert!(bytes > OPEN_BYTES_MAX * 6, "{bytes}");
    while rig.script.lock().unwrap().tries < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(rig.committed().await, None);
    rig.script.lock().unwrap().mood = Mood::Well;
    rig.until_committed(end).await;
    assert_eq!(rig.stored_devices(), (0..records).map(|i| format!("inv-{i:04}")).collect());
    assert!(rig.dead_letters().await.is_empty());
    // A body is what was in memory at a time: what may be open, and one batch more.
    let script = rig.script.lock().unwrap();
    let total: usize = script.stored.iter().map(Bytes::len).sum();
    let largest = script.stored.iter().map(Bytes::len).max().unwrap();
    assert!(largest * 2 < total, "{largest} of {total} bytes at once");
}

#[tokio::test]
async fn an_error_that_a_person_must_mend_stops_the_writer_and_says_why() {
    let rig = start(Mood::NoTable).await;
    rig.append("inv-00").await;
    let Rig { writer, log, .. } = rig;
    let error = format!("{:#}", writer.await.unwrap().unwrap_err());
    assert!(error.contains("Code: 60"), "{error}");
    assert_eq!(log.committed(GROUP, &tp()).await, Ok(None));
    rig.shutdown.cancel();
}

/// A trace of the test's own.
fn trace(id: &str, flags: &str) -> Option<TraceContext> {
    TraceContext::parse(format!("00-{id}-00f067aa0ba902b7-{flags}").as_bytes())
}

#[tokio::test]
async fn a_block_tells_clickhouse_its_trace_and_names_its_sampled_uploads() {
    let rig = start(Mood::Well).await;
    let id = "c0ffee00c0ffee00c0ffee00c0ffee00";
    for (name, flags, level, sampled, named) in
        [("sampled", "01", "INFO", true, id), ("not sampled", "00", "DEBUG", false, "")]
    {
        let offset = rig.append_traced("inv-00", 3, trace(id, flags)).await;
        rig.until_committed(offset + 1).await;
        let traces = std::mem::take(&mut rig.script.lock().unwrap().traces);
        let [("dirty_buckets", marks), ("readings", rows)] = traces[..] else {
            panic!("{traces:?}")
        };
        assert_eq!((marks, rows.is_sampled()), (rows, sampled), "{name}: both are the block's");
        assert_ne!(Some(rows.trace_id), trace(id, flags).map(|t| t.trace_id), "{name}");
        let mut lines = logs::lines("block stored");
        lines.retain(|line| line["fields"]["trace_id"] == rows.trace_id.to_string());
        let [line] = &lines[..] else { panic!("{name}: want one line: {lines:?}") };
        assert_eq!(line["level"], level, "{line}");
        let fields = &line["fields"];
        assert_eq!(fields["sampled_uploads"], named, "{line}");
        assert_eq!((&fields["table"], &fields["rows"]), (&"readings".into(), &3.into()));
        assert_eq!(fields["offsets"], format!("3:{offset}-{offset}"));
    }
}

#[tokio::test]
async fn a_dead_letter_is_of_the_trace_of_its_record() {
    let rig = start(Mood::RefusesPoison).await;
    let of_upload = trace("dead0000dead0000dead0000dead0000", "01");
    let offset = rig.append_traced("poison", 1, of_upload).await;
    rig.until_committed(offset + 1).await;
    let mut record = NewRecord::event(tp(), encode_upload(&sample(), "g1"));
    record.headers.extend(of_upload.map(trace_header));
    record.value = Some(Bytes::from_static(b"\xff\xff"));
    let offset = rig.log.append(record).await.unwrap().offset;
    rig.until_committed(offset + 1).await;
    let letters = TopicPartition::new(topic::DEAD_LETTERS, 0);
    let letters = rig.log.read(&letters, 0, 1 << 20).await.unwrap();
    let traces: Vec<_> = letters.iter().map(|letter| trace_of(&letter.headers)).collect();
    assert_eq!(traces, [of_upload, of_upload]);
    let lines = logs::lines("dead letter").into_iter();
    let named = lines.filter(|l| l["fields"]["trace_id"] == "dead0000dead0000dead0000dead0000");
    assert_eq!(named.count(), 2);
}

/// A mark at or above the committed offset may stand without its rows. Marked clean before they
/// come, it would outdo the same mark when they do.
#[tokio::test]
async fn only_what_is_committed_is_read_back_as_dirty() {
    let first = start(Mood::Well).await;
    let end = first.append("inv-00").await + 1;
    first.until_committed(end).await;
    assert!(
        first.script.lock().unwrap().read_back.is_empty(),
        "nothing was committed at the start"
    );
    first.shutdown.cancel();
    first.writer.await.unwrap().unwrap();

    let second = start_on(first.log, Mood::Well).await;
    let read_back = loop {
        if let Some(text) = second.script.lock().unwrap().read_back.first() {
            break text.clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let bound = format!("log_partition = 3 AND version < {}", end * 2);
    assert!(read_back.contains(&bound), "{read_back}");
}

/// The parts of the pipeline end well behind a consumer that failed: that must not be the outcome.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_thrown_out_of_its_group_says_so_and_does_not_end_well() {
    for _ in 0..20 {
        let rig = start(Mood::Well).await;
        let end = rig.append("inv-00").await + 1;
        rig.until_committed(end).await;
        let twin = GroupSpec {
            group: GROUP.to_owned(),
            topic: topic::UPLOADS.into(),
            instance: Some(INSTANCE.to_owned()),
            session_timeout: Duration::from_secs(30),
        };
        let _twin = rig.log.subscribe(twin).await.unwrap();
        let error = rig.writer.await.unwrap().unwrap_err();
        assert!(is_thrown_out(error.as_ref()), "{error:#}");
        rig.shutdown.cancel();
    }
}

/// Tried again as it is, what takes too long takes too long for ever.
#[tokio::test]
async fn a_round_of_rollups_that_takes_too_long_is_tried_in_smaller_ones() {
    let rig = start(Mood::SmallRounds(3)).await;
    let buckets = 40;
    let end = rig.append_every(900, "inv-00", buckets, None).await + 1;
    rig.until_committed(end).await;
    while rig.script.lock().unwrap().recomputed < buckets as usize {
        assert!(!rig.writer.is_finished(), "the writer has stopped");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
