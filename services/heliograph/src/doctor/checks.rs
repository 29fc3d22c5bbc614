//! From facts to findings: what is well, what is not, and how to mend it.
//!
//! Pure. Where a cause is known, its consequences are not told as well: one broken thing is one
//! FAIL, and what could not be asked because of it is left out.

use super::{checks_here, facts::*};
use serde::Serialize;

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
    pub found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// More than the Date header's second and a slow answer can explain.
const SKEW_WARN_MS: i64 = 3_000;
const SKEW_FAIL_MS: i64 = 60_000;
/// Each partition gets a tick at least every 3 s.
const SILENCE_MAX_MS: i64 = 30_000;
/// A writer that keeps up is behind by a second of ticks and uploads.
const LAG_WARN_RECORDS: u64 = 10_000;

/// Judges everything, in the order in which one would mend it.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut out = Findings(Vec::new());
    checks_here::config(&mut out, &facts.config);
    if let Some(directory) = &facts.directory {
        checks_here::directory(&mut out, directory);
        checks_here::disk(&mut out, directory, facts.config.min_free_bytes);
    }
    checks_here::engine(&mut out, facts);
    checks_here::descriptors(&mut out, facts);
    gateway(&mut out, facts);
    query(&mut out, facts);
    store(&mut out, facts);
    log(&mut out, facts);
    clock(&mut out, facts);
    versions(&mut out, facts);
    out.0
}

/// The lines as they are written.
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    pub fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.0.push(Finding { check, verdict: Verdict::Ok, found: found.into(), mend: None });
    }

    pub fn warn(&mut self, check: &'static str, found: impl Into<String>, mend: impl Into<String>) {
        let (found, mend) = (found.into(), Some(mend.into()));
        self.0.push(Finding { check, verdict: Verdict::Warn, found, mend });
    }

    pub fn fail(&mut self, check: &'static str, found: impl Into<String>, mend: impl Into<String>) {
        let (found, mend) = (found.into(), Some(mend.into()));
        self.0.push(Finding { check, verdict: Verdict::Fail, found, mend });
    }
}

/// What does not answer, and whether that has been told already.
fn silent(out: &mut Findings, facts: &Facts, check: &'static str, at: &str, error: &str) {
    let is_told = facts.directory.as_ref().is_some_and(|directory| {
        !matches!(directory.endpoint, EndpointFacts::There { is_alive: true, .. })
    });
    if !is_told {
        let mend = match facts.directory {
            Some(_) => "see what `heliograph up` says on stderr",
            None => "start it, or name the right address; a firewall may stand between",
        };
        out.fail(check, format!("{at} does not answer: {error}"), mend);
    }
}

fn gateway(out: &mut Findings, facts: &Facts) {
    const CHECK: &str = "gateway";
    let Some(Asked { at, answer }) = &facts.gateway else { return };
    match answer {
        Err(error) => silent(out, facts, CHECK, at, error),
        Ok(Web { ready: false, reason, .. }) => {
            out.fail(CHECK, format!("{at} is not ready: {reason}"), "wait a moment and ask again");
        }
        Ok(_) => out.ok(CHECK, format!("{at} is ready")),
    }
}

fn query(out: &mut Findings, facts: &Facts) {
    let Some(Asked { at, answer }) = &facts.query else { return };
    let query = match answer {
        Err(error) => return silent(out, facts, "query", at, error),
        Ok(query) => query,
    };
    match query.serving {
        true => out.ok("query", format!("{at} is serving")),
        false => out.fail("query", format!("{at} is not serving"), "wait a moment and ask again"),
    }
    match &query.token {
        Token::Operator => out.ok("token", "it is an operator's"),
        Token::Viewer => out.warn(
            "token",
            "it is a viewer's: the log cannot be asked with it",
            "give an operator's with --token",
        ),
        Token::NotGiven => out.warn(
            "token",
            "none was given: the log cannot be asked",
            "give an operator's with --token or HELIOGRAPH_TOKEN",
        ),
        Token::Refused(why) => out.fail(
            "token",
            format!("{at} does not take it: {why}"),
            match facts.directory {
                Some(_) => "restart `heliograph up`: it makes a new one when its own is void",
                None => "give one that is not revoked; an operator makes new ones",
            },
        ),
    }
}

fn store(out: &mut Findings, facts: &Facts) {
    let Some(Asked { at, answer }) = &facts.store else { return };
    let store = match answer {
        Err(error) => return silent(out, facts, "clickhouse", at, error),
        Ok(store) => store,
    };
    out.ok("clickhouse", format!("{at} is version {}", store.version));
    let migrate = match facts.directory {
        Some(_) => "restart `heliograph up`: it brings them up to date",
        None => "heliograph migrate --config FILE",
    };
    match &store.tables {
        Ok(Tables { applied, pending }) if pending.is_empty() => {
            out.ok("tables", format!("{applied} migrations applied, none pending"));
        }
        Ok(Tables { applied, pending }) => out.fail(
            "tables",
            format!("{applied} migrations applied, not yet: {}", pending.join(", ")),
            migrate,
        ),
        Err(error) => out.fail(
            "tables",
            error,
            "run the version of heliograph that this database belongs to, or restore the file",
        ),
    }
}

