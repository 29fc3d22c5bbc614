//! What viewers ask about silence, on a log with alerts: `ListAlerts`, `ListIncidents`,
//! `GetPlatformStatus`, and the state of a site.

use crate::model::{self, row};
use crate::support::{OPERATOR, Query, Stage, violated};
use heliograph_contract::{
    alert::Alert,
    topic,
    v1::{self, SiteState},
};
use heliograph_log::{Log, NewRecord, TopicPartition};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::Code;

/// Until the service has followed.
const WAIT_MAX: Duration = Duration::from_secs(20);

fn stale(site: &str, tenant: &str, at_ms: i64) -> Alert {
    Alert::WentStale(v1::SiteWentStale {
        site_id: site.into(),
        tenant_id: tenant.into(),
        reason: v1::StaleReason::Silent.into(),
        silent_ms: 300_000,
        limit_ms: 300_000,
        offset: at_ms as u64,
        decided_at_ms: at_ms,
        ..Default::default()
    })
}

fn back(stale: &Alert, at_ms: i64) -> Alert {
    Alert::Recovered(v1::SiteRecovered {
        site_id: stale.site_id().unwrap().into(),
        tenant_id: stale.tenant_id().unwrap().into(),
        stale_id: stale.id(),
        stale_since_ms: stale.decided_at().as_ms(),
        offset: at_ms as u64,
        decided_at_ms: at_ms,
        ..Default::default()
    })
}

fn opened(at_ms: i64) -> Alert {
    Alert::IncidentOpened(v1::IncidentOpened {
        cause: v1::IncidentCause::Ours.into(),
        since_ms: at_ms - 10_000,
        reasons: vec![v1::DoorReason {
            instance: "gateway-0".into(),
            why: v1::DoorWhy::GatewayRefused.into(),
        }],
        offset: at_ms as u64,
        decided_at_ms: at_ms,
        ..Default::default()
    })
}

fn closed(incident: &Alert, at_ms: i64) -> Alert {
    Alert::IncidentClosed(v1::IncidentClosed {
        incident_id: incident.id(),
        offset: at_ms as u64,
        decided_at_ms: at_ms,
        ..Default::default()
    })
}

