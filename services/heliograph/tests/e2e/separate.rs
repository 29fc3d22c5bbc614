//! The services as processes of their own, on a real Kafka broker and the embedded store served
//! alone.

use crate::support::{HELIOGRAPH, data_dir, heliograph, ports_in_a_row, terminate, wait_for};
use anyhow::{Context, ensure};
use heliograph_testkit::kafka::Broker;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    path::Path,
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
    let binary = Path::new(HELIOGRAPH).with_file_name(format!("heliograph-{name}"));
    ensure!(binary.exists(), "{} is not built: cargo build --workspace", binary.display());
    let mut command = Command::new(binary);
    command.env("HELIOGRAPH_CONFIG", config).env("RUST_LOG", "warn").stdin(Stdio::null());
    Ok(Service(command.spawn()?))
}

fn store(dir: &Path) -> anyhow::Result<(Service, String)> {
    let mut command = heliograph(dir);
    command.args(["store", "--listen", "127.0.0.1:0", "--path"]).arg(dir.join("store"));
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("stdout")?;
    let service = Service(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let ready: Value = serde_json::from_str(&line).with_context(|| format!("not ready: {line}"))?;
    let url = ready["clickhouse"].as_str().context("clickhouse")?.to_owned();
    Ok((service, url))
}

struct Cluster {
    gateway: String,
    query: String,
    clickhouse: String,
    token: String,
}

impl Cluster {
    fn command(&self, args: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(HELIOGRAPH);
        command.args(args).env("RUST_LOG", "warn").stdin(Stdio::null());
        command.args(["--query", &self.query, "--token", &self.token]);
        Ok(command.args(["--clickhouse", &self.clickhouse]).output()?)
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
    let (_store, clickhouse) = store(dir.path())?;
    let gateway = ports_in_a_row(2)?;
    let query = gateway + 1;
    let config = dir.path().join("heliograph.toml");
    let bootstrap = broker.bootstrap_servers();
    std::fs::write(
        &config,
        format!(
            "[log.kafka]\nbootstrap_servers = \"{bootstrap}\"\nreplicas = 1\n\
             min_insync_replicas = 1\n[store]\nurl = \"{clickhouse}\"\n\
             [gateway]\nlisten = \"127.0.0.1:{gateway}\"\ninstance = \"g1\"\n\
             [writer]\ninstance = \"w1\"\n[query]\nlisten = \"127.0.0.1:{query}\"\n"
        ),
    )?;
    let migrate = heliograph(dir.path()).args(["migrate", "--config"]).arg(&config).output()?;
    ensure!(migrate.status.success(), "{}", text(&migrate));
    let said = String::from_utf8(migrate.stdout)?;
    let token = said.rsplit(' ').next().context("the operator's token")?.trim().to_owned();
    let again = heliograph(dir.path()).args(["migrate", "--config"]).arg(&config).output()?;
    ensure!(again.status.success() && !text(&again).contains("token"), "{}", text(&again));

    let mut services = Vec::new();
    for name in ["gateway", "writer", "query"] {
        services.push(service(name, &config)?);
    }
    let cluster = Cluster {
        gateway: format!("http://127.0.0.1:{gateway}"),
        query: format!("http://127.0.0.1:{query}"),
        clickhouse,
        token,
    };
    ensure!(wait_for(READY_MAX, || cluster.is_up()), "the services do not listen");
    upload_and_audit(&cluster).await?;
    let doctor = ["doctor", "--json", "--token", &cluster.token, "--config"];
    let doctor = heliograph(dir.path()).args(doctor).arg(&config).output()?;
    ensure!(doctor.status.success(), "{}", text(&doctor));
    for said in ["3 migrations applied", "3 as declared", "an operator's", "is ready"] {
        ensure!(text(&doctor).contains(said), "{said}: {}", text(&doctor));
    }
    for service in &mut services {
        let status = terminate(&mut service.0)?;
        ensure!(status.success(), "a service ended with {status}");
    }
    Ok(())
}

async fn upload_and_audit(cluster: &Cluster) -> anyhow::Result<()> {
    let add = ["site", "add", "s1", "--tenant", "t1", "--zone", "Asia/Tokyo"];
    let added = cluster.command(&add)?;
    ensure!(added.status.success(), "{}", text(&added));
    let token = String::from_utf8(added.stdout)?.trim().to_owned();
    let reading = |minute: u32, value: f64| {
        json!({ "device": "inv1", "metric": "ac_power", "value": value,
                "ts": format!("2026-01-01T00:{minute:02}:00Z") })
    };
    let client = reqwest::Client::new();
    let url = format!("{}/v1/uploads", cluster.gateway);
    for readings in [json!([reading(0, 1.0), reading(1, 2.0)]), json!([reading(1, 3.0)])] {
        let body = json!({ "site": "s1", "readings": readings });
        let mut status = 401;
        // The gateway learns of a new site within a second.
        for _ in 0..50 {
            let answer = client.post(&url).bearer_auth(&token).json(&body).send().await?;
            status = answer.status().as_u16();
            if status != 401 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
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
