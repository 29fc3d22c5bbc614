//! `heliograph explain`: why a site is in its state, in sentences that can be read out.
//!
//! It reads the site's partition of the uploads as the detector does, with the detector's own code,
//! so it says what the detector went by. What it is not: it decides nothing and writes nothing.

use crate::{
    access::{Access, AccessArgs},
    remote_log::RemoteLog,
    say,
    views::{parse_time, span},
};
use anyhow::Context;
use clap::Args;
use heliograph_contract::{alert::Alert, topic};
use heliograph_detector::{
    clock::{Change, GRACE_AFTER},
    records,
    staleness::{Partition, Silence},
};
use heliograph_domain::{SiteId, Timestamp, partition::partition_for};
use heliograph_log::{LogRead, Record, TopicPartition};
use jiff::tz::TimeZone;
use serde_json::json;
use std::{fmt::Write, process::ExitCode};

const READ_BYTES_MAX: usize = 4 << 20;
/// So many reasons of one closed span are named.
const REASONS_MAX: usize = 5;

/// Say why a site is stale or not, in sentences
///
/// Its last upload, what counts as its silence, and what does not. Reads the site's part of the log
/// as the detector does, up to now or to the time of --at; as far back as the log goes: seven days,
/// unless it is kept longer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  heliograph explain roof-7
  heliograph explain roof-7 --at -3h
  heliograph explain roof-7 --at 2026-10-05T04:55:00Z --json")]
