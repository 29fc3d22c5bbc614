//! `main` of a service: parse, build, wait; and what a crash may leave behind.
//!
//! A crash leaves a line in the log and no core dump, which would hold what its memory held and
//! could fill the disk. What it is not: it restarts nothing. A panic of an essential loop ends its
//! service, which whoever runs it starts again.

use crate::{Shutdown, config::ConfigError, retry::Backoff, telemetry};
#[cfg(target_os = "linux")]
use rustix::process::DumpableBehavior;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{backtrace::Backtrace, future::Future, panic, process::ExitCode, time::Duration};

/// sysexits: the command or its configuration is wrong.
const EX_USAGE: u8 = 64;

/// With `1` here the limits of core dumps stay as they are, to look into a crash.
pub const CORE_DUMPS: &str = "HELIOGRAPH_CORE_DUMPS";

/// Runs `work` until it ends, handing it a [`Shutdown`] that SIGTERM and Ctrl-C cancel. Prints
/// the error chain of a failure; a [`ConfigError`] anywhere in it is told mistake by mistake, one line
/// each, and ends with status 64.
pub fn run<F, Fut>(work: F) -> ExitCode
where
    F: FnOnce(Shutdown) -> Fut,
    Fut: Future<Output = anyhow::Result<ExitCode>>,
{
    raise_descriptors();
    if std::env::var_os(CORE_DUMPS).is_none_or(|value| value != "1") {
        forbid_core_dumps();
    }
    log_panics();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&anyhow::Error::from(error)),
    };
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::new();
        let signals = tokio::spawn(cancel_on_signal(shutdown.clone()));
        let outcome = work(shutdown).await;
        signals.abort();
        outcome
    });
    // Blocking calls that hang (a store that does not answer) must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    telemetry::say_suppressed();
    match outcome {
        Ok(code) => code,
        // Whoever read our output has seen enough, as in `… | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// Does `what` until it is done, with growing pauses while `may_pass` says that its failure can pass
/// by itself; none when `shutdown` came first. A process that starts while Kafka is away so waits
/// for it, instead of ending and being started again ever later.
///
/// # Errors
/// The first that does not pass.
pub async fn patiently<T>(
    shutdown: &Shutdown,
    may_pass: impl Fn(&anyhow::Error) -> bool,
    what: impl AsyncFn() -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let tries = async {
        loop {
            match what().await {
                Ok(done) => return Ok(done),
                Err(error) if may_pass(&error) => {
                    let delay = backoff.next_delay();
                    let error = format!("{error:#}");
                    tracing::warn!(error, ?delay, "cannot start yet; trying again");
                    tokio::time::sleep(delay).await;
                }
                Err(error) => return Err(error),
            }
        }
    };
    shutdown.run_until_cancelled(tries).await.transpose()
}

/// Two members of one name, set up by mistake, throw each other out no more often than this.
const REJOIN_DELAY_MAX: Duration = Duration::from_secs(30);

/// Does `what`, a member's life in its group, again with growing pauses for as long as it ends by
/// being thrown out: the member that has come under its name is most often itself, by a join whose
/// answer was lost with the broker.
///
/// # Errors
/// The first of which `is_thrown_out` says no.
pub async fn rejoining(
    shutdown: &Shutdown,
    is_thrown_out: impl Fn(&anyhow::Error) -> bool,
    what: impl AsyncFn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::new(Duration::from_secs(1), REJOIN_DELAY_MAX);
    loop {
        match what().await {
            Err(error) if is_thrown_out(&error) => {
                let (error, delay) = (format!("{error:#}"), backoff.next_delay());
                tracing::error!(error, ?delay, "thrown out of the group; joining again");
                shutdown.run_until_cancelled(tokio::time::sleep(delay)).await;
            }
            outcome => return outcome,
        }
    }
}

/// A connection is a descriptor, and so is a file of the log: where the soft limit is the usual
/// 1024, the hard one is what the machine's owner allows.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // A limit that cannot be raised is said by `warn_of_descriptors` where it matters.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// By both means: the limit is for dumps into files, the other for those into a pipe, which no limit
/// holds. The latter also keeps others of the same user from looking into our memory.
fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps stay possible");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps stay possible");
    }
}

/// A panic of any thread becomes a line like any other, for those who read logs by machine.
fn log_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !tracing::dispatcher::has_been_set() {
            return before(panic);
        }
        let message = panic.payload_as_str().unwrap_or("no message");
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        // Only where RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        tracing::error!(panic = message, location, thread, %backtrace, "panicked");
    }));
}

/// Warns when `connections_max` does not fit below the limit of open files.
pub(crate) fn warn_of_descriptors(connections_max: usize) {
    /// For the log's files, its connections and everything else.
    const OTHERS: u64 = 512;
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    if (connections_max as u64).saturating_add(OTHERS) > limit {
        tracing::warn!(
            connections_max,
            open_files_max = limit,
            "connections_max and {OTHERS} other files do not fit below the limit of open files; \
             raise it (ulimit -n) or lower http.connections_max"
        );
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

async fn cancel_on_signal(shutdown: Shutdown) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    shutdown.cancel();
}

#[allow(clippy::print_stderr, reason = "the last word of a failed command goes to its caller")]
fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(ConfigError(mistakes)) = error.chain().find_map(|e| e.downcast_ref()) {
        for mistake in mistakes {
            eprintln!("error: {mistake}");
        }
        return ExitCode::from(EX_USAGE);
    }
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
