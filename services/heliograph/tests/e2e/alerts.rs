//! Sites that fall silent, in processes: who stops is told, once, and nobody else; what our own door
//! does not hear is nobody's silence.

pub mod loggers;

use crate::support::{Installation, OnLog, Setup, data_dir, on_either_log, ports_in_a_row};
use anyhow::{Context, ensure};
use heliograph_contract::v1::{
    SubscribeAlertsRequest,
    alert::Alert::{self, IncidentClosed, IncidentOpened, SiteRecovered, SiteWentStale},
};
use loggers::Loggers;
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{sleep, timeout};

on_either_log!(who_stops_is_told_and_nobody_else,);

const SITES: usize = 500;
/// How often a site uploads, and when it is stale, in seconds. A limit that is several uploads long,
/// since on a busy machine the loggers themselves come late, and then are silent in truth.
const INTERVAL_S: u64 = 9;
const LIMIT_S: u64 = 45;
/// Longer than the limit: on the wall's clock every site is silent.
const OUTAGE: Duration = Duration::from_secs(LIMIT_S + 10);
/// Until something that comes has come.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Somebody who wants every alert, once: goes on where it was, and knows an alert by its id.
#[derive(Default)]
struct Subscriber {
    resume_token: String,
    ids: BTreeSet<String>,
    /// Incidents that opened and have not closed: never more than one.
    incidents: usize,
}

impl Subscriber {
    /// The next alerts of sites, as soon as `want` of them have come.
    async fn next(&mut self, up: &Installation, want: usize) -> anyhow::Result<Vec<Alert>> {
        let mut all = Vec::new();
        self.read(up, |_, fresh| {
            all.extend(fresh);
            all.len() >= want
        })
        .await
        .with_context(|| format!("of {want} alerts"))?;
        Ok(all)
    }

    /// An incident is open; no site is told meanwhile.
    async fn incident(&mut self, up: &Installation) -> anyhow::Result<()> {
        let mut sites = Vec::new();
        self.read(up, |incidents, fresh| {
            sites.extend(fresh);
            incidents == 1
        })
        .await
        .context("no incident")?;
        ensure!(sites.is_empty(), "{sites:?}");
        Ok(())
    }

    /// Reads on until it is enough, given how many incidents are open and what came of sites.
    async fn read(
        &mut self,
        up: &Installation,
        mut is_enough: impl FnMut(usize, Vec<Alert>) -> bool,
    ) -> anyhow::Result<()> {
        if is_enough(self.incidents, Vec::new()) {
            return Ok(());
        }
        let resume_token = self.resume_token.clone();
        let request = SubscribeAlertsRequest { resume_token, ..Default::default() };
        let mut stream = up.queries().await?.subscribe_alerts(request).await?.into_inner();
        let reading = async {
            loop {
                let answer = stream.message().await?.context("the stream has no end")?;
                self.resume_token = answer.resume_token;
                let mut sites = Vec::new();
                for alert in answer.alerts {
                    if !self.ids.insert(alert.id) {
                        continue;
                    }
                    match alert.alert.context("an alert that this test does not know")? {
                        IncidentOpened(_) => self.incidents += 1,
                        IncidentClosed(_) => self.incidents -= 1,
                        of_site => sites.push(of_site),
                    }
                    ensure!(self.incidents <= 1, "two incidents at a time");
                }
                if is_enough(self.incidents, sites) {
                    return Ok(());
                }
            }
        };
        timeout(WAIT_MAX, reading).await.context("nothing more came")?
    }
}

fn told(alerts: &[Alert]) -> BTreeSet<(&'static str, String)> {
    let one = |alert: &Alert| match alert {
        SiteWentStale(a) => ("stale", a.site_id.clone()),
        SiteRecovered(a) => ("back", a.site_id.clone()),
        IncidentOpened(_) | IncidentClosed(_) => ("incident", String::new()),
    };
    alerts.iter().map(one).collect()
}

fn expected(kind: &'static str, sites: &[&str]) -> BTreeSet<(&'static str, String)> {
    sites.iter().map(|site| (kind, (*site).to_owned())).collect()
}

async fn who_stops_is_told_and_nobody_else(on: OnLog) -> anyhow::Result<()> {
    let dir = data_dir();
    let mut up = Setup::new(on, dir.path())
        .port_base(ports_in_a_row(Setup::ports())?)
        // Loggers are told to be back soon, so that the time to return does not fill the test.
        .env("HELIOGRAPH_GATEWAY__RETRY_AFTER_MAX", "1s")
        .env("HELIOGRAPH_DETECTOR__SNAPSHOT_INTERVAL", "2s")
        .start()?;
    let loggers = Loggers::register(&up, SITES, INTERVAL_S, LIMIT_S)?;
    let uploading = tokio::spawn(loggers.clone().run());
    let dead = ["s003", "s141", "s499"];

    // All of them have been heard of when the first ones stop.
    let heard = async || -> anyhow::Result<bool> {
        let shown = reqwest::get(format!("{}/metrics", up.ops("detector"))).await?.text().await?;
        Ok(shown.contains(&format!("heliograph_detector_sites {SITES}\n")))
    };
    timeout(WAIT_MAX, async {
        while !heard().await? {
            sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    })
    .await
    .context("the detector does not hear of all sites")??;
    let mut subscriber = Subscriber::default();
    loggers.stop(&dead);
    let first = subscriber.next(&up, dead.len()).await?;
    ensure!(told(&first) == expected("stale", &dead), "{first:?}");

    // Our own door is away, for longer than any limit, and one more site dies. On Kafka the detector
    // is there to tell of it, and is away itself before the door is back; else all is one process.
    loggers.stop(&["s007"]);
    up.kill("gateway")?;
    if on == OnLog::Kafka {
        subscriber.incident(&up).await?;
        up.kill("detector")?;
    }
    sleep(OUTAGE).await;
    if on == OnLog::Kafka {
        up.spawn("detector")?;
    }
    up.spawn("gateway")?;
    up.wait_ready()?;
    let second = subscriber.next(&up, 1).await;
    let why = || match up.command(&["explain", "s007"]) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => error.to_string(),
    };
    let second = second.with_context(why)?;
    ensure!(told(&second) == expected("stale", &["s007"]), "{second:?}");
    subscriber.incident(&up).await?;

    loggers.resume(&dead);
    let third = subscriber.next(&up, dead.len()).await?;
    ensure!(told(&third) == expected("back", &dead), "{third:?}");
    let open: Vec<Value> = lines(&up, &["alerts", "--json"])?;
    // Ours is over when all has been calm for five minutes.
    ensure!(open.len() == 2 && open[0]["kind"] == "incident_opened", "{open:?}");
    ensure!(open[1]["site"] == "s007", "{open:?}");
    let all = lines(&up, &["alerts", "--history", "--json"])?;
    let of_sites = all.iter().filter(|alert| !alert["site"].is_null()).count();
    ensure!(of_sites == 2 * dead.len() + 1, "{all:?}");
    loggers.end();
    uploading.await??;
    up.stop()
}

fn lines(up: &Installation, args: &[&str]) -> anyhow::Result<Vec<Value>> {
    let output = up.command(args)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}