/// Puts alerts on the log, incidents into every partition, and waits until the service has them.
async fn tell(stage: &Stage, alerts: &[Alert]) {
    for alert in alerts {
        let partitions = if alert.tenant_id().is_some() { 2..3 } else { 0..4 };
        for partition in partitions {
            let to = TopicPartition::new(topic::ALERTS, partition);
            stage.log.append(NewRecord::event(to, alert.encode())).await.unwrap();
        }
    }
    let told_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut client = stage.query(OPERATOR).await;
    let known = async {
        // By the clock of this very process; one ms more, since both are cut off.
        while status(&mut client).await.known_up_to_ms <= told_ms {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, known).await.expect("the service follows the log");
}

async fn status(client: &mut Query) -> v1::GetPlatformStatusResponse {
    let request = v1::GetPlatformStatusRequest::default();
    client.get_platform_status(request).await.unwrap().into_inner()
}

async fn listed(client: &mut Query, request: v1::ListAlertsRequest) -> Vec<String> {
    let answer = client.list_alerts(request).await.unwrap().into_inner();
    answer.alerts.into_iter().map(|alert| alert.id).collect()
}

fn ids(alerts: &[&Alert]) -> Vec<String> {
    alerts.iter().map(|alert| alert.id()).collect()
}

/// Two tenants' sites; one of `t1` was stale twice.
async fn stage() -> (Stage, [Alert; 4]) {
    let stage = Stage::start_with(Default::default(), Default::default()).await;
    for (tenant, site) in [("t1", "a"), ("t1", "b"), ("t2", "c")] {
        stage.put_site(tenant, site, "UTC").await;
    }
    let (first, others) = (stale("a", "t1", 1_000), stale("c", "t2", 2_000));
    let (over, second) = (back(&first, 3_000), stale("a", "t1", 4_000));
    let alerts = [first, others, over, second];
    tell(&stage, &alerts).await;
    (stage, alerts)
}

#[tokio::test]
async fn a_viewer_lists_its_own_tenants_alerts_and_an_operator_all() {
    let (stage, [first, others, over, second]) = stage().await;
    let request = v1::ListAlertsRequest::default;
    let of_site = |id: &str| v1::ListAlertsRequest { site_id: id.into(), ..request() };
    let of_tenant = |id: &str| v1::ListAlertsRequest { tenant_id: id.into(), ..request() };
    let mut operator = stage.query(OPERATOR).await;
    let mut viewer = stage.query(&stage.viewer_of("t1").await).await;

    let all = ids(&[&second, &over, &others, &first]);
    assert_eq!(listed(&mut operator, request()).await, all, "newest first");
    let own = ids(&[&second, &over, &first]);
    assert_eq!(listed(&mut viewer, request()).await, own);
    assert_eq!(listed(&mut viewer, of_tenant("t1")).await, own);
    assert_eq!(listed(&mut operator, of_tenant("t2")).await, ids(&[&others]));
    assert_eq!(listed(&mut viewer, of_site("a")).await, own);
    assert_eq!(listed(&mut viewer, of_site("b")).await, ids(&[]));
    let some = v1::ListAlertsRequest {
        from_ms: Some(1_000),
        to_ms: Some(4_000),
        oldest_first: true,
        ..request()
    };
    assert_eq!(listed(&mut viewer, some).await, ids(&[&first, &over]));
    let open = v1::ListAlertsRequest { open_only: true, ..request() };
    assert_eq!(listed(&mut viewer, open.clone()).await, ids(&[&second]));
    assert_eq!(listed(&mut operator, open).await, ids(&[&second, &others]));
    // A repeat is no second alert.
    tell(&stage, &[second, first]).await;
    assert_eq!(listed(&mut operator, request()).await, all);

    for (unknown, like) in [
        (of_site("c"), of_site("z")),
        (of_tenant("t2"), of_tenant("t9")),
        (v1::ListAlertsRequest { site_id: "c".into(), ..of_tenant("t1") }, of_site("z")),
    ] {
        let (named, nobodys) = (unknown.site_id.clone() + &unknown.tenant_id, like.clone());
        let status = viewer.list_alerts(unknown).await.unwrap_err();
        let nobodys = viewer.list_alerts(nobodys).await.unwrap_err();
        assert_eq!((status.code(), nobodys.code()), (Code::NotFound, Code::NotFound), "{named}");
        let (status, nobodys) = (status.message(), nobodys.message());
        assert_eq!(status.replace("\"c\"", "\"z\"").replace("t2", "t9"), nobodys);
    }
    let status = operator.list_alerts(of_tenant("t9")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
}

#[tokio::test]
async fn pages_go_on_where_they_ended_and_what_is_no_page_is_said() {
    let (stage, alerts) = stage().await;
    let mut client = stage.query(OPERATOR).await;
    let request = v1::ListAlertsRequest { page_size: 1, oldest_first: true, ..Default::default() };
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let page = v1::ListAlertsRequest { page_token, ..request.clone() };
        let page = client.list_alerts(page).await.unwrap().into_inner();
        assert_eq!(page.alerts.len(), 1);
        seen.extend(page.alerts.into_iter().map(|alert| alert.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ids(&alerts.iter().collect::<Vec<_>>()));

    let request = v1::ListAlertsRequest::default;
    let rows = [
        (v1::ListAlertsRequest { page_size: 10_001, ..request() }, "page_size"),
        (v1::ListAlertsRequest { page_token: "frobs".into(), ..request() }, "page_token"),
        (v1::ListAlertsRequest { page_token: "1.7".into(), ..request() }, "page_token"),
        (v1::ListAlertsRequest { site_id: "a b".into(), ..request() }, "site_id"),
        (v1::ListAlertsRequest { tenant_id: "a b".into(), ..request() }, "tenant_id"),
        (v1::ListAlertsRequest { from_ms: Some(2), to_ms: Some(1), ..request() }, "to_ms"),
    ];
    for (request, field) in rows {
        let status = client.list_alerts(request).await.unwrap_err();
        assert_eq!(violated(&status), [field], "{status}");
    }
    let request = v1::ListIncidentsRequest { page_token: "frobs".into(), ..Default::default() };
    let status = client.list_incidents(request).await.unwrap_err();
    assert_eq!(violated(&status), ["page_token"]);
    let words = "got \"frobs\", want next_page_token of the page before";
    assert!(status.message().contains(words), "{status}");
}

#[tokio::test]
async fn an_incident_is_everybodys_and_the_status_tells_of_it() {
    let (stage, [.., second]) = stage().await;
    let mut operator = stage.query(OPERATOR).await;
    let mut viewer = stage.query(&stage.viewer_of("t1").await).await;
    for (client, stale_sites) in [(&mut operator, 2), (&mut viewer, 1)] {
        let status = status(client).await;
        assert_eq!((status.incident, status.stale_sites), (None, stale_sites));
    }
    let (old, new) = (opened(5_000), opened(7_000));
    tell(&stage, &[old.clone(), closed(&old, 6_000), new.clone(), back(&second, 8_000)]).await;
    let got = status(&mut viewer).await;
    let incident = got.incident.unwrap();
    assert_eq!((incident.id, got.stale_sites), (new.id(), 0));
    assert_eq!((incident.since_ms, incident.opened_at_ms), (7_000 - 10_000, 7_000));
    assert_eq!(incident.reasons[0].instance, "gateway-0");

    let mut seen = Vec::new();
    let mut request = v1::ListIncidentsRequest { page_size: 1, ..Default::default() };
    loop {
        let page = viewer.list_incidents(request.clone()).await.unwrap().into_inner();
        seen.extend(page.incidents.into_iter().map(|i| (i.id, i.closed_at_ms)));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, [(new.id(), None), (old.id(), Some(6_000))], "each once, newest first");
    let open = v1::ListIncidentsRequest { open_only: true, ..Default::default() };
    let open = viewer.list_incidents(open).await.unwrap().into_inner().incidents;
    assert_eq!(open.len(), 1);
    tell(&stage, &[closed(&new, 9_000)]).await;
    assert_eq!(status(&mut viewer).await.incident, None);
    let all = listed(&mut viewer, v1::ListAlertsRequest::default()).await;
    assert!(!all.contains(&new.id()), "no incident is among a site's alerts");
}

#[tokio::test]
async fn a_site_is_new_then_fresh_then_stale_then_back() {
    let stage = Stage::start("silence_state").await;
    stage.put_site("t1", "s1", "UTC").await;
    let token = stage.viewer_of("t1").await;
    let get = async || {
        let request = v1::GetSiteRequest { site_id: "s1".into() };
        let got = stage.query(&token).await.get_site(request).await.unwrap().into_inner();
        let site = got.site.unwrap();
        (site.state(), site.state_since_ms, got.went_stale)
    };
    let list = async || {
        let request = v1::ListSitesRequest::default();
        let got = stage.query(&token).await.list_sites(request).await.unwrap().into_inner();
        (got.sites[0].state(), got.sites[0].state_since_ms)
    };
    assert_eq!(get().await, (SiteState::New, None, None));
    assert_eq!(list().await, (SiteState::Fresh, None), "a list does not look for uploads");
    model::store(&stage.store, "s1", &[row("inv1", 1_767_225_600_000, 1.0, 1)]).await;
    assert_eq!(get().await, (SiteState::Fresh, None, None));

    let down = stale("s1", "t1", 1_000);
    let Alert::WentStale(alert) = down.clone() else { unreachable!() };
    tell(&stage, std::slice::from_ref(&down)).await;
    assert_eq!(get().await, (SiteState::Stale, Some(1_000), Some(alert)));
    assert_eq!(list().await, (SiteState::Stale, Some(1_000)));
    tell(&stage, &[back(&down, 2_000)]).await;
    assert_eq!(get().await, (SiteState::Fresh, Some(2_000), None));

    // What was decided of it as another tenant's is not told.
    tell(&stage, &[stale("s1", "t2", 3_000)]).await;
    assert_eq!(get().await, (SiteState::Fresh, None, None));
    assert_eq!(status(&mut stage.query(OPERATOR).await).await.stale_sites, 0);
}
