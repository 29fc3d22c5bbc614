//! The routes, and how answers are written.
//!
//! `POST /v1/uploads` takes JSON and protobuf and answers an upload that was taken in the format
//! in which it came. Whatever is refused is answered with `application/problem+json` in every
//! format, so that a person who looks at the wire can read it. What it is not: it decides nothing.

use crate::{
    accept::Answer,
    influx,
    pipeline::{self, Gateway},
    problem::Problem,
};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
    routing::post,
};
use heliograph_contract::v1;
use heliograph_formats::Format;
use heliograph_service::health::{self, Readiness};
use prost::Message;
use std::sync::Arc;

pub const UPLOADS_PATH: &str = "/v1/uploads";

/// The routes of the gateway.
pub fn routes(gateway: Arc<Gateway>, readiness: Readiness) -> Router {
    Router::new()
        .route(UPLOADS_PATH, post(upload))
        .with_state(gateway.clone())
        .merge(influx::routes(gateway, readiness.clone()))
        .merge(health::routes(readiness))
        .fallback(|| async { Problem::NotFound })
}

async fn upload(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    match pipeline::upload(&gateway, request).await {
        Ok((Format::Protobuf, answer)) => {
            let answer = v1::UploadResponse::from(answer).encode_to_vec();
            ([(header::CONTENT_TYPE, "application/protobuf")], answer).into_response()
        }
        Ok((Format::Json | Format::LineProtocol(_), answer)) => Json(answer).into_response(),
        Err(problem) => problem.into_response(),
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
