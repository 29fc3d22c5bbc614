//! The services as processes of their own, on a real Kafka broker and the embedded store served
//! alone.

use crate::support::{
    HELIOGRAPH, data_dir, heliograph, ports_in_a_row, terminate, wait_for, wait_known,
};
use anyhow::{Context, ensure};
use heliograph_testkit::kafka::Broker;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

const READY_MAX: Duration = Duration::from_secs(60);

/// A process that is killed when dropped.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service's binary lies beside the command's.
fn service(name: &str, config: &Path) -> anyhow::Result<Service> {
    Ok(Service(service_command(name, config)?.spawn()?))
}

fn service_command(name: &str, config: &Path) -> anyhow::Result<Command> {
    let binary = Path::new(HELIOGRAPH).with_file_name(format!("heliograph-{name}"));
    ensure!(binary.exists(), "{} is not built: cargo build --workspace", binary.display());
    let mut command = Command::new(binary);
    command.env("HELIOGRAPH_CONFIG", config).env("RUST_LOG", "warn").stdin(Stdio::null());
    Ok(command)
}

fn store(dir: &Path, port: u16) -> anyhow::Result<(Service, String)> {
    let mut command = heliograph(dir);
    let listen = format!("127.0.0.1:{port}");
    command.args(["store", "--listen", &listen, "--path"]).arg(dir.join("store"));
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("stdout")?;
    let service = Service(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let ready: Value = serde_json::from_str(&line).with_context(|| format!("not ready: {line}"))?;
    let url = ready["clickhouse"].as_str().context("clickhouse")?.to_owned();
    Ok((service, url))
}

/// Gateway, writer and query, and the store served alone.
pub struct Cluster {
    pub gateway: String,
    pub query: String,
    pub clickhouse: String,
    /// An operator's.
    pub token: String,
    pub config: PathBuf,
    /// Where gateway, writer and query show themselves.
    pub ops: [String; 3],
    store_port: u16,
    store: Option<Service>,
    services: Vec<Service>,
}

impl Cluster {
    /// On a broker; `log_kafka` is put into the section of that name.
    pub fn start(dir: &Path, broker: &Broker, log_kafka: &str) -> anyhow::Result<Self> {
        let first = ports_in_a_row(6)?;
        let [gateway, query, store_port] = [first, first + 1, first + 2];
        let ops = [first + 3, first + 4, first + 5];
        let (store, clickhouse) = store(dir, store_port)?;
        let config = dir.join("heliograph.toml");
        let bootstrap = broker.bootstrap_servers();
        std::fs::write(
            &config,
            format!(
                "[log.kafka]\nbootstrap_servers = \"{bootstrap}\"\nreplicas = 1\n\
                 min_insync_replicas = 1\n{log_kafka}[store]\nurl = \"{clickhouse}\"\n\
                 [gateway]\nlisten = \"127.0.0.1:{gateway}\"\ninstance = \"g1\"\n\
                 ops.listen = \"127.0.0.1:{}\"\n\
                 [writer]\ninstance = \"w1\"\nops.listen = \"127.0.0.1:{}\"\n\
                 [query]\nlisten = \"127.0.0.1:{query}\"\nops.listen = \"127.0.0.1:{}\"\n",
                ops[0], ops[1], ops[2]
            ),
        )?;
        let migrate = heliograph(dir).args(["migrate", "--config"]).arg(&config).output()?;
        ensure!(migrate.status.success(), "{}", text(&migrate));
        let said = String::from_utf8(migrate.stdout)?;
        let token = said.rsplit(' ').next().context("the operator's token")?.trim().to_owned();
        let mut services = Vec::new();
        for name in ["gateway", "writer", "query"] {
            services.push(service(name, &config)?);
        }
        let cluster = Self {
            gateway: format!("http://127.0.0.1:{gateway}"),
            query: format!("http://127.0.0.1:{query}"),
            clickhouse,
            token,
            config,
            ops: ops.map(|port| format!("http://127.0.0.1:{port}")),
            store_port,
            store: Some(store),
            services,
        };
        ensure!(wait_for(READY_MAX, || cluster.is_up()), "the services do not listen");
        Ok(cluster)
    }

    pub fn command(&self, args: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(HELIOGRAPH);
        command.args(args).env("RUST_LOG", "warn").stdin(Stdio::null());
        command.args(["--query", &self.query, "--token", &self.token]);
        Ok(command.args(["--clickhouse", &self.clickhouse]).output()?)
    }

    /// Registers a site that the gateway then knows, and returns its token.
    pub fn add_site(&self, id: &str) -> anyhow::Result<String> {
        let added = self.command(&["site", "add", id, "--tenant", "t1", "--zone", "Asia/Tokyo"])?;
        ensure!(added.status.success(), "{}", text(&added));
        let token = String::from_utf8(added.stdout)?.trim().to_owned();
        wait_known(&self.gateway, &token)?;
        Ok(token)
    }

    /// `kill -9` of the store.
    pub fn kill_store(&mut self) {
        self.store = None;
    }

    /// Starts it again, on its old port and data.
    pub fn start_store(&mut self, dir: &Path) -> anyhow::Result<()> {
        self.store = Some(store(dir, self.store_port)?.0);
        Ok(())
    }

    /// SIGTERM to every service; each must leave with status 0.
    pub fn stop(mut self) -> anyhow::Result<()> {
        for service in &mut self.services {
            let status = terminate(&mut service.0)?;
            ensure!(status.success(), "a service ended with {status}");
        }
        Ok(())
    }

    fn is_up(&self) -> bool {
        let reachable = |url: &str| {
            let address = url.trim_start_matches("http://");
            std::net::TcpStream::connect(address).is_ok()
        };
        reachable(&self.gateway) && reachable(&self.query)
    }
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn on_kafka_with_each_service_as_its_own_process() -> anyhow::Result<()> {
    let dir = data_dir();
    let broker = Broker::start()?;
    let cluster = Cluster::start(dir.path(), &broker, "")?;
    let config = &cluster.config;
    let again = heliograph(dir.path()).args(["migrate", "--config"]).arg(config).output()?;
    ensure!(again.status.success() && !text(&again).contains("token"), "{}", text(&again));
    upload_and_audit(&cluster).await?;
    let doctor = ["doctor", "--json", "--token", &cluster.token, "--config"];
    let doctor = heliograph(dir.path()).args(doctor).arg(config).output()?;
    ensure!(doctor.status.success(), "{}", text(&doctor));
    for said in ["3 migrations applied", "3 as declared", "an operator's", "is ready"] {
        ensure!(text(&doctor).contains(said), "{said}: {}", text(&doctor));
    }
    cluster.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_starts_while_kafka_is_away_waits_and_says_so() -> anyhow::Result<()> {
    let dir = data_dir();
    let first = ports_in_a_row(3)?;
    let [listen, ops, nobody] = [first, first + 1, first + 2];
    let config = dir.path().join("heliograph.toml");
    std::fs::write(
        &config,
        format!(
            "[log.kafka]\nbootstrap_servers = \"127.0.0.1:{nobody}\"\nrequest_timeout_ms = 1000\n\
             [gateway]\nlisten = \"127.0.0.1:{listen}\"\nops.listen = \"127.0.0.1:{ops}\"\n"
        ),
    )?;
    let mut command = service_command("gateway", &config)?;
    let mut gateway = Service(command.stderr(Stdio::piped()).spawn()?);
    let stderr = gateway.0.stderr.take().context("stderr")?;
    let tries_again = |line: &std::io::Result<String>| {
        line.as_ref().is_ok_and(|line| line.contains("cannot start yet; trying again"))
    };
    let mut lines = BufReader::new(stderr).lines();
    ensure!(lines.any(|line| tries_again(&line)), "it ended without a second try");
    // Whoever reads its stderr must go on, or it blocks.
    std::thread::spawn(move || lines.for_each(drop));
    let readyz = async || reqwest::get(format!("http://127.0.0.1:{ops}/readyz")).await;
    let answer: Value = readyz().await?.json().await?;
    ensure!(answer["ready"] == false && answer["reason"] == "starting", "{answer}");
    ensure!(reqwest::get(format!("http://127.0.0.1:{ops}/livez")).await?.status() == 200);
    ensure!(gateway.0.try_wait()?.is_none(), "it has ended");
    ensure!(terminate(&mut gateway.0)?.success());
    Ok(())
}

async fn upload_and_audit(cluster: &Cluster) -> anyhow::Result<()> {
    let token = cluster.add_site("s1")?;
    let reading = |minute: u32, value: f64| {
        json!({ "device": "inv1", "metric": "ac_power", "value": value,
                "ts": format!("2026-01-01T00:{minute:02}:00Z") })
    };
    let client = reqwest::Client::new();
    let url = format!("{}/v1/uploads", cluster.gateway);
    for readings in [json!([reading(0, 1.0), reading(1, 2.0)]), json!([reading(1, 3.0)])] {
        let body = json!({ "site": "s1", "readings": readings });
        let answer = client.post(&url).bearer_auth(&token).json(&body).send().await?;
        let status = answer.status();
        ensure!(status == 200, "{status}");
    }
    let audit = cluster.command(&["audit", "--json"])?;
    let result: Value = serde_json::from_slice(&audit.stdout).with_context(|| text(&audit))?;
    ensure!(result["acked"] == 2 && result["stored"] == 2, "{result}");
    for field in ["missing", "duplicate", "rollup_mismatch"] {
        ensure!(result[field] == 0, "{result}");
    }
    let args = ["readings", "s1", "--from", "2026-01-01", "--to", "2026-01-02", "--json"];
    let shown = cluster.command(&args)?;
    let points = String::from_utf8(shown.stdout)?;
    let values: Vec<f64> = points
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["value"].as_f64())
        .collect();
    ensure!(values == [1.0, 3.0], "{points}");
    Ok(())
}
