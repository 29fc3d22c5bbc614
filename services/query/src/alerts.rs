//! `SubscribeAlerts`: the alerts of the log, as they stand there and as they come.
//!
//! Invariant: what a resume token stands for is the next offset of each partition, so nothing is
//! missed by who goes on with it, whichever service answers. Nothing is read ahead of the caller. A
//! token that is revoked ends its stream. What it is not: it drops no repeats; readers know an alert
//! by its id.

use crate::{
    access::Principal,
    edge::Place,
    error::{log_status, violation},
    read_log::BATCH_BYTES_MAX,
};
use futures::{
    Stream,
    future::{join_all, select_all},
    stream,
};
use heliograph_contract::{alert::Alert, error::ErrorClass, topic, v1};
use heliograph_domain::{Violation, registry::Role};
use heliograph_log::{Log, LogError, Record, TopicPartition, registry::Projection};
use heliograph_service::Shutdown;
use std::{sync::Arc, time::Duration};
use tonic::Status;

/// A stream without alerts says so often where it stands, and looks whether its token is still known.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What a subscription needs of the service.
pub struct Parts {
    pub log: Arc<dyn Log>,
    pub registry: Projection,
    pub caller: Principal,
    pub leaving: Shutdown,
    /// Kept for as long as the stream lives.
    pub _place: Option<Place>,
}

/// A subscription under way.
pub struct Subscription {
    parts: Parts,
    partitions: Vec<TopicPartition>,
    /// The next offset of each partition.
    next: Vec<u64>,
    /// Where it ends, when it does.
    ends: Option<Vec<u64>>,
}

impl Subscription {
    /// # Errors
    /// INVALID_ARGUMENT for a token that is none of ours, or what the log says.
    pub async fn begin(parts: Parts, asked: &v1::SubscribeAlertsRequest) -> Result<Self, Status> {
        let count = parts.log.partitions(topic::ALERTS).await.map_err(|e| log_status(&e))?;
        let partitions: Vec<_> =
            (0..count).map(|p| TopicPartition::new(topic::ALERTS, p)).collect();
        let ranges = join_all(partitions.iter().map(|tp| parts.log.offsets(tp))).await;
        let ranges =
            ranges.into_iter().collect::<Result<Vec<_>, _>>().map_err(|e| log_status(&e))?;
        let firsts = ranges.iter().map(|range| range.first);
        let ends: Vec<u64> = ranges.iter().map(|range| range.end).collect();
        let next = match (asked.resume_token.as_str(), asked.from_now) {
            ("", false) => firsts.collect(),
            ("", true) => ends.clone(),
            (token, false) => {
                let read = read_token(token, partitions.len()).map_err(violation)?;
                // What the log has dropped meanwhile is gone.
                read.into_iter().zip(firsts).map(|(next, first)| next.max(first)).collect()
            }
            (token, true) => {
                let want = "none with from_now";
                return Err(violation(Violation::new("resume_token", format!("{token:?}"), want)));
            }
        };
        Ok(Self { parts, partitions, next, ends: asked.until_now.then_some(ends) })
    }

    /// Answers until the end, or for as long as the caller takes them.
    pub fn into_stream(
        self,
    ) -> impl Stream<Item = Result<v1::SubscribeAlertsResponse, Status>> + Send {
        stream::try_unfold(self, |mut subscription| async move {
            let answer = subscription.answer().await?;
            Ok(answer.map(|answer| (answer, subscription)))
        })
    }

    async fn answer(&mut self) -> Result<Option<v1::SubscribeAlertsResponse>, Status> {
        if self.has_ended() {
            return Ok(None);
        }
        self.wait().await?;
        let mut alerts = Vec::new();
        for at in 0..self.partitions.len() {
            let end = self.ends.as_ref().map_or(u64::MAX, |ends| ends[at]);
            if self.next[at] >= end {
                continue;
            }
            let read =
                self.parts.log.read(&self.partitions[at], self.next[at], BATCH_BYTES_MAX / 4);
            let records = read.await.map_err(|e| log_status(&e))?;
            // Nothing lies between here and the end, though the end is further.
            let Some(last) = records.last() else {
                self.next[at] = self.ends.as_ref().map_or(self.next[at], |ends| ends[at]);
                continue;
            };
            self.next[at] = last.offset + 1;
            let before_end = records.iter().filter(|record| record.offset < end);
            alerts.extend(before_end.filter_map(|record| self.alert(record)));
        }
        Ok(Some(v1::SubscribeAlertsResponse { alerts, resume_token: token(&self.next) }))
    }

