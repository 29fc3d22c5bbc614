//! How commands reach the services: a running one, or one of their own.
//!
//! Every command speaks the same gRPC. While `heliograph up` runs, it is found through
//! `endpoint.json`; when it does not, the directory is opened in this process and the command
//! talks to itself. So there is one way to read and write, whichever it is.

use crate::{endpoint::Endpoint, installation::Installation};
use anyhow::Context;
use clap::Args;
use heliograph_contract::v1::{
    admin_service_client::AdminServiceClient, query_service_client::QueryServiceClient,
};
use heliograph_log::Log;
use heliograph_query::{App as Query, QueryConfig};
use heliograph_service::Shutdown;
use heliograph_store::{StoreConfig, connect};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer that a command takes; log batches are about 1 MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Where the services are.
#[derive(Debug, Clone, Args)]
pub struct AccessArgs {
    /// Directory of an installation on this machine, whether `heliograph up` runs there or not
    #[arg(long, value_name = "DIR", default_value = "data", env = "HELIOGRAPH_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Address of a query service elsewhere, such as http://host:7071; wants --token
    #[arg(long, value_name = "URL", env = "HELIOGRAPH_QUERY", requires = "token")]
    pub query: Option<String>,
    /// API token for --query
    #[arg(long, env = "HELIOGRAPH_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Address of ClickHouse's HTTP interface, for commands that read it beside --query
    #[arg(long, value_name = "URL", env = "HELIOGRAPH_CLICKHOUSE")]
    pub clickhouse: Option<String>,
}

/// Adds the token to every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A channel that carries the token.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// Clients of the services, and what keeps them alive.
pub struct Access {
    channel: Channel,
    bearer: Bearer,
    store: StoreConfig,
    own: Option<Own>,
}

/// Services of this process.
struct Own {
    installation: Installation,
    shutdown: Shutdown,
    query: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Access {
    /// Finds the services or starts them.
    ///
    /// # Errors
    /// When there is nothing to find and nothing to start; says how to begin.
    pub async fn open(args: &AccessArgs) -> anyhow::Result<Self> {
        if let (Some(query), Some(token)) = (&args.query, &args.token) {
            let channel = dial(query).await.with_context(|| {
                format!("--query {query}: no query service there; want http://HOST:PORT of one")
            })?;
            let url = args.clickhouse.clone();
            let store = url.map_or_else(StoreConfig::default, store_at);
            return Self::over(channel, token, store, None);
        }
        if let Some(endpoint) = Endpoint::read(&args.data_dir)?
            && let Ok(channel) = dial(&endpoint.query).await
        {
            let store = store_at(endpoint.clickhouse);
            return Self::over(channel, &endpoint.operator_token, store, None);
        }
        let dir = args.data_dir.display();
        if !args.data_dir.join("log").exists() {
            anyhow::bail!(
                "no installation in {dir}: start one with `heliograph up --data-dir {dir}`, or \
                 name another with --data-dir, or a service with --query and --token"
            );
        }
        Self::open_directory(args).await
    }

    /// Opens, works, and closes whatever came of it.
    ///
    /// # Errors
    /// What opening, `work` or closing says.
    pub async fn within<T>(
        args: &AccessArgs,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let access = Self::open(args).await?;
        let outcome = work(&access).await;
        let closed = access.close().await;
        let value = outcome?;
        closed.map(|()| value)
    }

    async fn open_directory(args: &AccessArgs) -> anyhow::Result<Self> {
        let any = ([127, 0, 0, 1], 0).into();
        let installation = Installation::open(&args.data_dir, any).await?;
        let config = QueryConfig { listen: any, ..QueryConfig::default() };
        let log: Arc<dyn Log> = installation.log.clone();
        let store = installation.store.clone();
        let (health, metrics) = Default::default();
        let query = Query::build(config, store.clone(), log, health, metrics).await?;
        let url = format!("http://{}", query.addr());
        let token = installation.operator_token.clone();
        let shutdown = Shutdown::new();
        let query = tokio::spawn(query.run(shutdown.clone()));
        let channel = dial(&url).await?;
        Self::over(channel, &token, store, Some(Own { installation, shutdown, query }))
    }

    fn over(
        channel: Channel,
        token: &str,
        store: StoreConfig,
        own: Option<Own>,
    ) -> anyhow::Result<Self> {
        let mut bearer = MetadataValue::try_from(format!("Bearer {token}"))
            .context("--token: want visible ASCII")?;
        bearer.set_sensitive(true);
        Ok(Self { channel, bearer: Bearer(bearer), store, own })
    }

    pub fn query(&self) -> QueryServiceClient<Authorized> {
        QueryServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn admin(&self) -> AdminServiceClient<Authorized> {
        AdminServiceClient::with_interceptor(self.channel.clone(), self.bearer.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn store(&self) -> clickhouse::Client {
        connect(&self.store)
    }

    /// Stops what was started for this command.
    ///
    /// # Errors
    /// When store or log do not close.
    pub async fn close(self) -> anyhow::Result<()> {
        let Some(own) = self.own else { return Ok(()) };
        drop(self.channel);
        own.shutdown.cancel();
        own.query.await.context("query")??;
        own.installation.close().await
    }
}

/// What a refused call says, for people, and what to do about it.
pub fn explain(status: &Status) -> anyhow::Error {
    let (code, message) = (status.code(), status.message());
    let advice = match code {
        Code::NotFound => "; `heliograph sites` lists those that you may see",
        Code::Unauthenticated => {
            "; --token (or HELIOGRAPH_TOKEN) wants an API token, which begins with hg_api_; a \
             site's own token is for uploads"
        }
        Code::PermissionDenied => "; this needs another API token in --token",
        Code::Unavailable => "; is it running? `heliograph up` says so in its terminal",
        Code::DeadlineExceeded => "; ask for less: a shorter range, a longer step, fewer series",
        // What is not gRPC answers in other words.
        Code::Internal | Code::Unknown if is_of_transport(message) => {
            "; is --query the address of a query service? Of `heliograph up` it is the second of \
             the three ports"
        }
        _ => "",
    };
    anyhow::anyhow!("{message} ({code:?}){advice}")
}

fn is_of_transport(message: &str) -> bool {
    ["transport error", "protocol error", "compression flag"].iter().any(|w| message.contains(w))
}

fn store_at(url: String) -> StoreConfig {
    StoreConfig { url, ..StoreConfig::default() }
}

async fn dial(url: &str) -> anyhow::Result<Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(url.to_owned())?;
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await?)
}
