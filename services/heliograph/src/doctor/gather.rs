//! Asks what the checks judge. Everything has a time limit, and nothing is changed.

use super::{
    DoctorArgs,
    ask_log::ask_log,
    facts::*,
    machine::{descriptors, engine, look, unreadable},
};
use crate::access::{Access, AccessArgs, explain};
use heliograph_config::{Config, LogConfig, StoreConfig};
use heliograph_contract::{
    topic,
    v1::{ListOffsetsRequest, ListSitesRequest},
};
use heliograph_log::local::LocalConfig;
use heliograph_store::{connect, migrate};
use serde::Deserialize;
use std::{future::Future, path::PathBuf, time::Duration};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// The longest wait for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// Where everything is.
pub(super) struct Target {
    gateway: Option<String>,
    query: Option<String>,
    pub token: Option<String>,
    store: Option<StoreConfig>,
    /// Asked itself; else the log is asked through the query service.
    pub kafka: Option<LogConfig>,
}

/// Asks for everything there is.
pub async fn facts(args: &DoctorArgs) -> Facts {
    let loaded = Config::load(args.config.as_deref());
    let config = loaded.settings;
    let config_facts = ConfigFacts {
        file: args.config.as_ref().map(|path| path.display().to_string()),
        mistakes: loaded.mistakes.iter().map(ToString::to_string).collect(),
        connections_max: (config.gateway.http.connections_max + config.query.http.connections_max)
            as u64,
        // `heliograph up` opens its log with the defaults.
        min_free_bytes: LocalConfig::default().min_free_bytes,
    };
    let (target, directory) = target(args, config).await;
    let pid = directory.as_ref().and_then(|d| match d.endpoint {
        EndpointFacts::There { pid, is_alive: true, .. } => Some(pid),
        _ => None,
    });
    let (gateway, query, store) = tokio::join!(
        asked(target.gateway.clone(), ask_web),
        asked(target.query.clone(), |at| ask_query(at, target.token.clone())),
        async {
            let store = target.store.clone()?;
            Some(Asked { at: store.url.clone(), answer: within(ask_store(store)).await })
        },
    );
    let log = ask_log(&target, query.as_ref()).await;
    Facts {
        now_ms: jiff::Timestamp::now().as_millisecond(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config: config_facts,
        engine: directory.as_ref().map(|_| engine()),
        descriptors: directory.as_ref().and_then(|_| descriptors(pid)),
        directory,
        gateway,
        query,
        store,
        log,
    }
}

async fn target(args: &DoctorArgs, config: Config) -> (Target, Option<Directory>) {
    let AccessArgs { data_dir, query, token, clickhouse } = args.access.clone();
    let at = |url: Option<String>, store: StoreConfig| url.map(|url| StoreConfig { url, ..store });
    let gateway = args.gateway.clone();
    if query.is_some() {
        let store = at(clickhouse, config.store);
        let target = Target { gateway, query, token, store, kafka: None };
        return (target, None);
    }
    if config.log.violations_of_use().is_none() {
        let url = |listen: std::net::SocketAddr| {
            let mut here = listen;
            if listen.ip().is_unspecified() {
                here.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
            }
            format!("http://{here}")
        };
        let target = Target {
            gateway: gateway.or_else(|| Some(url(config.gateway.listen))),
            query: Some(url(config.query.listen)),
            token,
            store: at(clickhouse, config.store.clone()).or(Some(config.store)),
            kafka: Some(config.log),
        };
        return (target, None);
    }
    let path = data_dir.clone();
    // A file system that hangs must not hang this.
    let looking = tokio::task::spawn_blocking(move || look(&path));
    let (directory, endpoint) = match tokio::time::timeout(ANSWER_MAX, looking).await {
        Ok(Ok(found)) => found,
        _ => (unreadable(&data_dir, "its file system does not answer"), None),
    };
    let is_alive = matches!(directory.endpoint, EndpointFacts::There { is_alive: true, .. });
    let endpoint = endpoint.filter(|_| is_alive);
    let target = Target {
        gateway: gateway.or_else(|| endpoint.as_ref().map(|e| e.gateway.clone())),
        query: endpoint.as_ref().map(|e| e.query.clone()),
        token: token.or_else(|| endpoint.as_ref().map(|e| e.operator_token.clone())),
        store: at(endpoint.map(|e| e.clickhouse), StoreConfig::default()),
        kafka: None,
    };
    (target, Some(directory))
}

async fn asked<T, F: Future<Output = Result<T, String>>>(
    at: Option<String>,
    ask: impl FnOnce(String) -> F,
) -> Option<Asked<T>> {
    let at = at?;
    let answer = within(ask(at.clone())).await;
    Some(Asked { at, answer })
}

async fn within<T>(answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let answer = tokio::time::timeout(ANSWER_MAX, answer).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_MAX:?}")))
}

