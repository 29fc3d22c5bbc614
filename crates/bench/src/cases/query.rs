//! `query_overhead`: what the query service adds to the statement that it sends.
//!
//! A: `QueryReadings` over gRPC, as an operator, on one kept connection. B: the statement that makes
//! the points of that very answer, with the service's settings, over the same HTTP client, its blocks
//! read and dropped. The two take turns call by call, and their answers must agree. Three questions:
//! one series of a day as it was measured, a day of one site in steps of 15 minutes (for which the
//! service asks for dirty buckets first, which B leaves out), and all series of a site
//! for a day as measured, 14,400 points. What the service may add at the median is 10 % or 1 ms,
//! whichever is more.

use crate::{
    report::{Measured, Outcome, Pair, Side, Want},
    rig::{DIRTY, Rig, until},
    stats::median,
    uploads::{Fleet, READINGS, START_MS},
};
use anyhow::{Context, ensure};
use clickhouse::native::Block;
use heliograph_contract::v1;
use heliograph_testkit::installation::Authorized;
use std::time::{Duration, Instant};

const PAIRS: usize = 5;
const CALLS: usize = 40;
const SITES: u64 = 20;
const DAY_MS: i64 = 86_400_000;
const SHARE: f64 = 0.1;
const LEAST_MS: f64 = 1.0;

const RAW: &str = "SELECT device, metric, toUnixTimestamp64Milli(ts) AS at, value, \
    toInt8(quality) AS quality FROM readings FINAL WHERE site_id = {site:String}{more} \
    AND ts >= fromUnixTimestamp64Milli({from:Int64}, 'UTC') \
    AND ts < fromUnixTimestamp64Milli({to:Int64}, 'UTC') \
    ORDER BY device, metric, ts LIMIT {limit:UInt64}";
const QUARTERS: &str = "SELECT device, metric, at, total / n AS value FROM (\
    SELECT device, metric, toInt64(toUnixTimestamp(bucket)) AS at, count AS n, sum AS total, \
    min AS low, max AS high, first AS head, last AS tail FROM readings_15m FINAL \
    WHERE site_id = {site:String}{more} \
    AND bucket >= toDateTime(intDiv({from:Int64}, 1000), 'UTC') \
    AND bucket < toDateTime(intDiv({to:Int64}, 1000), 'UTC') AND count > 0) \
    ORDER BY device, metric, at LIMIT {limit:UInt64}";
const ONE_SERIES: &str =
    " AND device IN {devices:Array(String)} AND metric IN {metrics:Array(String)}";

struct Question {
    name: &'static str,
    select: &'static str,
    step: v1::Step,
    one_series: bool,
    points: usize,
}

const QUESTIONS: [Question; 3] = [
    Question {
        name: "query_overhead",
        select: RAW,
        step: v1::Step::Raw,
        one_series: true,
        points: 1_440,
    },
    Question {
        name: "query_overhead.steps_of_15_min",
        select: QUARTERS,
        step: v1::Step::Step15Min,
        one_series: false,
        points: 960,
    },
    Question {
        name: "query_overhead.all_series",
        select: RAW,
        step: v1::Step::Raw,
        one_series: false,
        points: 14_400,
    },
];

/// See the module.
pub async fn overhead() -> anyhow::Result<Vec<Outcome>> {
    let rig = Rig::start(&[])?;
    rig.register(SITES, &["UTC"])?;
    let fleet = Fleet::new(SITES);
    let uploads = SITES * 1_440 / fleet.minutes;
    rig.fill(fleet, uploads)?;
    until("the rollups are there", Duration::from_secs(120), async || {
        let stored = rig.count("SELECT count() FROM readings").await?;
        let rolled = rig.count("SELECT toUInt64(sum(count)) FROM readings_1d FINAL").await?;
        Ok(stored == uploads * READINGS && rolled == stored && rig.count(DIRTY).await? == 0)
    })
    .await?;
    let rig = rig.without(&["gateway", "writer", "detector"])?;
    let mut asking = Asking { queries: rig.it.queries().await?, rig: &rig };
    let mut outcomes = Vec::new();
    for question in &QUESTIONS {
        asking.agree(question).await?;
        let mut pairs = Vec::new();
        for _ in 0..PAIRS {
            pairs.push(asking.pair(question).await?);
        }
        outcomes.push(outcome(question, pairs)?);
    }
    Ok(outcomes)
}

