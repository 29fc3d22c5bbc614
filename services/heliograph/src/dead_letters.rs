//! `heliograph dead-letters`: what could not be used, looked at and put back.
//!
//! A dead letter is named by its offset on `heliograph.dead-letters`. Listing reads from the newest
//! part of the topic; putting back is the service's (`AdminService.ReplayDeadLetter`).

use crate::{
    access::{Access, AccessArgs, explain},
    remote_log::RemoteLog,
};
use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};
use heliograph_contract::{
    topic,
    v1::{DeadLetter, ReplayDeadLetterRequest, ReplayDeadLetterResponse},
};
use heliograph_domain::Timestamp;
use heliograph_log::{LogRead, TopicPartition};
use prost::Message;
use serde::Serialize;
use serde_json::{json, value::RawValue};
use std::{collections::VecDeque, io::Write, process::ExitCode};

const READ_BYTES_MAX: usize = 1 << 20;
/// Of a table.
const COLUMNS_MAX: u16 = 100;

/// Look at what could not be used, and put it back once it can
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph dead-letters list --site roof-7\n  \
                        heliograph dead-letters show 42\n  \
                        heliograph dead-letters replay 42 --dry-run")]
pub struct DeadLettersArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Replay(ReplayArgs),
}

/// List dead letters, the newest last
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph dead-letters list --site roof-7\n  \
                        heliograph dead-letters list --reason undecodable --last 1000000 --json")]
struct ListArgs {
    /// Only those of this site.
    #[arg(long)]
    site: Option<String>,
    /// Only those with this reason: rejected_readings, undecodable, bad_block.
    #[arg(long)]
    reason: Option<String>,
    /// Look at so many, the newest on the topic.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    last: u64,
    /// Show at most so many, the newest that fit.
    #[arg(long, default_value_t = 50, value_name = "N")]
    rows: usize,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// Show one dead letter whole, as it came
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heliograph dead-letters show 42 --json")]
struct ShowArgs {
    /// Its offset, as `list` shows it.
    offset: u64,
    /// One JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// Put dead letters back into the flow
///
/// A record goes back onto its topic as it was; of rejected readings those are taken that pass the
/// rules now. A reading is stored once, and the newest counts: a value that was sent for it since is
/// replaced by that of the letter.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph dead-letters replay 42 43 --dry-run\n  \
                        heliograph dead-letters replay 42 43")]
struct ReplayArgs {
    /// Their offsets, as `list` shows them.
    #[arg(required = true, value_name = "OFFSET")]
    offsets: Vec<u64>,
    /// Only say what would become of them.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// # Errors
/// When the log cannot be read, or a letter cannot be put back; names its offset.
pub async fn run(args: DeadLettersArgs) -> anyhow::Result<ExitCode> {
    let access = match &args.command {
        Command::List(args) => Access::open(&args.access),
        Command::Show(args) => Access::open(&args.access),
        Command::Replay(args) => Access::open(&args.access),
    }
    .await?;
    let outcome = match args.command {
        Command::List(args) => list(&access, &args).await.map(|()| ExitCode::SUCCESS),
        Command::Show(args) => show(&access, &args).await.map(|()| ExitCode::SUCCESS),
        Command::Replay(args) => replay(&access, &args).await,
    };
    access.close().await?;
    outcome
}

async fn list(access: &Access, args: &ListArgs) -> anyhow::Result<()> {
    let (log, at) = (RemoteLog(access.admin()), TopicPartition::new(topic::DEAD_LETTERS, 0));
    let held = log.offsets(&at).await?;
    let start = held.end.saturating_sub(args.last).max(held.first);
    let (mut next, mut found) = (start, VecDeque::new());
    while next < held.end {
        let records = log.read(&at, next, READ_BYTES_MAX).await?;
        let Some(last) = records.last() else { break };
        next = last.offset + 1;
        for record in records {
            let letter = decode(record.offset, record.value)?;
            let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|w| w == is);
            if fits(&args.site, &letter.site_id) && fits(&args.reason, &letter.reason) {
                found.push_back((record.offset, letter));
            }
            if found.len() > args.rows {
                found.pop_front();
            }
        }
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        for (offset, letter) in &found {
            writeln!(out, "{}", serde_json::to_string(&Shown::new(*offset, letter))?)?;
        }
        return Ok(());
    }
    if found.is_empty() {
        writeln!(out, "no dead letters")?;
    } else {
        writeln!(out, "{}", table(&found, columns()))?;
    }
    if start > held.first {
        writeln!(out, "{} older ones were not looked at; --last N", start - held.first)?;
    }
    Ok(())
}

/// Rows that fit `columns`: words are wrapped, never cut. Times are to the second; `show` has the
/// rest.
fn table(letters: &VecDeque<(u64, DeadLetter)>, columns: u16) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    table.set_header(["offset", "at (UTC)", "site", "reason", "what"]);
    for (offset, letter) in letters {
        let at = Timestamp::from_ms(letter.at_ms).to_string();
        let at = at.split_once('.').map_or(&*at, |(secs, _)| secs).replace('T', " ");
        table.add_row([
            offset.to_string(),
            at,
            letter.site_id.clone(),
            letter.reason.clone(),
            letter.detail.clone(),
        ]);
    }
    table
}

async fn show(access: &Access, args: &ShowArgs) -> anyhow::Result<()> {
    let (log, at) = (RemoteLog(access.admin()), TopicPartition::new(topic::DEAD_LETTERS, 0));
    let held = log.offsets(&at).await?;
    ensure!(
        (held.first..held.end).contains(&args.offset),
        "offset: got {}, want {} to {}; `heliograph dead-letters list` shows them",
        args.offset,
        held.first,
        held.end.saturating_sub(1)
    );
    let records = log.read(&at, args.offset, 1).await?;
    let record = records.into_iter().find(|r| r.offset == args.offset);
    let record = record.with_context(|| format!("no dead letter at offset {}", args.offset))?;
    let letter = decode(record.offset, record.value)?;
    let (shown, mut out) = (Shown::new(args.offset, &letter), std::io::stdout().lock());
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&shown)?)?,
        false => writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?,
    }
    Ok(())
}

