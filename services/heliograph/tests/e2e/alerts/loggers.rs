//! Loggers of many sites, each of which can be stopped and resumed.

use crate::support::Installation;
use anyhow::ensure;
use futures::{StreamExt, stream};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};

/// Loggers that upload for as long as they are not stopped, and keep trying while nobody answers.
#[derive(Clone)]
pub struct Loggers {
    url: String,
    interval: Duration,
    tokens: Arc<BTreeMap<String, String>>,
    stopped: Arc<Mutex<BTreeSet<String>>>,
    ended: Arc<AtomicBool>,
}

impl Loggers {
    /// Of the sites s000 and on, which upload every `interval_s` and are stale after `limit_s`.
    pub fn register(
        up: &Installation,
        sites: usize,
        interval_s: u64,
        limit_s: u64,
    ) -> anyhow::Result<Self> {
        let rows = (0..sites).map(|n| format!("s{n:03},t1,UTC,{interval_s},{limit_s}\n"));
        let (file, tokens) = (up.data_dir.join("sites.csv"), up.data_dir.join("tokens.json"));
        let header = "id,tenant,zone,upload_interval_s,stale_after_s\n";
        fs::write(&file, header.to_owned() + &rows.collect::<String>())?;
        let (file, tokens) = (file.display().to_string(), tokens.display().to_string());
        let output = up.command(&["site", "import", &file, "--tokens", &tokens])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(Self {
            url: format!("{}/v1/uploads", up.gateway),
            interval: Duration::from_secs(interval_s),
            tokens: Arc::new(serde_json::from_str(&fs::read_to_string(tokens)?)?),
            stopped: Arc::default(),
            ended: Arc::default(),
        })
    }

    /// Until they are to end.
    pub async fn run(self) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let mut due = interval(self.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.ended.load(Relaxed) {
            due.tick().await;
            let stopped = self.stopped().clone();
            let mut uploads = Vec::new();
            for (site, token) in self.tokens.iter().filter(|(site, _)| !stopped.contains(*site)) {
                let reading = json!({ "device": "inv1", "metric": "ac_power", "value": 1.0,
                                      "ts": jiff::Timestamp::now().to_string() });
                let body = json!({ "site": site, "readings": [reading] });
                let request = client.post(&self.url).bearer_auth(token).json(&body);
                let sent = request.timeout(Duration::from_secs(5)).send();
                // What is refused, or not answered, is sent again with the next.
                uploads.push(async move { drop(sent.await) });
            }
            stream::iter(uploads).buffer_unordered(64).collect::<Vec<()>>().await;
        }
        Ok(())
    }

    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// All of them, running or not.
    pub fn sites(&self) -> impl Iterator<Item = &str> {
        self.tokens.keys().map(String::as_str)
    }

    pub fn stop(&self, sites: &[&str]) {
        self.stopped().extend(sites.iter().map(|site| (*site).to_owned()));
    }

    pub fn resume(&self, sites: &[&str]) {
        self.stopped().retain(|site| !sites.contains(&&**site));
    }

    fn stopped(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
