//! Logs: JSON lines for machines, plain ones on a terminal; always on stderr, so that stdout
//! stays for what a command answers.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

const SERVICE: &str = "info,librdkafka=warn";
/// Who sits at a terminal wants what needs them; the rest is noise between their own lines.
const PERSON: &str = "warn";

/// Starts logging of a service; `RUST_LOG` filters, `info` without it. A second call changes
/// nothing.
pub fn init() {
    start(SERVICE);
}

/// Starts logging of a command that people run: without `RUST_LOG`, warnings on a terminal and what a
/// service logs elsewhere.
pub fn init_for_command() {
    start(of_command(std::io::stderr().is_terminal()));
}

const fn of_command(is_terminal: bool) -> &'static str {
    if is_terminal { PERSON } else { SERVICE }
}

fn start(without_rust_log: &str) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(without_rust_log));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().try_init()
    };
    drop(result);
}
