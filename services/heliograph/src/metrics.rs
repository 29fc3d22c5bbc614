//! `heliograph metrics`: the metrics whose unit is known, and the units they are taken in.

use clap::Args;
use comfy_table::{Table, presets};
use heliograph_domain::unit;
use std::{io::Write, process::ExitCode};

/// List the metrics whose unit is known, and the units they are taken in
///
/// Any other name is kept as it comes, without a unit.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heliograph metrics")]
pub struct MetricsArgs {}

/// # Errors
/// When the output cannot be written.
pub fn run(_: &MetricsArgs) -> anyhow::Result<ExitCode> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(["metric", "stored in", "taken in"]);
    for (metric, stored) in unit::STORED_UNITS {
        table.add_row([*metric, *stored, &unit::units_of(stored).join(", ")]);
    }
    writeln!(std::io::stdout().lock(), "{table}")?;
    Ok(ExitCode::SUCCESS)
}
