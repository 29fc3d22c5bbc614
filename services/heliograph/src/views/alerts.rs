//! `heliograph alerts`: which sites have fallen silent, and when they came back.

use super::{Client, age, span, table};
use crate::access::explain;
use clap::Args;
use heliograph_contract::v1::{
    self, DoorReason, DoorWhy, SiteRecovered, SiteWentStale, StaleReason, SubscribeAlertsRequest,
    alert::Alert::{
        IncidentClosed, IncidentOpened, SiteRecovered as Recovered, SiteWentStale as WentStale,
    },
};
use heliograph_domain::Timestamp;
use std::{
    collections::{BTreeMap, HashSet},
    io::Write,
    time::Duration,
};
use tonic::Code;

/// After a connection that broke.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  heliograph alerts                    # the sites that are stale now
  heliograph alerts --history
  heliograph alerts --follow --json    # one object an alert, as they come")]
pub struct AlertsArgs {
    /// Every alert that the log has, oldest first, and not only what is open
    #[arg(long)]
    pub history: bool,
    /// Go on with alerts as they come, until Ctrl-C
    #[arg(long)]
    pub follow: bool,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Prints what the caller may see.
///
/// # Errors
/// When the service refuses or `out` cannot be written.
pub async fn show(
    client: &Client,
    now: Timestamp,
    args: &AlertsArgs,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut seen = Seen::default();
    let all = SubscribeAlertsRequest { until_now: true, ..Default::default() };
    let token = read(client, all, |alert| seen.take(alert)).await?;
    let shown: Vec<_> = match args.history {
        true => seen.all,
        false => seen.incidents.into_values().chain(seen.open.into_values()).collect(),
    };
    if args.json {
        shown.iter().try_for_each(|alert| writeln!(out, "{}", object(alert)))?;
    } else if shown.is_empty() && !args.follow {
        writeln!(out, "no site is stale")?;
    } else if !args.history {
        let incidents = shown.iter().filter(|a| matches!(a.alert, Some(IncidentOpened(_))));
        incidents.map(line).try_for_each(|line| writeln!(out, "{line}"))?;
        let mut rows = table(&["site", "tenant", "stale since", "last upload", "why"]);
        rows.add_rows(shown.iter().filter_map(|alert| row(alert, now)));
        writeln!(out, "{rows}")?;
    } else {
        shown.iter().try_for_each(|alert| writeln!(out, "{}", line(alert)))?;
    }
    if args.follow { follow(client, token, seen.ids, args.json, out).await } else { Ok(()) }
}

/// Goes on where it was whenever the connection breaks.
async fn follow(
    client: &Client,
    mut resume_token: String,
    mut ids: HashSet<String>,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    loop {
        let request =
            SubscribeAlertsRequest { resume_token: resume_token.clone(), ..Default::default() };
        let mut stream = match client.clone().subscribe_alerts(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) if status.code() == Code::Unavailable => {
                tokio::time::sleep(RECONNECT_DELAY).await;
                continue;
            }
            Err(status) => return Err(explain(&status)),
        };
        loop {
            match stream.message().await {
                Ok(Some(answer)) => {
                    for alert in answer.alerts {
                        if ids.insert(alert.id.clone()) {
                            match json {
                                true => writeln!(out, "{}", object(&alert))?,
                                false => writeln!(out, "{}", line(&alert))?,
                            }
                        }
                    }
                    out.flush()?;
                    resume_token = answer.resume_token;
                }
                Ok(None) => break,
                // The service left, or the way to it broke: nothing is missed.
                Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) => break,
                Err(status) => return Err(explain(&status)),
            }
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
    }
}

async fn read(
    client: &Client,
    request: SubscribeAlertsRequest,
    mut take: impl FnMut(v1::Alert),
) -> anyhow::Result<String> {
    let stream = client.clone().subscribe_alerts(request).await.map_err(|s| explain(&s))?;
    let (mut stream, mut token) = (stream.into_inner(), String::new());
    while let Some(answer) = stream.message().await.map_err(|s| explain(&s))? {
        answer.alerts.into_iter().for_each(&mut take);
        token = answer.resume_token;
    }
    Ok(token)
}

