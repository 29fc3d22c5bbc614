//! `heliograph status`: is it us, who is silent, and what happened of late.

use super::{Client, age, alerts};
use crate::access::explain;
use clap::Args;
use heliograph_contract::v1::{
    self, GetPlatformStatusRequest, ListAlertsRequest, ListIncidentsRequest,
};
use heliograph_domain::Timestamp;
use std::io::Write;

/// Alerts and incidents that are shown.
const NEWEST: u32 = 10;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  heliograph status
  heliograph status --json    # one object")]
pub struct StatusArgs {
    /// One JSON object
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
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut client = client.clone();
    let status = client.get_platform_status(GetPlatformStatusRequest {}).await;
    let status = status.map_err(|s| explain(&s))?.into_inner();
    let request = ListIncidentsRequest { page_size: NEWEST, ..Default::default() };
    let incidents = client.list_incidents(request).await.map_err(|s| explain(&s))?.into_inner();
    let request = ListAlertsRequest { page_size: NEWEST, ..Default::default() };
    let newest = client.list_alerts(request).await.map_err(|s| explain(&s))?.into_inner();
    if json {
        let object = serde_json::json!({
            "incident": status.incident.as_ref().map(object),
            "stale_sites": status.stale_sites,
            "known_up_to": Timestamp::from_ms(status.known_up_to_ms).to_string(),
            "incidents": incidents.incidents.iter().map(object).collect::<Vec<_>>(),
            "alerts": newest.alerts.iter().map(alerts::object).collect::<Vec<_>>(),
        });
        writeln!(out, "{object}")?;
        return Ok(());
    }
    match &status.incident {
        Some(incident) => writeln!(out, "{}; no site falls silent meanwhile", line(incident))?,
        None => writeln!(out, "no incident is open")?,
    }
    match status.stale_sites {
        0 => writeln!(out, "no site is stale")?,
        1 => writeln!(out, "1 site is stale")?,
        n => writeln!(out, "{n} sites are stale")?,
    }
    let known = age(now, Timestamp::from_ms(status.known_up_to_ms));
    writeln!(out, "all that was told up to {known} is taken into account")?;
    let over = incidents.incidents.iter().filter(|i| i.closed_at_ms.is_some());
    let over: Vec<String> = over.map(line).collect();
    list("incidents of late", &over, out)?;
    list("alerts of late", &newest.alerts.iter().map(alerts::line).collect::<Vec<_>>(), out)
}

fn list(title: &str, lines: &[String], out: &mut impl Write) -> anyhow::Result<()> {
    if !lines.is_empty() {
        writeln!(out, "\n{title}, the newest first:")?;
    }
    lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    Ok(())
}

fn line(incident: &v1::Incident) -> String {
    let at = Timestamp::from_ms;
    let reasons: Vec<String> = incident.reasons.iter().map(alerts::reason).collect();
    let (since, reasons) = (at(incident.since_ms), reasons.join(", "));
    match incident.closed_at_ms {
        None => format!("an incident of ours since {since}: {reasons}"),
        Some(closed) => format!("{since} to {}: {reasons}", at(closed)),
    }
}

fn object(incident: &v1::Incident) -> serde_json::Value {
    let time = |ms: i64| Timestamp::from_ms(ms).to_string();
    let cause = incident.cause().as_str_name().trim_start_matches("INCIDENT_CAUSE_");
    serde_json::json!({
        "id": incident.id, "cause": cause.to_lowercase(),
        "since": time(incident.since_ms), "opened_at": time(incident.opened_at_ms),
        "closed_at": incident.closed_at_ms.map(time),
        "reasons": incident.reasons.iter().map(alerts::reason).collect::<Vec<_>>(),
    })
}
