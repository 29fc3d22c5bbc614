//! An upload from the socket to the log:
//!
//! token ─▶ sender ─▶ a place ─▶ body, decompressed ─▶ readings ─▶ records ─▶ log ─▶ answer
//!
//! Invariant: the answer is a 2xx only after the log acknowledged the upload's record and every
//! dead letter of it. What it is not: it neither waits for a place nor tries an append again; the
//! logger keeps its data and sends it again, and a reading's identity makes that harmless.

use crate::{
    accept::{self, Answer, Itself, Sender, Taken},
    capacity::{Capacity, Full, Place, StreamPlace},
    door::{Door, Entering},
    metrics::{Counting, Metrics, Protocol},
    problem::Problem,
    rate::SiteRate,
    receive, trace,
};
use axum::extract::Request;
use bytes::Bytes;
use futures::future::{try_join, try_join_all};
use heliograph_config::gateway::RECORD_OVERHEAD_BYTES;
use heliograph_domain::{
    SiteId, Timestamp, Violation, partition::partition_for, retry::RetryAfter, trace::TraceContext,
    upload::Rejected,
};
use heliograph_formats::{Format, Refused, decode};
use heliograph_log::{Appended, Log, LogError, NewRecord, TopicPartition, registry::Projection};
use heliograph_service::Shutdown;
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What the log itself may put around a record.
const FRAMING_BYTES_MAX: usize = 1024;

/// What every upload needs.
pub struct Gateway {
    pub log: Arc<dyn Log>,
    pub registry: Projection,
    /// The partitions of `heliograph.uploads`, in order.
    pub partitions: Arc<[TopicPartition]>,
    pub door: Arc<Door>,
    pub itself: Itself,
    pub capacity: Capacity,
    pub metrics: Metrics,
    pub site_rate: SiteRate,
    pub stream_idle_timeout: Duration,
    /// Cancelled when the gateway begins to leave: streams end.
    pub leaving: Shutdown,
    pub retry_after: RetryAfter,
    pub instance: String,
    pub body_bytes_max: usize,
    pub decompressed_bytes_max: usize,
    /// The largest record of each topic that uploads end up in.
    pub record_bytes_max: RecordBytesMax,
    pub body_read_timeout: Duration,
    pub readings_max: usize,
    /// The most bytes that an upload is held to need.
    pub upload_held_bytes_max: usize,
    pub append_timeout: Duration,
}

/// How large a record may be, as the topics are declared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RecordBytesMax {
    pub uploads: usize,
    pub dead_letters: usize,
}

/// Takes one upload that came over HTTP.
///
/// # Errors
/// [`Problem`]: what is answered instead of a 2xx.
pub async fn upload(gateway: &Gateway, request: Request) -> Result<(Format, Answer), Problem> {
    let mut counting = gateway.metrics.begin(Protocol::Http);
    let outcome = take(gateway, request, &mut counting).await;
    counting.end(outcome.as_ref().map(|(_, answer)| answer));
    outcome
}

async fn take(
    gateway: &Gateway,
    request: Request,
    counting: &mut Counting<'_>,
) -> Result<(Format, Answer), Problem> {
    let (parts, body) = request.into_parts();
    let trace = trace::of(&parts.extensions);
    let sender = gateway.sender(receive::bearer(&parts.headers)?)?;
    counting.from(&sender);
    let format = receive::format(&parts.headers)?;
    let (mut place, body) = receive::receive(gateway, &sender, &parts.headers, body).await?;
    Ok((format, gateway.take(trace, &mut place, &sender, format, &body).await?))
}

impl Gateway {
    /// Who has this token.
    ///
    /// # Errors
    /// As [`accept::authenticate`].
    pub fn sender(&self, token: &str) -> Result<Sender, Problem> {
        accept::authenticate(&self.registry.current(), &self.itself, token)
    }

    /// A place for an upload of `body_bytes`.
    ///
    /// # Errors
    /// [`Problem::TooManyRequests`] when the site uploads too often, [`Problem::TooManyAtOnce`]
    /// when its share is taken: no fault of ours. [`Problem::Unavailable`], counted at the door,
    /// when all places are. Nobody waits here.
    pub fn admit(&self, sender: &Sender, body_bytes: usize) -> Result<Place, Problem> {
        self.check_rate(sender)?;
        let place = self.capacity.admit(site_of(sender), body_bytes);
        place.map_err(|full| self.full(sender, full))
    }

    /// Makes a place as large as `body_bytes`.
    ///
    /// # Errors
    /// As [`Gateway::admit`].
    pub fn grow(
        &self,
        place: &mut Place,
        sender: &Sender,
        body_bytes: usize,
    ) -> Result<(), Problem> {
        place.grow_to(body_bytes).map_err(|full| self.full(sender, full))
    }

    /// A place for a gRPC stream.
    ///
    /// # Errors
    /// As [`Gateway::admit`]; opening one counts as an upload.
    pub fn take_stream(&self, sender: &Sender) -> Result<StreamPlace, Problem> {
        self.check_rate(sender)?;
        let place = self.capacity.admit_stream(site_of(sender));
        place.map_err(|full| self.full(sender, full))
    }

