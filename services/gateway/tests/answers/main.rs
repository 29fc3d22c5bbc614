//! What is answered to each mistake in each way in; `docs/errors.md` is made of it, and held
//! against it. `HELIOGRAPH_BLESS=1` writes the page anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;
mod reasons;
mod ways;

use common::*;
use futures::{StreamExt, stream};
use heliograph_gateway::GatewayConfig;
use reasons::{READINGS, Reason, UPLOADS, World};
use std::{fmt::Write, path::Path, time::Duration};
use ways::{WAYS, Way};

const HEAD: &str = "# Answers to mistakes

Made by the tests of the gateway (`services/gateway/tests/answers`), which send each of these
requests and compare. Limits are small there: 3 readings, 2,000 bytes, 3,000 decompressed, 1 upload.
`N` stands for seconds that differ from time to time, `HASH` for the hash of an upload's content,
`tomorrow` for a day from now. A way in that is missing from a table cannot make that mistake.

HTTP answers of `/v1/uploads` are problem documents (RFC 9457, `application/problem+json`); those of
`/api/v2/write` and `/write` have the keys of both versions of InfluxDB. What is answered with
`retry-after`, RetryInfo or `retry_after_ms` is to be sent again as it was; anything else would be
refused again. After a 503 it may have been stored all the same: sent again it is stored once.

What `heliograph upload` and loggers print ends in the same words. Look for a part without names and
numbers of your own.
";

fn limits() -> GatewayConfig {
    GatewayConfig {
        readings_max: 3,
        body_bytes_max: 2_000,
        decompressed_bytes_max: 3_000,
        body_read_timeout: Duration::from_millis(100),
        // Its own uploads to itself would want the one place, too.
        tick_interval: Duration::from_secs(3),
        ..config()
    }
}

/// A gateway as the reason wants it.
async fn gateway_in(world: World) -> Running {
    let mut limits = limits();
    match world {
        World::Well | World::LogAway => {}
        World::Full => limits.in_flight_max = 1,
        World::ShareUsed => limits.site_in_flight_max = 1,
        World::RateUsed => (limits.site_uploads_per_second, limits.site_uploads_burst) = (1, 1),
    }
    let gateway = start(limits).await;
    match world {
        World::Well => {}
        World::LogAway => gateway.log.faults(|r| match is_tick(r) {
            true => Fault::None,
            false => Fault::Fail,
        }),
        World::Full | World::ShareUsed => {
            let site = first_sender(world);
            gateway.log.faults(move |r| match is_upload_of(r, site) {
                true => Fault::Hang,
                false => Fault::None,
            });
        }
        World::RateUsed => drop(gateway.upload("s1", "before").await),
    }
    gateway
}

/// Whose upload is under way when the request comes.
fn first_sender(world: World) -> &'static str {
    match world {
        World::ShareUsed => "s1",
        _ => "s3",
    }
}

/// Sends it in one way; what is stored must be as the reason says.
async fn answer(reason: &Reason, way: Way) -> Option<String> {
    let sent = (reason.sent)(way)?;
    let gateway = gateway_in(reason.world).await;
    let answer = match reason.world {
        World::Full | World::ShareUsed => {
            let first = async {
                loop {
                    let response = gateway.upload(first_sender(reason.world), "before").await;
                    if response.status().as_u16() != 503 {
                        return;
                    }
                }
            };
            let second = async {
                gateway.log.hangs(1).await;
                let answer = way.answer(&gateway, sent).await;
                gateway.log.release();
                answer
            };
            tokio::join!(first, second).1
        }
        _ => way.answer(&gateway, sent).await,
    };
    let of_s1: usize = gateway
        .stored()
        .await
        .iter()
        .map(|u| match u.site.as_str() {
            "s1" if u.upload_id.as_str() != "before" => u.readings.len(),
            _ => 0,
        })
        .sum();
    let letters = gateway.dead_letters().await.len();
    match (UPLOADS.iter().any(|r| r.name == reason.name), reason.name) {
        (true, name) => assert_eq!((of_s1, letters), (0, 0), "{name}: {way:?}: {answer}"),
        // The last of the two is taken.
        (false, name @ "Two values for one reading") => {
            assert_eq!((of_s1, letters), (1, 1), "{name}: {way:?}: {answer}");
        }
        (false, name) => assert_eq!((of_s1, letters), (0, 1), "{name}: {way:?}: {answer}"),
    }
    gateway.stop().await;
    Some(answer)
}

