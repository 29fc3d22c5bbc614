//! `heliograph simulate`: a fleet of loggers that replays measured data of real plants.
//!
//! sample files → replay (shifted, scaled) → batches → mischief → logger (store and forward) →
//! HTTP → ledger of what got a 2xx → summary, which `heliograph audit --against` reads.
//!
//! What it is not: a load generator that only counts. Every reading it was promised for is in the
//! checksum of its summary.

mod batch;
pub mod client;
mod clock;
mod fleet;
mod ledger;
mod logger;
mod mischief;
mod ranges;
mod replay;
mod report;
pub mod sample;
mod sites;
mod summary;
mod transcript;

pub use fleet::{Fleet, FleetConfig, Replayed};
pub use mischief::Shares;
pub use sites::{Scale, sample_sites};
#[cfg(test)]
pub use summary::Counts;
pub use summary::{FleetSummary, SiteSummary};

use crate::endpoint::Endpoint;
use anyhow::{Context, ensure};
use heliograph_service::Shutdown;
use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode, time::Duration};

/// Upload measured data of real plants, as a fleet of loggers would
///
/// The sample files come round again, shifted by whole days, so that the newest sample lies at
/// now. Each logger keeps what is not accepted and sends it again, as real ones do.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  heliograph simulate --days 3                   # the last three days, at once
  heliograph simulate --days 1 --live            # and then go on until Ctrl-C
  heliograph simulate --sites 50 --resend 0.1 --bad 0.02 --for 5m --summary s.json")]
pub struct SimulateArgs {
    /// How many sites: the five plants, then copies of them (`<name>-002`, …) of other sizes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub sites: u16,
    /// Multiply power and current by this; without it the plants are as they are and each copy
    /// has a factor of its own, 0.5 to 2
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    pub scale: Option<f64>,
    /// Where in time the files are replayed: `now` ends at the present, `none` replays each file
    /// once with its own times
    #[arg(long, default_value = "now")]
    pub shift: Shift,
    /// Go on with live data until Ctrl-C: each logger uploads at its interval
    #[arg(long)]
    pub live: bool,
    /// Begin this many days ago [default: 1; with --live: 0]
    #[arg(long, value_name = "DAYS", value_parser = not_negative)]
    pub days: Option<f64>,
    /// Replay this many times as fast as it was, up to the present; without it the past goes as
    /// fast as the gateway takes it
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    pub speed: Option<f64>,
    /// End after this time, e.g. 60s or 5m
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub run_for: Option<Duration>,
    /// Address of the gateway [default: that of the `heliograph up` in --data-dir]
    #[arg(long, value_name = "URL", env = "HELIOGRAPH_GATEWAY")]
    pub gateway: Option<String>,
    /// JSON object from site to upload token, as `heliograph site samples` writes it
    /// [default: tokens.json in --data-dir]
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Where a `heliograph up` on this machine has its data
    #[arg(long, default_value = "data", value_name = "DIR", env = "HELIOGRAPH_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Share of uploads that are held back and sent later
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub late: f64,
    /// Share of uploads that are sent again after their 2xx
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub resend: f64,
    /// Share of uploads some of whose readings are sent again with other values
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub correct: f64,
    /// Share of uploads with a malformed reading among the good ones
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    pub bad: f64,
    /// Which uploads these are: the same seed picks the same ones
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The most readings in one upload
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub readings_per_upload: u32,
    /// The most requests open at once, over all sites
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub concurrency: u16,
    /// How long a logger waits for an answer before it sends again
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub request_timeout: Duration,
    /// Read the sample files from here instead of the copies in this program
    #[arg(long, value_name = "DIR")]
    pub sample_dir: Option<PathBuf>,
    /// Keep the summary in this file, also while running: what `heliograph audit --against` reads
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Write every accepted upload into this file, one JSON document a line
    #[arg(long, value_name = "FILE")]
    pub transcript: Option<PathBuf>,
    /// Print the summary as JSON at the end, and no progress
    #[arg(long)]
    pub json: bool,
}

/// Where in time the files are replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shift {
    Now,
    None,
}

fn number(text: &str) -> Result<f64, String> {
    text.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(|| "want a number".to_owned())
}

fn positive(text: &str) -> Result<f64, String> {
    number(text).and_then(|n| if n > 0.0 { Ok(n) } else { Err("want more than 0".into()) })
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text).and_then(|n| if n >= 0.0 { Ok(n) } else { Err("want 0 or more".into()) })
}

fn share(text: &str) -> Result<f64, String> {
    number(text)
        .and_then(|n| if (0.0..=1.0).contains(&n) { Ok(n) } else { Err("want 0 to 1".into()) })
}

/// Reads `30s`, `5m`, `1h 30m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Option<jiff::SignedDuration> = text.parse().ok();
    parsed
        .and_then(|d| Duration::try_from(d).ok())
        .ok_or_else(|| "want a duration such as 30s or 5m".to_owned())
}

/// Where a fleet uploads to, and by what right.
#[derive(Debug, Clone)]
pub struct Target {
    /// `http://HOST:PORT`
    pub gateway: String,
    /// Upload token of each site.
    pub tokens: BTreeMap<String, String>,
}

