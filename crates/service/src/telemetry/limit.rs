//! The limit on log lines, per message.
//!
//! A message is a place in the code: its text and its level, whatever its fields are, so that
//! there are no more of them than the program has. Invariant: each line is written, or counted and
//! said as `suppressed` at the message's own level, within [`SAY_EVERY`]. What it is not: told
//! apart by fields; a fault of one site can hide the same fault of another, but not that there are
//! more.

use super::bucket::{Bucket, Rate};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Filter};

/// The target of the lines that say what was left out; they are not limited themselves.
pub const TARGET: &str = "heliograph::suppressed";
/// How long what was left out waits to be said.
const SAY_EVERY: Duration = Duration::from_secs(10);

static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Log lines that were left out since the process began.
pub fn suppressed_lines() -> u64 {
    SUPPRESSED.load(Relaxed)
}

/// A filter for the layer that writes.
#[derive(Clone)]
pub struct RateLimit {
    clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    messages: Arc<Mutex<HashMap<Identifier, Message>>>,
    wake: SyncSender<()>,
    woken: Arc<Mutex<Option<Receiver<()>>>>,
}

/// One place in the code.
struct Message {
    metadata: &'static Metadata<'static>,
    bucket: Bucket,
    suppressed: u64,
    /// The first that was left out.
    text: String,
}

impl RateLimit {
    /// By the clock of this process.
    pub fn started() -> Self {
        let started = Instant::now();
        Self::new(move || started.elapsed())
    }

    fn new(clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let (wake, woken) = sync_channel(1);
        Self {
            clock: Arc::new(clock),
            messages: Arc::default(),
            wake,
            woken: Arc::new(Mutex::new(Some(woken))),
        }
    }

    /// Starts the thread that says what was left out; it sleeps while there is nothing.
    pub fn say_suppressed_from_time_to_time(&self) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner).take();
        let limit = self.clone();
        #[allow(clippy::disallowed_methods, reason = "a thread of its own, no worker")]
        let say = move || {
            while woken.as_ref().is_some_and(|woken| woken.recv().is_ok()) {
                std::thread::sleep(SAY_EVERY);
                limit.say_suppressed();
            }
        };
        // Without it they are said at the end.
        drop(std::thread::Builder::new().name("log-limit".to_owned()).spawn(say));
    }

    /// Says what was left out since the last time, one line a message.
    pub fn say_suppressed(&self) {
        let mut left_out = Vec::new();
        for message in self.messages().values_mut().filter(|message| message.suppressed > 0) {
            let (suppressed, text) =
                (std::mem::take(&mut message.suppressed), std::mem::take(&mut message.text));
            left_out.push((message.metadata, suppressed, text));
        }
        // The lock is free again: the lines come back to this filter.
        for (metadata, suppressed, text) in left_out {
            say(metadata, suppressed, &text);
        }
    }

    fn messages(&self) -> MutexGuard<'_, HashMap<Identifier, Message>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_say(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == TARGET {
            return true;
        }
        let now = (self.clock)();
        let mut messages = self.messages();
        let message = messages.entry(metadata.callsite()).or_insert_with(|| Message {
            metadata,
            bucket: Bucket::default(),
            suppressed: 0,
            text: String::new(),
        });
        if message.bucket.take(now, Rate::of(*metadata.level())) {
            return true;
        }
        message.suppressed += 1;
        let is_first = message.suppressed == 1;
        drop(messages);
        SUPPRESSED.fetch_add(1, Relaxed);
        if is_first {
            // Formatted while the lock is free: what is formatted may log by itself.
            let mut text = String::new();
            event.record(&mut Text(&mut text));
            if let Some(message) = self.messages().get_mut(&metadata.callsite()) {
                message.text = text;
            }
        }
        // Full: the thread knows already.
        let _ = self.wake.try_send(());
        false
    }
}

impl<S: Subscriber> Filter<S> for RateLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.may_say(event)
    }
}

/// Takes down what an event says, without its fields.
struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}");
        }
    }
}

fn say(metadata: &Metadata<'_>, suppressed: u64, said: &str) {
    macro_rules! say {
        ($level:ident) => {
            tracing::$level!(
                target: TARGET,
                suppressed,
                said,
                from = metadata.target(),
                "lines left out"
            )
        };
    }
    match *metadata.level() {
        Level::ERROR => say!(error),
        Level::WARN => say!(warn),
        Level::INFO => say!(info),
        Level::DEBUG => say!(debug),
        Level::TRACE => say!(trace),
    }
}

#[cfg(test)]
#[path = "limit_tests.rs"]
mod tests;
