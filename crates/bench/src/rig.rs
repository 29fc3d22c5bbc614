//! An installation under measurement: the services as processes on one real broker, in the same
//! build as this program.
//!
//! It stands on the testkit's rig, which the tests use, too. What it is not: it measures nothing.

use crate::{
    kafka::Topic,
    uploads::{Fleet, START_MS, TENANT, request},
};
use anyhow::{Context, ensure};
use bytes::Bytes;
use clickhouse::Client;
use heliograph_contract::topic;
use heliograph_domain::Timestamp;
use heliograph_log::topics;
use heliograph_store::{StoreConfig, connect};
use heliograph_testkit::{
    installation::{Installation, OnLog, Setup, ports_in_a_row, text, wait_for},
    kafka::Broker,
    proxy::Proxy,
};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Far more than any of it takes.
const PATIENCE: Duration = Duration::from_secs(180);

pub struct Rig {
    // Dropped in this order: the services before the broker before the data.
    pub it: Installation,
    pub broker: Broker,
    pub store: Client,
    pub uploads: Topic,
    http: reqwest::Client,
    _dir: TempDir,
}

impl Rig {
    /// Starts broker, store and services; `env` is configuration as environment variables.
    pub fn start(env: &[(&str, String)]) -> anyhow::Result<Self> {
        Self::launch(env, |setup| Ok((setup, ()))).map(|(rig, ())| rig)
    }

    /// The services find the store behind a proxy; this program sees it without.
    pub fn start_behind_proxy(env: &[(&str, String)]) -> anyhow::Result<(Self, Proxy)> {
        Self::launch(env, |setup| {
            let setup = setup.port_base(ports_in_a_row(Setup::ports())?);
            let proxy = Proxy::start(setup.store_addr())?;
            Ok((setup.env("HELIOGRAPH_STORE__URL", proxy.url()), proxy))
        })
    }

    fn launch<T>(
        env: &[(&str, String)],
        more: impl FnOnce(Setup) -> anyhow::Result<(Setup, T)>,
    ) -> anyhow::Result<(Self, T)> {
        let dir = tempfile::Builder::new().prefix("heliograph-bench-").tempdir()?;
        let broker = Broker::start()?;
        let mut setup = Setup::new(OnLog::Kafka, dir.path()).kafka(broker.bootstrap_servers(), 1);
        for (name, value) in env {
            setup = setup.env(name, value);
        }
        let (setup, more) = more(setup)?;
        let it = setup.start()?;
        let prefix = fs::read_to_string(dir.path().join("topic-prefix"))?;
        let uploads = Topic {
            servers: broker.bootstrap_servers(),
            name: format!("{prefix}{}", topic::UPLOADS),
            partitions: topics::spec(topic::UPLOADS)?.partitions,
        };
        let config = StoreConfig { url: it.clickhouse.clone(), ..StoreConfig::default() };
        let store = connect(&config);
        let rig = Self { it, broker, store, uploads, http: reqwest::Client::new(), _dir: dir };
        Ok((rig, more))
    }

    pub fn dir(&self) -> &Path {
        &self.it.data_dir
    }

    /// The name of a topic or group on the broker.
    pub fn broker_name(&self, name: &str) -> String {
        let prefix = self.uploads.name.strip_suffix(topic::UPLOADS).unwrap_or_default();
        format!("{prefix}{name}")
    }

    /// Stops processes that have no part in a case, so that they take none of the machine.
    pub fn without(mut self, names: &[&str]) -> anyhow::Result<Self> {
        for name in names {
            self.it.kill(name)?;
        }
        Ok(self)
    }

    pub fn gateway_addr(&self) -> anyhow::Result<SocketAddr> {
        let addr = self.it.gateway.trim_start_matches("http://");
        addr.parse().with_context(|| format!("the gateway's address {addr}"))
    }

    pub fn pid(&self, name: &str) -> anyhow::Result<u32> {
        Ok(self.it.process(name)?.pid())
    }

