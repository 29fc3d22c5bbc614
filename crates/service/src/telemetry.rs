//! Logs: JSON lines for machines, plain ones on a terminal; always on stderr, so that stdout
//! stays for what a command answers.
//!
//! Invariant: a fault that repeats does not fill a disk. Each message has its own limit
//! ([`limit`]), and what was left out is counted and said.

mod bucket;
mod limit;

pub use limit::suppressed_lines;

use limit::RateLimit;
use std::{io::IsTerminal, sync::OnceLock};
use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, registry};

/// What a service logs unless `RUST_LOG` says otherwise.
const SERVICE: &str = "info,librdkafka=warn";
/// Who sits at a terminal wants what needs them; the rest is noise between their own lines.
const PERSON: &str = "warn";

static LIMIT: OnceLock<RateLimit> = OnceLock::new();

/// Starts logging of a service; `RUST_LOG` filters, `info` without it. A second call changes
/// nothing.
pub fn init() {
    start(SERVICE);
}

/// Starts logging of a command that people run: without `RUST_LOG`, warnings on a terminal and what
/// a service logs elsewhere.
pub fn init_for_command() {
    start(of_command(std::io::stderr().is_terminal()));
}

const fn of_command(is_terminal: bool) -> &'static str {
    if is_terminal { PERSON } else { SERVICE }
}

fn start(usual: &str) {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let filter = filter(&wanted, usual);
    let limit = RateLimit::started();
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match std::io::stderr().is_terminal() {
        true => lines.with_target(false).boxed(),
        false => lines.json().boxed(),
    };
    let subscriber = registry().with(filter).with(lines.with_filter(limit.clone()));
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        limit.say_suppressed_from_time_to_time();
        let _ = LIMIT.set(limit);
    }
}

/// Says what was left out since it was last said: before a process ends.
pub fn say_suppressed() {
    if let Some(limit) = LIMIT.get() {
        limit.say_suppressed();
    }
}

/// What is wanted; the usual when that is nothing or nonsense. Besides, what was left out: only
/// what had passed the filter is counted.
fn filter(wanted: &str, usual: &str) -> EnvFilter {
    let filter = Some(wanted).filter(|wanted| !wanted.is_empty());
    let filter = filter.and_then(|wanted| EnvFilter::try_new(wanted).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(usual));
    let left_out = format!("{}=trace", limit::TARGET);
    match left_out.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}
