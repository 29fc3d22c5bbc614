//! The declared topics: `schemas/kafka/topics.toml`, compiled in.

use crate::port::{Log, LogError};
use serde::Deserialize;

const DECLARED: &str = include_str!("../../../schemas/kafka/topics.toml");

/// How a topic forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cleanup {
    /// By age.
    Delete,
    /// Keeps the last record of each key.
    Compact,
}

/// One declared topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSpec {
    pub name: String,
    /// Fixed for the life of an installation.
    pub partitions: u32,
    pub cleanup: Cleanup,
    /// How long records are kept; required where `cleanup` is delete.
    pub retention_hours: Option<u32>,
    /// The largest record: key, value and headers.
    pub max_message_bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    topic: Vec<TopicSpec>,
}

/// The topics of `schemas/kafka/topics.toml`.
///
/// # Errors
/// [`LogError::Config`] when the declaration is malformed; a test keeps the compiled-in one sound.
pub fn declared() -> Result<Vec<TopicSpec>, LogError> {
    parse(DECLARED)
}

/// The declaration of one topic.
///
/// # Errors
/// [`LogError::UnknownTopic`] when it is not declared.
pub fn spec(name: &str) -> Result<TopicSpec, LogError> {
    declared()?
        .into_iter()
        .find(|t| t.name == name)
        .ok_or_else(|| LogError::UnknownTopic(name.to_owned()))
}

fn parse(text: &str) -> Result<Vec<TopicSpec>, LogError> {
    let file: File = toml::from_str(text).map_err(|e| LogError::Config(e.to_string()))?;
    for t in &file.topic {
        let wrong = |what: &str| LogError::Config(format!("topic {}: {what}", t.name));
        if t.partitions == 0 {
            return Err(wrong("partitions: got 0, want at least 1"));
        }
        if (t.cleanup == Cleanup::Delete) != t.retention_hours.is_some() {
            return Err(wrong(
                "retention_hours: want it with cleanup = \"delete\", and only there",
            ));
        }
    }
    Ok(file.topic)
}

/// Refuses to go on where the log's partitions are not as declared: keys would move.
///
/// # Errors
/// [`LogError::Config`] naming the topic, what it has and what is declared.
pub async fn check(log: &dyn Log) -> Result<(), LogError> {
    for t in declared()? {
        let got = log.partitions(&t.name).await?;
        if got != t.partitions {
            return Err(mismatch(&t, got));
        }
    }
    Ok(())
}

/// The error for a topic that exists with another number of partitions.
pub fn mismatch(declared: &TopicSpec, got: u32) -> LogError {
    LogError::Config(format!(
        "topic {}: got {got} partitions, want the declared {}; the number is fixed for life, \
         since it decides where each site's events lie",
        declared.name, declared.partitions
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_contract::topic;

    #[test]
    fn the_declared_topics_are_those_the_code_uses() {
        let names: Vec<String> = declared().unwrap().into_iter().map(|t| t.name).collect();
        assert_eq!(names, topic::ALL);
    }

    #[test]
    fn a_declaration_that_makes_no_sense_is_refused() {
        let base = "[[topic]]\nname = \"t\"\nmax_message_bytes = 1\n";
        for bad in [
            "partitions = 0\ncleanup = \"compact\"",
            "partitions = 1\ncleanup = \"delete\"",
            "partitions = 1\ncleanup = \"compact\"\nretention_hours = 1",
            "partitions = 1\ncleanup = \"compact\"\nfrobs = 1",
        ] {
            assert!(parse(&format!("{base}{bad}")).is_err(), "{bad}");
        }
    }
}