pub struct ExplainArgs {
    /// Site id, as `heliograph sites` lists it
    site: String,
    /// As it was then: RFC 3339, UTC, or how long ago (-3h)
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
    at: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// # Errors
/// When the log cannot be read, or has nothing of the site.
pub async fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    SiteId::parse(&args.site)?;
    let now = Timestamp::from_ms(jiff::Timestamp::now().as_millisecond());
    let at = parse_time("--at", &args.at, &TimeZone::UTC, now)?;
    let story = Access::within(&args.access, async |access| {
        replay(&RemoteLog(access.admin()), &args.site, at).await
    })
    .await?;
    let silence = story.partition.silence(&args.site).with_context(|| {
        format!(
            "the log says nothing of site {:?} up to {at}: it is not registered, or was not yet; \
             `heliograph site list` lists those that are",
            args.site
        )
    })?;
    match args.json {
        true => say::line(story.object(&args.site, &silence, at))?,
        false => say::line(story.sentences(&args.site, &silence, at).trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn replay(log: &impl LogRead, site: &str, at: Timestamp) -> anyhow::Result<Story> {
    let count = log.partitions(topic::UPLOADS).await?;
    let number = partition_for(site.as_bytes(), count);
    let tp = TopicPartition::new(topic::UPLOADS, number);
    let range = log.offsets(&tp).await?;
    let (mut story, mut next) = (Story::new(number), range.first);
    while next < range.end {
        let records = log.read(&tp, next, READ_BYTES_MAX).await?;
        let Some(last) = records.last() else { break };
        next = last.offset + 1;
        for record in records {
            if record.append_time > at {
                return Ok(story);
            }
            story.read(site, &record);
        }
    }
    Ok(story)
}

/// What happened on the site's partition since its last upload.
struct Story {
    partition: Partition,
    closed: Vec<Closed>,
}

/// A time in which the front door was not known to be open.
struct Closed {
    from: Timestamp,
    /// None while it is.
    to: Option<Timestamp>,
    reasons: Vec<String>,
}

impl Story {
    fn new(number: u32) -> Self {
        Self { partition: Partition::new(number), closed: Vec::new() }
    }

    fn read(&mut self, site: &str, record: &Record) {
        let before = self.partition.silence(site).map(|silence| silence.last_upload);
        let mut alerts: Vec<Alert> = Vec::new();
        // What cannot be understood, the detector passes over as well.
        let ticked = records::read(&mut self.partition, record, &mut alerts).unwrap_or_default();
        while !self.partition.judge(1_000, &mut alerts) {
            alerts.clear();
        }
        if self.partition.silence(site).map(|silence| silence.last_upload) != before {
            self.closed.retain(|closed| closed.to.is_none());
        }
        self.see(record.append_time, &ticked.changes);
    }

    /// Closed spans as the clock sees them; shorter ones than those that a grace follows are not
    /// worth a word.
    fn see(&mut self, at: Timestamp, changes: &[Change]) {
        let shut_ms = self.partition.clock().shut_ms();
        let open = self.closed.last_mut().filter(|closed| closed.to.is_none());
        match open {
            Some(closed) if shut_ms <= GRACE_AFTER => closed.to = Some(at),
            None if shut_ms > GRACE_AFTER => {
                let from = at.plus_ms(-i64::try_from(shut_ms).unwrap_or(0));
                self.closed.push(Closed { from, to: None, reasons: Vec::new() });
            }
            _ => {}
        }
        if let Some(closed) = self.closed.last_mut() {
            let room = REASONS_MAX.saturating_sub(closed.reasons.len());
            closed.reasons.extend(changes.iter().filter_map(reason).take(room));
        }
    }

    fn sentences(&self, site: &str, silence: &Silence, at: Timestamp) -> String {
        let Silence { tenant, silent_ms, grace_ms, limit_ms, .. } = silence;
        let mut text = format!("{site} of tenant {tenant}, as of {at}\n\n");
        // Writing to a string does not fail.
        let _ = match (&silence.stale_since, silence.last_upload) {
            (Some(since), _) => writeln!(text, "It is stale since {}.", since.append_time),
            (None, Some(_)) => writeln!(text, "It is not stale."),
            (None, None) => writeln!(text, "It is not stale, and has not been heard of yet."),
        };
        let _ = match silence.last_upload {
            Some(last) => writeln!(text, "Its last upload came at {last}."),
            None => {
                writeln!(text, "Nothing came since it was registered, or since the log begins.")
            }
        };
        let _ = writeln!(
            text,
            "Since then our front door was open for {} that count as its silence; the limit is {}.",
            span(*silent_ms),
            span(*limit_ms)
        );
        if *grace_ms > 0 {
            let grace = span(*grace_ms);
            let _ = writeln!(
                text,
                "Another {grace} do not count: so long it had to return after the door was closed."
            );
        }
        for closed in &self.closed {
            let until = closed.to.map_or_else(|| "now".to_owned(), |to| to.to_string());
            let _ = writeln!(text, "The door was closed from {} to {until}:", closed.from);
            let reasons = &closed.reasons;
            if reasons.is_empty() {
                let _ = writeln!(text, "  no gateway has ticked");
            }
            for reason in reasons {
                let _ = writeln!(text, "  {reason}");
            }
        }
        if self.closed.is_empty() {
            text += "The door was not closed for more than a few seconds.\n";
        }
        text
    }

    fn object(&self, site: &str, silence: &Silence, at: Timestamp) -> serde_json::Value {
        let closed = |closed: &Closed| {
            json!({ "from": closed.from.to_string(), "to": closed.to.map(|to| to.to_string()),
                    "reasons": closed.reasons })
        };
        json!({
            "site": site, "tenant": silence.tenant, "at": at.to_string(),
            "stale_since": silence.stale_since.map(|since| since.append_time.to_string()),
            "last_upload_at": silence.last_upload.map(|last| last.to_string()),
            "silent_ms": silence.silent_ms, "grace_ms": silence.grace_ms,
            "limit_ms": silence.limit_ms,
            "closed": self.closed.iter().map(closed).collect::<Vec<_>>(),
        })
    }
}

fn reason(change: &Change) -> Option<String> {
    Some(match change {
        Change::Closed { instance, why } => format!("{instance}: {why}"),
        Change::Lost { instance } => {
            format!("{instance}: it vanished without a word, and counts no more")
        }
        Change::Left { instance } => format!("{instance}: it left"),
        Change::Joined { instance } => format!("{instance}: it ticks for the first time, or again"),
        Change::Opened { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_contract::{
        event::{encode_tick, encode_watched},
        v1::{DoorTick, SiteWatched},
    };

    const NOW: i64 = 1_700_000_000_000;

    fn record(offset: u64, secs: i64, event: heliograph_contract::event::Encoded) -> Record {
        Record {
            at: TopicPartition::new(topic::UPLOADS, 0),
            offset,
            append_time: Timestamp::from_ms(NOW + secs * 1_000),
            key: event.key,
            headers: event.headers,
            value: Some(event.value),
        }
    }

    #[test]
    fn it_says_what_counts_and_what_does_not() {
        let mut story = Story::new(0);
        let watched = SiteWatched {
            site_id: "roof-7".into(),
            version: 1,
            tenant_id: "acme".into(),
            upload_interval_s: 60,
            stale_after_s: 300,
            removed: false,
        };
        story.read("roof-7", &record(0, 0, encode_watched(&watched)));
        let tick = |since_last_ms| {
            encode_tick(&DoorTick {
                instance: "g1".into(),
                incarnation_ms: 1,
                accepted: 1,
                self_upload_ok: true,
                since_last_ms: Some(since_last_ms),
                retry_after_max_s: 30,
                ..DoorTick::default()
            })
        };
        for secs in 1..=100 {
            story.read("roof-7", &record(secs as u64, secs, tick(1_000)));
        }
        story.read("roof-7", &record(101, 7_300, tick(7_200_000)));
        for secs in 7_301..=7_700 {
            story.read("roof-7", &record(secs as u64, secs, tick(1_000)));
        }
        let silence = story.partition.silence("roof-7").unwrap();
        let text = story.sentences("roof-7", &silence, Timestamp::from_ms(NOW + 7_700_000));
        for want in [
            "roof-7 of tenant acme",
            "It is stale since 2023-11-15T00:",
            "Nothing came since it was registered",
            "the limit is 5 min",
            "Another 90 s do not count",
            "g1: it did not tick for 7200 s",
        ] {
            assert!(text.contains(want), "{want:?} is not in\n{text}");
        }
        let object = story.object("roof-7", &silence, Timestamp::from_ms(NOW));
        assert_eq!(object["closed"].as_array().unwrap().len(), 1, "{object}");
        assert_eq!(object["grace_ms"], 90_000);
    }
}
