//! The commands, in the order in which one meets them.

use crate::{
    access::{Access, AccessArgs},
    audit::{self, AuditArgs},
    dead_letters, lag, migrate, rebuild,
    simulate::{self, SimulateArgs},
    site, store, up, upload,
    views::{readings, sites},
};
use clap::{Parser, Subcommand};
use heliograph_contract::v1;
use heliograph_domain::Timestamp;
use heliograph_service::Shutdown;
use std::process::ExitCode;

/// Watch many sites through one log: uploads in, ClickHouse behind, gRPC in front.
#[derive(Debug, Parser)]
#[command(
    name = "heliograph",
    version,
    after_help = "Begin with:\n  heliograph up                     every service, in this terminal\n  \
                  heliograph site samples --tokens data/tokens.json\n  \
                  heliograph simulate --tokens data/tokens.json --days 3\n  \
                  heliograph sites                  what there is\n  \
                  heliograph readings nrel-rsf2     what it measured"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::UpArgs),
    Site(site::SiteArgs),
    Upload(upload::UploadArgs),
    Simulate(SimulateArgs),
    /// List the sites: last reading, last arrival, completeness
    Sites(WithAccess<SitesArgs>),
    /// Show readings of one site, as a table or as JSON
    Readings(WithAccess<ReadingsArgs>),
    /// Compare what senders were promised, the log, and ClickHouse
    ///
    /// Exit status 1 when they differ in anything.
    Audit(WithAccess<AuditArgs>),
    Lag(lag::LagArgs),
    DeadLetters(dead_letters::DeadLettersArgs),
    Rebuild(rebuild::RebuildArgs),
    Migrate(migrate::MigrateArgs),
    Store(store::StoreArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  heliograph sites --json")]
struct SitesArgs {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  heliograph readings nrel-rsf2 --metric ac_power\n  \
                        heliograph readings snow --from -7d --step 1d --aggregate max\n  \
                        heliograph readings serf-west --from 2026-01-31 --step raw --json")]
struct ReadingsArgs {
    /// Site id.
    site: String,
    /// Only this device; may be repeated.
    #[arg(long = "device")]
    devices: Vec<String>,
    /// Only this metric; may be repeated.
    #[arg(long = "metric")]
    metrics: Vec<String>,
    /// From then on: RFC 3339, a local date or time, or how long ago (-24h, -7d).
    #[arg(long, default_value = "-24h", allow_hyphen_values = true)]
    from: String,
    /// Up to then, not including.
    #[arg(long, default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// auto, raw, 15m, 1h or 1d.
    #[arg(long, default_value = "auto", value_parser = readings::parse_step)]
    step: v1::Step,
    /// avg, min, max, sum, count, first or last; without it the mean of each step.
    #[arg(long, value_parser = readings::parse_aggregate)]
    aggregate: Option<v1::Aggregate>,
    /// At most so many rows of a series, the newest.
    #[arg(long, default_value_t = 24)]
    rows: usize,
    /// One JSON object a point, nothing left out.
    #[arg(long)]
    json: bool,
}

// A command's own arguments and where the services are; a doc comment here would become help text.
#[derive(Debug, clap::Args)]
struct WithAccess<A: clap::Args> {
    #[command(flatten)]
    args: A,
    #[command(flatten)]
    access: AccessArgs,
}

impl Cli {
    /// # Errors
    /// Whatever the command says.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Up(args) => up::run(args, shutdown).await,
            Command::Site(args) => site::run(args).await,
            Command::Upload(args) => upload::run(args).await,
            Command::Simulate(args) => simulate::run(args, shutdown).await,
            Command::Sites(WithAccess { args, access }) => {
                let access = Access::open(&access).await?;
                let outcome =
                    sites::show(&access.query(), now(), args.json, &mut std::io::stdout()).await;
                finish(access, outcome).await
            }
            Command::Readings(WithAccess { args, access }) => {
                let access = Access::open(&access).await?;
                let (options, mut out) = (args.into(), std::io::stdout());
                let outcome = readings::show(&mut access.query(), &options, now(), &mut out).await;
                finish(access, outcome).await
            }
            Command::Audit(WithAccess { args, access }) => {
                let access = Access::open(&access).await?;
                let outcome = audit::run(args, access.admin(), access.store()).await;
                access.close().await?;
                outcome
            }
            Command::Lag(args) => lag::run(args).await,
            Command::DeadLetters(args) => dead_letters::run(args).await,
            Command::Rebuild(args) => rebuild::run(args).await,
            Command::Migrate(args) => migrate::run(args).await,
            Command::Store(args) => store::run(args, shutdown).await,
        }
    }
}

impl From<ReadingsArgs> for readings::Options {
    fn from(args: ReadingsArgs) -> Self {
        Self {
            site: args.site,
            devices: args.devices,
            metrics: args.metrics,
            from: args.from,
            to: args.to,
            step: args.step,
            aggregate: args.aggregate.unwrap_or_default(),
            rows_max: args.rows,
            json: args.json,
        }
    }
}

/// The edge where a command reads the clock.
fn now() -> Timestamp {
    Timestamp::from_ms(jiff::Timestamp::now().as_millisecond())
}

async fn finish(access: Access, outcome: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    access.close().await?;
    outcome.map(|()| ExitCode::SUCCESS)
}
