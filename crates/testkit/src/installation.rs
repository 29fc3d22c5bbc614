//! A running installation: the services as processes, on either log, and what a test does with it.
//!
//! On the embedded log it is one process, `heliograph up`; on Kafka the gateway, the writer, the
//! query service and the embedded store are processes of their own. Commands find both through
//! `endpoint.json` in the data directory, so a test that keeps to [`Installation`] runs unchanged on
//! either. Every process is killed by its own id when the installation is dropped; what it wrote to
//! stderr is then told again, for the report of a test that failed, and must hold no token.

mod client;
mod ports;
mod process;
mod setup;

pub use client::Authorized;
pub use ports::ports_in_a_row;
pub use process::{Process, terminate};
pub use setup::Setup;

use crate::leaks::{leaks, tokens_in};
use anyhow::{Context, bail, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Far more than a start takes.
const READY_MAX: Duration = Duration::from_secs(120);

/// Which log, and with it which shape: one process or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLog {
    /// `heliograph up`, on the embedded log and store.
    Local,
    /// A process a service, on Kafka and the embedded store served alone.
    Kafka,
}

/// A running installation.
#[derive(Debug)]
pub struct Installation {
    setup: Setup,
    /// By name: `up`, or `store`, `gateway`, `writer`, `query`, and further ones such as `writer-2`.
    processes: BTreeMap<String, Process>,
    /// Tokens that its commands printed.
    tokens: Mutex<BTreeSet<String>>,
    pub gateway: String,
    pub query: String,
    pub clickhouse: String,
    pub data_dir: PathBuf,
    pub operator_token: String,
}

/// The binary `name` beside the program that runs: of the same build.
pub fn binary(name: &str) -> PathBuf {
    let mut dir = std::env::current_exe().unwrap_or_default();
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    dir.join(name)
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A command line on a data directory, from the repository's root, so that `.tools` is found.
pub fn heliograph(data_dir: &Path) -> Command {
    let mut command = Command::new(binary("heliograph"));
    command
        .current_dir(repository())
        .env("HELIOGRAPH_DATA_DIR", data_dir)
        .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into()))
        .stdin(Stdio::null());
    command
}

