//! An upload from the socket to the log:
//!
//! head ─▶ sender ─▶ a place ─▶ body ─▶ readings ─▶ records ─▶ log ─▶ answer
//!
//! Invariant: the answer is a 2xx only after the log acknowledged the upload's record and every
//! dead letter of it. What it is not: it neither waits for a place nor tries an append again; the
//! logger keeps its data and sends it again, and a reading's identity makes that harmless.

use crate::{
    accept::{self, Answer, Itself, Sender, Taken},
    door::{Door, Entering},
    http::{Capacity, Head, Place, read_body},
    problem::Problem,
};
use axum::extract::Request;
use bytes::Bytes;
use futures::future::{try_join, try_join_all};
use heliograph_domain::{
    SiteId, Timestamp, Violation, partition::partition_for, retry::RetryAfter,
};
use heliograph_formats::json;
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
    let sender = gateway.sender(head.token)?;
    let mut place = gateway.admit(&sender, head.body_bytes)?;
    let body = read_body(body, gateway.body_bytes_max, gateway.body_read_timeout).await?;
    place.shrink_to(body.len());
    gateway.take(&sender, &body).await
}

impl Gateway {
    /// Who has this token.
    ///
    /// # Errors
    /// [`Problem::WrongToken`].
    pub fn sender(&self, token: &str) -> Result<Sender, Problem> {
        accept::authenticate(&self.registry.current(), &self.itself, token)
    }

    /// A place for an upload of `body_bytes`.
    ///
    /// # Errors
    /// [`Problem::Unavailable`], counted at the door, when all are taken: nobody waits here.
    pub fn admit(&self, sender: &Sender, body_bytes: usize) -> Result<Place<'_>, Problem> {
        self.capacity.admit(body_bytes).ok_or_else(|| {
            if !sender.is_itself {
                drop(self.enter(sender));
            }
            self.unavailable("all places are taken")
        })
    }

    /// Takes a whole body; resolves when the log has what it became.
    ///
    /// # Errors
    /// [`Problem`]: what is answered instead of a 2xx.
    pub async fn take(&self, sender: &Sender, body: &Bytes) -> Result<Answer, Problem> {
        let received_at = now();
        let decoded =
            json::decode(body, received_at, self.readings_max).map_err(Problem::Malformed)?;
        let to = self.partition_of(&sender.site);
        let taken = accept::take(decoded, sender, to, &self.instance, received_at)?;
        // From here on it is ours to store: leaving early, however it comes, counts as a refusal.
        let entering = self.enter(sender);
        let stored = self.store(taken).await;
        match &stored {
            _ if sender.is_itself => entering.not_counted(),
            Ok(_) => entering.accepted(),
            Err(Problem::Unavailable { .. }) => drop(entering),
            Err(_) => entering.not_counted(),
        }
        stored
    }

    fn enter(&self, sender: &Sender) -> Entering<'_> {
        self.door.enter(self.partition_of(&sender.site).partition)
    }

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
