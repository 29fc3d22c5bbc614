//! What the log tells: by itself where it is Kafka, else through the query service.

use super::{
    facts::*,
    gather::{Target, chain, open},
};
use crate::{
    access::{Access, explain},
    remote_log::RemoteLog,
};
use heliograph_config::LogConfig;
use heliograph_contract::{topic, v1::ListOffsetsRequest};
use heliograph_log::{Log, LogError, LogKind, LogRead, TopicPartition, kafka::KafkaLog, topics};
use heliograph_writer::config::GROUP;
use std::time::Duration;

/// The longest wait for all of its answers.
const LOG_ANSWERS_MAX: Duration = Duration::from_secs(8);

/// `None` where nobody can ask it.
pub(super) async fn ask_log(
    target: &Target,
    query: Option<&Asked<Query>>,
) -> Option<Asked<LogFacts>> {
    let limit = |answer: Result<Result<LogFacts, String>, _>| {
        answer.unwrap_or_else(|_| Err(format!("no answer within {LOG_ANSWERS_MAX:?}")))
    };
    if let Some(config) = &target.kafka {
        // A log of another kind has one process, which is not this one.
        if config.kind != LogKind::Kafka {
            return None;
        }
        let at = config.kafka.bootstrap_servers.clone();
        let answer = tokio::time::timeout(LOG_ANSWERS_MAX, ask_kafka(config)).await;
        return Some(Asked { at, answer: limit(answer) });
    }
    let asked = query
        .filter(|asked| asked.answer.as_ref().is_ok_and(|query| query.token == Token::Operator))?;
    let answer = async {
        let token = target.token.as_deref().unwrap_or_default();
        let access = open(&asked.at, token).await.map_err(chain)?;
        let log = RemoteLog(access.admin());
        let lag = remote_lag(&access).await;
        Ok(LogFacts { topics: ask_topics(&log).await?, lag, newest_append_ms: newest(&log).await })
    };
    let answer = tokio::time::timeout(LOG_ANSWERS_MAX, answer).await;
    Some(Asked { at: format!("through {}", asked.at), answer: limit(answer) })
}

async fn ask_kafka(config: &LogConfig) -> Result<LogFacts, String> {
    let log = KafkaLog::connect(config.kafka.clone()).await.map_err(chain)?;
    let topics = ask_topics(&*log).await?;
    let lag = kafka_lag(&log).await.map_err(chain);
    Ok(LogFacts { topics, lag, newest_append_ms: newest(&*log).await })
}

async fn ask_topics(log: &dyn LogRead) -> Result<Vec<Topic>, String> {
    let mut asked = Vec::new();
    for declared in topics::declared().map_err(chain)? {
        let partitions = log.partitions(&declared.name).await.map_err(chain);
        asked.push(Topic { name: declared.name, declared: declared.partitions, partitions });
    }
    Ok(asked)
}

async fn remote_lag(access: &Access) -> Result<Lag, String> {
    let request = ListOffsetsRequest { topic: topic::UPLOADS.into(), group: GROUP.into() };
    let answer = access.admin().list_offsets(request).await;
    let partitions = answer.map_err(|status| chain(explain(&status)))?.into_inner().partitions;
    let mut lag = Lag { records: 0, has_committed: false };
    for p in partitions {
        lag.add(p.first_offset, p.end_offset, p.committed_offset);
    }
    Ok(lag)
}

async fn kafka_lag(log: &KafkaLog) -> Result<Lag, LogError> {
    let mut lag = Lag { records: 0, has_committed: false };
    for partition in 0..log.partitions(topic::UPLOADS).await? {
        let tp = TopicPartition::new(topic::UPLOADS, partition);
        let range = log.offsets(&tp).await?;
        lag.add(range.first, range.end, log.committed(GROUP, &tp).await?);
    }
    Ok(lag)
}

impl Lag {
    fn add(&mut self, first: u64, end: u64, committed: Option<u64>) {
        self.records += end.saturating_sub(committed.unwrap_or(0).max(first));
        self.has_committed |= committed.is_some();
    }
}

/// The append time of the last record of the uploads' first partition.
async fn newest(log: &dyn LogRead) -> Option<i64> {
    let tp = TopicPartition::new(topic::UPLOADS, 0);
    let range = log.offsets(&tp).await.ok().filter(|range| range.end > range.first)?;
    let records = log.read(&tp, range.end - 1, 1).await.ok()?;
    Some(records.last()?.append_time.as_ms())
}
