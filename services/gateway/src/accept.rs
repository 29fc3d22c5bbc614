//! Who sends, and what an upload becomes: its answer and its records.
//!
//! Invariant: one upload is one record of `heliograph.uploads`; each rejected reading is in one
//! dead letter, as it was sent. What this is not: it appends nothing (`pipeline` does).

use crate::problem::Problem;
use heliograph_contract::{
    event::{encode_dead_letter, encode_upload, trace_header},
    topic, v1,
};
use heliograph_domain::{
    SiteId, TenantId, Timestamp, UploadId, Violation,
    event_id::token_hash,
    registry::{API_TOKEN_PREFIX, Registry},
    trace::TraceContext,
    upload::{Rejected, Upload, content_id},
};
use heliograph_formats::{Checked, Decoded, Format, RejectedReading, dead_letter};
use heliograph_log::{NewRecord, TopicPartition};
use serde::Serialize;

/// Rejected readings beyond this go to a further dead letter. One alone may be larger.
const DEAD_LETTER_BYTES_MAX: usize = 512 * 1024;
const REASON_REJECTED: &str = "rejected_readings";
/// Who the gateways' uploads to themselves belong to.
const PLATFORM_TENANT: &str = "platform";

/// The answer to an upload that was taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    pub upload_id: UploadId,
    /// Readings that were taken, an exact repeat within the upload among them.
    pub accepted: usize,
    pub rejected: Vec<Rejected>,
}

/// The pseudo site of this process, known to nobody else.
#[derive(Debug, Clone)]
pub struct Itself {
    pub site: SiteId,
    tenant: TenantId,
    token_hash: String,
}

/// Who sent an upload: the site whose token came with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sender {
    pub site: SiteId,
    pub tenant: TenantId,
    /// This gateway: its own uploads are no site's, and do not count at the door.
    pub is_itself: bool,
}

/// What an upload becomes.
#[derive(Debug, PartialEq)]
pub struct Taken {
    pub record: NewRecord,
    pub dead_letters: Vec<NewRecord>,
    pub answer: Answer,
}

impl Itself {
    /// # Errors
    /// A [`Violation`] when the platform's own names have no sound form: a bug.
    pub fn new(instance: &str, token: &str) -> Result<Self, Violation> {
        Ok(Self {
            site: SiteId::gateway_self(instance),
            tenant: TenantId::parse(PLATFORM_TENANT)?,
            token_hash: token_hash(token),
        })
    }
}

impl Taken {
    /// Lets all records say which step of which trace they come from.
    pub fn carry(&mut self, trace: TraceContext) {
        for record in std::iter::once(&mut self.record).chain(&mut self.dead_letters) {
            record.headers.push(trace_header(trace));
        }
    }
}

/// Finds the sender by its token.
///
/// # Errors
/// [`Problem::WrongToken`], or [`Problem::ApiToken`] for one that looks like it.
pub fn authenticate(registry: &Registry, itself: &Itself, token: &str) -> Result<Sender, Problem> {
    if let Some(site) = registry.uploader(token) {
        let (site, tenant) = (site.id.clone(), site.tenant.clone());
        return Ok(Sender { site, tenant, is_itself: false });
    }
    if token_hash(token) == itself.token_hash {
        let (site, tenant) = (itself.site.clone(), itself.tenant.clone());
        return Ok(Sender { site, tenant, is_itself: true });
    }
    Err(match token.starts_with(API_TOKEN_PREFIX) {
        true => Problem::ApiToken,
        false => Problem::WrongToken,
    })
}

/// Turns what a known sender sent into records and the answer that they earn.
///
/// # Errors
/// [`Problem::AnotherSite`] when the readings are not the sender's own.
pub fn take(
    format: Format,
    decoded: Decoded<'_>,
    sender: &Sender,
    to: TopicPartition,
    instance: &str,
    received_at: Timestamp,
) -> Result<Taken, Problem> {
    let Decoded { site, upload_id, sent_at, checked } = decoded;
    if let Some(other) = site.filter(|site| *site != sender.site) {
        let want = format!("{:?}, the site of the token, or none", sender.site);
        return Err(Problem::AnotherSite(Violation::new("site", format_args!("{other:?}"), want)));
    }
    let Checked { sent, readings, rejected } = checked;
    let (site, tenant) = (sender.site.clone(), sender.tenant.clone());
    let upload_id = match upload_id {
        Some(id) => id,
        None => content_id(&site, &readings, received_at).map_err(Problem::malformed)?,
    };
    let upload =
        Upload { site, tenant, upload_id, received_at, sent_at, readings, replayed: false };
    let dead_letters = dead_letters(format, &upload, &rejected, sent);
    let record = NewRecord::event(to, encode_upload(&upload, instance));
    let accepted = sent - rejected.len();
    let rejected = rejected.into_iter().map(|r| r.rejected).collect();
    let answer = Answer { upload_id: upload.upload_id, accepted, rejected };
    Ok(Taken { record, dead_letters, answer })
}

fn dead_letters(
    format: Format,
    upload: &Upload,
    rejected: &[RejectedReading<'_>],
    sent: usize,
) -> Vec<NewRecord> {
    let Some(first) = rejected.first() else { return Vec::new() };
    let detail = format!(
        "{} of {sent} readings; the first, at {}: {}",
        rejected.len(),
        first.rejected.index,
        first.rejected.violation
    );
    let letter = |value: Vec<u8>| v1::DeadLetter {
        origin_topic: "gateway".to_owned(),
        reason: REASON_REJECTED.to_owned(),
        detail: detail.clone(),
        site_id: upload.site.to_string(),
        upload_id: upload.upload_id.to_string(),
        value: value.into(),
        at_ms: upload.received_at.as_ms(),
        format: format.in_dead_letters().to_owned(),
        ..Default::default()
    };
    let to = TopicPartition::new(topic::DEAD_LETTERS, 0);
    dead_letter::encode(rejected, DEAD_LETTER_BYTES_MAX)
        .into_iter()
        .map(|value| NewRecord::event(to.clone(), encode_dead_letter(&letter(value))))
        .collect()
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
