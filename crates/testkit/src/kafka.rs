//! Real Apache Kafka for tests: one broker, or a cluster of three, on free ports of 127.0.0.1.
//!
//! Each node is `scripts/kafka/broker.sh` (KRaft, small heap), which gets the jars when they are
//! missing. A node never outlives the test: it is killed by its own pid when the [`Broker`] is
//! dropped, and a watchdog kills it when the test process itself dies, which also covers a broker
//! that lives in a `static` and is never dropped. It is not tuned for anything but a quick start.

use anyhow::{Context, bail};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Kills the node and removes its data once its standard input closes, whatever the reason.
const WATCHDOG: &str = "read -r _; kill -9 \"$1\" 2>/dev/null; rm -rf \"$2\"; rmdir \"$3\"";
const START_TIMEOUT: Duration = Duration::from_secs(120);
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kafka/broker.sh");

/// Names brokers that run already, so that all test programs of a run share one set.
pub const SHARED: &str = "HELIOGRAPH_TEST_KAFKA";

/// For `bootstrap.servers`: three brokers for all tests that break none; those that [`SHARED`] names,
/// or else a set of this process's own. Tests keep apart by the prefix of their topics.
///
/// # Errors
/// As [`Broker::start`].
pub fn shared() -> anyhow::Result<String> {
    static SET: Mutex<Option<(String, Option<Broker>)>> = Mutex::new(None);
    let mut set = SET.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((servers, _)) = &*set {
        return Ok(servers.clone());
    }
    let (servers, own) = match std::env::var(SHARED) {
        Ok(servers) => {
            let all_run = || Ok(());
            wait_registered(&servers, servers.split(',').count(), all_run, String::new)?;
            (servers, None)
        }
        Err(_) => {
            let own = Broker::start_cluster(3)?;
            (own.bootstrap_servers(), Some(own))
        }
    };
    *set = Some((servers.clone(), own));
    Ok(servers)
}

/// A running Kafka cluster, most often of one node.
#[derive(Debug)]
pub struct Broker {
    nodes: Vec<Node>,
    voters: String,
    root: TempDir,
}

#[derive(Debug)]
struct Node {
    id: usize,
    port: u16,
    dir: PathBuf,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    java: Child,
    watchdog: Child,
}

impl Broker {
    /// One node, ready to be used.
    ///
    /// # Errors
    /// When it cannot be started; the end of its log is in the message.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_cluster(1)
    }

    /// `nodes` nodes, each broker and controller; topics can have up to that many replicas.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn start_cluster(nodes: usize) -> anyhow::Result<Self> {
        let root = tempfile::Builder::new().prefix("heliograph-kafka-").tempdir()?;
        let ports = free_ports(2 * nodes)?;
        let (client_ports, controller_ports) = ports.split_at(nodes);
        let voters: Vec<String> = (1..=nodes)
            .zip(controller_ports)
            .map(|(id, port)| format!("{id}@127.0.0.1:{port}"))
            .collect();
        let nodes = (1..=nodes)
            .zip(client_ports)
            .map(|(id, &port)| Node {
                id,
                port,
                dir: root.path().join(format!("node-{id}")),
                running: None,
            })
            .collect();
        let mut broker = Self { nodes, voters: voters.join(","), root };
        for node in &mut broker.nodes {
            node.start(&broker.voters, broker.root.path())?;
        }
        broker.wait_ready()?;
        Ok(broker)
    }

    /// Where all nodes keep their data.
    pub fn data_dir(&self) -> &Path {
        self.root.path()
    }

    /// For `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        let addresses: Vec<String> =
            self.nodes.iter().map(|n| format!("127.0.0.1:{}", n.port)).collect();
        addresses.join(",")
    }

    /// Kills node `index` (from 0) with SIGKILL; its data stay.
    pub fn kill(&mut self, index: usize) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.kill();
        }
    }

    /// Starts a killed node again, on its old port and data, and waits until all that run are
    /// ready.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        self.restart_all(&[index])
    }

    /// Starts killed nodes again, as [`Broker::restart`] does; none waits for another, since a
    /// majority may have to come before any is ready.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub fn restart_all(&mut self, indexes: &[usize]) -> anyhow::Result<()> {
        for index in indexes {
            let node = self.nodes.get_mut(*index).context("no such node")?;
            node.kill();
            node.start(&self.voters, self.root.path())?;
        }
        self.wait_ready()
    }

    /// SIGSTOP: node `index` stands still, with all its connections open.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self, index: usize) -> anyhow::Result<()> {
        self.signal(index, Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self, index: usize) -> anyhow::Result<()> {
        self.signal(index, Signal::CONT)
    }

    fn signal(&self, index: usize, signal: Signal) -> anyhow::Result<()> {
        let running = self.nodes.get(index).and_then(|node| node.running.as_ref());
        let id = i32::try_from(running.context("it does not run")?.java.id())?;
        Ok(kill_process(Pid::from_raw(id).context("a process id")?, signal)?)
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let want = self.nodes.iter().filter(|n| n.running.is_some()).count();
        let (servers, logs) = (self.bootstrap_servers(), self.log_paths());
        let tails = || logs.iter().map(|path| tail(path)).collect::<Vec<_>>().join("\n");
        let nodes = &mut self.nodes;
        let all_run = || match nodes.iter_mut().any(Node::has_died) {
            true => bail!("Kafka does not start: {}", tails()),
            false => Ok(()),
        };
        wait_registered(&servers, want, all_run, tails)
    }

    fn log_paths(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(Node::log_path).collect()
    }
}

/// Asks by the protocol until `want` brokers are registered, as long as `all_run`.
fn wait_registered(
    servers: &str,
    want: usize,
    mut all_run: impl FnMut() -> anyhow::Result<()>,
    said: impl Fn() -> String,
) -> anyhow::Result<()> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("reconnect.backoff.max.ms", "200")
        .create()?;
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match client.fetch_metadata(None, Duration::from_secs(1)) {
            Ok(metadata) if metadata.brokers().len() >= want => return Ok(()),
            _ if Instant::now() > deadline => {
                bail!("{servers}: Kafka is not ready after {START_TIMEOUT:?}: {}", said())
            }
            _ => {}
        }
        all_run()?;
        // Between two questions, where a refused connection answers at once.
        thread::park_timeout(Duration::from_millis(50));
    }
}

impl Node {
    fn log_path(&self) -> PathBuf {
        self.dir.join("kafka.out")
    }

    fn start(&mut self, voters: &str, root: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut java = Command::new(SCRIPT)
            .arg(&self.dir)
            .args([&self.id.to_string(), &self.port.to_string(), voters])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {SCRIPT}"))?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "kafka-watchdog", &java.id().to_string()])
            .args([&self.dir, root])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => self.running = Some(Running { java, watchdog }),
            Err(e) => {
                let _ = java.kill();
                let _ = java.wait();
                return Err(e).context("cannot run sh");
            }
        }
        Ok(())
    }

    fn has_died(&mut self) -> bool {
        self.running.as_mut().is_some_and(|r| !matches!(r.java.try_wait(), Ok(None)))
    }

    fn kill(&mut self) {
        let Some(Running { mut java, mut watchdog }) = self.running.take() else { return };
        // The watchdog first: once java is reaped its pid may be somebody else's.
        for child in [&mut watchdog, &mut java] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ports that are free now. All are held until the last is found, so that they differ.
fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<_>>()?;
    held.iter().map(|l| Ok(l.local_addr()?.port())).collect()
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
