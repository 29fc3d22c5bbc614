//! `AdminService`: what operators do.
//!
//! Invariant: a change is answered when it is durable on the registry's topic *and* this service
//! has read it back, so what follows sees it. A token's text leaves in the answer and is kept
//! nowhere. What it is not: it keeps no registry of its own; the topic is the registry.

use crate::{
    edge::Place,
    error::{log_status, violation},
    read_log::LogReader,
    replay::{self, Replay},
    token::{self, Kind},
};
use futures::stream::BoxStream;
use heliograph_contract::{
    error::ErrorClass,
    registry as wire, topic,
    v1::{self, admin_service_server::AdminService},
};
use heliograph_domain::{
    Timestamp, Violation,
    registry::{Entry, Site},
    upload::Rejected,
};
use heliograph_log::{Log, NewRecord, TopicPartition, registry::Projection};
use heliograph_service::Shutdown;
use prost::Message;
use std::sync::Arc;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

/// The longest name that people are shown.
const NAME_CHARS_MAX: usize = 200;

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
        let to = TopicPartition::new(topic::REGISTRY, 0);
        let record = NewRecord::event(to, wire::encode(entry));
        let appended = self.log.append(record).await.map_err(|e| log_status(&e))?;
        self.registry.reached(appended.offset).await.map_err(|e| log_status(&e))
    }

    /// The dead letter at `offset`.
    async fn dead_letter(&self, offset: u64) -> Result<v1::DeadLetter, Status> {
        let at = TopicPartition::new(topic::DEAD_LETTERS, 0);
        let held = self.log.offsets(&at).await.map_err(|e| log_status(&e))?;
        let records = match (held.first..held.end).contains(&offset) {
            true => self.log.read(&at, offset, 1).await.map_err(|e| log_status(&e))?,
            false => Vec::new(),
        };
        let record = records.into_iter().find(|r| r.offset == offset).ok_or_else(|| {
            let want = format!("one of {} to before {}", held.first, held.end);
            ErrorClass::NotFound.status(Violation::new("offset", offset, want).to_string())
        })?;
        let value = record.value.unwrap_or_default();
        v1::DeadLetter::decode(value).map_err(|error| {
            violation(Violation::new("offset", error, "a record that is a dead letter"))
        })
    }

    fn check_tenant(&self, field: &str, id: &str) -> Result<(), Status> {
        match self.registry.current().tenant(id) {
            Some(_) => Ok(()),
            None => {
                let want = "a tenant that is registered; PutTenant adds one";
                Err(violation(Violation::new(field, format_args!("{id:?}"), want)))
            }
        }
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn put_tenant(
        &self,
        request: Request<v1::PutTenantRequest>,
    ) -> Result<Response<v1::PutTenantResponse>, Status> {
        let tenant = given("tenant", request.into_inner().tenant)?;
        check_name("tenant.name", &tenant.name)?;
        let tenant = wire::tenant(tenant).map_err(|v| violation(within("tenant", v)))?;
        let _changing = self.changing.lock().await;
        self.put(&Entry::Tenant(tenant)).await?;
        Ok(Response::new(v1::PutTenantResponse {}))
    }

    async fn put_site(
        &self,
        request: Request<v1::PutSiteRequest>,
    ) -> Result<Response<v1::PutSiteResponse>, Status> {
        let v1::PutSiteRequest { site, rotate_token } = request.into_inner();
        let site = given("site", site)?;
        check_name("site.name", &site.name)?;
        let mut site = wire::site(site).map_err(|v| violation(within("site", v)))?;
        let _changing = self.changing.lock().await;
        self.check_tenant("site.tenant_id", site.tenant.as_str())?;
        let registry = self.registry.current();
        let known = registry.site(site.id.as_str());
        check_zone(known, &site)?;
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
        self.put(&Entry::Site(site)).await?;
        Ok(Response::new(v1::PutSiteResponse { token }))
    }

    async fn create_api_token(
        &self,
        request: Request<v1::CreateApiTokenRequest>,
    ) -> Result<Response<v1::CreateApiTokenResponse>, Status> {
        let api_token = given("api_token", request.into_inner().api_token)?;
        check_name("api_token.name", &api_token.name)?;
        let new = token::new(Kind::Api);
        let entry = wire::api_token(v1::ApiToken { hash: new.hash, ..api_token })
            .map_err(|v| violation(within("api_token", v)))?;
        let _changing = self.changing.lock().await;
        self.check_tenant("api_token.tenant_id", entry.tenant.as_str())?;
        self.put(&Entry::ApiToken(entry)).await?;
        Ok(Response::new(v1::CreateApiTokenResponse { token: new.token }))
    }

    async fn list_offsets(
        &self,
        request: Request<v1::ListOffsetsRequest>,
    ) -> Result<Response<v1::ListOffsetsResponse>, Status> {
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

    async fn read_log(
        &self,
        request: Request<v1::ReadLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
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
    ) -> Result<Response<v1::ReplayDeadLetterResponse>, Status> {
        let v1::ReplayDeadLetterRequest { offset, dry_run } = request.into_inner();
        let letter = self.dead_letter(offset).await?;
        let partitions = self.log.partitions(topic::UPLOADS).await.map_err(|e| log_status(&e))?;
        let now = Timestamp::from_ms(jiff::Timestamp::now().as_millisecond());
        let Replay { record, accepted, rejected } =
            replay::plan(letter, offset, &self.registry.current(), partitions, now)
                .map_err(violation)?;
        let mut answer = v1::ReplayDeadLetterResponse {
            accepted: accepted as u64,
            rejected: rejected.into_iter().map(rejected_to_wire).collect(),
            ..Default::default()
        };
        if let Some(record) = record {
            answer.topic = record.to.topic.to_string();
            answer.partition = record.to.partition;
            if !dry_run {
                let appended = self.log.append(record).await.map_err(|e| log_status(&e))?;
                answer.offset = Some(appended.offset);
            }
        }
        Ok(Response::new(answer))
    }
}

fn rejected_to_wire(r: Rejected) -> v1::RejectedReading {
    let Violation { field, got, want } = r.violation;
    v1::RejectedReading { index: r.index as u64, field, got, want }
}

fn given<T>(field: &str, value: Option<T>) -> Result<T, Status> {
    value.ok_or_else(|| violation(Violation::new(field, "nothing", format!("a {field}"))))
}

/// Names stand in tables on people's screens.
fn check_name(field: &str, name: &str) -> Result<(), Status> {
    if name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let want = format!("at most {NAME_CHARS_MAX} characters without control characters");
    Err(violation(Violation::new(field, format_args!("{name:?}"), want)))
}

/// The local days of what is stored were cut by the old zone.
fn check_zone(known: Option<&Site>, site: &Site) -> Result<(), Status> {
    match known {
        Some(known) if known.zone != site.zone => {
            let want = format!("{:?}: the zone of a site is fixed", known.zone);
            Err(violation(Violation::new("site.zone", format_args!("{:?}", site.zone), want)))
        }
        _ => Ok(()),
    }
}

/// The domain names a field by what it is; the caller by where it stands.
fn within(message: &str, v: Violation) -> Violation {
    let field = match (message, v.field.as_str()) {
        ("tenant", "tenant") | ("site", "site") => "id",
        (_, "tenant") => "tenant_id",
        (_, other) => other,
    };
    Violation { field: format!("{message}.{field}"), ..v }
}
