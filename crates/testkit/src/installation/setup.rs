//! How an installation is started: what a test may choose, and what follows from it.

use super::{
    Installation, OnLog, binary, client::ask, heliograph, ports_in_a_row, process::Process, text,
};
use crate::{kafka, leaks::tokens_in};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Three of each service, the store, and where each shows itself.
const PORTS: u16 = 22;

/// What runs as a process of its own, beside the store.
const SERVICES: [&str; 4] = ["gateway", "writer", "detector", "query"];

/// What an installation is made of. Without more: as delivered, on free ports.
#[derive(Debug, Clone)]
pub struct Setup {
    pub(super) on: OnLog,
    dir: PathBuf,
    port_base: Option<u16>,
    env: Vec<(String, String)>,
    /// Words before the command line of `up`.
    under: Vec<String>,
    bootstrap_servers: Option<String>,
    replicas: u8,
    /// Known once `up` runs.
    pub(super) ops_of_up: String,
}

impl Setup {
    pub fn new(on: OnLog, data_dir: &Path) -> Self {
        Self {
            on,
            dir: data_dir.to_owned(),
            port_base: None,
            env: Vec::new(),
            under: Vec::new(),
            bootstrap_servers: None,
            replicas: 3,
            ops_of_up: String::new(),
        }
    }

    /// An environment variable of every process, such as `HELIOGRAPH_WRITER__BLOCK_INTERVAL`.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Runs `up` under another program, such as `strace`.
    pub fn under(mut self, words: &[&str]) -> Self {
        self.under = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Ports that stay the same over starts; from [`ports_in_a_row`] of [`Setup::ports`].
    pub fn port_base(mut self, port_base: u16) -> Self {
        self.port_base = Some(port_base);
        self
    }

    /// How many ports in a row an installation takes.
    pub fn ports() -> u16 {
        PORTS
    }

    /// Where the store of its own process will listen, for what a test puts in front of it; wants
    /// [`Setup::port_base`].
    pub fn store_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port("store")).into()
    }

    /// Kafka of the test's own, with so many replicas of each topic.
    pub fn kafka(mut self, bootstrap_servers: String, replicas: u8) -> Self {
        (self.bootstrap_servers, self.replicas) = (Some(bootstrap_servers), replicas);
        self
    }

    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// When something does not start; what it said is in the message.
    pub fn start(mut self) -> anyhow::Result<Installation> {
        fs::create_dir_all(&self.dir)?;
        // `up` takes free ports by itself and tells them.
        if self.on == OnLog::Kafka && self.port_base.is_none() {
            self.port_base = Some(ports_in_a_row(PORTS)?);
        }
        match self.on {
            OnLog::Local => self.start_up(),
            OnLog::Kafka => self.start_services(),
        }
    }

    fn start_up(self) -> anyhow::Result<Installation> {
        let mut it = self.installation();
        it.spawn("up")?;
        it.wait_ready()?;
        let endpoint: Value =
            serde_json::from_slice(&fs::read(it.data_dir.join("endpoint.json"))?)?;
        let get = |key: &str| endpoint[key].as_str().map(str::to_owned).context("endpoint.json");
        it.gateway = get("gateway")?;
        it.query = get("query")?;
        it.clickhouse = get("clickhouse")?;
        it.setup.ops_of_up = get("ops")?;
        it.operator_token = get("operator_token")?;
        Ok(it)
    }

    fn start_services(mut self) -> anyhow::Result<Installation> {
        let bootstrap = match self.bootstrap_servers.take() {
            Some(own) => own,
            None => kafka::shared()?,
        };
        let replicas = self.replicas.to_string();
        let in_sync = self.replicas.saturating_sub(1).max(1).to_string();
        let store = format!("http://127.0.0.1:{}", self.port("store"));
        let mut env = vec![
            ("HELIOGRAPH_LOG__KAFKA__BOOTSTRAP_SERVERS".to_owned(), bootstrap),
            ("HELIOGRAPH_LOG__KAFKA__TOPIC_PREFIX".to_owned(), topic_prefix(&self.dir)?),
            ("HELIOGRAPH_LOG__KAFKA__REPLICAS".to_owned(), replicas),
            ("HELIOGRAPH_LOG__KAFKA__MIN_INSYNC_REPLICAS".to_owned(), in_sync),
            ("HELIOGRAPH_STORE__URL".to_owned(), store.clone()),
        ];
        for name in SERVICES {
            env.extend(self.env_of(name));
        }
        // What the test asks for comes later, and counts.
        env.append(&mut self.env);
        self.env = env;
        let mut it = self.installation();
        it.gateway = format!("http://127.0.0.1:{}", it.setup.port("gateway"));
        it.query = format!("http://127.0.0.1:{}", it.setup.port("query"));
        it.clickhouse = store;
        it.spawn("store")?;
        it.wait_ready()?;
        it.operator_token = it.migrate()?;
        for name in SERVICES {
            it.spawn(name)?;
        }
        it.wait_ready()?;
        it.write_endpoint()?;
        Ok(it)
    }

    fn installation(self) -> Installation {
        Installation {
            data_dir: self.dir.clone(),
            setup: self,
            processes: BTreeMap::new(),
            tokens: Mutex::new(BTreeSet::new()),
            gateway: String::new(),
            query: String::new(),
            clickhouse: String::new(),
            operator_token: String::new(),
        }
    }

    /// Runs the process `name`.
    pub(super) fn spawn(&self, name: &str) -> anyhow::Result<Process> {
        let (service, _) = split(name);
        let mut command = match service {
            "up" => self.up(),
            "store" => {
                let mut command = heliograph(&self.dir);
                let listen = format!("127.0.0.1:{}", self.port("store"));
                command.args(["store", "--listen", &listen, "--path"]);
                command.arg(self.dir.join("store"));
                command
            }
            _ => {
                let mut command = Command::new(binary(&format!("heliograph-{service}")));
                command.env("RUST_LOG", "warn");
                command
            }
        };
        command.envs(self.env.iter().cloned());
        if name != service {
            command.envs(self.env_of(name));
        }
        Process::spawn(command, &self.dir, name)
    }

    /// What is a service's own: its addresses and its name.
    fn env_of(&self, name: &str) -> Vec<(String, String)> {
        let (service, _) = split(name);
        let section = format!("HELIOGRAPH_{}__", service.to_uppercase());
        let mut env = vec![(format!("{section}OPS__LISTEN"), self.ops_address(name))];
        if matches!(service, "gateway" | "query") {
            let listen = format!("127.0.0.1:{}", self.port(name));
            env.push((format!("{section}LISTEN"), listen));
        }
        if service != "query" {
            env.push((format!("{section}INSTANCE"), name.to_owned()));
        }
        env
    }

    fn up(&self) -> Command {
        let plain = heliograph(&self.dir);
        let mut command = match self.under.split_first() {
            None => plain,
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(plain.get_program());
                command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
                command.current_dir(super::repository());
                command
            }
        };
        command.args(["up", "--port-base", &self.port_base.unwrap_or(0).to_string()]);
        command
    }

    /// Whether a process that was just started serves.
    pub(super) fn is_ready(&self, name: &str, process: &Process) -> anyhow::Result<bool> {
        match split(name).0 {
            "up" | "store" => Ok(process.printed().ends_with('\n')),
            _ => {
                let head = "GET /readyz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
                let answer = ask(&self.ops_address(name), head);
                Ok(answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")))
            }
        }
    }

    /// Where a service listens.
    fn port(&self, name: &str) -> u16 {
        let (service, number) = split(name);
        let first = match service {
            "gateway" => 0,
            "query" => 3,
            _ => 6,
        };
        self.port_base.unwrap_or(0) + first + number - 1
    }

    /// Where a service shows metrics and health.
    pub(super) fn ops_address(&self, name: &str) -> String {
        let (service, number) = split(name);
        let first = match service {
            "gateway" => 10,
            "writer" => 13,
            "query" => 16,
            _ => 19,
        };
        format!("127.0.0.1:{}", self.port_base.unwrap_or(0) + first + number - 1)
    }
}

