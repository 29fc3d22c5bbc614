//! Viewers who ask for more than there is, and a ClickHouse that hangs: uploads notice neither.

use crate::fleet::Fleet;
use crate::outages::{PATIENCE, audited, until};
use crate::support::{Authorized, OnLog, Setup, data_dir, ports_in_a_row};
use anyhow::{Context, ensure};
use heliograph_contract::v1::{
    QueryReadingsRequest, Step, query_service_client::QueryServiceClient,
};
use heliograph_testkit::proxy::{Mood, Proxy};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::task::JoinSet;
use tonic::Code;

/// Calls of viewers at once, for so many places, on so few connections.
const VIEWERS: usize = 24;
const PLACES: usize = 8;
const CONNECTIONS_MAX: usize = 4;
/// Who was sent away asks again after this: it is a viewer's pace, nothing is awaited by it.
const THINKING: Duration = Duration::from_millis(50);
/// Uploads that must be accepted in each phase.
const UPLOADS: u64 = 200;

/// What viewers were told.
#[derive(Debug, Default)]
struct Told {
    readings: AtomicU64,
    no_place: AtomicU64,
    no_time: AtomicU64,
    other: AtomicU64,
    enough: AtomicBool,
}

/// Asks one heavy question after the other.
async fn view(mut client: QueryServiceClient<Authorized>, site: String, told: Arc<Told>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let end_ms = now.as_millis() as i64;
    let request = QueryReadingsRequest {
        site_id: site,
        start_ms: end_ms - 60 * 86_400_000,
        end_ms,
        step: Step::Day.into(),
        ..Default::default()
    };
    while !told.enough.load(Relaxed) {
        let counter = match client.query_readings(request.clone()).await {
            Ok(_) => &told.readings,
            Err(status) => match status.code() {
                Code::ResourceExhausted => &told.no_place,
                Code::DeadlineExceeded | Code::Unavailable => &told.no_time,
                _ => &told.other,
            },
        };
        counter.fetch_add(1, Relaxed);
        tokio::time::sleep(THINKING).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_do_not_notice_saturated_viewers_or_a_clickhouse_that_hangs() -> anyhow::Result<()>
{
    let dir = data_dir();
    let setup = Setup::new(OnLog::Kafka, dir.path()).port_base(ports_in_a_row(Setup::ports())?);
    let proxy = Proxy::start(setup.store_addr())?;
    let up = setup
        .env("HELIOGRAPH_STORE__URL", proxy.url())
        .env("HELIOGRAPH_STORE__CONNECTIONS_MAX", CONNECTIONS_MAX.to_string())
        .env("HELIOGRAPH_QUERY__CONCURRENCY_MAX", PLACES.to_string())
        .env("HELIOGRAPH_QUERY__TENANT_CONCURRENCY_MAX", PLACES.to_string())
        .env("HELIOGRAPH_QUERY__DEADLINE_MAX", "5s")
        .env("HELIOGRAPH_WRITER__INSERT_TIMEOUT", "5s")
        .env("HELIOGRAPH_WRITER__RETRY_DELAY_MAX", "300ms")
        .start()?;
    let fleet = Fleet::start(
        &up,
        dir.path(),
        5,
        &["--concurrency", "2", "--readings-per-upload", "100", "--request-timeout", "20s"],
    )?;
    let more = |from: u64| fleet.accepted() >= from + UPLOADS;
    until("the loggers", || more(0))?;

    let tokens = std::fs::read(dir.path().join("tokens.json"))?;
    let tokens: serde_json::Value = serde_json::from_slice(&tokens)?;
    let sites: Vec<&String> = tokens.as_object().context("tokens.json")?.keys().collect();
    let told = Arc::new(Told::default());
    let mut viewers = JoinSet::new();
    for site in sites.iter().cycle().take(VIEWERS) {
        viewers.spawn(view(up.queries().await?, (*site).clone(), told.clone()));
    }
    until("viewers without a place", || told.no_place.load(Relaxed) > VIEWERS as u64)?;
    let accepted = fleet.accepted();
    until("saturated viewers: uploads", || more(accepted))?;
    proxy.set(Mood::Hang);
    until("viewers without an answer", || told.no_time.load(Relaxed) > 0)?;
    let accepted = fleet.accepted();
    until("ClickHouse hangs: uploads", || more(accepted))?;
    proxy.set(Mood::Pass);
    let readings = told.readings.load(Relaxed);
    until("viewers see readings again", || told.readings.load(Relaxed) > readings)
        .with_context(|| format!("{told:?} {:?}", proxy.counts()))?;
    told.enough.store(true, Relaxed);
    let end = Instant::now() + PATIENCE;
    while viewers.join_next().await.is_some() {
        ensure!(Instant::now() < end, "viewers do not come to an end");
    }

    ensure!(told.other.load(Relaxed) == 0, "{told:?}");
    let seen = fleet.seen();
    ensure!(fleet.refused("503") == 0 && seen["uploads_unanswered"] == 0, "{seen}");
    // The writer's and the query service's.
    let counts = proxy.counts();
    let most = 2 * CONNECTIONS_MAX;
    ensure!((CONNECTIONS_MAX..=most).contains(&counts.open_max), "{counts:?}, want at most {most}");
    audited(&up, fleet)?;
    up.stop()
}
