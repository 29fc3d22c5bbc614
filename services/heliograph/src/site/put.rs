//! Puts sites, and their tenants where these are new.

use crate::access::{Access, explain};
use heliograph_contract::v1::{
    ListSitesRequest, PutMode, PutSiteRequest, PutTenantRequest, Site, SiteSummary, Tenant,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What became of a site.
pub struct Put {
    /// Its upload token; empty when it kept its old one.
    pub token: String,
    pub tenant_is_new: bool,
}

/// Puts a site; a tenant that is not registered yet is added and named by its id.
pub async fn site(
    access: &Access,
    site: Site,
    mode: PutMode,
    rotate_token: bool,
) -> Result<Put, Status> {
    let tenant = site.tenant_id.clone();
    let request =
        PutSiteRequest { site: Some(site), rotate_token, mode: mode.into(), validate_only: false };
    match access.admin().put_site(request.clone()).await {
        Ok(answer) => Ok(Put { token: answer.into_inner().token, tenant_is_new: false }),
        Err(status) if is_unknown_tenant(&status) => {
            let tenant_is_new = self::tenant(access, &tenant).await?;
            let answer = access.admin().put_site(request).await?.into_inner();
            Ok(Put { token: answer.token, tenant_is_new })
        }
        Err(status) => Err(status),
    }
}

/// Adds a tenant, named by its id; whether it is new.
pub async fn tenant(access: &Access, id: &str) -> Result<bool, Status> {
    let tenant = Tenant { id: id.to_owned(), name: id.to_owned() };
    let request = PutTenantRequest { tenant: Some(tenant), mode: PutMode::Add.into() };
    match access.admin().put_tenant(request).await {
        Ok(_) => Ok(true),
        Err(status) if status.code() == Code::AlreadyExists => Ok(false),
        Err(status) => Err(status),
    }
}

/// Whether the tenant alone stands in the way.
pub fn is_unknown_tenant(status: &Status) -> bool {
    let details = status.get_details_bad_request();
    details.is_some_and(
        |bad| matches!(&bad.field_violations[..], [one] if one.field == "site.tenant_id"),
    )
}

/// All sites, in the order of their ids.
pub async fn all_sites(access: &Access) -> anyhow::Result<Vec<SiteSummary>> {
    let mut client = access.query();
    let (mut sites, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListSitesRequest { page_size: 0, page_token };
        let page = client.list_sites(request).await.map_err(|s| explain(&s))?.into_inner();
        sites.extend(page.sites);
        if page.next_page_token.is_empty() {
            return Ok(sites);
        }
        page_token = page.next_page_token;
    }
}
