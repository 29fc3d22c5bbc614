//! heliograph: the command line.

mod access;
mod audit;
mod cli;
mod completions;
mod config;
mod dead_letters;
mod doctor;
mod endpoint;
mod explain;
mod help;
mod installation;
mod lag;
mod metrics;
mod migrate;
mod operator;
mod rebuild;
mod remote_log;
mod say;
mod simulate;
mod site;
mod store;
mod tenant;
mod token;
mod up;
mod upload;
mod views;

use std::process::ExitCode;

fn main() -> ExitCode {
    heliograph_service::telemetry::init_for_command();
    let cli = cli::Cli::of_process();
    heliograph_service::runtime::run(|shutdown| cli.run(shutdown))
}