impl Installation {
    /// Makes topics and tables, and returns the operator's token: the new one, or that of the last
    /// start.
    fn migrate(&self) -> anyhow::Result<String> {
        let mut migrate = self.heliograph();
        migrate.arg("migrate").envs(self.setup.env.iter().cloned());
        let output = migrate.output()?;
        ensure!(output.status.success(), "{}", text(&output));
        let told = tokens_in(&String::from_utf8_lossy(&output.stdout)).pop_first();
        if let Some(token) = told {
            return Ok(token);
        }
        let endpoint: Value =
            serde_json::from_slice(&fs::read(self.data_dir.join("endpoint.json"))?)?;
        let token = endpoint["operator_token"].as_str().map(str::to_owned);
        token.with_context(|| format!("no operator's token: {}", text(&output)))
    }

    /// The configuration of its services as a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn config_file(&self) -> anyhow::Result<PathBuf> {
        let mut config = self.heliograph();
        config.arg("config").envs(self.setup.env.iter().cloned());
        let output = config.output()?;
        ensure!(output.status.success(), "{}", text(&output));
        let path = self.data_dir.join("heliograph.toml");
        fs::write(&path, output.stdout)?;
        Ok(path)
    }

    /// So that commands find it, as they find `heliograph up`.
    fn write_endpoint(&self) -> anyhow::Result<()> {
        let endpoint = json!({
            "gateway": self.gateway,
            "query": self.query,
            "clickhouse": self.clickhouse,
            "ops": self.ops("gateway"),
            "operator_token": self.operator_token,
            "pid": std::process::id(),
        });
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(self.data_dir.join("endpoint.json"))?;
        Ok(file.write_all(&serde_json::to_vec_pretty(&endpoint)?)?)
    }

    /// The gateways that run.
    pub(super) fn gateways(&self) -> Vec<String> {
        match self.on() {
            OnLog::Local => vec![self.gateway.clone()],
            OnLog::Kafka => {
                let names = self.processes.keys().filter(|name| split(name).0 == "gateway");
                names.map(|name| format!("http://127.0.0.1:{}", self.setup.port(name))).collect()
            }
        }
    }
}

/// `writer-2` is the second writer, `writer` the first.
fn split(name: &str) -> (&str, u16) {
    match name.rsplit_once('-') {
        Some((service, number)) => (service, number.parse().unwrap_or(1)),
        None => (name, 1),
    }
}

/// Kept in the directory, so that a second start finds the same topics.
fn topic_prefix(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join("topic-prefix");
    if let Ok(prefix) = fs::read_to_string(&path) {
        return Ok(prefix);
    }
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (process, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let prefix = format!("t{since}-{process}-{n}.");
    fs::write(&path, &prefix)?;
    Ok(prefix)
}
