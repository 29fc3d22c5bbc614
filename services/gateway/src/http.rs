//! The routes, and how answers are written.
//!
//! `POST /v1/uploads` takes JSON and protobuf and answers an upload that was taken in the format
//! in which it came. Whatever is refused is answered with `application/problem+json` in every
//! format, so that a person who looks at the wire can read it. What it is not: it decides nothing.

use crate::{
    accept::Answer,
    grpc, influx,
    pipeline::{self, Gateway},
    problem::Problem,
    trace,
};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, Method, header},
    middleware::from_fn,
    response::{IntoResponse, Response},
    routing::post,
};
use heliograph_contract::v1;
use heliograph_formats::Format;
use heliograph_service::{
    aside::{AsideLimits, limited},
    health::{self, Health},
};
use prost::Message;
use std::sync::Arc;
use tonic::{Status, service::Routes};
use tonic_health::pb::health_server::{Health as GrpcHealth, HealthServer};

/// The largest question about health or reflection, which anybody may ask: names.
const ASIDE_BYTES_MAX: usize = 4 * 1024;

pub const UPLOADS_PATH: &str = "/v1/uploads";

/// The routes of the gateway.
///
/// # Errors
/// When our own descriptors cannot be read: a bug.
pub fn routes<H: GrpcHealth>(
    gateway: Arc<Gateway>,
    health: Health,
    grpc_health: HealthServer<H>,
) -> Result<Router, tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name(grpc::SERVICE)
            .with_service_name("grpc.health.v1.Health")
    };
    let aside = Routes::new(grpc_health.max_decoding_message_size(ASIDE_BYTES_MAX))
        .add_service(reflection().build_v1()?.max_decoding_message_size(ASIDE_BYTES_MAX))
        .add_service(reflection().build_v1alpha()?.max_decoding_message_size(ASIDE_BYTES_MAX))
        .into_axum_router()
        .reset_fallback();
    let router = Router::new()
        .route(UPLOADS_PATH, post(upload))
        .route(grpc::UPLOAD_PATH, post(grpc::upload))
        .route(grpc::UPLOAD_STREAM_PATH, post(grpc::upload_stream))
        .method_not_allowed_fallback(wrong_method)
        .route_layer(from_fn(trace::traced))
        .with_state(gateway.clone())
        .merge(influx::routes(gateway, health.readiness.clone()))
        .merge(health::routes(health))
        .merge(limited(aside, AsideLimits::DEFAULT))
        .fallback(nothing_here);
    Ok(router)
}

/// In the language of the caller.
async fn nothing_here(headers: HeaderMap) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    match kind.is_some_and(|kind| kind.starts_with("application/grpc")) {
        true => Status::unimplemented("there is no such method").into_http(),
        false => Problem::NotFound.into_response(),
    }
}

/// What is allowed is said by the router, in `Allow`.
async fn wrong_method(method: Method) -> Response {
    Problem::WrongMethod { got: method.to_string() }.into_response()
}

async fn upload(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let trace = trace::of(request.extensions());
    match pipeline::upload(&gateway, request).await {
        Ok((Format::Protobuf, answer)) => {
            let answer = v1::UploadResponse::from(answer).encode_to_vec();
            ([(header::CONTENT_TYPE, "application/protobuf")], answer).into_response()
        }
        Ok((Format::Json | Format::LineProtocol(_), answer)) => Json(answer).into_response(),
        Err(problem) => {
            trace::tell_refused(trace, &problem);
            problem.into_response()
        }
    }
}

impl From<Answer> for v1::UploadResponse {
    fn from(Answer { upload_id, accepted, rejected }: Answer) -> Self {
        let rejected = rejected.into_iter().map(|r| v1::RejectedReading {
            index: r.index as u64,
            field: r.violation.field,
            got: r.violation.got,
            want: r.violation.want,
        });
        Self {
            upload_id: upload_id.to_string(),
            accepted: accepted as u64,
            rejected: rejected.collect(),
        }
    }
}
