//! heliograph-sim: many seeds of the staleness detector's simulation, or one with its story.
//!
//! Leaves `report.json`. The status is 0 when no seed failed.

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
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let started = Instant::now();
    let report = match cli.seed {
        Some(seed) => one(seed, cli.verbose)?,
        None => many::run(cli.first..cli.first.saturating_add(cli.seeds), |outcome| {
            // Nobody listens any more: the report still says it.
            let _ = tell_failed(outcome);
        }),
    };
    write(&report, &cli.out)?;
    let took = started.elapsed().as_secs_f64();
    let rate = report.simulated_seconds as f64 / took;
    writeln!(
        io::stdout(),
        "{}\n{took:.1} s, {rate:.0} simulated seconds a second",
        report.summary()
    )?;
    Ok(if report.failing_seeds.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn one(seed: u64, verbose: bool) -> io::Result<Report> {
    let outcome = Outcome::of(seed);
    if verbose {
        write!(io::stdout(), "{}", story(&outcome))?;
    } else if outcome.has_failed() {
        tell_failed(&outcome)?;
    }
    let mut report = Report::default();
    report.add(&outcome);
    Ok(report)
}

fn tell_failed(outcome: &Outcome) -> io::Result<()> {
    let Outcome { seed, wrong, repeats_wrong, .. } = outcome;
    let first = wrong
        .first()
        .map_or_else(String::new, |w| format!("; first: {:?} of {}: {}", w.kind, w.site, w.why));
    writeln!(
        io::stdout(),
        "seed {seed} failed: {} verdicts and {repeats_wrong} repeats wrong{first}\n  \
         cargo run -p heliograph-sim -- --seed {seed} --verbose",
        wrong.len()
    )
}

fn write(report: &Report, out: &Path) -> anyhow::Result<()> {
    let path = out.join("report.json");
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let json = serde_json::to_string_pretty(report)?;
    fs::write(&path, json + "\n").with_context(|| format!("writing {}", path.display()))
}
