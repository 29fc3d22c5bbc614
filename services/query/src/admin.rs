//! `AdminService`: what operators do.
//!
//! Invariant: a change is answered when it is durable on the registry's topic *and* this service
//! has read it back, so what follows sees it. A token's text leaves in the answer and is kept
//! nowhere. What it is not: it keeps no registry of its own; the topic is the registry. Changes
//! are made one at a time here; operators who change one entry through two services at a time get
//! the last one's.

mod check;
mod dead_letter;
mod site;
mod tenant;
mod token;

use crate::{access::Principal, edge::Place, error::log_status, read_log::LogReader};
use futures::stream::BoxStream;
use heliograph_contract::{
    event::{Encoded, HEADER_TYPE, TYPE_REGISTRY_ENTRY},
    registry as wire, topic,
    v1::{self, admin_service_server::AdminService},
};
use heliograph_domain::registry::Entry;
use heliograph_log::{Log, NewRecord, TopicPartition, registry::Projection};
use heliograph_service::Shutdown;
use std::sync::Arc;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

pub struct Admin {
    log: Arc<dyn Log>,
    registry: Projection,
    /// One change at a time: the next one is checked against what this one left.
    changing: Mutex<()>,
    shutdown: Shutdown,
}

impl Admin {
    pub fn new(log: Arc<dyn Log>, registry: Projection, shutdown: Shutdown) -> Self {
        Self { log, registry, changing: Mutex::new(()), shutdown }
    }

    /// Appends an entry and waits until it has come back. The caller holds `changing`.
    async fn put(&self, entry: &Entry) -> Result<(), Status> {
        self.append(|to| NewRecord::event(to, wire::encode(entry))).await
    }

    /// Appends a tombstone and waits until it has come back. The caller holds `changing`.
    async fn bury(&self, entry: &Entry) -> Result<(), Status> {
        let Encoded { key, .. } = wire::encode(entry);
        let kind = (HEADER_TYPE.into(), TYPE_REGISTRY_ENTRY.into());
        self.append(|to| NewRecord { to, key, headers: vec![kind], value: None }).await
    }

    async fn append(&self, record: impl FnOnce(TopicPartition) -> NewRecord) -> Result<(), Status> {
        let record = record(TopicPartition::new(topic::REGISTRY, 0));
        let appended = self.log.append(record).await.map_err(|e| log_status(&e))?;
        self.registry.reached(appended.offset).await.map_err(|e| log_status(&e))
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AdminService for Admin {
    async fn put_tenant(
        &self,
        request: Request<v1::PutTenantRequest>,
    ) -> Answer<v1::PutTenantResponse> {
        tenant::put(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_tenants(
        &self,
        request: Request<v1::ListTenantsRequest>,
    ) -> Answer<v1::ListTenantsResponse> {
        tenant::list(&self.registry.current(), request.get_ref()).map(Response::new)
    }

    async fn remove_tenant(
        &self,
        request: Request<v1::RemoveTenantRequest>,
    ) -> Answer<v1::RemoveTenantResponse> {
        tenant::remove(self, request.get_ref()).await.map(Response::new)
    }

    async fn put_site(&self, request: Request<v1::PutSiteRequest>) -> Answer<v1::PutSiteResponse> {
        site::put(self, request.into_inner()).await.map(Response::new)
    }

    async fn change_site(
        &self,
        request: Request<v1::ChangeSiteRequest>,
    ) -> Answer<v1::ChangeSiteResponse> {
        site::change(self, request.into_inner()).await.map(Response::new)
    }

    async fn rotate_site_token(
        &self,
        request: Request<v1::RotateSiteTokenRequest>,
    ) -> Answer<v1::RotateSiteTokenResponse> {
        site::rotate_token(self, request.get_ref()).await.map(Response::new)
    }

    async fn remove_site(
        &self,
        request: Request<v1::RemoveSiteRequest>,
    ) -> Answer<v1::RemoveSiteResponse> {
        site::remove(self, request.get_ref()).await.map(Response::new)
    }

    async fn create_api_token(
        &self,
        request: Request<v1::CreateApiTokenRequest>,
    ) -> Answer<v1::CreateApiTokenResponse> {
        token::create(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_api_tokens(
        &self,
        request: Request<v1::ListApiTokensRequest>,
    ) -> Answer<v1::ListApiTokensResponse> {
        token::list(&self.registry.current(), request.get_ref()).map(Response::new)
    }

    async fn revoke_api_token(
        &self,
        request: Request<v1::RevokeApiTokenRequest>,
    ) -> Answer<v1::RevokeApiTokenResponse> {
        let caller = request.extensions().get::<Principal>().cloned();
        token::revoke(self, caller, request.get_ref()).await.map(Response::new)
    }

    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Answer<v1::ListOffsetsResponse> {
        let v1::ListOffsetsRequest { topic, group } = request.into_inner();
        let count = self.log.partitions(&topic).await.map_err(|e| log_status(&e))?;
        let mut partitions = Vec::new();
        for partition in 0..count {
            let at = TopicPartition::new(topic.as_str(), partition);
            let range = self.log.offsets(&at).await.map_err(|e| log_status(&e))?;
            let committed_offset = match group.is_empty() {
                true => None,
                false => self.log.committed(&group, &at).await.map_err(|e| log_status(&e))?,
            };
            partitions.push(v1::PartitionOffsets {
                partition,
                first_offset: range.first,
                end_offset: range.end,
                committed_offset,
            });
        }
        Ok(Response::new(v1::ListOffsetsResponse { partitions }))
    }

    type ReadLogStream = BoxStream<'static, Result<v1::ReadLogResponse, Status>>;

    async fn read_log(&self, request: Request<v1::ReadLogRequest>) -> Answer<Self::ReadLogStream> {
        let place = request.extensions().get::<Place>().cloned();
        let v1::ReadLogRequest { topic, partition, from_offset, end_offset } = request.into_inner();
        let at = TopicPartition::new(topic, partition);
        let held = self.log.offsets(&at).await.map_err(|e| log_status(&e))?;
        let reader = LogReader {
            log: self.log.clone(),
            at,
            next: from_offset.max(held.first),
            end: end_offset.map_or(held.end, |end| end.min(held.end)),
            pending: Default::default(),
            shutdown: self.shutdown.clone(),
            _place: place,
        };
        Ok(Response::new(Box::pin(reader.into_stream())))
    }

    async fn replay_dead_letter(
        &self,
        request: Request<v1::ReplayDeadLetterRequest>,
    ) -> Answer<v1::ReplayDeadLetterResponse> {
        dead_letter::replay(self, request.get_ref()).await.map(Response::new)
    }
}
