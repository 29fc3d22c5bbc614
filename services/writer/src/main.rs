//! heliograph-writer: the writer as a process of its own.

use anyhow::Context;
use clap::Parser;
use heliograph_config::{ConfigArgs, Reader};
use heliograph_log::open;
use heliograph_service::{runtime, telemetry};
use heliograph_writer::App;
use std::process::ExitCode;

/// The writer of heliograph as a process of its own, on Kafka.
#[derive(Debug, Parser)]
#[command(name = "heliograph-writer", version)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
}

fn main() -> ExitCode {
    telemetry::init();
    let cli = Cli::parse();
    runtime::run(|shutdown| async move {
        let Some(config) = cli.config.load(Reader::Writer)? else { return Ok(ExitCode::SUCCESS) };
        let log = open(config.log).await.context("log")?;
        App::build(config.writer, &config.store, log).await?.run(shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}
