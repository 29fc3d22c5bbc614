//! heliograph-query: the query as a process of its own.

use anyhow::Context;
use heliograph_log::{LogConfig, open};
use heliograph_query::App;
use heliograph_service::{config, runtime, telemetry};
use serde::{Deserialize, de::IgnoredAny};
use std::{path::PathBuf, process::ExitCode};

/// The sections of the configuration file that this service reads; the others are theirs.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(dead_code, reason = "sections of other services are known, not read")]
struct Config {
    log: LogConfig,
    store: heliograph_store::StoreConfig,
    query: heliograph_query::QueryConfig,
    gateway: IgnoredAny,
    writer: IgnoredAny,
}

fn main() -> ExitCode {
    telemetry::init();
    runtime::run(|shutdown| async {
        let file = std::env::var_os("HELIOGRAPH_CONFIG").map(PathBuf::from);
        let config: Config = config::load(file.as_deref())?;
        let log = open(config.log).await.context("log")?;
        App::build(config.query, config.store, log).await?.run(shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}
