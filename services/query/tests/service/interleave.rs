//! What happens between two statements of one call: the writer goes on, and no answer may be behind
//! what was visible when the call began. A proxy in front of the store holds each statement until
//! the test lets it through, so every gap is hit every time.

use crate::model::{self, DAY_MS, HOUR_MS, Row, row};
use crate::support::{OPERATOR, Stage, database};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use heliograph_contract::v1;
use heliograph_service::http::{HttpLimits, bind, serve};
use heliograph_store::{StoreConfig, connect};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::sync::{mpsc, oneshot};

const SITE: &str = "s1";
/// 2026-01-01T00:00:00Z
const START_MS: i64 = 1_767_225_600_000;
/// What is asked for, and in how many statements: list of dirty buckets, points; where the step is
/// left open, a count in between.
const ASKED: [(v1::Step, usize); 3] =
    [(v1::Step::Step15Min, 2), (v1::Step::Hour, 2), (v1::Step::Unspecified, 3)];

/// A statement that waits to go on.
type Arrival = oneshot::Sender<()>;

#[derive(Clone)]
struct Proxy {
    store_url: String,
    arrivals: mpsc::UnboundedSender<Arrival>,
}

async fn forward(State(proxy): State<Proxy>, request: Request) -> Response {
    let (go, may_go) = oneshot::channel();
    proxy.arrivals.send(go).unwrap();
    may_go.await.unwrap();
    let (mut parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path_and_query().unwrap().as_str();
    parts.uri = format!("{}{path}", proxy.store_url).parse().unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(Request::from_parts(parts, Body::from(body))).await.unwrap();
    answer.map(Body::new)
}

/// The store behind a proxy, and the statements as they arrive there.
async fn proxied(store: &StoreConfig) -> (StoreConfig, mpsc::UnboundedReceiver<Arrival>) {
    let (arrivals, arriving) = mpsc::unbounded_channel();
    let proxy = Proxy { store_url: store.url.clone(), arrivals };
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(forward).with_state(proxy);
    tokio::spawn(serve(
        listener,
        router,
        HttpLimits::default(),
        Default::default(),
        Default::default(),
    ));
    (StoreConfig { url, ..store.clone() }, arriving)
}

/// A site with a writer that the test turns by hand.
struct Scene {
    stage: Stage,
    arriving: mpsc::UnboundedReceiver<Arrival>,
    rows: Vec<Row>,
}

impl Scene {
    async fn start(name: &str) -> Self {
        let direct = database(name).await;
        let (store, arriving) = proxied(&direct).await;
        let mut stage = Stage::start_with(store, Default::default()).await;
        stage.store = connect(&direct);
        stage.put_site("t1", SITE, "UTC").await;
        Self { stage, arriving, rows: Vec::new() }
    }

    /// One more reading, up to where it is visible.
    async fn write(&mut self) {
        let n = self.rows.len() as i64;
        let block = [row("inv1", START_MS + n * 1_000, 1.0, n as u64 + 1)];
        model::mark(&self.stage.store, SITE, &block, true).await;
        model::store(&self.stage.store, SITE, &block).await;
        self.rows.extend(block);
    }

    async fn roll(&self) {
        let days = |ts: i64| ts - ts.rem_euclid(DAY_MS);
        model::roll_up(&self.stage.store, SITE, &self.rows, days, 0).await;
        model::mark(&self.stage.store, SITE, &self.rows, false).await;
    }

    /// How many readings the answer counts when `turn` happens before statement `gap`.
    async fn counted(
        &mut self,
        (step, statements): (v1::Step, usize),
        gap: usize,
        turn: Turn,
    ) -> f64 {
        let mut client = self.stage.query(OPERATOR).await;
        let asked = v1::QueryReadingsRequest {
            site_id: SITE.into(),
            start_ms: START_MS,
            end_ms: START_MS + HOUR_MS,
            step: step.into(),
            aggregate: v1::Aggregate::Count.into(),
            ..Default::default()
        };
        let mut call = tokio::spawn(async move { client.query_readings(asked).await });
        let mut arrived = 0;
        let answer = loop {
            tokio::select! {
                answer = &mut call => break answer.unwrap().unwrap().into_inner(),
                arrival = self.arriving.recv() => {
                    arrived += 1;
                    match turn {
                        Turn::Rolls if arrived == gap => self.roll().await,
                        Turn::Writes if arrived == gap => self.write().await,
                        Turn::WritesAndRolls if arrived == gap => {
                            self.write().await;
                            self.roll().await;
                        }
                        _ => {}
                    }
                    arrival.unwrap().send(()).unwrap();
                }
            }
        };
        assert_eq!(arrived, statements, "a gap more or less than the test knows");
        answer.series.first().map_or(0.0, |series| series.values[0])
    }
}

/// What the writer does in the gap.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Rolls,
    Writes,
    WritesAndRolls,
}

#[tokio::test]
async fn no_answer_is_behind_what_was_visible_when_it_was_asked_for() {
    let mut scene = Scene::start("interleave").await;
    for asked in ASKED {
        let (step, statements) = asked;
        for turn in [Turn::Rolls, Turn::Writes, Turn::WritesAndRolls] {
            for gap in 1..=statements {
                // Something rolled up and something that is not, then something new.
                scene.roll().await;
                scene.write().await;
                let visible = scene.rows.len() as f64;
                let got = scene.counted(asked, gap, turn).await;
                let name = format!("{step:?}: the writer {turn:?} before statement {gap}");
                assert!(got >= visible, "{name}: got {got}, visible {visible}");
                assert!(got <= scene.rows.len() as f64, "{name}: got {got}, more than there is");

                // The same from a clean bucket.
                scene.roll().await;
                let visible = scene.rows.len() as f64;
                let got = scene.counted(asked, gap, turn).await;
                assert!(got >= visible, "{name}, all clean: got {got}, visible {visible}");
            }
        }
    }
}