async fn replay(access: &Access, args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let (mut admin, mut out) = (access.admin(), std::io::stdout().lock());
    let mut all_used = true;
    for offset in args.offsets.iter().copied() {
        let request = ReplayDeadLetterRequest { offset, dry_run: args.dry_run };
        let done = match admin.replay_dead_letter(request).await {
            Ok(done) => done.into_inner(),
            Err(status) => {
                writeln!(out, "{offset}: {:#}", explain(&status))?;
                all_used = false;
                continue;
            }
        };
        all_used &= done.rejected.is_empty();
        writeln!(out, "{offset}: {}", outcome(&done, args.dry_run))?;
        for r in &done.rejected {
            writeln!(out, "  reading {}: {}: got {}, want {}", r.index, r.field, r.got, r.want)?;
        }
    }
    Ok(if all_used { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn outcome(done: &ReplayDeadLetterResponse, dry_run: bool) -> String {
    let what = match (done.accepted, done.rejected.len()) {
        _ if done.topic.is_empty() => return "every reading still breaks a rule".to_owned(),
        (0, 0) => "the record".to_owned(),
        (1, 0) => "1 reading".to_owned(),
        (accepted, 0) => format!("{accepted} readings"),
        (accepted, still) => format!("{accepted} of {} readings", accepted + still as u64),
    };
    let to = format!("{}/{}", done.topic, done.partition);
    match (dry_run, done.offset) {
        (false, Some(offset)) => format!("{what} put back: {to} at offset {offset}"),
        _ => format!("{what} would go to {to}"),
    }
}

/// As wide as the terminal, at most as wide as the helps.
fn columns() -> u16 {
    let width = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0);
    width.filter(|width| *width > 0).map_or(COLUMNS_MAX, |width| width.min(COLUMNS_MAX))
}

fn decode(offset: u64, value: Option<bytes::Bytes>) -> anyhow::Result<DeadLetter> {
    let value = value.with_context(|| format!("offset {offset}: got a tombstone"))?;
    DeadLetter::decode(value).with_context(|| format!("offset {offset}: not a dead letter"))
}

/// A dead letter as people and scripts see it. Bytes that are JSON stand as JSON, other text as a
/// string, the rest in hex.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    offset: u64,
    at: String,
    reason: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    site: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    upload_id: &'a str,
    origin: Origin<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    format: &'a str,
    headers: serde_json::Map<String, serde_json::Value>,
    value: serde_json::Value,
}

#[derive(Debug, Serialize)]
struct Origin<'a> {
    topic: &'a str,
    partition: Option<u32>,
    offset: Option<u64>,
}

