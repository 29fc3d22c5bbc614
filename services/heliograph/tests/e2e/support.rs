//! A running `heliograph up`, and what a test does with it.

use crate::leaks::{leaks, tokens_in};
use anyhow::{Context, bail, ensure};
use heliograph_contract::v1::query_service_client::QueryServiceClient;
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tonic::{
    Request, Status, metadata::MetadataValue, service::interceptor::InterceptedService,
    transport::Channel,
};

/// The binary under test.
pub const HELIOGRAPH: &str = env!("CARGO_BIN_EXE_heliograph");

/// The most of a process's stderr that is told again: its end.
const REPLAYED_CHARS_MAX: usize = 100_000;

#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub gateway: String,
    pub query: String,
    pub clickhouse: String,
    pub ops: String,
}

/// Where the stderr of `up` lies, in its data directory.
pub const STDERR: &str = "up.stderr";

/// `heliograph up` in a directory; killed when dropped. What it wrote to stderr is then told again,
/// for the report of a test that failed, and must hold none of the tokens that it handed out.
pub struct Up {
    child: Child,
    /// Those that its commands printed.
    tokens: Mutex<BTreeSet<String>>,
    pub ready: Ready,
    pub data_dir: PathBuf,
    pub operator_token: String,
}

/// The command in the repository's root, so that `.tools` is found.
pub fn heliograph(data_dir: &Path) -> Command {
    let mut command = Command::new(HELIOGRAPH);
    command
        .current_dir(repository())
        .env("HELIOGRAPH_DATA_DIR", data_dir)
        .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into()))
        .stdin(Stdio::null());
    command
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The Python of the tests, with the packages that they need.
pub fn python() -> anyhow::Result<Command> {
    let env = Command::new("sh").arg(repository().join("scripts/python-env.sh")).output()?;
    ensure!(env.status.success(), "{}", String::from_utf8_lossy(&env.stderr));
    let mut python = Command::new(String::from_utf8(env.stdout)?.trim());
    python.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    Ok(python)
}

impl Up {
    /// On free ports.
    pub fn start(data_dir: &Path) -> anyhow::Result<Self> {
        let mut command = heliograph(data_dir);
        command.arg("up");
        Self::start_on(command, data_dir, 0)
    }