impl SimulateArgs {
    /// Where to upload to, and by what right.
    ///
    /// # Errors
    /// When there is no gateway to be found, or the file of tokens cannot be read.
    pub fn target(&self) -> anyhow::Result<Target> {
        let gateway = match &self.gateway {
            Some(gateway) => gateway.clone(),
            None => {
                let endpoint = Endpoint::read(&self.data_dir)?.with_context(|| {
                    let dir = self.data_dir.display();
                    format!(
                        "no gateway: `heliograph up` never ran in {dir}; start it, or name a \
                         gateway with --gateway, or another directory with --data-dir"
                    )
                })?;
                endpoint.gateway
            }
        };
        let path = self.tokens.clone().unwrap_or_else(|| self.data_dir.join("tokens.json"));
        let text = std::fs::read(&path).with_context(|| {
            let path = path.display();
            format!("tokens {path}: write them by `heliograph site samples --tokens {path}`")
        })?;
        let tokens = serde_json::from_slice(&text).with_context(|| {
            format!("tokens {}: want a JSON object from site to token", path.display())
        })?;
        Ok(Target { gateway, tokens })
    }

    pub fn scale(&self) -> Scale {
        self.scale.map_or(Scale::PerSite, Scale::Fixed)
    }

    fn config(&self, target: Target) -> anyhow::Result<FleetConfig> {
        let replayed = match (self.shift, self.live) {
            (Shift::None, live) => {
                ensure!(!live && self.days.is_none(), "--shift none: without --live and --days");
                Replayed::Once
            }
            (Shift::Now, true) => Replayed::Live { days: self.days.unwrap_or(0.0) },
            (Shift::Now, false) => Replayed::Backfill { days: self.days.unwrap_or(1.0) },
        };
        let (late, resend, correct, bad) = (self.late, self.resend, self.correct, self.bad);
        Ok(FleetConfig {
            scale: self.scale(),
            replayed,
            speed: self.speed,
            shares: Shares { late, resend, correct, bad },
            seed: self.seed,
            readings_per_upload: self.readings_per_upload as usize,
            concurrency: usize::from(self.concurrency),
            request_timeout: self.request_timeout,
            sample_dir: self.sample_dir.clone(),
            summary: self.summary.clone(),
            transcript: self.transcript.clone(),
            ..FleetConfig::new(target.gateway, target.tokens, usize::from(self.sites))
        })
    }
}

/// Runs the fleet and prints what came of it. Status 1 when uploads had to be dropped, or none was
/// taken.
///
/// # Errors
/// When the command line makes no sense or a file cannot be written.
pub async fn run(args: SimulateArgs, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
    let fleet = Fleet::build(args.config(args.target()?)?)?;
    let cancel = shutdown.child_token();
    let timer = args.run_for.map(|run_for| {
        let cancel = cancel.clone();
        tokio::spawn(async move {
            tokio::time::sleep(run_for).await;
            cancel.cancel();
        })
    });
    let progress = (!args.json).then(|| tokio::spawn(report::show(fleet.clone())));
    let outcome = fleet.run(cancel).await;
    for task in progress.iter().chain(&timer) {
        task.abort();
    }
    let summary = outcome?;
    let text = match args.json {
        true => serde_json::to_string(&summary)? + "\n",
        false => report::end_text(&summary),
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    let counts = &summary.counts;
    let nothing_taken = counts.uploads_sent > 0 && counts.uploads_accepted == 0;
    Ok(match counts.uploads_dropped > 0 || nothing_taken {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn config(args: &[&str]) -> Result<FleetConfig, String> {
        let cli = Cli::try_parse_from([&["simulate"], args].concat()).map_err(|e| e.to_string())?;
        let target = Target { gateway: "http://127.0.0.1:1".into(), tokens: BTreeMap::new() };
        cli.args.config(target).map_err(|e| e.to_string())
    }

    #[test]
    fn the_command_line_says_what_is_replayed() {
        let replayed = |args: &[&str]| config(args).map(|c| c.replayed);
        assert_eq!(replayed(&[]), Ok(Replayed::Backfill { days: 1.0 }));
        assert_eq!(replayed(&["--days", "2.5"]), Ok(Replayed::Backfill { days: 2.5 }));
        assert_eq!(replayed(&["--live"]), Ok(Replayed::Live { days: 0.0 }));
        assert_eq!(replayed(&["--shift", "none"]), Ok(Replayed::Once));
        assert!(replayed(&["--shift", "none", "--live"]).is_err());
        assert!(replayed(&["--shift", "none", "--days", "1"]).is_err());
    }

    #[test]
    fn nonsense_is_refused_with_what_is_wanted() {
        let rows = [
            (["--late", "1.5"], "want 0 to 1"),
            (["--speed", "0"], "want more than 0"),
            (["--days", "-1"], "want 0 or more"),
            (["--days", "many"], "want a number"),
            (["--for", "soon"], "want a duration"),
            (["--readings-per-upload", "0"], "0 is not in 1..=10000"),
        ];
        for ([name, value], want) in rows {
            let got = config(&[&format!("{name}={value}")]).unwrap_err();
            assert!(got.contains(want), "{name} {value}: {got}");
        }
    }

    #[test]
    fn a_duration_is_read_as_people_write_it() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert!(duration("-1s").is_err());
    }
}
