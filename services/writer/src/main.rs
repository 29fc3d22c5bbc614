//! heliograph-writer: the writer as a process of its own.

use anyhow::Context;
use clap::Parser;
use heliograph_config::{ConfigArgs, Reader};
use heliograph_log::{
    is_thrown_out, may_pass,
    metered::{LogMetrics, metered},
    open,
};
use heliograph_service::{health::Health, ops::Ops, retry::Backoff, runtime, telemetry};
use heliograph_writer::{App, Metrics};
use std::{process::ExitCode, time::Duration};

/// Two of one name, set up by mistake, throw each other out no more often than this.
const REJOIN_DELAY_MAX: Duration = Duration::from_secs(30);

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
        let (mut ops, health) = (Ops::bind(config.writer.ops.listen).await?, Health::default());
        let metrics = Metrics::register(ops.registry());
        let log_metrics = LogMetrics::register(ops.registry());
        ops.serve(health.clone());
        let start = async || {
            let log = metered(open(config.log.clone()).await.context("log")?, log_metrics.clone());
            App::build(config.writer.clone(), &config.store, log, health.clone(), metrics.clone())
                .await
        };
        // Thrown out of its group it joins again: the member that has come under its name is most
        // often itself, by a join whose answer was lost with the broker.
        let mut backoff = Backoff::new(Duration::from_secs(1), REJOIN_DELAY_MAX);
        while let Some(app) = runtime::patiently(&shutdown, |e| may_pass(e.as_ref()), start).await?
        {
            match app.run(shutdown.clone()).await {
                Err(error) if is_thrown_out(error.as_ref()) => {
                    let (error, delay) = (format!("{error:#}"), backoff.next_delay());
                    tracing::error!(error, ?delay, "thrown out of the group; joining again");
                    shutdown.run_until_cancelled(tokio::time::sleep(delay)).await;
                }
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}