    /// Starts `command`, an `up` of the caller's making, and waits until it is ready.
    pub fn start_on(mut command: Command, data_dir: &Path, port_base: u16) -> anyhow::Result<Self> {
        command.args(["--port-base", &port_base.to_string()]);
        std::fs::create_dir_all(data_dir)?;
        let stderr = File::create(data_dir.join(STDERR))?;
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn()?;
        let stdout = child.stdout.take().context("stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ready = match serde_json::from_str::<Ready>(&line) {
            Ok(ready) => ready,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                let said = std::fs::read_to_string(data_dir.join(STDERR)).unwrap_or_default();
                bail!("not ready: {line:?}: {error}\n{said}");
            }
        };
        let endpoint = std::fs::read(data_dir.join("endpoint.json"))?;
        let endpoint: serde_json::Value = serde_json::from_slice(&endpoint)?;
        let operator_token =
            endpoint["operator_token"].as_str().context("operator_token")?.to_owned();
        let tokens = Mutex::new(BTreeSet::from([operator_token.clone()]));
        Ok(Self { child, tokens, ready, data_dir: data_dir.to_owned(), operator_token })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let status = terminate(&mut self.child)?;
        ensure!(status.success(), "up ended with {status}");
        Ok(())
    }

    pub async fn query(&self) -> anyhow::Result<QueryServiceClient<Authorized>> {
        Ok(QueryServiceClient::new(self.channel().await?))
    }

    pub async fn channel(&self) -> anyhow::Result<Authorized> {
        let channel = Channel::from_shared(self.ready.query.clone())?.connect().await?;
        let token = MetadataValue::try_from(format!("Bearer {}", self.operator_token))?;
        let add: AddToken = Box::new(move |mut request: Request<()>| {
            request.metadata_mut().insert("authorization", token.clone());
            Ok(request)
        });
        Ok(InterceptedService::new(channel, add))
    }

    /// Runs another command on the same directory.
    pub fn command(&self, args: &[&str]) -> anyhow::Result<Output> {
        let mut command = heliograph(&self.data_dir);
        command.args(args);
        self.output(command)
    }

    /// Runs a command of the caller's making. A token may stand on its stdout, never on its stderr.
    pub fn output(&self, mut command: Command) -> anyhow::Result<Output> {
        let output = command.output()?;
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.extend(tokens_in(&String::from_utf8_lossy(&output.stdout)));
        let leaked = leaks(&String::from_utf8_lossy(&output.stderr), &tokens);
        ensure!(leaked.is_empty(), "{command:?} told {leaked:?} on stderr");
        Ok(output)
    }

    /// All tokens that were handed out here.
    pub fn tokens(&self) -> BTreeSet<String> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for entry in std::fs::read_dir(&self.data_dir).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|end| end == "json") {
                let text = std::fs::read(entry.path()).unwrap_or_default();
                tokens.extend(tokens_in(&String::from_utf8_lossy(&text)));
            }
        }
        tokens
    }

    /// Runs another command and reads its JSON.
    pub fn json(&self, args: &[&str]) -> anyhow::Result<serde_json::Value> {
        let output = self.command(args)?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text)
            .with_context(|| format!("{args:?}: {text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Registers a site and returns its token, once the gateway knows it: within a second, as every
    /// gateway learns of it from the registry's topic.
    pub fn add_site(&self, id: &str, zone: &str) -> anyhow::Result<String> {
        let output = self.command(&["site", "add", id, "--tenant", "t1", "--zone", zone])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let token = String::from_utf8(output.stdout)?.trim().to_owned();
        wait_known(&self.ready.gateway, &token)?;
        Ok(token)
    }

    /// Sends one upload.
    pub async fn upload(
        &self,
        token: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<(u16, serde_json::Value)> {
        let response = reqwest::Client::new()
            .post(format!("{}/v1/uploads", self.ready.gateway))
            .bearer_auth(token)
            .json(body)
            .send()
            .await?;
        Ok((response.status().as_u16(), response.json().await?))
    }

    /// Waits until writer and rollups are through, and compares the three ledgers.
    pub fn audit(&self, summaries: &[&Path]) -> anyhow::Result<serde_json::Value> {
        let mut args = vec!["audit".to_owned(), "--json".to_owned()];
        for summary in summaries {
            args.extend(["--against".to_owned(), summary.display().to_string()]);
        }
        self.json(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// Waits until the gateway knows a new site's token, which it learns within a second.
pub fn wait_known(gateway: &str, token: &str) -> anyhow::Result<()> {
    let is_known = || is_known(gateway, token).is_ok_and(|is_known| is_known);
    ensure!(wait_for(Duration::from_secs(30), is_known), "{gateway} does not learn of a new site");
    Ok(())
}

/// Asked by a request that is refused either way.
fn is_known(gateway: &str, token: &str) -> std::io::Result<bool> {
    let mut gateway = TcpStream::connect(gateway.trim_start_matches("http://"))?;
    write!(
        gateway,
        "POST /v1/uploads HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    gateway.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 415"))
}

/// SIGTERM, and waits for the end.
pub fn terminate(child: &mut Child) -> anyhow::Result<ExitStatus> {
    let pid = libc::pid_t::try_from(child.id())?;
    // SAFETY: kill(2) with the id of a child that has not been waited for.
    #[allow(unsafe_code)]
    unsafe {
        libc::kill(pid, libc::SIGTERM)
    };
    Ok(child.wait()?)
}

impl Drop for Up {
    #[allow(clippy::print_stderr, reason = "the test's own report, shown when it fails")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let said = std::fs::read(self.data_dir.join(STDERR)).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let from = said.char_indices().nth_back(REPLAYED_CHARS_MAX).map_or(0, |(at, _)| at);
        eprint!("{}", &said[from..]);
        let leaked = leaks(&said, &self.tokens());
        // A panic on top of another would end all tests.
        assert!(leaked.is_empty() || std::thread::panicking(), "up told {leaked:?} on stderr");
    }
}

type AddToken = Box<dyn FnMut(Request<()>) -> Result<Request<()>, Status> + Send + Sync>;
pub type Authorized = InterceptedService<Channel, AddToken>;

#[allow(clippy::expect_used, reason = "a test without a directory has failed")]
pub fn data_dir() -> TempDir {
    tempfile::tempdir().expect("a directory for the installation")
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

/// The first of `n` free ports in a row, each time others. They lie below the range from which the
/// kernel takes ports, so that a server that is away for a moment finds its own again.
pub fn ports_in_a_row(n: u16) -> anyhow::Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(u32::from(n), Ordering::Relaxed);
        let base = FIRST + ((std::process::id() + step) % COUNT) as u16;
        if (base..base + n).all(is_free) {
            return Ok(base);
        }
    }
    bail!("no {n} free ports in a row")
}
