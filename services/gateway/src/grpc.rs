//! `heliograph.v1.UploadService`: uploads over gRPC, through the same pipeline and the same limits.
//!
//! Messages reach this module as bytes (`Raw`): tonic would decode a megabyte into half a million
//! readings before anything could count them. Both methods read their messages one by one, so
//! that the sender is known, and for a single upload its place is taken, before a message is read;
//! the bytes of it are counted when its head says how many (`arriving`).
//! A stream is answered upload by upload: the next message is read when the result of the one
//! before was taken by the connection, so that a client that reads no results makes nothing wait
//! here but itself. A stream holds a buffer as large as its largest message; `streams_max` bounds
//! them. Compressed messages: gzip, which tonic stops at the message limit; its zstd has no limit
//! on the window, so it stays off and is answered UNIMPLEMENTED.

mod arriving;
mod raw;

use crate::{
    accept::{Answer, Sender},
    capacity::StreamPlace,
    metrics::Protocol,
    pipeline::Gateway,
    problem::Problem,
    receive::{bearer, too_large},
    trace,
};
use arriving::Arriving;
use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::BoxStream};
use heliograph_contract::{
    error::field_violations,
    v1::{self, upload_stream_response::Result as Outcome},
};
use heliograph_domain::trace::TraceContext;
use heliograph_formats::{Format, protobuf};
use heliograph_service::trace::step;
use raw::Raw;
use std::{sync::Arc, time::Duration};
use tonic::{
    Code, Status, Streaming,
    codec::CompressionEncoding,
    server::{ClientStreamingService, Grpc, StreamingService},
};
use tonic_types::{ErrorDetails, StatusExt};

pub const SERVICE: &str = "heliograph.v1.UploadService";
pub const UPLOAD_PATH: &str = "/heliograph.v1.UploadService/Upload";
pub const UPLOAD_STREAM_PATH: &str = "/heliograph.v1.UploadService/UploadStream";

/// A call by a known sender.
struct Call {
    gateway: Arc<Gateway>,
    token: String,
    sender: Sender,
    /// The call's; each upload of a stream is a further step.
    trace: TraceContext,
}

/// `Upload`.
pub async fn upload(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let trace = trace::of(request.extensions());
    let call = Call::begin(gateway.clone(), &request);
    let call = call.and_then(|call| Ok((call.gateway.admit(&call.sender, 0)?, call)));
    match call {
        Ok((place, call)) => {
            let arriving = Arriving::new(place);
            let (gateway, sender) = (call.gateway.clone(), call.sender.clone());
            let request = request.map(|body| arriving.watch(gateway, sender, body));
            let mut grpc = grpc::<v1::UploadResponse>(&call.gateway);
            let counted = call.gateway.clone();
            let answer = grpc.client_streaming(One(Arc::new(call), arriving), request).await;
            count_unread(&counted, Protocol::Grpc, answer.map(axum::body::Body::new))
        }
        Err(problem) => refuse(&gateway, Protocol::Grpc, trace, &problem),
    }
}

/// `UploadStream`.
pub async fn upload_stream(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    let trace = trace::of(request.extensions());
    let call = Call::begin(gateway.clone(), &request);
    let call = call.and_then(|call| Ok((call.gateway.take_stream(&call.sender)?, call)));
    match call {
        Ok((place, call)) => {
            let mut grpc = grpc::<v1::UploadStreamResponse>(&call.gateway);
            let counted = call.gateway.clone();
            let answer = grpc.streaming(Many(Some((call, place))), request).await;
            count_unread(&counted, Protocol::GrpcStream, answer.map(axum::body::Body::new))
        }
        Err(problem) => refuse(&gateway, Protocol::GrpcStream, trace, &problem),
    }
}

/// A compression that is not taken is answered by tonic, before any message is asked for.
fn count_unread(gateway: &Gateway, protocol: Protocol, answer: Response) -> Response {
    let status = Status::from_header_map(answer.headers());
    if status.is_some_and(|status| status.code() == Code::Unimplemented) {
        gateway.metrics.unsupported(protocol);
    }
    answer
}

/// Nothing of the call was read.
fn refuse(
    gateway: &Gateway,
    protocol: Protocol,
    trace: TraceContext,
    problem: &Problem,
) -> Response {
    trace::tell_refused(trace, problem);
    gateway.metrics.begin(protocol).end(Err(problem));
    problem.status().into_http()
}

fn grpc<T: prost::Message + Send + Sync + 'static>(gateway: &Gateway) -> Grpc<Raw<T>> {
    Grpc::new(Raw::default())
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(gateway.decompressed_bytes_max)
}

impl Call {
    fn begin(gateway: Arc<Gateway>, request: &Request) -> Result<Self, Problem> {
        let token = bearer(request.headers())?.to_owned();
        let sender = gateway.sender(&token)?;
        let trace = trace::of(request.extensions());
        Ok(Self { gateway, token, sender, trace })
    }

    async fn one(
        &self,
        arriving: &Arriving,
        messages: Streaming<Bytes>,
    ) -> Result<v1::UploadResponse, Status> {
        let counting = self.gateway.metrics.begin(Protocol::Grpc);
        let outcome = match self.take_one(arriving, messages).await {
            Ok(answer) => Ok(answer),
            Err(Unread::Refused(problem)) => Err(problem),
            Err(Unread::NoMessage(status)) => return Err(status),
        };
        counting.end(outcome.as_ref());
        outcome.map(Into::into).map_err(|problem| problem.status())
    }

