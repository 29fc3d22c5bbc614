//! The one way in: every request passes here before any handler.
//!
//! In this order: the method's row in the table, the token, a place, the deadline. What is over a
//! limit is refused at once and waits for nothing.

use crate::{
    access::{Principal, authenticate},
    count::Call,
    deadline::Deadline,
    error::internal,
    metrics::{Metrics, Places, method},
    shares::{Share, Shares},
};
use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    middleware::Next,
    response::{IntoResponse, Response},
};
use heliograph_contract::{
    access::{Access, Lane, access},
    error::ErrorClass,
};
use heliograph_domain::registry::Role;
use heliograph_log::registry::Projection;
use heliograph_metrics::Held;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::{Code, Status};

/// What every call is held against.
pub struct Edge {
    pub registry: Projection,
    pub calls: Arc<Semaphore>,
    /// Of `calls`, what each tenant holds.
    pub shares: Arc<Shares>,
    /// Of operators' calls: no viewer can keep a token from being revoked.
    pub admin_calls: Arc<Semaphore>,
    /// Of operators' streams, which read the log.
    pub log_streams: Arc<Semaphore>,
    /// Of viewers' streams, which wait for alerts.
    pub alert_streams: Arc<Semaphore>,
    /// Of `alert_streams`, what each tenant holds.
    pub alert_shares: Arc<Shares>,
    pub deadline_max: Duration,
    pub metrics: Metrics,
}

/// A stream's place: the handler keeps it for as long as it streams.
#[derive(Debug, Clone)]
pub struct Place {
    _held: Arc<((OwnedSemaphorePermit, Held), Option<Share>)>,
}

/// The middleware around all routes.
pub async fn guard(State(edge): State<Arc<Edge>>, request: Request, next: Next) -> Response {
    if let Some(refusal) = no_grpc(&request) {
        return refusal;
    }
    if access(request.uri().path()) == Some(Access::Open) {
        return next.run(request).await;
    }
    let call = Call::begin(edge.metrics.clone(), method(request.uri().path()));
    let response = match pass(&edge, request, next).await {
        Ok(response) => response,
        Err(status) => status.into_http(),
    };
    call.watch(response)
}

/// What is no gRPC gets a status of HTTP: a gRPC error is a 200, which a logger would believe.
fn no_grpc(request: &Request) -> Option<Response> {
    const WORDS: &str = "this is the query service, which speaks gRPC; uploads go to the gateway\n";
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_grpc = kind.is_some_and(|kind| kind.starts_with(b"application/grpc"));
    let is_open = access(request.uri().path()) == Some(Access::Open);
    (!is_grpc && !is_open).then(|| (StatusCode::NOT_FOUND, WORDS).into_response())
}

async fn pass(edge: &Edge, mut request: Request, next: Next) -> Result<Response, Status> {
    let path = request.uri().path();
    let (role, lane) = match access(path) {
        Some(Access::AtLeast(role, lane)) => (role, lane),
        // Loggers upload at the gateway.
        Some(Access::UploadToken(_) | Access::Open) | None => {
            return Err(Status::new(Code::Unimplemented, "there is no such method"));
        }
    };
    let principal = authenticate(request.headers(), &edge.registry.current(), role)?;
    let is_admin = role == Role::Operator;
    let share = take_share(edge, lane, is_admin, &principal)?;
    let permit = take_place(edge, lane, is_admin)?;
    let deadline = Deadline::of_call(request.headers(), edge.deadline_max, Instant::now());
    let extensions = request.extensions_mut();
    extensions.insert(principal);
    extensions.insert(deadline);
    let held = match lane {
        Lane::Unary => Some((permit, share)),
        Lane::Stream => {
            extensions.insert(Place { _held: Arc::new((permit, share)) });
            None
        }
    };
    let run = async move {
        let _held = held;
        next.run(request).await
    };
    let outcome = match is_admin {
        // A change that was begun is finished and read back before the next one is checked, whoever
        // still waits for it.
        true => tokio::time::timeout_at(deadline.instant(), tokio::spawn(run)).await,
        // Dropping the handler drops its statement's connection, which cancels it in the store.
        false => tokio::time::timeout_at(deadline.instant(), run).await.map(Ok),
    };
    match outcome {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(internal("the call broke off", error)),
        Err(_) => Err(ErrorClass::DeadlineExceeded.status("the time for this call is over")),
    }
}

/// Viewers alone have shares; operators have places of their own.
fn take_share(
    edge: &Edge,
    lane: Lane,
    is_admin: bool,
    caller: &Principal,
) -> Result<Option<Share>, Status> {
    const CALLS: &str = "this tenant's places for calls are taken; try again when one has ended";
    const STREAMS: &str = "this tenant's places for alerts are taken; try again when one has ended";
    let (shares, words) = match lane {
        _ if is_admin => return Ok(None),
        Lane::Unary => (&edge.shares, CALLS),
        Lane::Stream => (&edge.alert_shares, STREAMS),
    };
    let share = shares.take(&caller.tenant);
    share.map(Some).ok_or_else(|| ErrorClass::ResourceExhausted.status(words))
}

fn take_place(
    edge: &Edge,
    lane: Lane,
    is_admin: bool,
) -> Result<(OwnedSemaphorePermit, Held), Status> {
    let (places, of, what) = match lane {
        Lane::Unary if is_admin => (
            &edge.admin_calls,
            Places::Operators,
            "all places for operators' calls are taken; try again later",
        ),
        Lane::Unary => {
            (&edge.calls, Places::Viewers, "all places for calls are taken; try again later")
        }
        Lane::Stream if is_admin => (
            &edge.log_streams,
            Places::LogStreams,
            "all places for log streams are taken; try again later",
        ),
        Lane::Stream => (
            &edge.alert_streams,
            Places::AlertStreams,
            "all places for alerts are taken; try again later",
        ),
    };
    let permit = places.clone().try_acquire_owned();
    let permit = permit.map_err(|_| ErrorClass::ResourceExhausted.status(what))?;
    Ok((permit, Held::one(&edge.metrics.open(of))))
}
