//! `ListAlerts`, `ListIncidents` and `GetPlatformStatus`: answers from the book of alerts.
//!
//! Pure. Invariant: a viewer is told of its own tenant's alerts alone, whatever it names. What it is
//! not: it drives no stream; `alerts` does.

use crate::{
    access::Principal,
    alert_book::{Ask, Book, Key},
    error::violation,
    page, site,
};
use heliograph_contract::{error::ErrorClass, v1};
use heliograph_domain::{
    SiteId, TenantId, Timestamp, Violation,
    registry::{Registry, Role},
};
use tonic::Status;

/// # Errors
/// INVALID_ARGUMENT for what has no form, NOT_FOUND for a site or a tenant that the caller may not
/// see.
pub fn alerts(
    book: &Book,
    registry: &Registry,
    caller: &Principal,
    request: &v1::ListAlertsRequest,
) -> Result<v1::ListAlertsResponse, Status> {
    let size = page::size(request.page_size)?;
    let after = after(&request.page_token)?;
    check_range(request)?;
    let site = Some(request.site_id.as_str()).filter(|id| !id.is_empty());
    if let Some(id) = site {
        SiteId::parse(id).map_err(|v| violation(Violation { field: "site_id".into(), ..v }))?;
        site::find(registry, caller, id)?;
    }
    let ask = Ask {
        tenant: tenant(registry, caller, &request.tenant_id)?,
        site,
        from_ms: request.from_ms,
        to_ms: request.to_ms,
        open_only: request.open_only,
        oldest_first: request.oldest_first,
        after,
        size,
    };
    let (alerts, next) = book.list(&ask);
    Ok(v1::ListAlertsResponse { alerts, next_page_token: token(next) })
}

/// # Errors
/// INVALID_ARGUMENT for a page that is none.
pub fn incidents(
    book: &Book,
    request: &v1::ListIncidentsRequest,
) -> Result<v1::ListIncidentsResponse, Status> {
    let size = page::size(request.page_size)?;
    let after = after(&request.page_token)?;
    let (incidents, next) = book.incidents.list(request.open_only, after, size);
    Ok(v1::ListIncidentsResponse { incidents, next_page_token: token(next) })
}

pub fn status(
    book: &Book,
    known_up_to: Timestamp,
    registry: &Registry,
    caller: &Principal,
) -> v1::GetPlatformStatusResponse {
    let is_theirs = |(id, tenant): &(&str, &str)| {
        let site = registry.site(id).filter(|site| caller.sees(site));
        // What was decided of it as another tenant's does not count.
        site.is_some_and(|site| site.tenant.as_str() == *tenant)
    };
    v1::GetPlatformStatusResponse {
        incident: book.incidents.open().cloned(),
        stale_sites: u32::try_from(book.stale().filter(is_theirs).count()).unwrap_or(u32::MAX),
        known_up_to_ms: known_up_to.as_ms(),
    }
}

/// Whose alerts: none is everybody's.
fn tenant<'a>(
    registry: &Registry,
    caller: &'a Principal,
    asked: &'a str,
) -> Result<Option<&'a str>, Status> {
    if !asked.is_empty() {
        TenantId::parse(asked)
            .map_err(|v| violation(Violation { field: "tenant_id".into(), ..v }))?;
    }
    let own = caller.tenant.as_str();
    match (caller.role, asked) {
        (Role::Operator, "") => Ok(None),
        (Role::Operator, asked) if registry.tenant(asked).is_some() => Ok(Some(asked)),
        (Role::Viewer, asked) if asked.is_empty() || asked == own => Ok(Some(own)),
        _ => Err(ErrorClass::NotFound.status(format!("there is no tenant {asked:?}"))),
    }
}

fn check_range(request: &v1::ListAlertsRequest) -> Result<(), Status> {
    match (request.from_ms, request.to_ms) {
        (Some(from), Some(to)) if to < from => {
            Err(violation(Violation::new("to_ms", to, format!("no earlier than from_ms, {from}"))))
        }
        _ => Ok(()),
    }
}

fn after(page_token: &str) -> Result<Option<Key>, Status> {
    let key = Key::parse(page_token);
    page::check_token(page_token, |_| key.is_some())?;
    Ok(key)
}

fn token(next: Option<Key>) -> String {
    next.map(Key::token).unwrap_or_default()
}