    fn has_ended(&self) -> bool {
        let ends = self.ends.as_ref();
        ends.is_some_and(|ends| self.next.iter().zip(ends).all(|(next, end)| next >= end))
    }

    /// Until there may be something to read.
    async fn wait(&self) -> Result<(), Status> {
        let Parts { log, registry, caller, leaving, .. } = &self.parts;
        let come = async {
            let waits = self.partitions.iter().zip(&self.next);
            let waits = waits.map(|(tp, next)| log.wait_past(tp, *next, SILENCE_MAX));
            select_all(waits).await.0
        };
        let is_there = async {
            match self.ends {
                Some(_) => Ok::<(), LogError>(()),
                None => come.await,
            }
        };
        tokio::select! {
            () = leaving.cancelled() => {
                let words = "the service is leaving; go on elsewhere with the last resume token";
                return Err(ErrorClass::Unavailable.status(words));
            }
            come = is_there => come.map_err(|e| log_status(&e))?,
        }
        let known = registry.current();
        let is_known = known.api_tokens().any(|token| token.hash == caller.token_hash);
        is_known
            .then_some(())
            .ok_or_else(|| ErrorClass::Unauthenticated.status("the token is not known any more"))
    }

    fn alert(&self, record: &Record) -> Option<v1::Alert> {
        let caller = &self.parts.caller;
        match Alert::decode(&record.headers, record.value.as_ref()) {
            Ok(alert) => {
                // An incident concerns everybody, and stands in every partition: the first tells it.
                let sees = |alert: &Alert| match alert.tenant_id() {
                    Some(tenant) => {
                        caller.role == Role::Operator || tenant == caller.tenant.as_str()
                    }
                    None => record.at.partition == 0,
                };
                alert.filter(sees).map(Alert::into_wire)
            }
            Err(error) => {
                tracing::error!(at = %record.at, offset = record.offset, %error, "no alert: passed over");
                None
            }
        }
    }
}

/// The next offsets, as text that says which form it has.
fn token(next: &[u64]) -> String {
    let offsets: Vec<String> = next.iter().map(u64::to_string).collect();
    format!("1.{}", offsets.join("."))
}

