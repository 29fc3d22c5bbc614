//! heliograph-detector: the detector as a process of its own.

use anyhow::Context;
use clap::Parser;
use heliograph_config::{ConfigArgs, Reader};
use heliograph_detector::{App, Metrics, metrics::GROUPS};
use heliograph_log::{
    consumer::ConsumerFamilies,
    is_thrown_out, may_pass,
    metered::{LogMetrics, metered},
    open,
};
use heliograph_service::{health::Health, ops::Ops, runtime, telemetry};
use std::process::ExitCode;

/// The detector of heliograph as a process of its own, on Kafka.
#[derive(Debug, Parser)]
#[command(name = "heliograph-detector", version)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
}

fn main() -> ExitCode {
    telemetry::init();
    let cli = Cli::parse();
    runtime::run(|shutdown| async move {
        let Some(config) = cli.config.load(Reader::Detector)? else { return Ok(ExitCode::SUCCESS) };
        let (mut ops, health) = (Ops::bind(config.detector.ops.listen).await?, Health::default());
        let consumers = ConsumerFamilies::register(ops.registry(), &GROUPS);
        let metrics = Metrics::register(ops.registry(), &consumers);
        let log_metrics = LogMetrics::register(ops.registry());
        ops.serve(health.clone());
        let start = async || {
            let log = metered(open(config.log.clone()).await.context("log")?, log_metrics.clone());
            App::build(config.detector.clone(), log, health.clone(), metrics.clone()).await
        };
        let live = async || {
            let started = runtime::patiently(&shutdown, |e| may_pass(e.as_ref()), start).await?;
            let Some(app) = started else { return Ok(()) };
            app.run(shutdown.clone()).await
        };
        runtime::rejoining(&shutdown, |e| is_thrown_out(e.as_ref()), live).await?;
        Ok(ExitCode::SUCCESS)
    })
}
