//! An upload from the socket to the log:
//!
//! head ─▶ a place ─▶ body ─▶ envelope ─▶ sender ─▶ readings ─▶ records ─▶ log ─▶ answer
//!
//! Invariant: the answer is a 2xx only after the log acknowledged the upload's record and every
//! dead letter of it. What it is not: it neither waits for a place nor tries an append again; the
//! logger keeps its data and sends it again, and a reading's identity makes that harmless.

use crate::{
    accept::{self, Answer, Itself, Taken},
    door::Door,
    envelope::Envelope,
    http::{Capacity, Head, read_body},
    problem::Problem,
};
use axum::extract::Request;
use futures::future::{try_join, try_join_all};
use heliograph_domain::{
    SiteId, Timestamp, Violation, partition::partition_for, retry::RetryAfter,
};
use heliograph_log::{Log, LogError, TopicPartition, registry::Projection};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What every upload needs.
pub struct Gateway {
    pub log: Arc<dyn Log>,
    pub registry: Projection,
    /// The partitions of `heliograph.uploads`, in order.
    pub partitions: Arc<[TopicPartition]>,
    pub door: Arc<Door>,
    pub itself: Itself,
    pub capacity: Capacity,
    pub retry_after: RetryAfter,
    pub instance: String,
    pub body_bytes_max: usize,
    pub body_read_timeout: Duration,
    pub readings_max: usize,
    pub append_timeout: Duration,
}

/// Takes one upload.
///
/// # Errors
/// [`Problem`]: what is answered instead of a 2xx.
pub async fn upload(gateway: &Gateway, request: Request) -> Result<Answer, Problem> {
    let (parts, body) = request.into_parts();
    let head = Head::read(&parts.headers, gateway.body_bytes_max)?;
    let Some(mut place) = gateway.capacity.admit(head.body_bytes) else {
        gateway.door.refused_unknown();
        return Err(gateway.unavailable("all places are taken"));
    };
    let body = read_body(body, gateway.body_bytes_max, gateway.body_read_timeout).await?;
    place.shrink_to(body.len());
    let received_at = now();
    let envelope = Envelope::parse(&body, gateway.readings_max).map_err(Problem::Malformed)?;
    let registry = gateway.registry.current();
    let sender = accept::authenticate(&registry, &gateway.itself, &envelope.site, head.token)?;
    let is_itself = sender.is_itself;
    let to = gateway.partition_of(&envelope.site);
    let partition = to.partition;
    let taken = accept::take(envelope, sender, to, &gateway.instance, received_at)?;
    // From here on it is ours to store: leaving early, however it comes, counts as a refusal.
    let entering = gateway.door.enter(partition);
    let stored = gateway.store(taken).await;
    match &stored {
        _ if is_itself => entering.not_counted(),
        Ok(_) => entering.accepted(),
        Err(Problem::Unavailable { .. }) => drop(entering),
        Err(_) => entering.not_counted(),
    }
    stored
}

impl Gateway {
    fn partition_of(&self, site: &SiteId) -> TopicPartition {
        let at = partition_for(site.as_str().as_bytes(), self.partitions.len() as u32);
        self.partitions[at as usize].clone()
    }

    /// Resolves with the answer when the log has everything.
    async fn store(&self, taken: Taken) -> Result<Answer, Problem> {
        let Taken { record, dead_letters, answer } = taken;
        let upload = self.log.append(record);
        let appended = async {
            if dead_letters.is_empty() {
                return upload.await.map(drop);
            }
            let letters = try_join_all(dead_letters.into_iter().map(|d| self.log.append(d)));
            try_join(upload, letters).await.map(drop)
        };
        match tokio::time::timeout(self.append_timeout, appended).await {
            Ok(Ok(())) => Ok(answer),
            Ok(Err(LogError::TooLarge { got_bytes, max_bytes, .. })) => {
                let got = format!("a record of {got_bytes} bytes");
                let want = format!("at most {max_bytes} bytes; send several uploads");
                Err(Problem::TooLarge(Violation::new("readings", got, want)))
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "append failed");
                Err(self.unavailable("the log did not take it"))
            }
            Err(_) => Err(self.unavailable("the log did not answer in time")),
        }
    }

    fn unavailable(&self, why: &'static str) -> Problem {
        let retry_after_secs = self.retry_after.secs(rand::random());
        Problem::Unavailable { why, retry_after_secs }
    }
}

/// The wall clock, read at this one edge; it never decides anything but what is plausible.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