/// The whole chain of an error: `connect: refused`, not `request failed`.
pub(super) fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

#[derive(Deserialize)]
struct Readyz {
    ready: bool,
    reason: String,
    version: Option<String>,
}

async fn ask_web(at: String) -> Result<Web, String> {
    let answer = reqwest::get(format!("{at}/readyz")).await.map_err(chain)?;
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
    let date_ms = date
        .and_then(|date| jiff::fmt::rfc2822::parse(date).ok())
        .map(|date| date.timestamp().as_millisecond());
    let status = answer.status();
    let Readyz { ready, reason, version } = answer
        .json()
        .await
        .map_err(|_| format!("{status}, and not what a service of heliograph answers"))?;
    Ok(Web { ready, reason, version, date_ms })
}

async fn ask_query(at: String, token: Option<String>) -> Result<Query, String> {
    let endpoint = tonic::transport::Endpoint::from_shared(at.clone()).map_err(chain)?;
    let channel = endpoint.connect_timeout(ANSWER_MAX).connect().await.map_err(chain)?;
    let health = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    let health = health.map_err(|status| chain(explain(&status)))?.into_inner();
    Ok(Query {
        serving: health.status() == ServingStatus::Serving,
        version: ask_web(at.clone()).await.ok().and_then(|web| web.version),
        token: ask_token(at, token).await,
    })
}

async fn ask_token(at: String, token: Option<String>) -> Token {
    let Some(token) = token else { return Token::NotGiven };
    let access = match open(&at, &token).await {
        Ok(access) => access,
        Err(error) => return Token::Refused(chain(error)),
    };
    let request = ListOffsetsRequest { topic: topic::REGISTRY.into(), group: String::new() };
    match access.admin().list_offsets(request).await {
        Err(status) if status.code() == tonic::Code::Unauthenticated => {
            return Token::Refused(status.message().to_owned());
        }
        Err(status) if status.code() == tonic::Code::PermissionDenied => {}
        _ => return Token::Operator,
    }
    match access.query().list_sites(ListSitesRequest::default()).await {
        Err(status) if status.code() == tonic::Code::PermissionDenied => {
            Token::Refused(status.message().to_owned())
        }
        _ => Token::Viewer,
    }
}

/// Never a service of its own: an address is given.
pub(super) async fn open(query: &str, token: &str) -> anyhow::Result<Access> {
    Access::open(&AccessArgs {
        data_dir: PathBuf::new(),
        query: Some(query.to_owned()),
        token: Some(token.to_owned()),
        clickhouse: None,
    })
    .await
}

async fn ask_store(config: StoreConfig) -> Result<Store, String> {
    let client = connect(&config);
    // Not in the database, which may not be there yet.
    let outside = client.clone().with_database("default");
    let version = outside.query_raw("SELECT version()").fetch_one::<String>();
    let version = version.await.map_err(chain)?;
    let tables = migrate::status(&client, &config).await;
    let tables = tables
        .map(|status| Tables { applied: status.applied, pending: status.pending })
        .map_err(chain);
    Ok(Store { version, tables })
}
