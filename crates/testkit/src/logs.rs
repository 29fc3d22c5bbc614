//! What this process logs, for tests that read it.
//!
//! One listener for all threads: a line that is first met on a thread without one would never be
//! told on the others. So every test of a binary listens before it does anything else, and knows
//! its own lines by what stands in them.

use serde_json::Value;
use std::{
    io,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};
use tracing::Level;

static TOLD: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static LISTENING: LazyLock<()> = LazyLock::new(|| {
    let subscriber = tracing_subscriber::fmt().json().with_max_level(Level::DEBUG);
    subscriber.with_writer(|| Ear).init();
});

struct Ear;

impl io::Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        told().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn told() -> MutexGuard<'static, Vec<u8>> {
    TOLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens from here on, to all levels but the last.
pub fn listen() {
    LazyLock::force(&LISTENING);
}

/// All that was logged so far.
pub fn text() -> String {
    String::from_utf8_lossy(&told()).into_owned()
}

/// The lines so far that say `message`.
pub fn lines(message: &str) -> Vec<Value> {
    let parsed = text();
    let parsed = parsed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|line| line["fields"]["message"] == message).collect()
}