/// Alerts in their order, each once; and those that are open, by site.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    all: Vec<v1::Alert>,
    open: BTreeMap<String, v1::Alert>,
    /// Those that are open, by id.
    incidents: BTreeMap<String, v1::Alert>,
}

impl Seen {
    fn take(&mut self, alert: v1::Alert) {
        if !self.ids.insert(alert.id.clone()) {
            return;
        }
        match &alert.alert {
            Some(WentStale(a)) => drop(self.open.insert(a.site_id.clone(), alert.clone())),
            Some(Recovered(a)) => drop(self.open.remove(&a.site_id)),
            Some(IncidentOpened(_)) => {
                drop(self.incidents.insert(alert.id.clone(), alert.clone()));
            }
            Some(IncidentClosed(a)) => drop(self.incidents.remove(&a.incident_id)),
            None => {}
        }
        self.all.push(alert);
    }
}

fn row(alert: &v1::Alert, now: Timestamp) -> Option<[String; 5]> {
    let Some(WentStale(a)) = &alert.alert else { return None };
    let ago = |ms| age(now, Timestamp::from_ms(ms));
    Some([
        a.site_id.clone(),
        a.tenant_id.clone(),
        ago(a.decided_at_ms),
        a.last_upload_at_ms.map_or_else(|| "never".to_owned(), ago),
        why(a),
    ])
}

/// Why a site is stale, in words that can be read out.
fn why(a: &SiteWentStale) -> String {
    let since = match a.reason() {
        StaleReason::NeverReported => "nothing came since it was registered",
        StaleReason::Silent | StaleReason::Unspecified => "no upload",
    };
    let mut words = format!("{since} for {}, the limit is {}", span(a.silent_ms), span(a.limit_ms));
    if a.grace_ms > 0 || a.closed_ms > 1_000 {
        let (grace, closed) = (span(a.grace_ms), span(a.closed_ms));
        words +=
            &format!("; not counted: {closed} in which our door was closed, {grace} to return");
    }
    words
}

pub(super) fn line(alert: &v1::Alert) -> String {
    let at = |ms| Timestamp::from_ms(ms);
    match &alert.alert {
        Some(WentStale(a)) => {
            format!("{} {} ({}) is stale: {}", at(a.decided_at_ms), a.site_id, a.tenant_id, why(a))
        }
        Some(Recovered(a)) => {
            let how = if a.removed { "is no longer watched" } else { "is back" };
            let (now, since) = (at(a.decided_at_ms), at(a.stale_since_ms));
            format!("{now} {} ({}) {how}, stale since {since}", a.site_id, a.tenant_id)
        }
        Some(IncidentOpened(a)) => {
            let (at, since) = (at(a.decided_at_ms), at(a.since_ms));
            let reasons: Vec<String> = a.reasons.iter().map(reason).collect();
            format!(
                "{at} an incident of ours, since {since}: {}; no site falls silent meanwhile",
                reasons.join(", ")
            )
        }
        Some(IncidentClosed(a)) => {
            let (at, since) = (at(a.decided_at_ms), at(a.since_ms));
            format!("{at} the incident since {since} is over")
        }
        None => format!("{}: an alert that this version does not know", alert.id),
    }
}

/// Why a door was closed, in words.
pub(super) fn reason(reason: &DoorReason) -> String {
    let why = match reason.why() {
        DoorWhy::GatewayRestarted => "started anew without having left",
        DoorWhy::GatewayAway => "did not tick",
        DoorWhy::GatewayRefused => "refused uploads",
        DoorWhy::SelfUploadFailed => "could not upload to itself",
        DoorWhy::GatewayLost => "vanished",
        DoorWhy::TicksMissing => return "no gateway ticks".to_owned(),
        DoorWhy::Unspecified => "is at fault",
    };
    format!("{} {why}", reason.instance)
}

