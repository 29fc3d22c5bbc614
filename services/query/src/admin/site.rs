//! Changes of sites.

use super::{Admin, check};
use crate::{
    error::violation,
    token::{self, Kind},
    viewer::now,
};
use heliograph_contract::{registry as wire, v1};
use heliograph_domain::{
    SiteId, Violation,
    registry::{Entry, Registry, RemovedSite, Site},
};
use tonic::Status;

pub async fn put(
    admin: &Admin,
    request: v1::PutSiteRequest,
) -> Result<v1::PutSiteResponse, Status> {
    let v1::PutSiteRequest { site, rotate_token, mode, validate_only } = request;
    let mut site = from_wire(check::given("site", site)?)?;
    let _changing = admin.changing.lock().await;
    let registry = admin.registry.current();
    let known = registry.site(site.id.as_str());
    check::mode(mode, "site", site.id.as_str(), known.is_some())?;
    check::site(&registry, &site)?;
    if let Some(known) = known.filter(|known| known.tenant != site.tenant) {
        // Whoever has the site sees all that it ever sent.
        let want = format!("{:?}, whose site it is; ChangeSite moves it", known.tenant);
        let got = format!("{:?}", site.tenant);
        return Err(violation(Violation::new("site.tenant_id", got, want)));
    }
    if validate_only {
        return Ok(v1::PutSiteResponse::default());
    }
    let token = match known {
        Some(known) if !rotate_token => {
            site.token_hash.clone_from(&known.token_hash);
            String::new()
        }
        _ => {
            let new = token::new(Kind::SiteUpload);
            site.token_hash = new.hash;
            new.token
        }
    };
    admin.put(&Entry::Site(site)).await?;
    Ok(v1::PutSiteResponse { token })
}

pub async fn change(
    admin: &Admin,
    request: v1::ChangeSiteRequest,
) -> Result<v1::ChangeSiteResponse, Status> {
    let _changing = admin.changing.lock().await;
    let registry = admin.registry.current();
    let known = known(&registry, &request.site_id)?;
    let changed = from_wire(v1::Site {
        id: known.id.to_string(),
        tenant_id: request.tenant_id.unwrap_or_else(|| known.tenant.to_string()),
        name: request.name.unwrap_or_else(|| known.name.clone()),
        zone: known.zone.clone(),
        upload_interval_s: request.upload_interval_s.unwrap_or(known.upload_interval_s),
        reading_interval_s: request.reading_interval_s.unwrap_or(known.reading_interval_s),
        rated_power_w: request.rated_power_w.unwrap_or(known.rated_power_w),
        stale_after_s: request.stale_after_s.unwrap_or(known.stale_after_s.unwrap_or(0)),
        token_hash: known.token_hash.clone(),
        removed_at_ms: None,
    })?;
    check::site(&registry, &changed)?;
    if changed != *known {
        admin.put(&Entry::Site(changed)).await?;
    }
    Ok(v1::ChangeSiteResponse {})
}

pub async fn rotate_token(
    admin: &Admin,
    request: &v1::RotateSiteTokenRequest,
) -> Result<v1::RotateSiteTokenResponse, Status> {
    let _changing = admin.changing.lock().await;
    let registry = admin.registry.current();
    let site = known(&registry, &request.site_id)?.clone();
    let new = token::new(Kind::SiteUpload);
    admin.put(&Entry::Site(Site { token_hash: new.hash, ..site })).await?;
    Ok(v1::RotateSiteTokenResponse { token: new.token })
}

pub async fn remove(
    admin: &Admin,
    request: &v1::RemoveSiteRequest,
) -> Result<v1::RemoveSiteResponse, Status> {
    let _changing = admin.changing.lock().await;
    let registry = admin.registry.current();
    let site = known(&registry, &request.site_id)?.clone();
    let site = Site { token_hash: String::new(), ..site };
    admin.put(&Entry::RemovedSite(RemovedSite { site, at: now() })).await?;
    Ok(v1::RemoveSiteResponse {})
}

fn known<'a>(registry: &'a Registry, id: &str) -> Result<&'a Site, Status> {
    SiteId::parse(id).map_err(|v| violation(Violation { field: "site_id".into(), ..v }))?;
    registry.site(id).ok_or_else(|| check::unknown("site", id))
}

/// A site by itself, as it came over the wire.
fn from_wire(mut site: v1::Site) -> Result<Site, Status> {
    check::name("site.name", &site.name)?;
    if site.name.is_empty() {
        site.name.clone_from(&site.id);
    }
    if let Some(ms) = site.removed_at_ms {
        let want = "nothing; RemoveSite removes a site";
        return Err(violation(Violation::new("site.removed_at_ms", ms, want)));
    }
    wire::site(site).map_err(|v| violation(check::within("site", v)))
}
