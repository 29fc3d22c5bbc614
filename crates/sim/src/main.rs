//! heliograph-sim: many seeds of the staleness detector's simulation, or one with its story.
//!
//! Leaves `report.json`. The status is 0 when no seed failed. A build with the feature `planted` can
//! plant bugs in what decides, and wants each to be found: `planted.json`.

use anyhow::Context;
use clap::Parser;
use heliograph_sim::{
    many,
    report::{Outcome, Report, story},
};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

/// Simulate gateways, loggers and detectors, and judge every alert.
#[derive(Debug, Parser)]
#[command(name = "heliograph-sim", version)]
struct Cli {
    /// How many seeds
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// This one alone
    #[arg(long)]
    seed: Option<u64>,
    /// Tell the story of that one
    #[arg(long, requires = "seed")]
    verbose: bool,
    /// Where report.json goes
    #[arg(long, default_value = "target/sim", value_name = "DIR")]
    out: PathBuf,
    /// Plant this bug; "list" lists them, "all" plants each in turn and wants it to be found
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    #[cfg(feature = "planted")]
    if let Some(done) = plant(&cli)? {
        return Ok(done);
    }
    let again = again(&cli);
    let started = Instant::now();
    let report = match cli.seed {
        Some(seed) => one(seed, cli.verbose, &again)?,
        None => many::run(cli.first..cli.first.saturating_add(cli.seeds), |outcome| {
            // Nobody listens any more: the report still says it.
            let _ = tell_failed(outcome, &again);
        }),
    };
    write(&report, &cli.out, "report.json")?;
    let took = started.elapsed().as_secs_f64();
    let rate = report.simulated_seconds as f64 / took;
    writeln!(
        io::stdout(),
        "{}\n{took:.1} s, {rate:.0} simulated seconds a second",
        report.summary()
    )?;
    Ok(if report.failing_seeds.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How this build is run again, up to the seed.
#[cfg(not(feature = "planted"))]
fn again(_: &Cli) -> String {
    "cargo run -p heliograph-sim --".to_owned()
}

/// How this build is run again, up to the seed.
#[cfg(feature = "planted")]
fn again(cli: &Cli) -> String {
    let bug = cli.plant.as_ref().map_or_else(String::new, |name| format!(" --plant {name}"));
    format!("cargo run -p heliograph-sim --features planted --{bug}")
}

/// Plants the bug that is asked for; how it ended, when there is nothing else to be run.
#[cfg(feature = "planted")]
fn plant(cli: &Cli) -> anyhow::Result<Option<ExitCode>> {
    use heliograph_sim::planted;
    let mut out = io::stdout();
    match cli.plant.as_deref() {
        None => Ok(None),
        Some("list") => {
            write!(out, "{}", planted::list())?;
            Ok(Some(ExitCode::SUCCESS))
        }
        Some("all") => {
            // It stands in the table.
            std::panic::set_hook(Box::new(|_| {}));
            writeln!(out, "{:<24} {:>6}  what was wrong", "bug", "seed")?;
            let all = planted::all(cli.seeds, |found| {
                let _ = writeln!(io::stdout(), "{}", found.row());
            });
            write(&all, &cli.out, "planted.json")?;
            let missed = all.iter().filter(|found| found.first_failing_seed.is_none()).count();
            writeln!(out, "{} bugs, {missed} missed within {} seeds", all.len(), cli.seeds)?;
            Ok(Some(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
        }
        Some(name) => {
            let bug = planted::find(name);
            let bug =
                bug.with_context(|| format!("--plant {name}: got no bug, see --plant list"))?;
            heliograph_detector::planted::plant(Some(bug));
            Ok(None)
        }
    }
}

fn one(seed: u64, verbose: bool, again: &str) -> io::Result<Report> {
    let outcome = Outcome::of(seed);
    if verbose {
        write!(io::stdout(), "{}", story(&outcome))?;
    } else if outcome.has_failed() {
        tell_failed(&outcome, again)?;
    }
    let mut report = Report::default();
    report.add(&outcome);
    Ok(report)
}

fn tell_failed(outcome: &Outcome, again: &str) -> io::Result<()> {
    let (seed, verdict) = (outcome.seed, outcome.verdict());
    writeln!(io::stdout(), "seed {seed} failed: {verdict}\n  {again} --seed {seed} --verbose")
}

fn write(what: &impl serde::Serialize, out: &Path, name: &str) -> anyhow::Result<()> {
    let path = out.join(name);
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let json = serde_json::to_string_pretty(what)?;
    fs::write(&path, json + "\n").with_context(|| format!("writing {}", path.display()))
}
