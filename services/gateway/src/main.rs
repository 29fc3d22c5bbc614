//! heliograph-gateway: the gateway as a process of its own.

use anyhow::Context;
use clap::Parser;
use heliograph_config::{ConfigArgs, Reader};
use heliograph_gateway::App;
use heliograph_log::open;
use heliograph_service::{runtime, telemetry};
use std::process::ExitCode;

/// The gateway of heliograph as a process of its own, on Kafka.
#[derive(Debug, Parser)]
#[command(name = "heliograph-gateway", version)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
}

fn main() -> ExitCode {
    telemetry::init();
    let cli = Cli::parse();
    runtime::run(|shutdown| async move {
        let Some(config) = cli.config.load(Reader::Gateway)? else { return Ok(ExitCode::SUCCESS) };
        let log = open(config.log).await.context("log")?;
        App::build(config.gateway, log).await?.run(shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}
