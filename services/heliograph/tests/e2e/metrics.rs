//! Metrics: the reference page is what the code counts, each of them is seen with a plausible value,
//! and faults show.

use crate::support::{Installation, OnLog, Setup, data_dir, python, repository};
use anyhow::ensure;
use heliograph_contract::v1::{self, UploadRequest, upload_service_client::UploadServiceClient};
use heliograph_detector::metrics::GROUPS;
use heliograph_log::{consumer::ConsumerFamilies, metered::LogMetrics};
use heliograph_metrics::Described;
use heliograph_service::ops;
use heliograph_testkit::kafka::Broker;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tonic::{Request, metadata::MetadataValue, transport::Channel};

const PAGE: &str = "docs/metrics.md";

/// Everything that any process shows.
fn described() -> Vec<Described> {
    let mut registry = ops::registry();
    LogMetrics::register(&mut registry);
    heliograph_gateway::Metrics::register(&mut registry);
    let groups = [&[heliograph_writer::config::GROUP][..], &GROUPS].concat();
    let consumers = ConsumerFamilies::register(&mut registry, &groups);
    heliograph_writer::Metrics::register(&mut registry, &consumers);
    heliograph_detector::Metrics::register(&mut registry, &consumers);
    heliograph_query::Metrics::register(&mut registry);
    registry.described().to_vec()
}

fn page(all: &[Described]) -> String {
    let mut page = include_str!("../metrics/head.md").to_owned();
    let mut of = String::new();
    for Described { name, kind, help, labels } in all {
        let hop = name.split('_').take(2).collect::<Vec<_>>().join("_");
        let hop = if name.starts_with("process_") { "process" } else { &*hop };
        if of != hop {
            of = hop.to_owned();
            // Writing to a string does not fail.
            let _ = write!(
                page,
                "\n## `{of}_…`\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
            );
        }
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, values)| format!("`{label}`: {}", values.join(", ")))
            .collect();
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {help} |", labels.join("; "));
    }
    page
}

#[test]
fn the_reference_page_is_what_the_code_counts() -> anyhow::Result<()> {
    let (path, want) = (repository().join(PAGE), page(&described()));
    if std::env::var_os("HELIOGRAPH_BLESS").is_some() {
        std::fs::write(&path, &want)?;
    }
    let got = std::fs::read_to_string(&path).unwrap_or_default();
    ensure!(got == want, "{PAGE} is not what the code counts; HELIOGRAPH_BLESS=1 writes it anew");
    Ok(())
}

#[test]
fn names_and_labels_keep_to_the_conventions() {
    let forbidden = ["site", "site_id", "tenant", "device", "token", "address", "peer"];
    for Described { name, kind, help, labels } in described() {
        assert!(name.starts_with("heliograph_") || name.starts_with("process_"), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}: {kind}");
        assert!(help.len() > 5 && !help.ends_with('.'), "{name}: {help}");
        for (label, _) in &labels {
            assert!(!forbidden.contains(label), "{name}: {label} has too many values");
        }
    }
}

/// A series' labels and value.
type Sample = (BTreeMap<String, String>, f64);

/// One look at a process, by the name of the sample.
struct Scrape(BTreeMap<String, Vec<Sample>>);

impl Scrape {
    /// As Prometheus' own parsers of both formats read it.
    fn of(ops: &str) -> anyhow::Result<Self> {
        let mut samples = BTreeMap::<String, Vec<Sample>>::new();
        for format in ["openmetrics", "plain"] {
            let script = repository().join("services/heliograph/tests/metrics/scrape.py");
            let url = format!("{ops}/metrics");
            let output = python()?.arg(script).args([&*url, format]).output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            samples.clear();
            type Family = (String, String, String, Vec<(String, BTreeMap<String, String>, f64)>);
            for (_, _, _, of_family) in serde_json::from_slice::<Vec<Family>>(&output.stdout)? {
                for (name, labels, value) in of_family {
                    samples.entry(name).or_default().push((labels, value));
                }
            }
        }
        Ok(Self(samples))
    }

    /// Of all series of a sample that have these labels; none when there is no series.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |of: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| of.get(*label).is_some_and(|got| got == value))
        };
        let found: Vec<f64> =
            self.0.get(name)?.iter().filter(|(of, _)| has(of)).map(|(_, value)| *value).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.sum(name, labels).unwrap_or(f64::NAN)
    }
}