/// Waits for `what` for at most `max`; the condition is asked for, not slept for.
pub fn wait_for(max: Duration, mut what: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + max;
    while !what() {
        if Instant::now() > until {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    true
}

/// What a command said, for a message.
pub fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

impl Installation {
    /// As delivered, on free ports and the shared brokers; what lay in `data_dir` is there again.
    ///
    /// # Errors
    /// When something does not start; what it said is in the message.
    pub fn start(on: OnLog, data_dir: &Path) -> anyhow::Result<Self> {
        Setup::new(on, data_dir).start()
    }

    /// Which log it is on.
    pub fn on(&self) -> OnLog {
        self.setup.on
    }

    /// Where a process shows metrics and health; `up` shows them for all of its services.
    pub fn ops(&self, name: &str) -> String {
        match self.setup.on {
            OnLog::Local => self.setup.ops_of_up.clone(),
            OnLog::Kafka => format!("http://{}", self.setup.ops_address(name)),
        }
    }

    /// The running processes, by name.
    pub fn processes(&self) -> impl Iterator<Item = (&str, u32)> {
        self.processes.iter().map(|(name, process)| (name.as_str(), process.pid()))
    }

    /// The process that is the service `name`: `up` is all of them.
    ///
    /// # Errors
    /// When it does not run.
    pub fn process(&self, name: &str) -> anyhow::Result<&Process> {
        let name = self.name_of(name);
        self.processes.get(name).with_context(|| format!("no {name} runs"))
    }

    fn name_of<'n>(&self, name: &'n str) -> &'n str {
        if self.setup.on == OnLog::Local { "up" } else { name }
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let name = self.name_of(name);
        self.processes.remove(name).with_context(|| format!("no {name} runs")).map(drop)
    }

    /// SIGTERM, and waits until it has left.
    ///
    /// # Errors
    /// When it does not run, or does not leave with status 0.
    pub fn leave(&mut self, name: &str) -> anyhow::Result<()> {
        let name = self.name_of(name);
        let process = self.processes.remove(name).with_context(|| format!("no {name} runs"))?;
        process.leave()
    }

    /// Starts a process, again or one more (`writer-2`, `gateway-3`), on its own ports and data,
    /// and does not wait until it is ready.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&mut self, name: &str) -> anyhow::Result<()> {
        let name = self.name_of(name).to_owned();
        let process = self.setup.spawn(&name)?;
        self.processes.insert(name, process);
        Ok(())
    }

    /// Waits until every process that runs is ready.
    ///
    /// # Errors
    /// When one has ended or does not become ready; what it said is in the message.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + READY_MAX;
        let Self { setup, processes, .. } = self;
        for (name, process) in processes {
            while !setup.is_ready(name, process)? {
                if let Some(status) = process.ended()? {
                    bail!("{name} ended with {status}: {}", process.said());
                }
                ensure!(Instant::now() < until, "{name} is not ready: {}", process.said());
                std::thread::park_timeout(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// `kill -9` of everything.
    pub fn kill_all(self) {}

    /// SIGTERM to each, in the order of the flow; each must leave with status 0.
    ///
    /// # Errors
    /// When one does not.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let ranks = ["gateway", "writer", "detector", "query", "up", "store"];
        for service in ranks {
            let of_it: Vec<String> =
                self.processes.keys().filter(|name| name.starts_with(service)).cloned().collect();
            for name in of_it {
                self.leave(&name)?;
            }
        }
        Ok(())
    }

    /// Everything that its processes wrote to stderr.
    pub fn said(&self) -> String {
        let mut said = String::new();
        for path in stderrs(&self.data_dir) {
            said.push_str(&String::from_utf8_lossy(&fs::read(path).unwrap_or_default()));
        }
        said
    }

    /// A command line on this installation, to be run by [`Installation::output`].
    pub fn heliograph(&self) -> Command {
        heliograph(&self.data_dir)
    }

    /// Runs a command line of `heliograph`.
    ///
    /// # Errors
    /// When it cannot be run, or tells a token.
    pub fn command(&self, args: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.heliograph();
        command.args(args);
        self.output(command)
    }

    /// Runs a command of the caller's making. A token may stand on its stdout, never on its stderr.
    ///
    /// # Errors
    /// As [`Installation::command`].
    pub fn output(&self, mut command: Command) -> anyhow::Result<Output> {
        let output = command.output()?;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.extend(tokens_in(&String::from_utf8_lossy(&output.stdout)));
        let leaked = leaks(&String::from_utf8_lossy(&output.stderr), &tokens);
        ensure!(leaked.is_empty(), "{command:?} told {leaked:?} on stderr");
        Ok(output)
    }

    /// Runs a command line and reads its JSON.
    ///
    /// # Errors
    /// When it prints something else.
    pub fn json(&self, args: &[&str]) -> anyhow::Result<serde_json::Value> {
        let output = self.command(args)?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{args:?}: {}", text(&output)))
    }

    /// All tokens that were handed out here.
    pub fn tokens(&self) -> BTreeSet<String> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for entry in fs::read_dir(&self.data_dir).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|end| end == "json") {
                let text = fs::read(entry.path()).unwrap_or_default();
                tokens.extend(tokens_in(&String::from_utf8_lossy(&text)));
            }
        }
        tokens
    }
}

impl Drop for Installation {
    #[allow(clippy::print_stderr, reason = "the test's own report, shown when it fails")]
    fn drop(&mut self) {
        /// The most that is told again: its end.
        const CHARS_MAX: usize = 100_000;
        self.processes.clear();
        let said = self.said();
        let from = said.char_indices().nth_back(CHARS_MAX).map_or(0, |(at, _)| at);
        eprint!("{}", &said[from..]);
        let leaked = leaks(&said, &self.tokens());
        // A panic on top of another would end all tests.
        assert!(leaked.is_empty() || std::thread::panicking(), "told {leaked:?} on stderr");
    }
}

/// Where the processes' stderr lies.
fn stderrs(data_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data_dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "stderr"));
    paths.sort();
    paths
}