fn read_token(text: &str, partitions: usize) -> Result<Vec<u64>, Violation> {
    let offsets = text.strip_prefix("1.").map(|rest| rest.split('.').map(str::parse).collect());
    match offsets {
        Some(Ok(offsets)) if Vec::len(&offsets) == partitions => Ok(offsets),
        _ => Err(Violation::new(
            "resume_token",
            format_args!("{text:?}"),
            "the resume_token of an answer, or nothing",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, TryStreamExt};
    use heliograph_contract::registry;
    use heliograph_domain::{
        TenantId,
        registry::{ApiToken, Entry},
    };
    use heliograph_log::{NewRecord, memory::MemoryLog, topics};

    /// A log with alerts of two tenants, and who asks for them.
    struct Story {
        log: Arc<dyn Log>,
        registry: Projection,
        leaving: Shutdown,
    }

    impl Story {
        async fn new() -> Self {
            let log: Arc<dyn Log> = MemoryLog::new();
            log.ensure_topics(&topics::declared().unwrap()).await.unwrap();
            let story = Self {
                registry: Projection::load(log.clone(), Shutdown::new()).await.unwrap(),
                log,
                leaving: Shutdown::new(),
            };
            for (tenant, role) in [("t1", Role::Viewer), ("ops", Role::Operator)] {
                story.put(&token_of(tenant, role)).await;
            }
            story
        }

        async fn put(&self, entry: &Entry) {
            let to = TopicPartition::new(topic::REGISTRY, 0);
            let record = NewRecord::event(to, registry::encode(entry));
            let appended = self.log.append(record).await.unwrap();
            self.registry.reached(appended.offset).await.unwrap();
        }

        async fn alert(&self, partition: u32, tenant: &str, offset: u64) {
            let stale = v1::SiteWentStale {
                site_id: format!("s{offset}"),
                tenant_id: tenant.into(),
                offset,
                ..Default::default()
            };
            let to = TopicPartition::new(topic::ALERTS, partition);
            let record = NewRecord::event(to, Alert::WentStale(stale).encode());
            self.log.append(record).await.unwrap();
        }

        async fn ask(
            &self,
            tenant: &str,
            role: Role,
            asked: v1::SubscribeAlertsRequest,
        ) -> Result<Subscription, Status> {
            let parts = Parts {
                log: self.log.clone(),
                registry: self.registry.clone(),
                caller: Principal {
                    tenant: TenantId::parse(tenant).unwrap(),
                    role,
                    token_hash: format!("hash-{tenant}"),
                },
                leaving: self.leaving.clone(),
                _place: None,
            };
            Subscription::begin(parts, &asked).await
        }

        /// Sites of all alerts up to now, and the last token.
        async fn until_now(&self, tenant: &str, role: Role, from: &str) -> (Vec<String>, String) {
            let asked = v1::SubscribeAlertsRequest {
                resume_token: from.into(),
                until_now: true,
                ..Default::default()
            };
            let stream = self.ask(tenant, role, asked).await.unwrap().into_stream();
            let answers: Vec<v1::SubscribeAlertsResponse> = stream.try_collect().await.unwrap();
            let token = answers.last().map_or(from, |answer| &*answer.resume_token).to_owned();
            (answers.iter().flat_map(sites).collect(), token)
        }
    }

    fn token_of(tenant: &str, role: Role) -> Entry {
        Entry::ApiToken(ApiToken {
            hash: format!("hash-{tenant}"),
            tenant: TenantId::parse(tenant).unwrap(),
            role,
            name: String::new(),
            created_at: None,
        })
    }

    fn sites(answer: &v1::SubscribeAlertsResponse) -> Vec<String> {
        let site = |alert: &v1::Alert| match &alert.alert {
            Some(v1::alert::Alert::SiteWentStale(a)) => a.site_id.clone(),
            other => panic!("{other:?}"),
        };
        answer.alerts.iter().map(site).collect()
    }

    #[tokio::test]
    async fn who_goes_on_with_the_last_token_misses_nothing_and_sees_its_own_tenant() {
        let story = Story::new().await;
        for (partition, tenant, offset) in [(0, "t1", 1), (0, "t2", 2), (3, "t1", 3)] {
            story.alert(partition, tenant, offset).await;
        }
        let (seen, token) = story.until_now("t1", Role::Viewer, "").await;
        assert_eq!(seen, ["s1", "s3"]);
        assert_eq!(story.until_now("ops", Role::Operator, "").await.0, ["s1", "s2", "s3"]);
        story.alert(0, "t1", 4).await;
        let (seen, token) = story.until_now("t1", Role::Viewer, &token).await;
        assert_eq!(seen, ["s4"]);
        assert_eq!(story.until_now("t1", Role::Viewer, &token).await.0, [] as [&str; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_waits_for_what_comes_and_ends_with_its_token_or_its_service() {
        let story = Story::new().await;
        story.alert(1, "t1", 1).await;
        let asked = v1::SubscribeAlertsRequest { from_now: true, ..Default::default() };
        let stream = story.ask("t1", Role::Viewer, asked.clone()).await.unwrap().into_stream();
        let mut stream = Box::pin(stream);
        let said = stream.next().await.unwrap().unwrap();
        assert!(said.alerts.is_empty(), "nothing new, but where it stands: {said:?}");
        story.alert(2, "t1", 2).await;
        assert_eq!(sites(&stream.next().await.unwrap().unwrap()), ["s2"]);
        story.put(&token_of("t1", Role::Viewer)).await;
        let gone = heliograph_contract::event::Encoded {
            value: Default::default(),
            ..registry::encode(&token_of("t1", Role::Viewer))
        };
        let to = TopicPartition::new(topic::REGISTRY, 0);
        let tombstone = NewRecord { value: None, ..NewRecord::event(to, gone) };
        let appended = story.log.append(tombstone).await.unwrap();
        story.registry.reached(appended.offset).await.unwrap();
        let refused = stream.next().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);

        let stream = story.ask("ops", Role::Operator, asked).await.unwrap().into_stream();
        story.leaving.cancel();
        let refused = Box::pin(stream).next().await.unwrap().unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unavailable);
    }

    #[test]
    fn a_token_comes_back_as_it_was_and_nothing_else_is_one() {
        let next = vec![0, 7, u64::MAX, 12];
        assert_eq!(read_token(&token(&next), 4), Ok(next));
        for wrong in
            ["", "1", "1.", "1.1.2.3", "1.1.2.3.4.5", "1.1.2.3.x", "2.1.2.3.4", "1.-1.2.3.4"]
        {
            let error = read_token(wrong, 4).unwrap_err();
            assert_eq!(error.field, "resume_token", "{wrong}");
        }
    }
}
