//! One table from what went wrong to what a gRPC or an HTTP client is told.

use heliograph_domain::Violation;
use http::StatusCode;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// What went wrong, as far as a client needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The request breaks a rule; sent again it will break it again.
    InvalidArgument,
    /// No token, or one that nobody knows.
    Unauthenticated,
    /// A known token that may not do this.
    PermissionDenied,
    NotFound,
    /// What was to be new is there.
    AlreadyExists,
    /// Something else must be done first.
    FailedPrecondition,
    /// The request is larger than is ever taken.
    TooLarge,
    /// The request is in a format that is not taken.
    UnsupportedMedia,
    /// The client did not finish its request in time.
    RequestTimeout,
    /// The client asks more than its share, or all places are taken.
    ResourceExhausted,
    /// The time the client gave is over.
    DeadlineExceeded,
    /// We cannot now; try again.
    Unavailable,
    /// Our own bug.
    Internal,
}

impl ErrorClass {
    pub const fn grpc(self) -> Code {
        match self {
            Self::InvalidArgument | Self::TooLarge | Self::UnsupportedMedia => {
                Code::InvalidArgument
            }
            Self::Unauthenticated => Code::Unauthenticated,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::FailedPrecondition => Code::FailedPrecondition,
            Self::ResourceExhausted => Code::ResourceExhausted,
            Self::DeadlineExceeded | Self::RequestTimeout => Code::DeadlineExceeded,
            Self::Unavailable => Code::Unavailable,
            Self::Internal => Code::Internal,
        }
    }

    pub const fn http(self) -> StatusCode {
        match self {
            Self::InvalidArgument => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists | Self::FailedPrecondition => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The gRPC status with its message.
    pub fn status(self, message: impl Into<String>) -> Status {
        Status::new(self.grpc(), message)
    }
}

/// `INVALID_ARGUMENT` with one field violation each (google.rpc.BadRequest).
pub fn invalid_argument(violations: &[Violation]) -> Status {
    let text: Vec<String> = violations.iter().map(Violation::to_string).collect();
    Status::with_error_details(
        Code::InvalidArgument,
        text.join("; "),
        ErrorDetails::with_bad_request(field_violations(violations)),
    )
}

/// The violations of a google.rpc.BadRequest.
pub fn field_violations(violations: &[Violation]) -> Vec<FieldViolation> {
    let field =
        |v: &Violation| FieldViolation::new(&v.field, format!("got {}, want {}", v.got, v.want));
    violations.iter().map(field).collect()
}
