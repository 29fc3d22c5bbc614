//! Questions about topics and partitions. Every function blocks until the brokers answer, so they
//! run on a blocking thread.

use super::{config::KafkaConfig, context::Quiet, error::log_error};
use crate::port::{LogError, OffsetRange, TopicPartition};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// A topic that was just made is known to one broker before it is to all, and any may be asked: that
/// there is none is believed when brokers have said so for this long.
const PROPAGATION_MAX: Duration = Duration::from_secs(2);
/// Between two questions meanwhile.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// The answer of `ask`, which is asked again where another broker, or this one in a moment, may answer
/// otherwise: after a broker has died its questions end in errors, and a new leader does not know yet
/// how far it may tell. That takes no longer than a question without an answer does, `timeout`.
pub(super) fn settled<T>(
    timeout: Duration,
    mut ask: impl FnMut() -> Result<T, LogError>,
) -> Result<T, LogError> {
    let started = Instant::now();
    loop {
        let answer = ask();
        let patience = match &answer {
            Err(LogError::UnknownTopic(_)) => PROPAGATION_MAX,
            Err(LogError::Unavailable(_)) => timeout,
            _ => return answer,
        };
        if started.elapsed() >= patience {
            return answer;
        }
        thread::park_timeout(ASK_INTERVAL);
    }
}

/// Number of partitions of `topic`.
pub(super) fn partitions(
    config: &KafkaConfig,
    client: &BaseConsumer<Quiet>,
    topic: &str,
) -> Result<u32, LogError> {
    partitions_with_leader(config, client, topic).map(|(all, _)| all)
}

/// Number of partitions of `topic`, and how many have a leader.
pub(super) fn partitions_with_leader(
    config: &KafkaConfig,
    client: &BaseConsumer<Quiet>,
    topic: &str,
) -> Result<(u32, u32), LogError> {
    let name = config.broker_name(topic);
    let metadata = client
        .fetch_metadata(Some(&name), config.request_timeout())
        .map_err(|e| log_error(&e, topic))?;
    let Some(found) = metadata.topics().iter().find(|t| t.name() == name) else {
        return Err(LogError::UnknownTopic(topic.to_owned()));
    };
    if let Some(code) = found.error() {
        return Err(log_error(&KafkaError::MetadataFetch(code.into()), topic));
    }
    let led = found.partitions().iter().filter(|p| p.leader() >= 0).count();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    match count(found.partitions().len()) {
        0 => Err(LogError::UnknownTopic(topic.to_owned())),
        all => Ok((all, count(led))),
    }
}

/// The offsets that the partition holds.
pub(super) fn offsets(
    config: &KafkaConfig,
    client: &BaseConsumer<Quiet>,
    tp: &TopicPartition,
) -> Result<OffsetRange, LogError> {
    let name = config.broker_name(&tp.topic);
    let partition = partition_number(tp)?;
    let (first, end) = client
        .fetch_watermarks(&name, partition, config.request_timeout())
        .map_err(|e| log_error(&e, &tp.to_string()))?;
    let offset = |n: i64| {
        u64::try_from(n).map_err(|_| LogError::Corrupt(format!("{tp}: got the offset {n}")))
    };
    Ok(OffsetRange { first: offset(first)?, end: offset(end)? })
}

/// What the group of `client` has committed.
pub(super) fn committed(
    config: &KafkaConfig,
    client: &BaseConsumer<Quiet>,
    tp: &TopicPartition,
) -> Result<Option<u64>, LogError> {
    let mut list = TopicPartitionList::new();
    list.add_partition(&config.broker_name(&tp.topic), partition_number(tp)?);
    let answer = client
        .committed_offsets(list, config.request_timeout())
        .map_err(|e| log_error(&e, &tp.to_string()))?;
    for element in answer.elements() {
        element.error().map_err(|e| log_error(&e, &tp.to_string()))?;
        if let Offset::Offset(n) = element.offset() {
            return Ok(u64::try_from(n).ok());
        }
    }
    Ok(None)
}

/// The partition as librdkafka counts it; one it cannot count does not exist.
pub(super) fn partition_number(tp: &TopicPartition) -> Result<i32, LogError> {
    i32::try_from(tp.partition).map_err(|_| LogError::UnknownTopic(tp.to_string()))
}

/// # Errors
/// [`LogError::Unavailable`] when no broker answers in time.
pub(super) fn answers(config: &KafkaConfig, client: &BaseConsumer<Quiet>) -> Result<(), LogError> {
    client
        .fetch_metadata(None, config.request_timeout())
        .map(|_| ())
        .map_err(|e| log_error(&e, &config.bootstrap_servers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_broker_may_know_is_asked_again() {
        type Answer = fn() -> LogError;
        let rows: [(&str, Answer, u32); 3] = [
            ("not there yet", || LogError::UnknownTopic("t".into()), 3),
            ("a broker has just died", || LogError::Unavailable("t".into()), 3),
            ("nobody knows better", || LogError::Corrupt("t".into()), 1),
        ];
        for (name, error, want) in rows {
            let mut asked = 0;
            let answer = settled(Duration::from_secs(10), || {
                asked += 1;
                if asked < 3 { Err(error()) } else { Ok(asked) }
            });
            assert_eq!((asked, answer.is_ok()), (want, want == 3), "{name}");
        }
    }
}
