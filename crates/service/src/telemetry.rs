//! Logs: JSON lines for machines, plain ones on a terminal; always on stderr, so that stdout
//! stays for what a command answers.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging; `RUST_LOG` filters, `info` without it. A second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,librdkafka=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().try_init()
    };
    drop(result);
}