/// One reason's part of the page.
struct Entry {
    /// As a person has it in hand: a status, and the words that came with it.
    status: String,
    words: String,
    /// In the document.
    anchor: String,
    todo: &'static str,
    rows: Vec<(Vec<&'static str>, String)>,
}

async fn entry(reason: &Reason) -> Entry {
    let mut rows: Vec<(Vec<&str>, String)> = Vec::new();
    // Each has a gateway of its own, and mostly waits for it to begin and to end.
    let answers = stream::iter(WAYS).map(|way| async move { (way, answer(reason, way).await) });
    let answers: Vec<_> = answers.buffered(6).collect().await;
    for (way, answer) in answers {
        let Some(answer) = answer else { continue };
        match rows.iter_mut().find(|(_, said)| *said == answer) {
            Some((ways, _)) => ways.push(way.name()),
            None => rows.push((vec![way.name()], answer)),
        }
    }
    assert!(!rows.is_empty(), "{}: no way in makes this mistake", reason.name);
    let (status, words) = in_hand(&rows[0].1);
    let letters = reason.name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    Entry { status, words, anchor: letters, todo: reason.todo, rows }
}

/// Of an HTTP answer as the page shows it: its status, and the words for people.
fn in_hand(answer: &str) -> (String, String) {
    let status = answer.trim_start_matches('`').split(' ').next().unwrap_or_default();
    let body = &answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()];
    // The page escapes for its tables.
    let body: serde_json::Value = serde_json::from_str(&body.replace("\\|", "|")).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let words = match (&body["detail"], &body["message"], &body["rejected"][0]) {
        (serde_json::Value::String(detail), ..) => detail.clone(),
        (_, serde_json::Value::String(message), _) => message.clone(),
        (.., bad) => {
            let (field, got, want) = (text(&bad["field"]), text(&bad["got"]), text(&bad["want"]));
            format!("{field}: got {got}, want {want}")
        }
    };
    let words = ["nothing was stored: ", "partial write: line 1: "]
        .iter()
        .fold(&*words, |words, before| words.strip_prefix(before).unwrap_or(words));
    (status.to_owned(), words.replace('|', "\\|"))
}

/// Words as they are, whatever Markdown would make of them.
fn code(text: &str) -> String {
    match text.contains('`') {
        true => format!("`` {text} ``"),
        false => format!("`{text}`"),
    }
}

fn contents(page: &mut String, title: &str, entries: &[Entry]) {
    write!(page, "\n**{title}**\n\n| message | status | what to do |\n|---|---|---|\n").unwrap();
    for Entry { status, words, anchor, todo, .. } in entries {
        let words = code(words);
        writeln!(page, "| {words} | [{status}](#{anchor}) | {todo} |").unwrap();
    }
}

fn section(page: &mut String, title: &str, reasons: &[Reason], entries: &[Entry]) {
    write!(page, "\n## {title}\n").unwrap();
    for (reason, Entry { status, words, anchor, todo, rows }) in reasons.iter().zip(entries) {
        let words = code(words);
        write!(page, "\n<a id=\"{anchor}\"></a>\n\n### {status} {words}\n\n").unwrap();
        write!(page, "{}: {todo}.\n\n| way in | answer |\n|---|---|\n", reason.name).unwrap();
        for (ways, answer) in rows {
            writeln!(page, "| {} | {answer} |", ways.join("<br>")).unwrap();
        }
    }
}

const REFUSED: &str = "The upload is refused";
/// How a person comes to these messages.
const HOW_REJECTED: &str = "
The answer is 200 with the message under `rejected`; that to line protocol is 400, and the good
lines are stored. `heliograph dead-letters list` shows the message later.
";
const REJECTED: &str = "A reading is rejected and kept as a dead letter; those beside it are taken";

async fn page() -> String {
    let (mut refused, mut rejected) = (Vec::new(), Vec::new());
    for reason in UPLOADS {
        refused.push(entry(reason).await);
    }
    for reason in READINGS {
        rejected.push(entry(reason).await);
    }
    let mut page = HEAD.to_owned();
    contents(&mut page, REFUSED, &refused);
    contents(&mut page, REJECTED, &rejected);
    page.push_str(HOW_REJECTED);
    section(&mut page, REFUSED, UPLOADS, &refused);
    section(&mut page, REJECTED, READINGS, &rejected);
    page
}

#[tokio::test]
async fn each_mistake_gets_the_answer_that_the_page_has() {
    let page = page().await;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    if std::env::var_os("HELIOGRAPH_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    for (at, (got, want)) in page.lines().zip(committed.lines()).enumerate() {
        assert_eq!(got, want, "docs/errors.md, line {}; HELIOGRAPH_BLESS=1 writes it", at + 1);
    }
    assert_eq!(page.lines().count(), committed.lines().count());
}