fn log(out: &mut Findings, facts: &Facts) {
    let Some(Asked { at, answer }) = &facts.log else { return };
    let log = match answer {
        Err(error) => return silent(out, facts, "log", at, error),
        Ok(log) => log,
    };
    let mut is_well = true;
    for topic in &log.topics {
        let (name, declared) = (&topic.name, topic.declared);
        match &topic.partitions {
            Ok(count) if *count == declared => {}
            Ok(count) => {
                is_well = false;
                out.fail(
                    "topics",
                    format!("{name} has {count} partitions, declared are {declared}"),
                    "the number is fixed for life: make the topic anew, or take another \
                     log.kafka.topic_prefix",
                );
            }
            Err(error) => {
                is_well = false;
                out.fail("topics", format!("{name}: {error}"), "heliograph migrate --config FILE");
            }
        }
    }
    if !is_well {
        return;
    }
    out.ok("topics", format!("{at}: {} as declared", log.topics.len()));
    const CHECK: &str = "writer";
    match &log.lag {
        Err(error) => {
            let mend = "ask again; the log may be busy";
            out.warn(CHECK, format!("its offsets cannot be asked: {error}"), mend);
        }
        Ok(Lag { has_committed: false, records }) if *records > 0 => out.warn(
            CHECK,
            format!("it has never committed; {records} records wait"),
            "start the writer, and see what it says on stderr",
        ),
        Ok(Lag { records, .. }) if *records > LAG_WARN_RECORDS => out.warn(
            CHECK,
            format!("{records} records behind the log"),
            "if `heliograph lag` shows it growing: see what writer and ClickHouse say",
        ),
        Ok(Lag { records, .. }) => out.ok(CHECK, format!("{records} records behind the log")),
    }
}

fn clock(out: &mut Findings, facts: &Facts) {
    const CHECK: &str = "clock";
    let gateway = facts.gateway.as_ref().and_then(|asked| asked.answer.as_ref().ok());
    let date_ms = gateway.and_then(|web| web.date_ms);
    let append_ms = facts
        .log
        .as_ref()
        .and_then(|asked| asked.answer.as_ref().ok())
        .and_then(|log| log.newest_append_ms);
    let mend = "let one time service set the clocks of all machines: timedatectl, chronyc tracking";
    let mut is_well = date_ms.is_some() || append_ms.is_some();
    if let Some(date_ms) = date_ms {
        let skew_ms = facts.now_ms - date_ms;
        let found = format!("this machine's differs from the gateway's by {} s", skew_ms / 1_000);
        if skew_ms.abs() > SKEW_FAIL_MS {
            is_well = false;
            out.fail(CHECK, found, mend);
        } else if skew_ms.abs() > SKEW_WARN_MS {
            is_well = false;
            out.warn(CHECK, found, mend);
        }
    }
    if let Some(append_ms) = append_ms {
        let age_ms = facts.now_ms - append_ms;
        if age_ms < -SKEW_WARN_MS {
            is_well = false;
            let found = format!("the log's newest record is {} s in the future", -age_ms / 1_000);
            out.fail(CHECK, found, mend);
        } else if age_ms > SILENCE_MAX_MS && gateway.is_some() {
            let found = format!("the newest record is {} s old", age_ms / 1_000);
            let mend = "each gateway ticks once a second: see what it says on stderr";
            out.warn("ticks", found, mend);
        }
    }
    if is_well {
        out.ok(CHECK, "this machine's, the gateway's and the log's agree");
    }
}

fn versions(out: &mut Findings, facts: &Facts) {
    let gateway = facts.gateway.as_ref().and_then(|asked| asked.answer.as_ref().ok());
    let query = facts.query.as_ref().and_then(|asked| asked.answer.as_ref().ok());
    let services = [
        ("gateway", gateway.and_then(|web| web.version.as_ref())),
        ("query", query.and_then(|query| query.version.as_ref())),
    ];
    let known: Vec<_> = services.iter().filter_map(|(name, v)| Some((name, (*v)?))).collect();
    let own = &facts.version;
    let others: Vec<String> =
        known.iter().filter(|(_, v)| *v != own).map(|(name, v)| format!("{name} {v}")).collect();
    if !others.is_empty() {
        let found = format!("this program is {own}, but {}", others.join(", "));
        out.warn("versions", found, "use the same release everywhere");
    } else if !known.is_empty() {
        out.ok("versions", format!("{own} everywhere"));
    }
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
