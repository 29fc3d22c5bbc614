//! `bulkheads`: what viewers and a ClickHouse that hangs take from uploads.
//!
//! A: uploads/s that the gateway accepts while more viewers ask than the query service has places
//! for, and while ClickHouse, behind a proxy, takes every statement and answers none: those of the
//! viewers and the writer's inserts. B: the same with nobody else: no viewer, and writer and query
//! service stand still (SIGSTOP). A may be slower by 10 %: connections, places, memory and cores are
//! shared in as far as they are shared at all. A run counts when the topic holds what was accepted.

use super::gateway::{CONNECTIONS, Door, RUN, SITES};
use crate::{
    load::Arrivals,
    pairs::alternate,
    report::{Measured, Outcome, Side, Want},
    rig::{Rig, until},
    uploads::{Fleet, START_MS},
};
use anyhow::ensure;
use heliograph_contract::v1::{
    QueryReadingsRequest, Step, query_service_client::QueryServiceClient,
};
use heliograph_testkit::{installation::Authorized, proxy::Mood};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::task::JoinSet;
use tonic::Code;

const PAIRS: usize = 5;
/// For 16 places.
const VIEWERS: u64 = 48;
/// A viewer's pace: who was sent away asks again after this.
const THINKING: Duration = Duration::from_millis(250);
const SHARE_OF_CALM: f64 = 0.9;
const DAY_MS: i64 = 86_400_000;

/// What viewers were told.
#[derive(Debug, Default)]
struct Told {
    no_place: AtomicU64,
    no_time: AtomicU64,
    other: AtomicU64,
}

/// See the module.
pub async fn bulkheads() -> anyhow::Result<Vec<Outcome>> {
    let (rig, proxy) = Rig::start_behind_proxy(&[
        ("HELIOGRAPH_QUERY__DEADLINE_MAX", "2s".into()),
        ("HELIOGRAPH_WRITER__INSERT_TIMEOUT", "2s".into()),
    ])?;
    let door = Door::before(rig, SITES)?;
    door.capacity().await?;
    proxy.set(Mood::Hang);
    let told = Arc::new(Told::default());
    let load = || door.load(CONNECTIONS, Arrivals::Closed(RUN));
    let others = ["writer", "query"];
    let pairs = alternate(
        PAIRS,
        async |_| {
            let mut viewers = JoinSet::new();
            for site in 0..VIEWERS {
                viewers.spawn(view(door.rig.it.queries().await?, site, told.clone()));
            }
            let seen = || (told.no_place.load(Relaxed), told.no_time.load(Relaxed));
            let before = seen();
            until("viewers without a place or an answer", Duration::from_secs(30), async || {
                Ok(seen().0 > before.0 && seen().1 > before.1)
            })
            .await?;
            Ok(door.run(load()?).await?.1)
        },
        async |_| {
            for name in others {
                door.rig.it.process(name)?.pause()?;
            }
            let (_, side) = door.run(load()?).await?;
            for name in others {
                door.rig.it.process(name)?.resume()?;
            }
            Ok::<Side, anyhow::Error>(side)
        },
    )
    .await?;
    ensure!(told.other.load(Relaxed) == 0, "{told:?}");
    let measured = Measured { name: "bulkheads", unit: "uploads/s", want: Want::AtLeast };
    let mut outcome = measured.of_pairs(pairs, |calm| calm.value * SHARE_OF_CALM)?;
    outcome.note("share_of_calm", outcome.ratio * SHARE_OF_CALM);
    outcome.note("connections_to_clickhouse_max", proxy.counts().open_max);
    outcome.note("viewers", VIEWERS);
    outcome.note("viewers_without_a_place", told.no_place.load(Relaxed));
    outcome.note("viewers_without_an_answer", told.no_time.load(Relaxed));
    Ok(vec![outcome])
}

/// Asks one question after the other, until it is dropped.
async fn view(mut client: QueryServiceClient<Authorized>, site: u64, told: Arc<Told>) {
    let request = QueryReadingsRequest {
        site_id: Fleet::site(site),
        start_ms: START_MS,
        end_ms: START_MS + 60 * DAY_MS,
        step: Step::Day.into(),
        ..Default::default()
    };
    loop {
        let counter = match client.query_readings(request.clone()).await.map_err(|s| s.code()) {
            Err(Code::ResourceExhausted) => &told.no_place,
            Err(Code::DeadlineExceeded) => &told.no_time,
            Ok(_) | Err(_) => &told.other,
        };
        counter.fetch_add(1, Relaxed);
        tokio::time::sleep(THINKING).await;
    }
}
