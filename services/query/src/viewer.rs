//! `QueryService`: what viewers ask. Takes calls apart, finds the site, puts answers together.

use crate::{
    access::Principal,
    alert_book::AlertBook,
    alerts,
    config::QueryConfig,
    deadline::Deadline,
    edge::Place,
    error::{internal, violation},
    page,
    readings::Readings,
    request, silence, site,
    store::Reader,
};
use futures::stream::BoxStream;
use heliograph_contract::{
    error::invalid_argument,
    v1::{self, query_service_server::QueryService},
};
use heliograph_domain::{SiteId, Timestamp, Violation, registry::Site, rollup::zone};
use heliograph_log::{Log, registry::Projection};
use heliograph_service::Shutdown;
use jiff::tz::TimeZone;
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tonic::{Request, Response, Status};

pub struct Viewer {
    pub reader: Reader,
    pub registry: Projection,
    pub alerts: AlertBook,
    pub config: QueryConfig,
    pub log: Arc<dyn Log>,
    pub leaving: Shutdown,
}

impl Viewer {
    /// The site of this id, if the caller may know of it, and its zone.
    fn site(&self, caller: &Principal, id: &str) -> Result<(Site, TimeZone), Status> {
        let registry = self.registry.current();
        let site = site::find(&registry, caller, id)?;
        let zone = zone(&site.zone).map_err(|v| internal("a site has no zone", v))?;
        Ok((site.clone(), zone))
    }
}

#[tonic::async_trait]
impl QueryService for Viewer {
    async fn list_sites(
        &self,
        request: Request<v1::ListSitesRequest>,
    ) -> Result<Response<v1::ListSitesResponse>, Status> {
        let (caller, _) = call(&request)?;
        let v1::ListSitesRequest { page_size, page_token } = request.into_inner();
        let size = page::size(page_size)?;
        page::check_token(&page_token, |token| SiteId::parse(token).is_ok())?;
        let (registry, book) = (self.registry.current(), self.alerts.read());
        let sites = registry
            .sites()
            .into_iter()
            .filter(|site| caller.sees(site) && site.id.as_str() > page_token.as_str())
            .map(|site| site::summary(site, &book.state(site.id.as_str(), site.tenant.as_str())));
        let (sites, next_page_token) = page::cut(sites, size, |site| &site.site_id);
        Ok(Response::new(v1::ListSitesResponse { sites, next_page_token }))
    }

    async fn get_site(
        &self,
        request: Request<v1::GetSiteRequest>,
    ) -> Result<Response<v1::GetSiteResponse>, Status> {
        let (caller, deadline) = call(&request)?;
        let id = request.into_inner().site_id;
        SiteId::parse(&id).map_err(|v| violation(Violation { field: "site_id".into(), ..v }))?;
        let (site, zone) = self.site(&caller, &id)?;
        let state = self.alerts.read().state(&id, site.tenant.as_str());
        site::get(&self.reader, deadline, &site, &zone, state, now()).await.map(Response::new)
    }

    async fn query_readings(
        &self,
        request: Request<v1::QueryReadingsRequest>,
    ) -> Result<Response<v1::QueryReadingsResponse>, Status> {
        let (caller, deadline) = call(&request)?;
        let ask = request::check(request.get_ref(), &self.config)
            .map_err(|violations| invalid_argument(&violations))?;
        let (_, zone) = self.site(&caller, &ask.selection.site)?;
        let (reader, config) = (&self.reader, &self.config);
        let readings = Readings { reader, config, deadline, ask: &ask, zone: &zone };
        readings.answer().await.map(Response::new)
    }

    type SubscribeAlertsStream = BoxStream<'static, Result<v1::SubscribeAlertsResponse, Status>>;

    async fn subscribe_alerts(
        &self,
        request: Request<v1::SubscribeAlertsRequest>,
    ) -> Result<Response<Self::SubscribeAlertsStream>, Status> {
        let (caller, _) = call(&request)?;
        let place = request.extensions().get::<Place>().cloned();
        let parts = alerts::Parts {
            log: self.log.clone(),
            registry: self.registry.clone(),
            caller,
            leaving: self.leaving.clone(),
            _place: place,
        };
        let subscription = alerts::Subscription::begin(parts, request.get_ref()).await?;
        Ok(Response::new(Box::pin(subscription.into_stream())))
    }

    async fn list_alerts(
        &self,
        request: Request<v1::ListAlertsRequest>,
    ) -> Result<Response<v1::ListAlertsResponse>, Status> {
        let (caller, _) = call(&request)?;
        let (registry, book) = (self.registry.current(), self.alerts.read());
        silence::alerts(&book, &registry, &caller, request.get_ref()).map(Response::new)
    }

    async fn list_incidents(
        &self,
        request: Request<v1::ListIncidentsRequest>,
    ) -> Result<Response<v1::ListIncidentsResponse>, Status> {
        silence::incidents(&self.alerts.read(), request.get_ref()).map(Response::new)
    }

    async fn get_platform_status(
        &self,
        request: Request<v1::GetPlatformStatusRequest>,
    ) -> Result<Response<v1::GetPlatformStatusResponse>, Status> {
        let (caller, _) = call(&request)?;
        // Before the book: what it says is no older than that.
        let known_up_to = self.alerts.known_up_to();
        let (registry, book) = (self.registry.current(), self.alerts.read());
        Ok(Response::new(silence::status(&book, known_up_to, &registry, &caller)))
    }
}

/// Who calls, and until when: what the edge put there.
fn call<T>(request: &Request<T>) -> Result<(Principal, Deadline), Status> {
    let extensions = request.extensions();
    match (extensions.get::<Principal>(), extensions.get::<Deadline>()) {
        (Some(caller), Some(deadline)) => Ok((caller.clone(), *deadline)),
        _ => Err(internal("a call came in past the edge", "no principal")),
    }
}

/// The edge where the service reads the clock.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(since.as_millis() as i64)
}
