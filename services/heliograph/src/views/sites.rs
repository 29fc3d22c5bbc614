//! `heliograph sites`: what is there, and whether it is alive.

use super::{Client, age, number, table};
use crate::access::explain;
use futures::{StreamExt, TryStreamExt, stream};
use heliograph_contract::v1;
use heliograph_domain::Timestamp;
use std::io::Write;

/// Questions to the service at a time; it has places for few.
const AT_A_TIME: usize = 4;

/// Prints all sites that the caller may see; with `json`, one object a line with the fields of
/// `GetSiteResponse`.
///
/// # Errors
/// When the service refuses or `out` cannot be written.
pub async fn show(
    client: &Client,
    now: Timestamp,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let ids = list(client.clone()).await?;
    let total = ids.len();
    let mut sites = stream::iter(ids)
        .map(|site_id| {
            let mut client = client.clone();
            async move { client.get_site(v1::GetSiteRequest { site_id }).await }
        })
        .buffered(AT_A_TIME)
        .map_err(|status| explain(&status));
    let mut rows = table(&[
        "site",
        "name",
        "tenant",
        "zone",
        "rated",
        "last reading",
        "last arrival",
        "state",
        "last 24 h",
    ]);
    while let Some(response) = sites.try_next().await? {
        let response = response.into_inner();
        match json {
            true => writeln!(out, "{}", object(&response))?,
            false => drop(rows.add_row(row(&response, now))),
        }
    }
    if !json && total == 0 {
        let first = "heliograph site add roof-7 --tenant acme --zone Asia/Tokyo";
        writeln!(out, "no sites yet: register one, as with `{first}`")?;
    } else if !json {
        writeln!(out, "{rows}")?;
        let sites = if total == 1 { "site" } else { "sites" };
        writeln!(out, "{total} {sites}; last 24 h: share of the declared readings that are there")?;
    }
    Ok(())
}

async fn list(mut client: Client) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListSitesRequest { page_size: 0, page_token };
        let page = client.list_sites(request).await.map_err(|s| explain(&s))?.into_inner();
        ids.extend(page.sites.into_iter().map(|site| site.site_id));
        if page.next_page_token.is_empty() {
            return Ok(ids);
        }
        page_token = page.next_page_token;
    }
}

fn row(response: &v1::GetSiteResponse, now: Timestamp) -> Vec<String> {
    let site = response.site.clone().unwrap_or_default();
    let ago = |ms: Option<i64>| ms.map(|ms| age(now, Timestamp::from_ms(ms))).unwrap_or_default();
    let rated = match site.rated_power_w {
        w if w > 0.0 => format!("{} kW", number(w / 1_000.0)),
        _ => String::new(),
    };
    vec![
        site.site_id.clone(),
        site.name.clone(),
        site.tenant_id.clone(),
        site.zone.clone(),
        rated,
        ago(last_ts_ms(response)),
        ago(response.last_received_at_ms),
        state(&site, now),
        share(&response.last_24h).map(|s| format!("{} %", number(s * 100.0))).unwrap_or_default(),
    ]
}

/// Blank where the service does not say.
fn state(site: &v1::SiteSummary, now: Timestamp) -> String {
    let since = site.state_since_ms.map(|ms| age(now, Timestamp::from_ms(ms)));
    match (site.state(), since) {
        (v1::SiteState::Unspecified, _) => String::new(),
        (v1::SiteState::Stale, Some(since)) => format!("stale, since {since}"),
        (state, _) => state_name(state),
    }
}

fn state_name(state: v1::SiteState) -> String {
    state.as_str_name().trim_start_matches("SITE_STATE_").to_lowercase()
}

fn last_ts_ms(response: &v1::GetSiteResponse) -> Option<i64> {
    Some(response.last_reading.as_ref()?.reading.as_ref()?.ts_ms)
}

/// Of all series together; `None` where no series is known: nothing was promised.
fn share(series: &[v1::Completeness]) -> Option<f64> {
    let present: u64 = series.iter().map(|c| c.present).sum();
    let expected: u64 = series.iter().map(|c| c.expected).sum();
    (expected > 0).then(|| present as f64 / expected as f64)
}

fn object(response: &v1::GetSiteResponse) -> serde_json::Value {
    let site = response.site.clone().unwrap_or_default();
    let time = |ms: i64| Timestamp::from_ms(ms).to_string();
    let series = |all: &[v1::Completeness]| -> Vec<serde_json::Value> {
        let one = |c: &v1::Completeness| {
            serde_json::json!({
                "device": c.device, "metric": c.metric,
                "present": c.present, "expected": c.expected,
            })
        };
        all.iter().map(one).collect()
    };
    let last_reading = response.last_reading.as_ref().and_then(|last| {
        let r = last.reading.as_ref()?;
        Some(serde_json::json!({
            "device": r.device, "metric": r.metric, "ts": time(r.ts_ms), "value": r.value,
            "received_at": time(last.received_at_ms),
        }))
    });
    serde_json::json!({
        "site": site.site_id, "tenant": site.tenant_id, "name": site.name, "zone": site.zone,
        "upload_interval_s": site.upload_interval_s,
        "reading_interval_s": site.reading_interval_s,
        "rated_power_w": site.rated_power_w,
        "last_reading": last_reading,
        "last_received_at": response.last_received_at_ms.map(time),
        "state": state_name(site.state()),
        "state_since": site.state_since_ms.map(time),
        "today": series(&response.today),
        "last_24h": series(&response.last_24h),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_blank_and_not_zero() {
        let now = Timestamp::from_secs(1_000_000_000);
        let site =
            v1::SiteSummary { site_id: "s1".into(), zone: "UTC".into(), ..Default::default() };
        let mut response = v1::GetSiteResponse { site: Some(site), ..Default::default() };
        assert_eq!(row(&response, now), ["s1", "", "", "UTC", "", "", "", "", ""]);
        response.last_received_at_ms = Some(now.as_ms() - 60_000);
        let series = |present| v1::Completeness { present, expected: 100, ..Default::default() };
        response.last_24h = vec![series(99), series(0)];
        assert_eq!(row(&response, now)[5..], ["", "60 s ago", "", "49.5 %"]);
        for (state, words) in [
            (v1::SiteState::New, "new"),
            (v1::SiteState::Fresh, "fresh"),
            (v1::SiteState::Stale, "stale, since 3 min ago"),
        ] {
            let site = response.site.get_or_insert_default();
            site.set_state(state);
            site.state_since_ms = Some(now.as_ms() - 180_000);
            assert_eq!(row(&response, now)[7], words);
        }
        assert_eq!(object(&response)["last_reading"], serde_json::Value::Null);
    }
}
