//! heliograph-bench: what the services can do, each number against a limit of its own.
//!
//! One command a case; `all` runs those that take seconds to a few minutes. Every case starts its own
//! broker and services, in the build of this program, and leaves `target/bench/NAME.json`. The status
//! is 0 when everything was measured and nothing lost or doubled, whether limits were met or not.

mod bare;
mod cases;
mod kafka;
mod load;
mod metrics;
mod pairs;
mod procs;
mod report;
mod rig;
mod stats;
mod uploads;
mod usual;

use clap::{Parser, Subcommand, ValueEnum};
use report::Outcome;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Measure heliograph against its limits, on a real broker of its own.
#[derive(Debug, Parser)]
#[command(
    name = "heliograph-bench",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  heliograph-bench all\n  heliograph-bench recovery --kills 200"
)]
struct Cli {
    /// What is measured, one after the other
    #[arg(required = true)]
    cases: Vec<Case>,
    /// Where the JSON goes
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    out: PathBuf,
    /// How often the writer is killed for `recovery`, on each log
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// How many sites `replay` has
    #[arg(long, default_value_t = 1_000)]
    sites: u64,
    #[command(subcommand)]
    part: Option<Part>,
}

/// A process that a case starts.
#[derive(Debug, Subcommand)]
enum Part {
    /// Serve the bare endpoint that the gateway is compared with
    #[command(hide = true)]
    Bare,
    /// Move a topic into ClickHouse in the usual way, which the writer is compared with
    #[command(hide = true)]
    Usual(usual::UsualArgs),
}

/// How much of the cases that take long.
#[derive(Debug, Clone, Copy)]
struct Size {
    kills: usize,
    sites: u64,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Case {
    /// All but the last three
    All,
    GatewayUploads,
    GatewayAddedP99,
    Overload,
    Bulkheads,
    WriterRows,
    WriterCpu,
    Inserts,
    Freshness,
    QueryOverhead,
    /// A million sites in the detector
    Silence,
    /// Kills of the writer; takes minutes
    Recovery,
    /// A minute without ClickHouse
    Outage,
    /// 1,000 sites, two days, minute by minute; takes minutes
    Replay,
}

impl Case {
    const ALL: [Self; 10] = [
        Self::GatewayUploads,
        Self::GatewayAddedP99,
        Self::Overload,
        Self::Bulkheads,
        Self::WriterRows,
        Self::WriterCpu,
        Self::Inserts,
        Self::Freshness,
        Self::QueryOverhead,
        Self::Silence,
    ];

    async fn run(self, Size { kills, sites }: Size) -> anyhow::Result<Vec<Outcome>> {
        match self {
            Self::All => Ok(Vec::new()),
            Self::GatewayUploads => cases::gateway::uploads().await,
            Self::GatewayAddedP99 => cases::gateway::added_p99().await,
            Self::Overload => cases::overload::overload().await,
            Self::Bulkheads => cases::bulkheads::bulkheads().await,
            Self::WriterRows => cases::writer::rows().await,
            Self::WriterCpu => cases::writer::cpu().await,
            Self::Inserts => cases::inserts::inserts().await,
            Self::Freshness => cases::freshness::freshness().await,
            Self::QueryOverhead => cases::query::overhead().await,
            Self::Silence => cases::silence::silence(),
            Self::Recovery => cases::recovery::recovery(kills).await,
            Self::Outage => cases::outage::outage().await,
            Self::Replay => cases::replay::replay(sites).await,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Cli { mut cases, out, kills, sites, part } = Cli::parse();
    match part {
        Some(Part::Bare) => bare::run().await?,
        Some(Part::Usual(args)) => usual::run(args).await?,
        None => {
            if cases.contains(&Case::All) {
                cases = Case::ALL.to_vec();
            }
            return measure(&cases, &out, Size { kills, sites }).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(cases: &[Case], out: &Path, size: Size) -> anyhow::Result<ExitCode> {
    let (mut outcomes, mut failed) = (Vec::new(), false);
    for case in cases {
        let name = case.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        say(&format!("{name} …"))?;
        match case.run(size).await {
            Ok(found) => {
                say(&report::table(&found))?;
                for outcome in found {
                    outcome.write(out)?;
                    failed |= !outcome.unsound.is_empty();
                    outcomes.push(outcome);
                }
            }
            // One case that cannot be measured does not keep the others from it.
            Err(error) => {
                failed = true;
                say(&format!("{name} could not be measured: {error:#}"))?;
            }
        }
    }
    writeln!(std::io::stdout().lock(), "{}", report::table(&outcomes))?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// To people who wait.
fn say(what: &str) -> std::io::Result<()> {
    writeln!(std::io::stderr().lock(), "{what}")
}
