//! heliograph-writer: the writer as a process of its own.

use anyhow::Context;
use heliograph_log::{LogConfig, open};
use heliograph_service::{config, runtime, telemetry};
use heliograph_writer::App;
use serde::{Deserialize, de::IgnoredAny};
use std::{path::PathBuf, process::ExitCode};

/// The sections of the configuration file that this service reads; the others are theirs.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(dead_code, reason = "sections of other services are known, not read")]
struct Config {
    log: LogConfig,
    store: heliograph_store::StoreConfig,
    writer: heliograph_writer::WriterConfig,
    gateway: IgnoredAny,
    query: IgnoredAny,
}

fn main() -> ExitCode {
    telemetry::init();
    runtime::run(|shutdown| async {
        let file = std::env::var_os("HELIOGRAPH_CONFIG").map(PathBuf::from);
        let config: Config = config::load(file.as_deref())?;
        let log = open(config.log).await.context("log")?;
        App::build(config.writer, &config.store, log).await?.run(shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}
