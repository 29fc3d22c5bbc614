//! The views over the wire, from a service that answers what the test says.

use super::{Client, alerts, readings, sites, status};
use crate::access::{Access, AccessArgs};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use heliograph_contract::v1::{
    self,
    query_service_server::{QueryService, QueryServiceServer},
};
use heliograph_domain::Timestamp;
use heliograph_service::{
    Shutdown,
    http::{HttpLimits, bind, serve},
};
use std::sync::{Arc, Mutex};
use tonic::{Code, Request, Response, Status, service::Routes};

const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

/// Three sites on two pages; remembers what it was asked for.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Vec<v1::QueryReadingsRequest>>>);

fn authorized<T>(request: &Request<T>) -> Result<(), Status> {
    match request.metadata().get("authorization") {
        Some(value) if value == "Bearer secret" => Ok(()),
        _ => Err(Status::new(Code::Unauthenticated, "the token is not known")),
    }
}

fn site(id: &str) -> v1::SiteSummary {
    let zone = "Asia/Tokyo".into();
    v1::SiteSummary { site_id: id.into(), zone, rated_power_w: 49_500.0, ..Default::default() }
}

#[tonic::async_trait]
impl QueryService for Fake {
    async fn list_sites(
        &self,
        request: Request<v1::ListSitesRequest>,
    ) -> Result<Response<v1::ListSitesResponse>, Status> {
        authorized(&request)?;
        let (ids, next) = match request.get_ref().page_token.as_str() {
            "" => (vec!["s1", "s2"], "s2"),
            _ => (vec!["s3"], ""),
        };
        let sites = ids.into_iter().map(site).collect();
        Ok(Response::new(v1::ListSitesResponse { sites, next_page_token: next.into() }))
    }

    async fn get_site(
        &self,
        request: Request<v1::GetSiteRequest>,
    ) -> Result<Response<v1::GetSiteResponse>, Status> {
        authorized(&request)?;
        let id = request.into_inner().site_id;
        let last_received_at_ms = (id == "s2").then(|| NOW.as_ms() - 3_000);
        let site = Some(site(&id));
        Ok(Response::new(v1::GetSiteResponse { site, last_received_at_ms, ..Default::default() }))
    }

    async fn query_readings(
        &self,
        request: Request<v1::QueryReadingsRequest>,
    ) -> Result<Response<v1::QueryReadingsResponse>, Status> {
        authorized(&request)?;
        let request = request.into_inner();
        let (ts_ms, step) = (vec![request.start_ms], v1::Step::Hour.into());
        self.0.lock().unwrap().push(request);
        let series = v1::Series {
            device: "inv1".into(),
            metric: "ac_power".into(),
            unit: "W".into(),
            ts_ms,
            values: vec![1_234.5],
            qualities: vec![],
        };
        Ok(Response::new(v1::QueryReadingsResponse { step, series: vec![series] }))
    }

    type SubscribeAlertsStream = BoxStream<'static, Result<v1::SubscribeAlertsResponse, Status>>;

    /// One alert is there, one comes again and with the next; then the way to us breaks. Who comes
    /// back with the last token is not known any more.
    async fn subscribe_alerts(
        &self,
        request: Request<v1::SubscribeAlertsRequest>,
    ) -> Result<Response<Self::SubscribeAlertsStream>, Status> {
        authorized(&request)?;
        let answer = |alerts: &[v1::Alert], token: &str| {
            Ok(v1::SubscribeAlertsResponse { alerts: alerts.to_vec(), resume_token: token.into() })
        };
        let [stale, back] = two_alerts();
        let answers = match request.get_ref().resume_token.as_str() {
            "" => vec![answer(&[stale], "1")],
            "1" => vec![answer(&[stale, back], "2"), Err(Status::unavailable("leaving"))],
            _ => return Err(Status::unauthenticated("the token is not known")),
        };
        Ok(Response::new(stream::iter(answers).boxed()))
    }

    async fn list_alerts(
        &self,
        request: Request<v1::ListAlertsRequest>,
    ) -> Result<Response<v1::ListAlertsResponse>, Status> {
        authorized(&request)?;
        let alerts = two_alerts().into_iter().rev().collect();
        Ok(Response::new(v1::ListAlertsResponse { alerts, ..Default::default() }))
    }

    async fn list_incidents(
        &self,
        request: Request<v1::ListIncidentsRequest>,
    ) -> Result<Response<v1::ListIncidentsResponse>, Status> {
        authorized(&request)?;
        let incidents = vec![incident()];
        Ok(Response::new(v1::ListIncidentsResponse { incidents, ..Default::default() }))
    }

    async fn get_platform_status(
        &self,
        request: Request<v1::GetPlatformStatusRequest>,
    ) -> Result<Response<v1::GetPlatformStatusResponse>, Status> {
        authorized(&request)?;
        Ok(Response::new(v1::GetPlatformStatusResponse {
            incident: Some(incident()),
            stale_sites: 1,
            known_up_to_ms: NOW.as_ms(),
        }))
    }
}

/// One that opened a minute ago.
fn incident() -> v1::Incident {
    let why = v1::DoorWhy::GatewayRefused.into();
    v1::Incident {
        id: "3".into(),
        cause: v1::IncidentCause::Ours.into(),
        since_ms: NOW.as_ms() - 70_000,
        opened_at_ms: NOW.as_ms() - 60_000,
        closed_at_ms: None,
        reasons: vec![v1::DoorReason { instance: "gateway-0".into(), why }],
    }
}