/// The sum of a metric's series, a histogram's observations; and where it must lie after the run of
/// [`every_metric_is_seen_with_a_plausible_value`]. A metric without a row fails.
#[rustfmt::skip]
const PLAUSIBLE: &[(&str, f64, f64)] = &[
    ("process_cpu_seconds_total",                         0.01, 600.0),
    ("process_start_time_seconds",                        1.7e9, 1e10),
    ("process_resident_memory_bytes",                     2e7, 8e9),
    ("process_virtual_memory_bytes",                      2e7, 1e13),
    ("process_threads",                                   4.0, 2_000.0),
    ("process_open_fds",                                  10.0, 10_000.0),
    ("process_max_fds",                                   256.0, 1e10),
    ("heliograph_build_info",                             1.0, 1.0),
    ("heliograph_process_suppressed_log_lines_total",     0.0, 0.0),
    ("heliograph_log_append_duration_seconds",            15.0, 100_000.0),
    ("heliograph_log_appended_bytes_total",               1_000.0, 1e8),
    ("heliograph_log_append_errors_total",                0.0, 0.0),
    ("heliograph_log_appends_in_flight",                  0.0, 24.0),
    ("heliograph_gateway_uploads_accepted_total",         4.0, 4.0),
    // Two, and those that asked whether the gateway knows the token.
    ("heliograph_gateway_uploads_refused_total",          3.0, 10_000.0),
    ("heliograph_gateway_upload_duration_seconds",        7.0, 10_000.0),
    ("heliograph_gateway_readings_accepted_total",        5.0, 5.0),
    ("heliograph_gateway_readings_rejected_total",        1.0, 1.0),
    ("heliograph_gateway_uploads_in_flight",              0.0, 1.0),
    ("heliograph_gateway_uploads_in_flight_bytes",        0.0, 1e6),
    ("heliograph_gateway_streams",                        0.0, 0.0),
    ("heliograph_gateway_uploads_in_flight_max",          1_024.0, 1_024.0),
    ("heliograph_gateway_uploads_in_flight_max_bytes",    67_108_864.0, 67_108_864.0),
    ("heliograph_gateway_streams_max",                    256.0, 256.0),
    ("heliograph_gateway_self_upload_ok",                 1.0, 1.0),
    ("heliograph_gateway_ticks_appended_total",           12.0, 100_000.0),
    ("heliograph_gateway_ticks_failed_total",             0.0, 0.0),
    ("heliograph_gateway_connections_accepted_total",     5.0, 100_000.0),
    ("heliograph_gateway_connections",                    0.0, 10.0),
    ("heliograph_gateway_connections_max",                10_000.0, 10_000.0),
    ("heliograph_gateway_accept_errors_total",            0.0, 0.0),
    ("heliograph_consumer_records_total",                 15.0, 100_000.0),
    ("heliograph_consumer_open_records",                  0.0, 50_000.0),
    ("heliograph_consumer_open_bytes",                    0.0, 16_777_216.0),
    ("heliograph_consumer_paused",                        0.0, 0.0),
    ("heliograph_consumer_rebalances_total",              25.0, 25.0),
    ("heliograph_consumer_errors_total",                  0.0, 0.0),
    ("heliograph_consumer_partitions",                    25.0, 25.0),
    ("heliograph_consumer_lag_records",                   0.0, 5_000.0),
    ("heliograph_consumer_lag_seconds",                   0.0, 1_200.0),
    ("heliograph_writer_block_rows",                      2.0, 100.0),
    ("heliograph_writer_insert_duration_seconds",         2.0, 100.0),
    ("heliograph_writer_insert_errors_total",             0.0, 0.0),
    ("heliograph_writer_dead_letters_total",              0.0, 0.0),
    ("heliograph_writer_newest_stored_timestamp_seconds", 1.7e9, 1e10),
    ("heliograph_writer_dirty_buckets",                   0.0, 10.0),
    ("heliograph_writer_dirty_buckets_max",               200_000.0, 200_000.0),
    ("heliograph_writer_rollup_duration_seconds",         1.0, 100.0),
    ("heliograph_writer_rollup_errors_total",             0.0, 0.0),
    ("heliograph_detector_alerts_total",                  0.0, 0.0),
    ("heliograph_detector_sites",                         1.0, 1.0),
    ("heliograph_detector_stale_sites",                   0.0, 0.0),
    ("heliograph_detector_door_closed_seconds",           0.0, 100.0),
    ("heliograph_detector_snapshots_total",               0.0, 1_000.0),
    ("heliograph_detector_undecodable_records_total",     0.0, 0.0),
    ("heliograph_query_calls_total",                      3.0, 1_000.0),
    ("heliograph_query_call_duration_seconds",            3.0, 1_000.0),
    ("heliograph_query_calls_open",                       0.0, 5.0),
    ("heliograph_query_calls_open_max",                   292.0, 292.0),
    ("heliograph_query_statement_duration_seconds",       1.0, 1_000.0),
    ("heliograph_query_statement_errors_total",           0.0, 0.0),
    ("heliograph_query_connections_accepted_total",       2.0, 1_000.0),
    ("heliograph_query_connections",                      0.0, 10.0),
    ("heliograph_query_connections_max",                  10_000.0, 10_000.0),
    ("heliograph_query_accept_errors_total",              0.0, 0.0),
];

