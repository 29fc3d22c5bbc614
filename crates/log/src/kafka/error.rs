//! What an error of Kafka means to us: one table from librdkafka's codes to [`LogError`].
//!
//! A code that is not in the table is taken to be passing: trying again is safe, since every
//! consumer of this crate is idempotent, and the message names the code. It does not decide what a
//! caller does next.

use crate::port::LogError;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// What may be done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Passing: try again.
    Transient,
    /// This member is out of its group: what it owned is void.
    NotOwner,
    /// Void as well, unless the group is rebalancing: then the next generation comes at once and
    /// the partition may still be ours.
    StaleGeneration,
    /// There is no such topic or partition.
    UnknownTopic,
    /// The record will never fit.
    TooLarge,
    /// A person has to act: rights, credentials, settings.
    Config,
    /// The broker or the log contradicts itself.
    Corrupt,
}

/// The one table. Everything else is [`Class::Transient`].
const TABLE: &[(Code, Class)] = &[
    (Code::UnknownMemberId, Class::NotOwner),
    (Code::FencedInstanceId, Class::NotOwner),
    (Code::FencedMemberEpoch, Class::NotOwner),
    (Code::UnreleasedInstanceId, Class::NotOwner),
    (Code::AssignmentLost, Class::NotOwner),
    (Code::PollExceeded, Class::NotOwner),
    (Code::Fenced, Class::NotOwner),
    (Code::IllegalGeneration, Class::StaleGeneration),
    (Code::StaleMemberEpoch, Class::StaleGeneration),
    (Code::RebalanceInProgress, Class::Transient),
    (Code::UnknownTopicOrPartition, Class::UnknownTopic),
    (Code::UnknownTopic, Class::UnknownTopic),
    (Code::UnknownPartition, Class::UnknownTopic),
    (Code::UnknownTopicId, Class::UnknownTopic),
    (Code::MessageSizeTooLarge, Class::TooLarge),
    (Code::MessageBatchTooLarge, Class::TooLarge),
    (Code::InvalidMessageSize, Class::TooLarge),
    (Code::Authentication, Class::Config),
    (Code::SaslAuthenticationFailed, Class::Config),
    (Code::UnsupportedSASLMechanism, Class::Config),
    (Code::IllegalSASLState, Class::Config),
    (Code::SecurityDisabled, Class::Config),
    (Code::SSL, Class::Config),
    (Code::TopicAuthorizationFailed, Class::Config),
    (Code::GroupAuthorizationFailed, Class::Config),
    (Code::ClusterAuthorizationFailed, Class::Config),
    (Code::InvalidArgument, Class::Config),
    (Code::InvalidConfig, Class::Config),
    (Code::InvalidTopic, Class::Config),
    (Code::InvalidGroupId, Class::Config),
    (Code::InvalidSessionTimeout, Class::Config),
    (Code::InvalidPartitions, Class::Config),
    (Code::InvalidReplicationFactor, Class::Config),
    (Code::InvalidReplicaAssignment, Class::Config),
    (Code::InconsistentGroupProtocol, Class::Config),
    (Code::GroupMaxSizeReached, Class::Config),
    (Code::InvalidRequiredAcks, Class::Config),
    (Code::UnsupportedCompressionType, Class::Config),
    (Code::UnsupportedVersion, Class::Config),
    (Code::UnsupportedFeature, Class::Config),
    (Code::UnsupportedForMessageFormat, Class::Config),
    (Code::PolicyViolation, Class::Config),
    (Code::InvalidRecord, Class::Config),
    (Code::BadMessage, Class::Corrupt),
    (Code::BadCompression, Class::Corrupt),
    (Code::LogTruncation, Class::Corrupt),
    (Code::AutoOffsetReset, Class::Corrupt),
];

pub(super) fn class(code: Code) -> Class {
    TABLE.iter().find(|(c, _)| *c == code).map_or(Class::Transient, |(_, class)| *class)
}

/// The code of an error. The crate's own look-up leaves admin errors out.
pub(super) fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// The error as the port has it; `subject` is the topic, partition or group it is about.
pub(super) fn log_error(error: &KafkaError, subject: &str) -> LogError {
    let text = format!("{subject}: {error}");
    match error {
        KafkaError::ClientConfig(_, what, key, value) => {
            LogError::Config(format!("kafka property {key} = {value:?}: {what}"))
        }
        KafkaError::ClientCreation(_) | KafkaError::AdminOpCreation(_) | KafkaError::Nul(_) => {
            LogError::Config(text)
        }
        other => match code_of(other).map_or(Class::Transient, class) {
            // A size is known only to the producer, which makes its own error of it.
            Class::Transient | Class::TooLarge => LogError::Unavailable(text),
            Class::NotOwner | Class::StaleGeneration => LogError::NotOwner(text),
            Class::UnknownTopic => LogError::UnknownTopic(text),
            Class::Config => LogError::Config(text),
            Class::Corrupt => LogError::Corrupt(text),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_code_has_two_meanings() {
        let codes: HashSet<i32> = TABLE.iter().map(|(c, _)| *c as i32).collect();
        assert_eq!(codes.len(), TABLE.len());
    }

    #[test]
    fn each_error_of_a_commit_has_its_meaning() {
        let rows = [
            ("a member the group has forgotten owns nothing", Code::UnknownMemberId, "NotOwner"),
            ("a fenced instance owns nothing", Code::FencedInstanceId, "NotOwner"),
            ("an old generation owns nothing", Code::IllegalGeneration, "NotOwner"),
            ("a rebalance passes", Code::RebalanceInProgress, "Unavailable"),
            ("a coordinator that moves comes back", Code::NotCoordinator, "Unavailable"),
            ("a coordinator that loads is ready soon", Code::CoordinatorLoadInProgress, "Unavail"),
            ("a lost connection comes back", Code::BrokerTransportFailure, "Unavailable"),
            ("a code nobody has heard of may be tried again", Code::Unknown, "Unavailable"),
            ("rights are given by a person", Code::GroupAuthorizationFailed, "Config"),
            ("a topic that is gone is said to be gone", Code::UnknownTopicOrPartition, "UnknownT"),
        ];
        for (name, code, want) in rows {
            let got = format!("{:?}", log_error(&KafkaError::ConsumerCommit(code), "g"));
            assert!(got.starts_with(want), "{name}: got {got}, want {want}");
        }
    }

    #[test]
    fn only_an_unlisted_or_passing_code_is_worth_another_try() {
        for (code, class) in TABLE {
            let error = log_error(&KafkaError::MessageProduction(*code), "t");
            let passing = matches!(class, Class::Transient | Class::TooLarge);
            assert_eq!(error.is_transient(), passing, "{code:?}");
        }
    }

    #[test]
    fn the_code_of_an_admin_error_is_seen() {
        let error = KafkaError::AdminOp(Code::TopicAlreadyExists);
        assert_eq!(code_of(&error), Some(Code::TopicAlreadyExists));
    }
}