impl<'a> Shown<'a> {
    fn new(offset: u64, letter: &'a DeadLetter) -> Self {
        let headers = letter.headers.iter().map(|h| (h.name.clone(), readable(&h.value))).collect();
        Self {
            offset,
            at: Timestamp::from_ms(letter.at_ms).to_string(),
            reason: &letter.reason,
            detail: &letter.detail,
            site: &letter.site_id,
            upload_id: &letter.upload_id,
            origin: Origin {
                topic: &letter.origin_topic,
                partition: letter.origin_partition,
                offset: letter.origin_offset,
            },
            format: &letter.format,
            headers,
            value: readable(&letter.value),
        }
    }
}

fn readable(bytes: &[u8]) -> serde_json::Value {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return json!({ "hex": heliograph_domain::event_id::hex(bytes) });
    };
    // Text that is JSON only by chance, such as a number, stays text.
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if text.starts_with(['[', '{']) => json!(raw),
        _ => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_what_they_are() {
        let rows: [(&str, &[u8], serde_json::Value); 4] = [
            ("JSON", br#"[{"reading":{"value":1.0}}]"#, json!([{"reading": {"value": 1.0}}])),
            ("text", b"inv1 a=1", json!("inv1 a=1")),
            ("a number is text", b"12", json!("12")),
            ("anything else", b"\x0a\xff", json!({"hex": "0aff"})),
        ];
        for (name, bytes, want) in rows {
            assert_eq!(readable(bytes), want, "{name}");
        }
    }

    #[test]
    fn a_list_fits_the_screen_and_has_every_word() {
        let detail = "reading 0 of upload 0123456789abcdef0123456789abcdef: unit: got \"V\", want one \
                      of W, kW, MW; 12 more readings have mistakes";
        let letter = DeadLetter {
            at_ms: 1_767_225_600_123,
            site_id: "a-site-with-a-long-name".into(),
            reason: "rejected_readings".into(),
            detail: detail.into(),
            ..Default::default()
        };
        let letters = VecDeque::from([(1_234_567, letter)]);
        for columns in [100, 80] {
            let text = table(&letters, columns).to_string();
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(columns.into()), "{widest:?}\n{text}");
            let kept = |text: &str| {
                let is_kept = |c: &char| c.is_ascii_graphic() && *c != '|';
                text.chars().filter(is_kept).count()
            };
            assert!(kept(&text) >= kept(detail), "{text}");
            assert!(text.contains("2026-01-01") && text.contains("1234567"), "{text}");
        }
    }

    #[test]
    fn an_outcome_says_what_became_of_it() {
        let done = |topic: &str, offset, accepted, rejected| ReplayDeadLetterResponse {
            topic: topic.into(),
            partition: 3,
            offset,
            accepted,
            rejected: vec![Default::default(); rejected],
        };
        let rows = [
            (done("t", Some(7), 0, 0), false, "the record put back: t/3 at offset 7"),
            (done("t", Some(7), 2, 1), false, "2 of 3 readings put back: t/3 at offset 7"),
            (done("t", None, 1, 0), true, "1 reading would go to t/3"),
            (done("", None, 0, 2), false, "every reading still breaks a rule"),
        ];
        for (done, dry_run, want) in rows {
            assert_eq!(outcome(&done, dry_run), want);
        }
    }
}
