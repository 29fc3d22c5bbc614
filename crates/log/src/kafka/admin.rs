//! Creating the declared topics, and refusing to go on with ones that break a promise.
//!
//! A topic that exists is never changed here: its partitions are fixed for life, and its other
//! settings are the operator's. What is refused is a log whose append times are not its own.

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
    admin::{
        AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
    },
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
    check_append_time(config, &admin, &options, specs, runtime)
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

/// Silence is measured by append times, so they must be the log's own and not a sender's.
fn check_append_time(
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
            match timestamp_type(&resource) {
                Some("LogAppendTime") => {}
                Some(got) => {
                    let what = format!("topic {name}: message.timestamp.type: got {got}");
                    return Err(LogError::Config(format!("{what}, want LogAppendTime")));
                }
                // Any broker may answer, and this one has not heard of the topic yet: it tells of
                // no setting at all.
                None => unknown.push(name.clone()),
            }
        }
        if let (Some(name), true) = (unknown.first(), Instant::now() > deadline) {
            let what = format!("topic {name}: no broker tells its message.timestamp.type");
            return Err(LogError::Unavailable(what));
        }
        if !unknown.is_empty() {
            thread::park_timeout(LOOK_INTERVAL);
        }
        names = unknown;
    }
    Ok(())
}

fn timestamp_type(resource: &ConfigResource) -> Option<&str> {
    resource.get("message.timestamp.type").and_then(|entry| entry.value.as_deref())
}
