//! What callers are told when the log or the store fails. One table each; details that are not the
//! caller's business go to our own log.

use clickhouse::error::Error as StoreError;
use heliograph_contract::error::{ErrorClass, invalid_argument};
use heliograph_domain::Violation;
use heliograph_log::LogError;
use heliograph_store::{StoreErrorClass, classify};
use tonic::Status;

/// ClickHouse's codes that mean something else to a reader than to a writer.
const TIMEOUT_EXCEEDED: u32 = 159;
const TOO_MANY_SIMULTANEOUS_QUERIES: u32 = 202;
const MEMORY_LIMIT_EXCEEDED: u32 = 241;

/// A failed statement.
pub fn store_status(error: &StoreError) -> Status {
    let (class, words) = match (code(error), classify(error)) {
        (Some(TIMEOUT_EXCEEDED), _) => {
            (ErrorClass::DeadlineExceeded, "the time for this call is over")
        }
        (Some(MEMORY_LIMIT_EXCEEDED), _) => (
            ErrorClass::ResourceExhausted,
            "the store has too little memory for this now; ask for less or later",
        ),
        (Some(TOO_MANY_SIMULTANEOUS_QUERIES), _) => {
            (ErrorClass::ResourceExhausted, "the store is busy; try again later")
        }
        (_, StoreErrorClass::TryAgain) => {
            (ErrorClass::Unavailable, "the store cannot answer now; try again later")
        }
        (_, StoreErrorClass::BadBlock | StoreErrorClass::Stop) => {
            (ErrorClass::Internal, "the store refused the statement; see the service's log")
        }
    };
    match class {
        ErrorClass::Internal => tracing::error!(%error, "statement refused"),
        _ => tracing::warn!(%error, "statement failed"),
    }
    class.status(words)
}

/// A failed append or read.
pub fn log_status(error: &LogError) -> Status {
    let class = match error {
        LogError::Unavailable(_) => ErrorClass::Unavailable,
        LogError::TooLarge { .. } => ErrorClass::TooLarge,
        LogError::UnknownTopic(_) => ErrorClass::NotFound,
        LogError::NotOwner(_)
        | LogError::Locked(_)
        | LogError::Config(_)
        | LogError::Corrupt(_) => ErrorClass::Internal,
    };
    if class == ErrorClass::Internal {
        tracing::error!(%error, "log failed");
        return class.status("the log failed; see the service's log");
    }
    class.status(error.to_string())
}

/// One broken rule.
pub fn violation(v: Violation) -> Status {
    invalid_argument(&[v])
}

/// Our own bug, or a world that is not as we think.
pub fn internal(what: &'static str, error: impl std::fmt::Display) -> Status {
    tracing::error!(%error, "{what}");
    ErrorClass::Internal.status(what)
}

/// `Code: N. DB::Exception: …`
fn code(error: &StoreError) -> Option<u32> {
    let StoreError::BadResponse(text) = error else { return None };
    let (_, rest) = text.split_once("Code: ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[test]
    fn a_store_error_tells_the_caller_what_to_do() {
        let exception =
            |code: u32| StoreError::BadResponse(format!("Code: {code}. DB::Exception: secret"));
        let rows = [
            ("the store is away", StoreError::Network("refused".into()), Code::Unavailable),
            ("its time is over", exception(159), Code::DeadlineExceeded),
            ("it is full", exception(202), Code::ResourceExhausted),
            ("too large a question", exception(241), Code::ResourceExhausted),
            ("a replica is away", exception(279), Code::Unavailable),
            ("a missing table", exception(60), Code::Internal),
            ("an unknown code", exception(99_999), Code::Internal),
        ];
        for (name, error, want) in rows {
            let status = store_status(&error);
            assert_eq!(status.code(), want, "{name}");
            assert!(!status.message().contains("secret"), "{name}: {status}");
        }
    }

    #[test]
    fn a_log_error_tells_the_caller_what_to_do() {
        let rows = [
            ("away", LogError::Unavailable("x".into()), Code::Unavailable),
            ("unknown", LogError::UnknownTopic("x".into()), Code::NotFound),
            ("corrupt", LogError::Corrupt("x".into()), Code::Internal),
        ];
        for (name, error, want) in rows {
            assert_eq!(log_status(&error).code(), want, "{name}");
        }
    }
}
