//! `GetSite`: a site's newest reading, its newest arrival, how complete its data are, and whether it
//! is silent.

use crate::{
    access::Principal,
    alert_book::State,
    completeness::{Periods, Present, completeness},
    deadline::Deadline,
    error::internal,
    sql,
    store::Reader,
};
use heliograph_contract::{error::ErrorClass, v1};
use heliograph_domain::{
    Timestamp,
    registry::{Registry, Site},
    rollup::BUCKET_15M_MS,
};
use jiff::tz::TimeZone;
use tonic::Status;

/// No reading is later: 2106, where ClickHouse's `DateTime` ends.
const END: Timestamp = Timestamp::from_secs(u32::MAX as i64);

/// The site of this id, if the caller may know of it.
///
/// # Errors
/// NOT_FOUND; another tenant's is answered as an unknown one is.
pub fn find<'r>(registry: &'r Registry, caller: &Principal, id: &str) -> Result<&'r Site, Status> {
    let unknown = || ErrorClass::NotFound.status(format!("there is no site {id:?}"));
    registry.site(id).filter(|site| caller.sees(site)).ok_or_else(unknown)
}

/// What viewers see of a site's registry entry, and whether it is silent.
pub fn summary(site: &Site, state: &State) -> v1::SiteSummary {
    let (state, state_since_ms) = match state {
        State::Fresh(since_ms) => (v1::SiteState::Fresh, *since_ms),
        State::Stale(alert) => (v1::SiteState::Stale, Some(alert.decided_at_ms)),
    };
    v1::SiteSummary {
        site_id: site.id.to_string(),
        tenant_id: site.tenant.to_string(),
        name: site.name.clone(),
        zone: site.zone.clone(),
        upload_interval_s: site.upload_interval_s,
        reading_interval_s: site.reading_interval_s,
        rated_power_w: site.rated_power_w,
        stale_after_s: site.stale_limit_s(),
        state: state.into(),
        state_since_ms,
    }
}

/// The answer about `site` at `now`.
pub async fn get(
    reader: &Reader,
    deadline: Deadline,
    site: &Site,
    zone: &TimeZone,
    state: State,
    now: Timestamp,
) -> Result<v1::GetSiteResponse, Status> {
    let id = site.id.as_str();
    let places: Option<(i64, i64, i64)> = reader.row(sql::newest(id), deadline).await?;
    let (clean_s, from_s, to_s) = places.unwrap_or_default();
    let last_reading = last_reading(reader, deadline, id, Timestamp::from_secs(clean_s)).await?;
    let last_received_at_ms = match to_s {
        // Nothing is known of where to look.
        0 => last_arrival(reader, deadline, id, Timestamp::default(), END).await?,
        _ => {
            let to = Timestamp::from_secs(to_s).plus_ms(BUCKET_15M_MS);
            last_arrival(reader, deadline, id, Timestamp::from_secs(from_s), to).await?
        }
    };
    let periods =
        Periods::at(now, zone).map_err(|e| internal("now lies outside the calendar", e))?;
    let present = sql::present(id, periods.today, periods.day_ago, periods.now);
    let present: Vec<Present> = reader.rows(present, deadline).await?;
    let remembered = reader.rows(sql::series_since(id, periods.remembered_from), deadline).await?;
    let (today, last_24h) = completeness(&periods, site.reading_interval_s, present, remembered);
    let mut summary = summary(site, &state);
    if state == State::Fresh(None) && last_received_at_ms.is_none() {
        summary.state = v1::SiteState::New.into();
    }
    let went_stale = match state {
        State::Fresh(_) => None,
        State::Stale(alert) => Some(alert),
    };
    Ok(v1::GetSiteResponse {
        site: Some(summary),
        last_reading,
        last_received_at_ms,
        today,
        last_24h,
        went_stale,
    })
}

type LastRow = (String, String, i64, f64, i8, i64);

async fn last_reading(
    reader: &Reader,
    deadline: Deadline,
    site: &str,
    from: Timestamp,
) -> Result<Option<v1::LastReading>, Status> {
    let row: Option<LastRow> = reader.row(sql::last_reading(site, from), deadline).await?;
    Ok(row.map(|(device, metric, ts_ms, value, quality, received_at_ms)| {
        // The column's numbers are the wire's: 1 good, 2 suspect, 3 bad.
        let quality = i32::from(quality);
        let reading = v1::Reading { device, metric, ts_ms, value, quality };
        v1::LastReading { reading: Some(reading), received_at_ms }
    }))
}

async fn last_arrival(
    reader: &Reader,
    deadline: Deadline,
    site: &str,
    from: Timestamp,
    to: Timestamp,
) -> Result<Option<i64>, Status> {
    let row: Option<(u64, i64)> = reader.row(sql::last_arrival(site, from, to), deadline).await?;
    Ok(row.filter(|(rows, _)| *rows > 0).map(|(_, received_at_ms)| received_at_ms))
}
