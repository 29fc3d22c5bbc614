//! Changes of tenants, and the list of them.

use super::{Admin, check};
use crate::{error::violation, page};
use heliograph_contract::{error::ErrorClass, registry as wire, v1};
use heliograph_domain::{
    TenantId, Violation,
    registry::{Entry, Registry},
};
use std::collections::HashMap;
use tonic::Status;

/// Names that a refusal gives as examples.
const NAMED_MAX: usize = 3;

pub async fn put(
    admin: &Admin,
    request: v1::PutTenantRequest,
) -> Result<v1::PutTenantResponse, Status> {
    let mut tenant = check::given("tenant", request.tenant)?;
    check::name("tenant.name", &tenant.name)?;
    if tenant.name.is_empty() {
        tenant.name.clone_from(&tenant.id);
    }
    let tenant = wire::tenant(tenant).map_err(|v| violation(check::within("tenant", v)))?;
    let _changing = admin.changing.lock().await;
    let is_there = admin.registry.current().tenant(tenant.id.as_str()).is_some();
    check::mode(request.mode, "tenant", tenant.id.as_str(), is_there)?;
    admin.put(&Entry::Tenant(tenant)).await?;
    Ok(v1::PutTenantResponse {})
}

pub fn list(
    registry: &Registry,
    request: &v1::ListTenantsRequest,
) -> Result<v1::ListTenantsResponse, Status> {
    let size = page::size(request.page_size)?;
    page::check_token(&request.page_token, |token| TenantId::parse(token).is_ok())?;
    let count = |counts: &mut HashMap<TenantId, u32>, tenant: &TenantId| {
        *counts.entry(tenant.clone()).or_default() += 1;
    };
    let (mut sites, mut tokens) = (HashMap::new(), HashMap::new());
    registry.sites().iter().for_each(|site| count(&mut sites, &site.tenant));
    registry.api_tokens().for_each(|token| count(&mut tokens, &token.tenant));
    let summaries = registry
        .tenants()
        .into_iter()
        .filter(|tenant| tenant.id.as_str() > request.page_token.as_str())
        .map(|tenant| v1::TenantSummary {
            tenant_id: tenant.id.to_string(),
            name: tenant.name.clone(),
            sites: sites.get(&tenant.id).copied().unwrap_or_default(),
            api_tokens: tokens.get(&tenant.id).copied().unwrap_or_default(),
        });
    let (tenants, next_page_token) = page::cut(summaries, size, |t| &t.tenant_id);
    Ok(v1::ListTenantsResponse { tenants, next_page_token })
}

pub async fn remove(
    admin: &Admin,
    request: &v1::RemoveTenantRequest,
) -> Result<v1::RemoveTenantResponse, Status> {
    let id = &request.tenant_id;
    TenantId::parse(id).map_err(|v| violation(Violation { field: "tenant_id".into(), ..v }))?;
    let _changing = admin.changing.lock().await;
    let registry = admin.registry.current();
    let tenant = registry.tenant(id).ok_or_else(|| check::unknown("tenant", id))?;
    let sites: Vec<&str> = registry
        .sites()
        .iter()
        .filter(|site| site.tenant == tenant.id)
        .map(|site| site.id.as_str())
        .collect();
    let mut tokens: Vec<&str> =
        registry.api_tokens().filter(|t| t.tenant == tenant.id).map(|t| t.id()).collect();
    tokens.sort_unstable();
    // What they sent is stored under this tenant: another one of the same name must not see it.
    let mut gone: Vec<&str> =
        registry.removed_sites().filter(|s| s.tenant == tenant.id).map(|s| s.id.as_str()).collect();
    gone.sort_unstable();
    let has = [
        counted("site", &sites),
        counted("API token", &tokens),
        counted("removed site", &gone).map(|sites| format!("{sites} whose readings are kept")),
    ];
    let has: Vec<String> = has.into_iter().flatten().collect();
    if !has.is_empty() {
        let words = format!(
            "tenant {id:?} still has {}; it can be removed when it has none",
            has.join(" and ")
        );
        return Err(ErrorClass::FailedPrecondition.status(words));
    }
    admin.bury(&Entry::Tenant(tenant.clone())).await?;
    Ok(v1::RemoveTenantResponse {})
}

/// `2 sites (a, b)`; nothing for none.
fn counted(what: &str, names: &[&str]) -> Option<String> {
    let plural = match names.len() {
        0 => return None,
        1 => "",
        _ => "s",
    };
    let more = if names.len() > NAMED_MAX { ", …" } else { "" };
    let named = names[..names.len().min(NAMED_MAX)].join(", ");
    Some(format!("{} {what}{plural} ({named}{more})", names.len()))
}