fn reading(minute: u32, value: Value) -> Value {
    json!({ "device": "inv1", "metric": "ac_power", "value": value,
            "ts": format!("2026-01-01T00:{minute:02}:00Z") })
}

/// Four uploads of five readings in four ways, one reading rejected, two uploads refused.
async fn use_every_way(up: &Installation, token: &str) -> anyhow::Result<()> {
    let body =
        json!({ "site": "s1", "readings": [reading(0, json!(1.0)), reading(1, json!("x"))] });
    let (status, answer) = up.upload(token, &body).await?;
    ensure!(status == 200 && answer["accepted"] == 1, "{status} {answer}");
    ensure!(up.upload("hg_site_wrong", &body).await?.0 == 401);
    ensure!(up.upload(token, &json!({ "site": "s1", "frobs": 1 })).await?.0 == 400);
    let lines = "inv1 ac_power=1 1767225720000000000\ninv1 ac_power=2 1767225780000000000\n";
    let client = reqwest::Client::new();
    let write = client.post(format!("{}/api/v2/write", up.gateway)).bearer_auth(token);
    ensure!(write.body(lines).send().await?.status() == 204);

    let readings = |minute: i64| UploadRequest {
        site_id: "s1".into(),
        readings: vec![v1::SentReading {
            device: "inv1".into(),
            metric: "ac_power".into(),
            ts_ms: Some(1_767_225_600_000 + minute * 60_000),
            value: Some(1.0),
            ..Default::default()
        }],
        ..Default::default()
    };
    let channel = Channel::from_shared(up.gateway.clone())?.connect().await?;
    let mut grpc = UploadServiceClient::new(channel);
    let bearer: MetadataValue<_> = format!("Bearer {token}").parse()?;
    let mut request = Request::new(readings(4));
    request.metadata_mut().insert("authorization", bearer.clone());
    grpc.upload(request).await?;
    let messages = futures::stream::iter([v1::UploadStreamRequest { upload: Some(readings(5)) }]);
    let mut request = Request::new(messages);
    request.metadata_mut().insert("authorization", bearer);
    let mut results = grpc.upload_stream(request).await?.into_inner();
    while results.message().await?.is_some() {}
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_seen_with_a_plausible_value() -> anyhow::Result<()> {
    let dir = data_dir();
    let up = Installation::start(OnLog::Local, dir.path())?;
    let token = up.add_site("s1", "Asia/Tokyo")?;
    use_every_way(&up, &token).await?;
    ensure!(up.audit(&[])?["stored"] == 5);
    let shown = up.command(&["readings", "s1", "--from", "2026-01-01", "--to", "2026-01-02"])?;
    ensure!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    // The lag is asked for every few seconds; the consumers may still be joining their groups.
    let is_whole = |scrape: &Scrape| {
        scrape.sum("heliograph_consumer_lag_records", &[]).is_some()
            && scrape.sum("heliograph_consumer_partitions", &[]) == Some(25.0)
            && scrape.value("heliograph_gateway_self_upload_ok", &[]) == 1.0
    };
    let scrape = until(&up.ops("up"), "the lag", is_whole).await?;
    let mut wrong = Vec::new();
    let all = described();
    for Described { name, kind, .. } in &all {
        let sample = if *kind == "histogram" { format!("{name}_count") } else { name.clone() };
        match (PLAUSIBLE.iter().find(|(row, ..)| row == name), scrape.sum(&sample, &[])) {
            (None, _) => wrong.push(format!("{name} has no row here")),
            (_, None) => wrong.push(format!("{name} is not shown")),
            (Some((_, least, most)), Some(got)) if !(*least..=*most).contains(&got) => {
                wrong.push(format!("{name}: {got}, want {least} to {most}"));
            }
            _ => {}
        }
    }
    for (name, ..) in PLAUSIBLE {
        if !all.iter().any(|d| d.name == *name) {
            wrong.push(format!("{name} is not counted any more"));
        }
    }
    let newest = scrape.value("heliograph_writer_newest_stored_timestamp_seconds", &[]);
    let age = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() - newest;
    ensure!((-1.0..600.0).contains(&age), "the newest stored row is {age} s old");
    ensure!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Looks at a process until `what` holds.
async fn until(ops: &str, name: &str, what: impl Fn(&Scrape) -> bool) -> anyhow::Result<Scrape> {
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let scrape = Scrape::of(ops)?;
        if what(&scrape) {
            return Ok(scrape);
        }
        ensure!(Instant::now() < deadline, "{name} is never seen: {:#?}", scrape.0);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_show_in_the_metrics() -> anyhow::Result<()> {
    let dir = data_dir();
    let mut broker = Broker::start()?;
    // Faults are told soon, so that the test need not wait for them.
    let mut up = Setup::new(OnLog::Kafka, dir.path())
        .kafka(broker.bootstrap_servers(), 1)
        .env("HELIOGRAPH_LOG__KAFKA__DELIVERY_TIMEOUT_MS", "2000")
        .env("HELIOGRAPH_LOG__KAFKA__REQUEST_TIMEOUT_MS", "1000")
        .start()?;
    let token = up.add_site("s1", "Asia/Tokyo")?;
    let url = format!("{}/v1/uploads", up.gateway);
    let upload = async |token: &str, body: Value| -> anyhow::Result<u16> {
        let request = reqwest::Client::new().post(&url).bearer_auth(token).json(&body);
        Ok(request.send().await?.status().as_u16())
    };
    let good = |minute| json!({ "site": "s1", "readings": [reading(minute, json!(1.0))] });
    let [gateway, writer, query] = ["gateway", "writer", "query"].map(|name| up.ops(name));
    let refused = "heliograph_gateway_uploads_refused_total";

    // A flood of bad input, after the questions whether the new site is known.
    let refusals = |scrape: &Scrape, reason| {
        scrape.sum(refused, &[("reason", reason), ("protocol", "http")]).unwrap_or(0.0)
    };
    let before = Scrape::of(&gateway)?;
    for n in 0..60 {
        ensure!(upload("hg_site_wrong", good(0)).await? == 401);
        ensure!(upload(&token, json!({ "site": 7 })).await? == 400);
        let rejected = json!({ "site": "s1", "readings": [reading(n, json!("x"))] });
        ensure!(upload(&token, rejected).await? == 200);
    }
    let scrape = Scrape::of(&gateway)?;
    for (reason, want) in [("wrong-token", 60.0), ("malformed-upload", 60.0), ("unavailable", 0.0)]
    {
        let got = refusals(&scrape, reason) - refusals(&before, reason);
        ensure!(got == want, "{reason}: {got}");
    }
    ensure!(scrape.value("heliograph_gateway_readings_rejected_total", &[]) == 60.0);
    let letters = [("topic", "heliograph.dead-letters")];
    ensure!(scrape.value("heliograph_log_append_duration_seconds_count", &letters) == 60.0);

    // ClickHouse away: uploads go on, the writer says what it waits for and how far it is behind.
    up.kill("store")?;
    ensure!(upload(&token, good(1)).await? == 200);
    let is_behind = |scrape: &Scrape| {
        let tries = [("class", "try_again")];
        scrape.value("heliograph_writer_insert_errors_total", &tries) > 0.0
            && scrape.value("heliograph_consumer_lag_seconds", &[]) > 5.0
            && scrape.value("heliograph_consumer_open_records", &[]) > 0.0
    };
    until(&writer, "the lag behind ClickHouse", is_behind).await?;
    let shown = up.command(&["readings", "s1", "--from", "2026-01-01", "--to", "2026-01-02"])?;
    ensure!(!shown.status.success());
    let scrape = Scrape::of(&query)?;
    ensure!(scrape.value("heliograph_query_calls_total", &[("code", "UNAVAILABLE")]) > 0.0);
    ensure!(
        scrape.value("heliograph_query_statement_errors_total", &[("class", "try_again")]) > 0.0
    );
    let before = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    up.spawn("store")?;
    up.wait_ready()?;
    ensure!(upload(&token, good(2)).await? == 200);
    let has_caught_up = |scrape: &Scrape| {
        scrape.value("heliograph_writer_newest_stored_timestamp_seconds", &[]) >= before - 1.0
    };
    until(&writer, "the newest row", has_caught_up).await?;

    // Kafka away: 503 with its reason, failed appends and ticks, the door is closed.
    broker.kill(0);
    ensure!(upload(&token, good(3)).await? == 503);
    let is_closed = |scrape: &Scrape| {
        let uploads = [("topic", "heliograph.uploads"), ("reason", "unavailable")];
        scrape.value(refused, &[("reason", "unavailable")]) >= 1.0
            && scrape.value("heliograph_log_append_errors_total", &uploads) >= 1.0
            && scrape.value("heliograph_gateway_ticks_failed_total", &[]) >= 1.0
            && scrape.value("heliograph_gateway_self_upload_ok", &[]) == 0.0
    };
    until(&gateway, "the fault of Kafka", is_closed).await?;
    let cannot_ask = |scrape: &Scrape| scrape.value("heliograph_consumer_errors_total", &[]) >= 1.0;
    until(&writer, "that the log cannot be asked", cannot_ask).await?;
    broker.restart(0)?;
    let is_open = |scrape: &Scrape| scrape.value("heliograph_gateway_self_upload_ok", &[]) == 1.0;
    until(&gateway, "the open door", is_open).await?;
    ensure!(upload(&token, good(4)).await? == 200);
    up.stop()
}