    /// Registers the sites of a fleet, their zones in turn, and returns their upload tokens in
    /// order, once the gateway knows the last.
    pub fn register(&self, sites: u64, zones: &[&str]) -> anyhow::Result<Vec<String>> {
        let mut rows = "id,tenant,zone\n".to_owned();
        for site in 0..sites {
            let zone = zones[usize::try_from(site)? % zones.len()];
            rows.push_str(&format!("{},{TENANT},{zone}\n", Fleet::site(site)));
        }
        let (file, tokens) = (self.dir().join("sites.csv"), self.dir().join("tokens.json"));
        fs::write(&file, rows)?;
        let mut import = self.it.heliograph();
        import.args(["site", "import"]).arg(&file).arg("--tokens").arg(&tokens);
        let output = import.output()?;
        ensure!(output.status.success(), "{}", text(&output));
        let by_site: BTreeMap<String, String> = serde_json::from_slice(&fs::read(&tokens)?)?;
        let in_order = (0..sites).map(|site| by_site.get(&Fleet::site(site)).cloned());
        let tokens: Vec<String> =
            in_order.collect::<Option<_>>().context("a site without a token")?;
        // One more, which waits until the gateway has read the topic so far.
        self.it.add_site("bench-last", "UTC")?;
        Ok(tokens)
    }

    /// `count` uploads of a fleet from the n-th on, encoded.
    pub fn requests_from(
        &self,
        fleet: Fleet,
        tokens: &[String],
        from: u64,
        count: u64,
    ) -> anyhow::Result<Arc<[Bytes]>> {
        let addr = self.gateway_addr()?.to_string();
        let one = |n| {
            let token = &tokens[usize::try_from(fleet.site_of(n))?];
            Ok(request(&addr, "/v1/uploads", token, &fleet.json(n)?))
        };
        (from..from + count).map(one).collect()
    }

    /// What a process shows at `/metrics`.
    pub async fn metrics(&self, name: &str) -> anyhow::Result<String> {
        let url = format!("{}/metrics", self.it.ops(name));
        Ok(self.http.get(url).send().await?.error_for_status()?.text().await?)
    }

    /// One number out of ClickHouse.
    pub async fn count(&self, select: &str) -> anyhow::Result<u64> {
        self.store.query(select).fetch_one().await.with_context(|| select.to_owned())
    }

    /// Empties every table.
    pub async fn truncate(&self) -> anyhow::Result<()> {
        for table in TABLES {
            self.store.query(&format!("TRUNCATE TABLE {table}")).execute().await?;
        }
        Ok(())
    }

    /// Fills the topic of uploads with the first `count` of a fleet, as the gateway writes them.
    pub fn fill(&self, fleet: Fleet, count: u64) -> anyhow::Result<()> {
        self.fill_with(fleet, 0..count).map(drop)
    }

    /// Fills it with these uploads of a fleet and returns how many they are.
    pub fn fill_with(
        &self,
        fleet: Fleet,
        numbers: impl Iterator<Item = u64>,
    ) -> anyhow::Result<u64> {
        let now = Timestamp::from_ms(START_MS + 1);
        let partitions = self.uploads.partitions;
        let records = numbers.map(|n| Ok((fleet.partition(n, partitions), fleet.event(n, now)?)));
        self.uploads.fill(records)
    }

    /// Starts a process again and waits until it is ready.
    pub fn start_again(&mut self, name: &str) -> anyhow::Result<()> {
        self.it.spawn(name)?;
        self.it.wait_ready()
    }

    /// Waits until every record of the topic is committed.
    pub fn wait_committed(&self) -> anyhow::Result<()> {
        let group = self.uploads.group(&self.broker_name(WRITERS))?;
        let mut error = None;
        let done = wait_for(PATIENCE, || {
            let ends = self.uploads.ends();
            let committed = self.uploads.committed(&group);
            match (ends, committed) {
                (Ok(ends), Ok(committed)) => !crate::kafka::is_behind(&committed, &ends),
                (Err(e), _) | (_, Err(e)) => {
                    error = Some(e);
                    false
                }
            }
        });
        match error {
            _ if done => Ok(()),
            Some(error) => Err(error),
            None => anyhow::bail!("the writer does not catch up"),
        }
    }
}

/// The writers' group, above the prefix.
pub const WRITERS: &str = heliograph_config::writer::GROUP;

pub const TABLES: [&str; 5] =
    ["readings", "readings_15m", "readings_1h", "readings_1d", "dirty_buckets"];

/// How many buckets are behind their readings.
pub const DIRTY: &str = "SELECT count() FROM dirty_buckets FINAL WHERE dirty = 1";

/// Asks again and again, every 10 ms, until it holds.
pub async fn until(
    what: &str,
    max: Duration,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + max;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "{what}: not within {max:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
