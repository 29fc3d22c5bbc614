//! `heliograph doctor`: what is wrong with this installation, and how to mend it.
//!
//! `gather` asks, with short time-outs, and changes nothing: it opens no log and no store of its
//! own, and makes no directory. `checks` judges. It answers also when nothing else does.

mod ask_log;
mod checks;
mod checks_here;
mod facts;
mod gather;
mod machine;

use crate::access::AccessArgs;
use checks::{Finding, Verdict, judge};
use clap::Args;
use std::{io::Write, path::PathBuf, process::ExitCode};

/// Check this installation: say what is wrong and how to mend it.
///
/// Looks at the configuration, the data directory, the processes and their addresses, the token,
/// ClickHouse and its tables, the log and its topics, the clocks, the disk, and the versions.
/// Changes nothing. Exit status 1 when anything fails.
///
/// With a configuration that names Kafka it checks that cluster; else the installation in
/// --data-dir; with --query a query service elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph doctor\n  \
                        heliograph doctor --data-dir /var/lib/heliograph\n  \
                        heliograph doctor --config /etc/heliograph.toml --token $TOKEN\n  \
                        heliograph doctor --query http://host:7071 --token $TOKEN --json")]
pub struct DoctorArgs {
    #[command(flatten)]
    access: AccessArgs,
    /// Address of a gateway elsewhere, such as http://host:7070.
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// Configuration file.
    #[arg(long, value_name = "FILE", env = "HELIOGRAPH_CONFIG")]
    config: Option<PathBuf>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When nobody takes the answer.
pub async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let findings = judge(&gather::facts(&args).await);
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        match args.json {
            true => writeln!(out, "{}", serde_json::to_string(finding)?)?,
            false => writeln!(out, "{}", line(finding))?,
        }
    }
    match findings.iter().any(|finding| finding.verdict == Verdict::Fail) {
        true => Ok(ExitCode::FAILURE),
        false => Ok(ExitCode::SUCCESS),
    }
}

fn line(Finding { check, verdict, found, mend }: &Finding) -> String {
    let verdict = match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    };
    let mend = mend.as_ref().map(|mend| format!(" → {mend}")).unwrap_or_default();
    // One line each, whatever an error of another program says.
    format!("{verdict:<4}  {check:<14}  {found}{mend}").replace(['\n', '\r'], " ")
}
