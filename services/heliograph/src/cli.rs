//! The commands, in the order in which one meets them.

use crate::{
    access::{Access, AccessArgs},
    audit::{self, AuditArgs},
    completions, config, dead_letters, doctor, explain, help, lag, metrics, migrate, rebuild,
    simulate::{self, SimulateArgs},
    site, store, tenant, token, up, upload,
    views::{Style, alerts, readings, sites, status, terminal},
};
use clap::{
    CommandFactory, FromArgMatches, Parser, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use heliograph_contract::v1;
use heliograph_domain::Timestamp;
use heliograph_service::Shutdown;
use std::process::ExitCode;

/// Watch many sites through one log: uploads in, ClickHouse behind, gRPC in front.
#[derive(Debug, Parser)]
#[command(
    name = "heliograph",
    version,
    after_help = "Examples, from nothing to the first chart:
  heliograph up                                          # leave it running
  heliograph site add roof-7 --tenant acme --zone Asia/Tokyo
  heliograph readings roof-7

With measured data of five real plants, in a second terminal:
  heliograph site samples --tokens data/tokens.json
  heliograph simulate --days 3
  heliograph sites
  heliograph readings nrel-rsf2 --from -3d

`heliograph COMMAND --help` says more, with examples."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::UpArgs),
    Site(site::SiteArgs),
    Tenant(tenant::TenantArgs),
    Token(token::TokenArgs),
    Upload(upload::UploadArgs),
    Metrics(metrics::MetricsArgs),
    Simulate(SimulateArgs),
    /// List the sites: last reading, last arrival, state, completeness
    Sites(WithAccess<SitesArgs>),
    /// Show readings of one site as charts, tables or JSON
    ///
    /// A terminal gets charts of the most telling series, anything else a table a series. Times are
    /// the site's own. What was not measured stays empty: no line crosses a gap.
    Readings(WithAccess<ReadingsArgs>),
    /// Say whether an incident is open, how many sites are stale, and what happened of late
    Status(WithAccess<status::StatusArgs>),
    /// List the sites that have fallen silent, and say why
    ///
    /// A site is stale when it did not upload for longer than its limit while our own front door was
    /// open: time in which we could not have heard it does not count.
    Alerts(WithAccess<alerts::AlertsArgs>),
    Explain(explain::ExplainArgs),
    /// Compare what senders were promised, the log, and ClickHouse
    ///
    /// Exit status 1 when they differ in anything.
    Audit(WithAccess<AuditArgs>),
    Lag(lag::LagArgs),
    DeadLetters(dead_letters::DeadLettersArgs),
    Rebuild(rebuild::RebuildArgs),
    Migrate(migrate::MigrateArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Store(store::StoreArgs),
    Completions(completions::CompletionsArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  heliograph sites\n  heliograph sites --json\n  \
                        heliograph sites --query http://monitor.example:7071 --token hg_api_x")]
struct SitesArgs {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  heliograph readings nrel-rsf2                             # charts of the last 24 hours
  heliograph readings nrel-rsf2 --from -7d --metric ac_power
  heliograph readings snow --from -30d --step 1d --aggregate max --table
  heliograph readings serf-west --from 2026-01-31 --to 2026-02-01 --step raw --json")]
struct ReadingsArgs {
    /// Site id, as `heliograph sites` lists it
    site: String,
    /// Only this device; may be repeated
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// Only this metric; may be repeated
    #[arg(long = "metric", value_name = "NAME")]
    metrics: Vec<String>,
    /// From then on: RFC 3339, a local date or time, or how long ago (-24h, -7d)
    #[arg(long, value_name = "TIME", default_value = "-24h", allow_hyphen_values = true)]
    from: String,
    /// Up to then, not including
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// How much time a point stands for; auto is the finest that is not too much
    #[arg(long, default_value = "auto", value_parser = steps())]
    step: v1::Step,
    /// What of each step to show; without it the mean
    #[arg(long, value_parser = aggregates())]
    aggregate: Option<v1::Aggregate>,
    /// Draw charts though stdout is no terminal
    #[arg(long, conflicts_with_all = ["no_chart", "json"])]
    chart: bool,
    /// Draw every series, not only a few
    #[arg(long, conflicts_with_all = ["no_chart", "json"])]
    all: bool,
    /// Show tables only, also in a terminal
    #[arg(long)]
    no_chart: bool,
    /// Show tables below the charts
    #[arg(long, conflicts_with = "json")]
    table: bool,
    /// At most so many rows in a table, the newest
    #[arg(long, default_value_t = 24, value_name = "COUNT")]
    rows: usize,
    /// One JSON object a point, nothing left out
    #[arg(long)]
    json: bool,
}

/// Spelt out for the help and for the Tab key.
fn steps() -> impl TypedValueParser<Value = v1::Step> {
    let (hour, day) =
        (PossibleValue::new("1h").alias("hour"), PossibleValue::new("1d").alias("day"));
    let short = ["auto", "raw", "15m"].map(PossibleValue::new);
    PossibleValuesParser::new(short.into_iter().chain([hour, day]))
        .try_map(|text| readings::parse_step(&text))
}

fn aggregates() -> impl TypedValueParser<Value = v1::Aggregate> {
    PossibleValuesParser::new(["avg", "min", "max", "sum", "count", "first", "last"])
        .try_map(|text| readings::parse_aggregate(&text))
}

// A command's own arguments and where the services are; a doc comment here would become help text.
#[derive(Debug, clap::Args)]
struct WithAccess<A: clap::Args> {
    #[command(flatten)]
    args: A,
    #[command(flatten)]
    access: AccessArgs,
}

/// The whole command line, as help and completions show it.
pub fn command() -> clap::Command {
    help::with_overview(Cli::command())
}

impl Cli {
    /// What this process was asked for; a command line that makes no sense ends the process.
    pub fn of_process() -> Self {
        let matches = command().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// # Errors
    /// Whatever the command says.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Up(args) => up::run(args, shutdown).await,
            Command::Site(args) => site::run(args).await,
            Command::Tenant(args) => tenant::run(args).await,
            Command::Token(args) => token::run(args).await,
            Command::Upload(args) => upload::run(args).await,
            Command::Metrics(args) => metrics::run(&args),
            Command::Simulate(args) => simulate::run(args, shutdown).await,
            Command::Sites(WithAccess { args, access }) => {
                let access = Access::open(&access).await?;
                let outcome =
                    sites::show(&access.query(), now(), args.json, &mut std::io::stdout()).await;
                finish(access, outcome).await
            }
            Command::Readings(WithAccess { args, access }) => {
                let access = Access::open(&access).await?;
                let (options, mut out) = (args.options(terminal::of_stdout()), std::io::stdout());
                let outcome = readings::show(&mut access.query(), &options, now(), &mut out).await;
                finish(access, outcome).await
            }
            Command::Status(WithAccess { args, access }) => {
                let access = Access::open(&access).await?;
                let mut out = std::io::stdout();
                let outcome = status::show(&access.query(), now(), args.json, &mut out).await;
                finish(access, outcome).await
            }
            Command::Alerts(WithAccess { args, access }) => {
                let access = Access::open(&access).await?;
                let outcome =
                    alerts::show(&access.query(), now(), &args, &mut std::io::stdout()).await;
                finish(access, outcome).await
            }
            Command::Audit(WithAccess { args, access }) => {
                let access = Access::open(&access).await?;
                let outcome = audit::run(args, access.admin(), access.store()).await;
                access.close().await?;
                outcome
            }
            Command::Explain(args) => explain::run(args).await,
            Command::Lag(args) => lag::run(args).await,
            Command::DeadLetters(args) => dead_letters::run(args).await,
            Command::Rebuild(args) => rebuild::run(args).await,
            Command::Migrate(args) => migrate::run(args).await,
            Command::Config(args) => config::run(args),
            Command::Doctor(args) => doctor::run(args).await,
            Command::Store(args) => store::run(args, shutdown).await,
            Command::Completions(args) => completions::run(&args, &mut command()),
        }
    }
}

impl ReadingsArgs {
    /// A terminal gets charts, anything else the table that scripts know.
    fn options(self, (is_terminal, style): (bool, Style)) -> readings::Options {
        let args = self;
        let has_charts = args.chart || (is_terminal && !args.no_chart);
        readings::Options {
            site: args.site,
            devices: args.devices,
            metrics: args.metrics,
            from: args.from,
            to: args.to,
            step: args.step,
            aggregate: args.aggregate.unwrap_or_default(),
            charts: has_charts.then_some(style),
            all: args.all,
            has_tables: args.table || !has_charts,
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