    fn check_rate(&self, sender: &Sender) -> Result<(), Problem> {
        let Some(site) = site_of(sender) else { return Ok(()) };
        self.site_rate.check(site).map_err(|too_often| Problem::TooManyRequests {
            limit_per_second: too_often.per_second,
            retry_after_secs: too_often.retry_after_secs,
        })
    }

    /// What streams are told when the gateway leaves.
    pub fn leaving_problem(&self) -> Problem {
        self.unavailable("the gateway leaves")
    }

    fn full(&self, sender: &Sender, full: Full) -> Problem {
        match full {
            Full::Share => {
                Problem::TooManyAtOnce { retry_after_secs: self.retry_after.secs(rand::random()) }
            }
            Full::All => {
                if !sender.is_itself {
                    drop(self.enter(sender));
                }
                self.unavailable("all places are taken")
            }
        }
    }

    /// Takes a whole body; resolves when the log has what it became.
    ///
    /// # Errors
    /// [`Problem`]: what is answered instead of a 2xx.
    pub async fn take(
        &self,
        trace: TraceContext,
        place: &mut Place,
        sender: &Sender,
        format: Format,
        body: &Bytes,
    ) -> Result<Answer, Problem> {
        let received_at = now();
        let decoded = decode(format, body, &sender.site, received_at, self.readings_max).map_err(
            |refused| match refused {
                Refused::Malformed(violations) => Problem::Malformed(violations),
                Refused::TooMany(violation) => Problem::TooLarge(violation),
            },
        )?;
        let to = self.partition_of(&sender.site);
        let mut taken =
            accept::take(format, decoded, sender, to.clone(), &self.instance, received_at)?;
        taken.carry(trace);
        self.check_sizes(&taken)?;
        // Alone it must get through, or it would be sent again for ever.
        let bytes = became_bytes(&taken).min(self.upload_held_bytes_max);
        self.grow(place, sender, bytes)?;
        // From here on it is ours to store: being dropped early, as when a client of HTTP/2 resets
        // its stream, counts as a refusal.
        let entering = self.enter(sender);
        let stored = self.store(taken).await;
        match &stored {
            _ if sender.is_itself => entering.not_counted(),
            Ok(_) => entering.accepted(),
            Err(Problem::Unavailable { .. }) => drop(entering),
            Err(_) => entering.not_counted(),
        }
        let (answer, appended) = stored?;
        trace::tell_stored(trace, sender, &to, appended, &answer);
        Ok(answer)
    }

    fn enter(&self, sender: &Sender) -> Entering<'_> {
        self.door.enter(self.partition_of(&sender.site).partition)
    }

    fn partition_of(&self, site: &SiteId) -> TopicPartition {
        let at = partition_for(site.as_str().as_bytes(), self.partitions.len() as u32);
        self.partitions[at as usize].clone()
    }

    /// A format may say in few bytes what the log says in many, and a rejected reading may grow
    /// when it is written down. The log would refuse it; here all of it is refused before any of
    /// it is stored.
    fn check_sizes(&self, taken: &Taken) -> Result<(), Problem> {
        let RecordBytesMax { uploads, dead_letters } = self.record_bytes_max;
        let letters = taken.dead_letters.iter().map(|letter| (letter, dead_letters));
        for (record, max) in std::iter::once((&taken.record, uploads)).chain(letters) {
            let bytes = record.size_bytes() + FRAMING_BYTES_MAX;
            if bytes > max {
                return Err(record_too_large(bytes, max));
            }
        }
        Ok(())
    }

    /// Resolves with the answer, and where the upload stands, when the log has everything.
    async fn store(&self, taken: Taken) -> Result<(Answer, Appended), Problem> {
        let Taken { record, dead_letters, answer } = taken;
        let upload = self.log.append(record);
        let appended = async {
            if dead_letters.is_empty() {
                return upload.await;
            }
            let letters = try_join_all(dead_letters.into_iter().map(|d| self.log.append(d)));
            try_join(upload, letters).await.map(|(appended, _)| appended)
        };
        match tokio::time::timeout(self.append_timeout, appended).await {
            Ok(Ok(appended)) => Ok((answer, appended)),
            Ok(Err(LogError::TooLarge { got_bytes, max_bytes, .. })) => {
                Err(record_too_large(got_bytes, max_bytes))
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

/// What is held until the log answers, without what every record has around it: rejected readings
/// and what is said about them can be many times what came.
fn became_bytes(taken: &Taken) -> usize {
    let letters: usize = taken.dead_letters.iter().map(NewRecord::size_bytes).sum();
    let said = |r: &Rejected| {
        let Violation { field, got, want } = &r.violation;
        size_of::<Rejected>() + field.len() + got.len() + want.len()
    };
    let answer: usize = taken.answer.rejected.iter().map(said).sum();
    (taken.record.size_bytes() + letters + answer).saturating_sub(RECORD_OVERHEAD_BYTES)
}

/// Whose share and rate it is; our own uploads to ourselves have none.
fn site_of(sender: &Sender) -> Option<&SiteId> {
    Some(&sender.site).filter(|_| !sender.is_itself)
}

fn record_too_large(got_bytes: usize, max_bytes: usize) -> Problem {
    let got = format!("readings that need {got_bytes} bytes on the log");
    let want = format!("at most {max_bytes} bytes; send the readings in several uploads");
    Problem::TooLarge(Violation::new("readings", got, want))
}

/// The wall clock, read at this one edge; it never decides anything but what is plausible.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