fn outcome(question: &Question, pairs: Vec<Pair>) -> anyhow::Result<Outcome> {
    let measured = Measured { name: question.name, unit: "ms added", want: Want::AtMost };
    let (a, b) =
        pairs.iter().map(|pair| (pair.a.value, pair.b.value)).unzip::<_, _, Vec<_>, Vec<_>>();
    let added = pairs
        .into_iter()
        .map(|pair| {
            let a = Side { value: pair.a.value - pair.b.value, ..pair.a };
            Pair { a, b: pair.b }
        })
        .collect();
    let mut outcome = measured.of_pairs(added, |b| (b.value * SHARE).max(LEAST_MS))?;
    outcome.note("query_readings_ms", median(&a));
    outcome.note("select_ms", median(&b));
    outcome.note("points", question.points);
    outcome.note("calls_a_side", CALLS * PAIRS);
    Ok(outcome)
}

type Queries = v1::query_service_client::QueryServiceClient<Authorized>;

struct Asking<'r> {
    queries: Queries,
    rig: &'r Rig,
}

impl Asking<'_> {
    /// The medians of calls that take turns.
    async fn pair(&mut self, question: &Question) -> anyhow::Result<Pair> {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for call in 0..CALLS as u64 {
            let began = Instant::now();
            self.ask(question, call % SITES).await?;
            a.push(began.elapsed().as_secs_f64() * 1e3);
            let began = Instant::now();
            self.select(question, call % SITES).await?;
            b.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let side = |samples: &[f64]| -> anyhow::Result<Side> {
            Ok(Side { value: median(samples).context("no calls")?, ..Side::default() })
        };
        Ok(Pair { a: side(&a)?, b: side(&b)? })
    }

    async fn ask(&mut self, question: &Question, site: u64) -> anyhow::Result<Vec<f64>> {
        let names = |name: &str| question.one_series.then(|| name.to_owned()).into_iter().collect();
        let request = v1::QueryReadingsRequest {
            site_id: Fleet::site(site),
            devices: names("inv1"),
            metrics: names("ac_power"),
            start_ms: START_MS,
            end_ms: START_MS + DAY_MS,
            step: question.step.into(),
            aggregate: 0,
        };
        let answer = self.queries.query_readings(request).await?.into_inner();
        Ok(answer.series.into_iter().flat_map(|series| series.values).collect())
    }

    async fn select(&self, question: &Question, site: u64) -> anyhow::Result<Vec<Block>> {
        let more = if question.one_series { ONE_SERIES } else { "" };
        let mut query = self
            .rig
            .store
            .query_raw(&question.select.replace("{more}", more))
            .with_setting("readonly", "2")
            .with_setting("cancel_http_readonly_queries_on_client_close", "1")
            .with_setting("max_threads", "4")
            .with_setting("max_memory_usage", (1u64 << 30).to_string())
            .with_setting("do_not_merge_across_partitions_select_final", "1")
            .with_setting("max_execution_time", "30.000")
            .param("site", Fleet::site(site))
            .param("from", START_MS)
            .param("to", START_MS + DAY_MS)
            .param("limit", 100_001);
        if question.one_series {
            query = query.param("devices", ["inv1"].as_slice());
            query = query.param("metrics", ["ac_power"].as_slice());
        }
        let mut cursor = query.fetch_native()?;
        let mut blocks = Vec::new();
        while let Some(block) = cursor.next().await? {
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// Both sides must answer the same, or they were not asked the same.
    async fn agree(&mut self, question: &Question) -> anyhow::Result<()> {
        let answer = self.ask(question, 1).await?;
        let mut selected = Vec::new();
        for block in self.select(question, 1).await? {
            let column = block.column_by_name("value").context("no column value")?;
            for value in column.iter::<f64>()? {
                selected.push(value?);
            }
        }
        ensure!(
            answer == selected && answer.len() == question.points,
            "{}: {} points, and {} by SELECT",
            question.name,
            answer.len(),
            selected.len()
        );
        Ok(())
    }
}
