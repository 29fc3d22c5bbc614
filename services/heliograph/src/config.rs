//! `heliograph config`: the effective configuration.

use clap::Args;
use heliograph_config::{Config, ConfigError, LogConfig, args::SOUND, show};
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Print the effective configuration: file, environment and defaults, secrets hidden.
///
/// A value that is not the default has its origin beside it. Every key with its meaning stands in
/// docs/heliograph.toml.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph config --config /etc/heliograph.toml\n  \
                        HELIOGRAPH_GATEWAY__HTTP__DRAIN_TIMEOUT=20s heliograph config\n  \
                        heliograph config --check          # status 64 and a line for each mistake")]
pub struct ConfigArgs {
    /// Configuration file.
    #[arg(long, value_name = "FILE", env = "HELIOGRAPH_CONFIG")]
    config: Option<PathBuf>,
    /// Print nothing but mistakes: status 0 when there is none, else 64 and a line for each.
    #[arg(long)]
    check: bool,
    /// One JSON object: config, and origins of what is not a default.
    #[arg(long, conflicts_with = "check")]
    json: bool,
}

/// # Errors
/// When there are mistakes.
pub fn run(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let mut loaded = Config::load(args.config.as_deref());
    // Whoever leaves the log as it is runs `heliograph up`, which has its own.
    let names_a_log = loaded.settings.log != LogConfig::default();
    let more = loaded.settings.log.violations_of_use().filter(|_| names_a_log);
    loaded = loaded.and(more);
    let mut out = std::io::stdout().lock();
    if !args.check && args.json {
        writeln!(out, "{}", show::json(&loaded))?;
    } else if !args.check {
        write!(out, "{}", show::toml(&loaded))?;
    }
    if !loaded.mistakes.is_empty() {
        return Err(ConfigError(loaded.mistakes).into());
    }
    if args.check {
        writeln!(out, "{SOUND}")?;
        if loaded.settings.log.violations_of_use().is_some() {
            writeln!(
                out,
                "for `heliograph up`; services of their own want log.kafka.bootstrap_servers"
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