    async fn take_one(
        &self,
        arriving: &Arriving,
        mut messages: Streaming<Bytes>,
    ) -> Result<Answer, Unread> {
        let Self { gateway, sender, trace, .. } = self;
        let message = tokio::time::timeout(gateway.body_read_timeout, messages.message())
            .await
            .map_err(|_| Problem::SlowBody)?
            .map_err(|status| match arriving.problem() {
                Some(problem) => Unread::Refused(problem),
                None => unread(gateway, status),
            })?;
        let (Some(message), Some(mut place)) = (message, arriving.take_place()) else {
            return Err(Unread::NoMessage(Status::invalid_argument("no upload came")));
        };
        drop(messages);
        place.shrink_to(message.len());
        Ok(gateway.take(*trace, &mut place, sender, Format::Protobuf, &message).await?)
    }

    /// One upload of a stream; the sender is looked up anew, since tokens can be revoked.
    async fn of_stream(
        &self,
        trace: TraceContext,
        message: Bytes,
    ) -> Result<v1::UploadResponse, Problem> {
        let counting = self.gateway.metrics.begin(Protocol::GrpcStream);
        let outcome = self.take_of_stream(trace, message).await;
        counting.end(outcome.as_ref());
        outcome.map(Into::into)
    }

    async fn take_of_stream(&self, trace: TraceContext, message: Bytes) -> Result<Answer, Problem> {
        let sender = self.gateway.sender(&self.token)?;
        let mut place = self.gateway.admit(&sender, message.len())?;
        let upload = protobuf::upload_of_stream(message).map_err(Problem::malformed)?;
        self.gateway.take(trace, &mut place, &sender, Format::Protobuf, &upload).await
    }

    /// The next result, or how the stream ends.
    async fn next(&self, messages: &mut Streaming<Bytes>) -> Option<Result<Outcome, Status>> {
        let Self { gateway, .. } = self;
        let message = tokio::select! {
            biased;
            () = gateway.leaving.cancelled() => {
                return Some(Err(gateway.leaving_problem().status()));
            }
            message = tokio::time::timeout(gateway.stream_idle_timeout, messages.message()) => message,
        };
        let message = match message {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return None,
            Ok(Err(status)) => {
                let unread = unread(gateway, status);
                if let Unread::Refused(problem) = &unread {
                    gateway.metrics.begin(Protocol::GrpcStream).end(Err(problem));
                }
                return Some(Err(unread.status()));
            }
            Err(_) => {
                let idle = format!("no upload came for {:?}", gateway.stream_idle_timeout);
                return Some(Err(Status::deadline_exceeded(idle)));
            }
        };
        let trace = step(self.trace);
        let told = self.of_stream(trace, message).await;
        let told = told.inspect_err(|problem| trace::tell_refused(trace, problem));
        Some(match told {
            Ok(answer) => Ok(Outcome::Accepted(answer)),
            Err(problem @ Problem::WrongToken) => Err(problem.status()),
            Err(problem) => Ok(Outcome::Refused(problem.into())),
        })
    }
}

/// Why there is no answer to a message.
enum Unread {
    Refused(Problem),
    /// It broke off, or is no gRPC message.
    NoMessage(Status),
}

impl Unread {
    fn status(self) -> Status {
        match self {
            Self::Refused(problem) => problem.status(),
            Self::NoMessage(status) => status,
        }
    }
}

impl From<Problem> for Unread {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// A message that tonic gave up.
fn unread(gateway: &Gateway, status: Status) -> Unread {
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => {
            Unread::Refused(too_large(None, gateway.decompressed_bytes_max))
        }
        _ => Unread::NoMessage(status),
    }
}

struct One(Arc<Call>, Arriving);

impl ClientStreamingService<Bytes> for One {
    type Response = v1::UploadResponse;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::Response>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let (call, arriving) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            let answer = call.one(&arriving, request.into_inner()).await;
            let answer = answer.inspect_err(|status| trace::tell_ended(call.trace, status.code()));
            answer.map(tonic::Response::new)
        })
    }
}

/// Taken by the one call that tonic makes.
struct Many(Option<(Call, StreamPlace)>);

impl StreamingService<Bytes> for Many {
    type Response = v1::UploadStreamResponse;
    type ResponseStream = BoxStream<'static, Result<v1::UploadStreamResponse, Status>>;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let open = self.0.take().map(|(call, place)| (call, place, request.into_inner()));
        let results = futures::stream::unfold(open, |open| async move {
            let (call, place, mut messages) = open?;
            match call.next(&mut messages).await? {
                Ok(outcome) => {
                    let result = v1::UploadStreamResponse { result: Some(outcome) };
                    Some((Ok(result), Some((call, place, messages))))
                }
                Err(status) => Some((Err(status), None)),
            }
        });
        Box::pin(async { Ok(tonic::Response::new(results.boxed())) })
    }
}

impl Problem {
    /// As a gRPC status with google.rpc details.
    pub fn status(&self) -> Status {
        let mut details = ErrorDetails::new();
        let fields = field_violations(self.violations());
        if !fields.is_empty() {
            details.set_bad_request(fields);
        }
        if let Some(secs) = self.retry_after_secs() {
            details.set_retry_info(Some(Duration::from_secs(secs)));
        }
        Status::with_error_details(self.class().grpc(), self.detail(), details)
    }
}

impl From<Problem> for v1::UploadRefused {
    fn from(problem: Problem) -> Self {
        let fields = problem.violations().iter().map(|v| v1::RejectedField {
            field: v.field.clone(),
            got: v.got.clone(),
            want: v.want.clone(),
        });
        Self {
            code: problem.class().grpc().into(),
            message: problem.detail(),
            fields: fields.collect(),
            retry_after_ms: problem.retry_after_secs().map(|secs| secs * 1_000),
        }
    }
}