fn two_alerts() -> [v1::Alert; 2] {
    let stale = v1::SiteWentStale {
        site_id: "roof-7".into(),
        tenant_id: "acme".into(),
        silent_ms: 300_000,
        limit_ms: 300_000,
        ..Default::default()
    };
    let back = v1::SiteRecovered {
        site_id: "roof-7".into(),
        tenant_id: "acme".into(),
        ..Default::default()
    };
    [
        v1::Alert { id: "1".into(), alert: Some(v1::alert::Alert::SiteWentStale(stale)) },
        v1::Alert { id: "2".into(), alert: Some(v1::alert::Alert::SiteRecovered(back)) },
    ]
}

async fn client(fake: &Fake, token: &str) -> (Client, tokio_util::sync::DropGuard) {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Routes::new(QueryServiceServer::new(fake.clone())).into_axum_router();
    let shutdown = Shutdown::new();
    tokio::spawn(serve(
        listener,
        router,
        HttpLimits::default(),
        Default::default(),
        shutdown.clone(),
    ));
    let args = AccessArgs {
        data_dir: "unused".into(),
        query: Some(url),
        token: Some(token.into()),
        clickhouse: None,
    };
    (Access::open(&args).await.unwrap().query(), shutdown.drop_guard())
}

#[tokio::test]
async fn sites_of_all_pages_are_shown_in_order() {
    let (client, _guard) = client(&Fake::default(), "secret").await;
    let mut out = Vec::new();
    sites::show(&client, NOW, false, &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    for words in ["49.5 kW", "3 s ago", "3 sites"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let place = |id: &str| text.find(id).unwrap_or_else(|| panic!("{id}\n{text}"));
    assert!(place("s1") < place("s2") && place("s2") < place("s3"), "{text}");

    let mut out = Vec::new();
    sites::show(&client, NOW, true, &mut out).await.unwrap();
    let lines: Vec<serde_json::Value> =
        out.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1]["last_received_at"], "2025-12-31T23:59:57.000Z");
    assert_eq!(lines[2]["last_received_at"], serde_json::Value::Null);
}

#[tokio::test]
async fn options_reach_the_service_in_its_own_words() {
    let fake = Fake::default();
    let (mut client, _guard) = client(&fake, "secret").await;
    let options = readings::Options {
        devices: vec!["inv1".into()],
        from: "2026-01-01".into(),
        step: v1::Step::Hour,
        aggregate: v1::Aggregate::Max,
        ..readings::Options::of_site("s1")
    };
    let mut out = Vec::new();
    readings::show(&mut client, &options, NOW, &mut out).await.unwrap();
    let asked = fake.0.lock().unwrap().pop().unwrap();
    assert_eq!(asked.start_ms, NOW.as_ms() - 9 * 3_600_000, "midnight in Tokyo");
    assert_eq!((asked.end_ms, asked.devices), (NOW.as_ms(), vec!["inv1".to_owned()]));
    assert_eq!((asked.step, asked.aggregate), (v1::Step::Hour as i32, v1::Aggregate::Max as i32));
    let text = String::from_utf8(out).unwrap();
    for words in ["step 1h max", "2026-01-01 00:00:00+09:00", "1,234.5", "value [W]"] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_words() {
    let (client, _guard) = client(&Fake::default(), "wrong").await;
    let error = sites::show(&client, NOW, false, &mut Vec::new()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("the token is not known (Unauthenticated); --token"), "{text}");
}

#[tokio::test]
async fn who_follows_alerts_comes_back_with_its_token_and_says_nothing_twice() {
    let (client, _guard) = client(&Fake::default(), "secret").await;
    let options = alerts::AlertsArgs { history: true, follow: true, json: false };
    let mut out = Vec::new();
    let error = alerts::show(&client, NOW, &options, &mut out).await.unwrap_err();
    assert!(error.to_string().contains("the token is not known"), "{error}");
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].contains("roof-7 (acme) is stale: no upload for 5 min"), "{text}");
    assert!(lines[1].contains("roof-7 (acme) is back"), "{text}");
}

#[tokio::test]
async fn the_status_tells_of_the_incident_the_stale_sites_and_what_happened() {
    let (client, _guard) = client(&Fake::default(), "secret").await;
    let mut out = Vec::new();
    status::show(&client, NOW, false, &mut out).await.unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "an incident of ours since 2025-12-31T23:58:50.000Z: gateway-0 refused uploads; \
             no site falls silent meanwhile",
            "1 site is stale",
            "all that was told up to 0 s ago is taken into account",
        ]
    );
    assert!(lines[5].contains("roof-7 (acme) is back"), "{text}");
    assert!(lines[6].contains("roof-7 (acme) is stale"), "{text}");

    let mut out = Vec::new();
    status::show(&client, NOW, true, &mut out).await.unwrap();
    let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(object["incident"]["cause"], "ours");
    assert_eq!(object["incident"]["closed_at"], serde_json::Value::Null);
    assert_eq!(
        (&object["stale_sites"], &object["alerts"][1]["kind"]),
        (&1.into(), &"site_went_stale".into())
    );
}
