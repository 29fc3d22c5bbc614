//! What the logs without a broker check alike: topics, record sizes, the clock of append times.

use crate::port::{LogError, NewRecord};
use crate::topics::{Cleanup, TopicSpec, mismatch};
use heliograph_domain::Timestamp;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the append time is read from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

pub(crate) fn wall_clock() -> Clock {
    Arc::new(now)
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Whether a topic may be created, or go on, as `declared`. Retention and sizes may change.
pub(crate) fn acceptable(
    declared: &TopicSpec,
    existing: Option<&TopicSpec>,
) -> Result<(), LogError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = &declared.name;
    // Kafka's rule; here, names become parts of keys and of keyspace names.
    if name.is_empty() || name.len() > 200 || !name.chars().all(legal) {
        return Err(LogError::Config(format!(
            "topic name: got {name:?}, want 1 to 200 of A-Z a-z 0-9 . _ -"
        )));
    }
    if declared.partitions == 0 {
        return Err(LogError::Config(format!("topic {name}: partitions: got 0, want at least 1")));
    }
    let Some(existing) = existing else { return Ok(()) };
    if existing.partitions != declared.partitions {
        return Err(mismatch(declared, existing.partitions));
    }
    if existing.cleanup != declared.cleanup {
        return Err(LogError::Config(format!(
            "topic {name}: cleanup: got {:?}, want {:?} as the topic was created",
            declared.cleanup, existing.cleanup
        )));
    }
    Ok(())
}

/// Whether the topic takes the record.
pub(crate) fn fits(topic: &TopicSpec, record: &NewRecord) -> Result<(), LogError> {
    let got_bytes = record.size_bytes();
    let max_bytes = topic.max_message_bytes;
    if got_bytes > max_bytes {
        return Err(LogError::TooLarge { topic: topic.name.clone(), got_bytes, max_bytes });
    }
    if topic.cleanup == Cleanup::Compact && record.key.is_none() {
        return Err(LogError::Config(format!(
            "topic {} is compacted: got a record without a key",
            topic.name
        )));
    }
    Ok(())
}