pub(super) fn object(alert: &v1::Alert) -> serde_json::Value {
    let time = |ms: i64| Timestamp::from_ms(ms).to_string();
    let of = |kind: &str, site: &str, tenant: &str, at: i64, rest: serde_json::Value| {
        let mut all = serde_json::json!({
            "kind": kind, "id": alert.id, "site": site, "tenant": tenant, "at": time(at),
        });
        if let (Some(all), serde_json::Value::Object(rest)) = (all.as_object_mut(), rest) {
            all.extend(rest);
        }
        all
    };
    match &alert.alert {
        Some(WentStale(a)) => {
            let reason = a.reason().as_str_name().trim_start_matches("STALE_REASON_");
            let rest = serde_json::json!({
                "reason": reason.to_lowercase(),
                "last_upload_at": a.last_upload_at_ms.map(time),
                "silent_ms": a.silent_ms, "limit_ms": a.limit_ms,
                "grace_ms": a.grace_ms, "closed_ms": a.closed_ms,
            });
            of("site_went_stale", &a.site_id, &a.tenant_id, a.decided_at_ms, rest)
        }
        Some(Recovered(a)) => {
            let SiteRecovered { stale_id, stale_since_ms, removed, .. } = a;
            let rest = serde_json::json!({
                "stale_id": stale_id, "stale_since": time(*stale_since_ms), "removed": removed,
            });
            of("site_recovered", &a.site_id, &a.tenant_id, a.decided_at_ms, rest)
        }
        Some(IncidentOpened(a)) => serde_json::json!({
            "kind": "incident_opened", "id": alert.id, "at": time(a.decided_at_ms),
            "since": time(a.since_ms), "cause": "ours",
            "reasons": a.reasons.iter().map(reason).collect::<Vec<_>>(),
        }),
        Some(IncidentClosed(a)) => serde_json::json!({
            "kind": "incident_closed", "id": alert.id, "at": time(a.decided_at_ms),
            "since": time(a.since_ms), "incident_id": a.incident_id,
        }),
        None => serde_json::json!({ "kind": "unknown", "id": alert.id }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(site: &str, at_s: i64) -> v1::Alert {
        v1::Alert {
            id: format!("{site}-{at_s}"),
            alert: Some(WentStale(SiteWentStale {
                site_id: site.into(),
                tenant_id: "t1".into(),
                reason: StaleReason::Silent.into(),
                last_upload_at_ms: Some(1_000_000),
                silent_ms: 300_000,
                limit_ms: 300_000,
                decided_at_ms: at_s * 1_000,
                ..Default::default()
            })),
        }
    }

    fn back(site: &str, at_s: i64) -> v1::Alert {
        v1::Alert {
            id: format!("{site}-{at_s}-back"),
            alert: Some(Recovered(SiteRecovered { site_id: site.into(), ..Default::default() })),
        }
    }

    #[test]
    fn a_site_is_open_until_it_recovers_and_a_repeat_says_nothing() {
        let mut seen = Seen::default();
        let came = [stale("a", 10), stale("b", 11), back("a", 12), stale("a", 10), stale("c", 13)];
        came.into_iter().for_each(|alert| seen.take(alert));
        assert_eq!(seen.open.keys().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(seen.all.len(), 4);
    }

    #[test]
    fn the_reason_can_be_read_out() {
        let Some(WentStale(plain)) = stale("a", 10).alert else { panic!() };
        assert_eq!(why(&plain), "no upload for 5 min, the limit is 5 min");
        let after_a_fault = SiteWentStale {
            reason: StaleReason::NeverReported.into(),
            grace_ms: 90_000,
            closed_ms: 7_260_000,
            ..plain
        };
        assert_eq!(
            why(&after_a_fault),
            "nothing came since it was registered for 5 min, the limit is 5 min; not counted: \
             2 h 1 min in which our door was closed, 90 s to return"
        );
        let now = Timestamp::from_secs(2_000);
        let [site, tenant, since, last, _] = row(&stale("a", 1_900), now).unwrap();
        assert_eq!([site, tenant, since, last], ["a", "t1", "100 s ago", "16 min ago"]);
    }

    #[test]
    fn an_object_says_everything() {
        let got = object(&stale("a", 10));
        assert_eq!(got["kind"], "site_went_stale");
        assert_eq!((&got["reason"], &got["silent_ms"]), (&"silent".into(), &300_000.into()));
        assert_eq!(object(&back("a", 12))["kind"], "site_recovered");
    }
}
