//! Creating the declared topics, and refusing to go on with ones that break a promise.
//!
//! A topic that exists is never changed here: its partitions are fixed for life, and its other
//! settings are the operator's. What is refused is a log whose append times are not its own, or that
//! forgets what it acknowledged.

use super::{
    config::{BATCH_MAX_BYTES, FRAMING_MAX_BYTES, KafkaConfig},
    context::Quiet,
    error::log_error,
    meta,
};
use crate::{
    port::LogError,
    topics::{self, Cleanup, TopicSpec},
};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    consumer::BaseConsumer,
    error::{KafkaError, RDKafkaErrorCode as Code},
};
use std::{
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// Between two looks whether a new topic has its leaders.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Blocks: metadata questions and dropping an admin client wait. Runs on a blocking thread.
pub(super) fn ensure(
    config: &KafkaConfig,
    client: &BaseConsumer<Quiet>,
    specs: &[TopicSpec],
    runtime: &Handle,
) -> Result<(), LogError> {
    if specs.is_empty() {
        return Ok(());
    }
    let admin: AdminClient<Quiet> =
        config.client().create_with_context(Quiet).map_err(|e| log_error(&e, "admin"))?;
    let options = AdminOptions::new()
        .request_timeout(Some(config.request_timeout()))
        .operation_timeout(Some(config.request_timeout()));
    let mut missing = Vec::new();
    for spec in specs {
        match meta::partitions(config, client, &spec.name) {
            Ok(got) if got == spec.partitions => {}
            Ok(got) => return Err(topics::mismatch(spec, got)),
            Err(LogError::UnknownTopic(_)) => missing.push(spec),
            Err(error) => return Err(error),
        }
    }
    create(config, &admin, &options, &missing, runtime)?;
    for spec in missing {
        wait_until_there(config, client, spec)?;
    }
    check_settings(config, &admin, &options, specs, runtime)
}

fn create(
    config: &KafkaConfig,
    admin: &AdminClient<Quiet>,
    options: &AdminOptions,
    missing: &[&TopicSpec],
    runtime: &Handle,
) -> Result<(), LogError> {
    if missing.is_empty() {
        return Ok(());
    }
    let wanted: Vec<Wanted> = missing.iter().map(|spec| Wanted::new(config, spec)).collect();
    let requests: Vec<NewTopic<'_>> =
        wanted.iter().map(|w| w.request(config)).collect::<Result<_, _>>()?;
    let answers = runtime
        .block_on(admin.create_topics(&requests, options))
        .map_err(|e| log_error(&e, "creating topics"))?;
    for answer in answers {
        match answer {
            Ok(_) => {}
            // Somebody else was quicker: what it has is looked at below.
            Err((_, Code::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(log_error(&KafkaError::AdminOp(code), &topic)),
        }
    }
    Ok(())
}

/// A topic as the brokers are asked for it.
struct Wanted {
    name: String,
    partitions: u32,
    settings: Vec<(&'static str, String)>,
}

impl Wanted {
    fn new(config: &KafkaConfig, spec: &TopicSpec) -> Self {
        let cleanup = match spec.cleanup {
            Cleanup::Delete => "delete",
            Cleanup::Compact => "compact",
        };
        // The brokers count a whole batch with its framing, we count one record without. A batch
        // of small records must fit as well, however small the topic's own limit is.
        let max_bytes = spec.max_message_bytes.max(BATCH_MAX_BYTES) + FRAMING_MAX_BYTES;
        let mut settings = vec![
            ("cleanup.policy", cleanup.to_owned()),
            ("max.message.bytes", max_bytes.to_string()),
            ("message.timestamp.type", "LogAppendTime".to_owned()),
            ("min.insync.replicas", config.min_insync_replicas.to_string()),
            // As the producer packed it: the brokers need not pack again.
            ("compression.type", "producer".to_owned()),
        ];
        if let Some(hours) = spec.retention_hours {
            settings.push(("retention.ms", (u64::from(hours) * 3_600_000).to_string()));
        }
        Self { name: config.broker_name(&spec.name), partitions: spec.partitions, settings }
    }

    fn request(&self, config: &KafkaConfig) -> Result<NewTopic<'_>, LogError> {
        let number = |n: u32| {
            i32::try_from(n).map_err(|_| LogError::Config(format!("{}: got {n}", self.name)))
        };
        let replicas = TopicReplication::Fixed(number(config.replicas)?);
        let mut topic = NewTopic::new(&self.name, number(self.partitions)?, replicas);
        for (key, value) in &self.settings {
            topic = topic.set(key, value);
        }
        Ok(topic)
    }
}

/// "Created" is said before every broker knows of it and every partition has its leader.
fn wait_until_there(
    config: &KafkaConfig,
    client: &BaseConsumer<Quiet>,
    spec: &TopicSpec,
) -> Result<(), LogError> {
    let deadline = Instant::now() + config.request_timeout();
    loop {
        let last = match meta::partitions_with_leader(config, client, &spec.name) {
            Ok((got, led)) if got == spec.partitions && led == got => return Ok(()),
            Ok((got, led)) if got == spec.partitions => format!("{led} of {got} have a leader"),
            Ok((got, _)) => return Err(topics::mismatch(spec, got)),
            Err(LogError::UnknownTopic(what)) => what,
            Err(error) => return Err(error),
        };
        if Instant::now() > deadline {
            return Err(LogError::Unavailable(format!("topic {}: {last}", spec.name)));
        }
        thread::park_timeout(LOOK_INTERVAL);
    }
}

fn check_settings(
    config: &KafkaConfig,
    admin: &AdminClient<Quiet>,
    options: &AdminOptions,
    specs: &[TopicSpec],
    runtime: &Handle,
) -> Result<(), LogError> {
    let mut names: Vec<String> = specs.iter().map(|s| config.broker_name(&s.name)).collect();
    let deadline = Instant::now() + config.request_timeout();
    while !names.is_empty() {
        let wanted: Vec<ResourceSpecifier<'_>> =
            names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let answers = runtime
            .block_on(admin.describe_configs(&wanted, options))
            .map_err(|e| log_error(&e, "describing topics"))?;
        let mut unknown = Vec::new();
        for (answer, name) in answers.into_iter().zip(&names) {
            let resource = answer.map_err(|code| log_error(&KafkaError::AdminOp(code), name))?;
            let told = |key: &str| resource.get(key).and_then(|entry| entry.value.as_deref());
            match judge(told, config.min_insync_replicas) {
                Verdict::Sound => {}
                Verdict::Weak(what) => {
                    tracing::warn!(topic = name, "{what}: a record may be lost with fewer brokers");
                }
                Verdict::Refused(what) => {
                    return Err(LogError::Config(format!("topic {name}: {what}")));
                }
                Verdict::Unknown => unknown.push(name.clone()),
            }
        }
        if let (Some(name), true) = (unknown.first(), Instant::now() > deadline) {
            let what = format!("topic {name}: no broker tells its {TIMESTAMP_TYPE}");
            return Err(LogError::Unavailable(what));
        }
        if !unknown.is_empty() {
            thread::park_timeout(LOOK_INTERVAL);
        }
        names = unknown;
    }
    Ok(())
}

const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";
const MIN_INSYNC: &str = "min.insync.replicas";

/// What the settings of a topic mean for what the port promises.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Sound,
    /// It keeps its promise with less to spare than was configured.
    Weak(String),
    Refused(String),
    /// Any broker may answer, and this one has not heard of the topic yet: it tells of no setting
    /// at all.
    Unknown,
}

fn judge<'a>(told: impl Fn(&str) -> Option<&'a str>, min_insync_wanted: u32) -> Verdict {
    let Some(timestamp_type) = told(TIMESTAMP_TYPE) else { return Verdict::Unknown };
    // Silence is measured by append times, so they must be the log's own and not a sender's.
    if timestamp_type != "LogAppendTime" {
        let what = format!("{TIMESTAMP_TYPE}: got {timestamp_type}, want LogAppendTime");
        return Verdict::Refused(what);
    }
    // A leader without all that was acknowledged: its log lacks it, for good and without a word.
    if let Some(got @ "true") = told(UNCLEAN_ELECTION) {
        return Verdict::Refused(format!("{UNCLEAN_ELECTION}: got {got}, want false"));
    }
    match told(MIN_INSYNC) {
        Some(got) if got.parse().is_ok_and(|got: u32| got < min_insync_wanted) => {
            Verdict::Weak(format!("{MIN_INSYNC}: got {got}, want at least {min_insync_wanted}"))
        }
        _ => Verdict::Sound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_a_promise_is_refused_and_what_weakens_one_is_told() {
        let sound =
            [(TIMESTAMP_TYPE, "LogAppendTime"), (UNCLEAN_ELECTION, "false"), (MIN_INSYNC, "2")];
        let refused = |what: &str| Verdict::Refused(what.to_owned());
        let rows = [
            ("as it is created", None, Verdict::Sound),
            ("more copies than wanted", Some((MIN_INSYNC, "3")), Verdict::Sound),
            (
                "its senders' times",
                Some((TIMESTAMP_TYPE, "CreateTime")),
                refused("message.timestamp.type: got CreateTime, want LogAppendTime"),
            ),
            (
                "any replica may lead",
                Some((UNCLEAN_ELECTION, "true")),
                refused("unclean.leader.election.enable: got true, want false"),
            ),
            (
                "fewer copies than wanted",
                Some((MIN_INSYNC, "1")),
                Verdict::Weak("min.insync.replicas: got 1, want at least 2".to_owned()),
            ),
        ];
        for (name, changed, want) in rows {
            let told = |key: &str| {
                let all = changed.iter().chain(&sound);
                all.clone().find(|(k, _)| *k == key).map(|(_, value)| *value)
            };
            assert_eq!(judge(told, 2), want, "{name}");
        }
        assert_eq!(judge(|_| None, 2), Verdict::Unknown);
    }
}
