//! A running service with everything around it.

use clickhouse::Client;
use heliograph_contract::{
    registry, topic,
    v1::{
        self, admin_service_client::AdminServiceClient, query_service_client::QueryServiceClient,
    },
};
use heliograph_domain::{
    TenantId,
    event_id::token_hash,
    registry::{ApiToken, Entry, Role, Tenant},
};
use heliograph_log::{Log, NewRecord, TopicPartition, memory::MemoryLog, topics};
use heliograph_query::{App, Metrics, QueryConfig};
use heliograph_service::{Shutdown, health::Health};
use heliograph_store::{EmbeddedConfig, EmbeddedStore, StoreConfig, connect, migrate};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    thread,
};
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

/// The token that `Stage` registers.
pub const OPERATOR: &str = "hg_api_operator";

/// The address of the engine that all tests of this process share.
fn store_url() -> &'static str {
    static URL: OnceLock<Result<String, String>> = OnceLock::new();
    let url = URL.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::channel();
        // A runtime of its own: those of the tests end with them.
        thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("runtime");
            runtime.block_on(async {
                let config = EmbeddedConfig { path: scratch_dir(), ..Default::default() };
                match EmbeddedStore::start(config).await {
                    Ok(store) => {
                        tell.send(Ok(store.url())).expect("the test waits");
                        std::future::pending::<()>().await;
                    }
                    Err(error) => tell.send(Err(error.to_string())).expect("the test waits"),
                }
            });
        });
        told.recv().expect("an outcome")
    });
    url.as_deref().unwrap_or_else(|error| panic!("{error}"))
}

/// A directory below the target directory; those of processes that are gone are removed.
fn scratch_dir() -> PathBuf {
    let top = Path::new(env!("CARGO_TARGET_TMPDIR")).join("query-service");
    for entry in fs::read_dir(&top).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let dir = top.join(std::process::id().to_string());
    fs::create_dir_all(&dir).expect("scratch directory");
    dir
}

/// An empty, migrated database on the shared engine.
pub async fn database(name: &str) -> StoreConfig {
    let config =
        StoreConfig { url: store_url().into(), database: name.into(), ..Default::default() };
    migrate(&connect(&config), &config).await.expect("migrated");
    config
}

/// Puts a token on every call.
#[derive(Clone)]
pub struct Bearer(pub String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if !self.0.is_empty() {
            let value = format!("Bearer {}", self.0).parse().expect("ASCII");
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

pub type Query = QueryServiceClient<InterceptedService<Channel, Bearer>>;
pub type Admin = AdminServiceClient<InterceptedService<Channel, Bearer>>;

/// A service that runs until it is dropped.
pub struct Stage {
    pub addr: SocketAddr,
    pub log: Arc<MemoryLog>,
    pub store: Client,
    pub shutdown: Shutdown,
    pub running: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Stage {
    /// On a database of its own.
    pub async fn start(name: &str) -> Self {
        Self::start_with(database(name).await, QueryConfig::default()).await
    }

    pub async fn start_with(store: StoreConfig, config: QueryConfig) -> Self {
        let log = MemoryLog::new();
        log.ensure_topics(&topics::declared().unwrap()).await.unwrap();
        let tenant = TenantId::parse("ops").unwrap();
        register(&*log, &Entry::Tenant(Tenant { id: tenant.clone(), name: "Operators".into() }))
            .await;
        let hash = token_hash(OPERATOR);
        let token =
            ApiToken { hash, tenant, role: Role::Operator, name: "test".into(), created_at: None };
        register(&*log, &Entry::ApiToken(token)).await;

        let config = QueryConfig { listen: ([127, 0, 0, 1], 0).into(), ..config };
        let app = build(config, store.clone(), log.clone()).await;
        let (addr, shutdown) = (app.addr(), Shutdown::new());
        let running = tokio::spawn(app.run(shutdown.clone()));
        Self { addr, log, store: connect(&store), shutdown, running }
    }

    pub async fn channel(&self) -> Channel {
        let url = format!("http://{}", self.addr);
        Channel::from_shared(url).unwrap().connect().await.expect("connected")
    }

    pub async fn query(&self, token: &str) -> Query {
        QueryServiceClient::with_interceptor(self.channel().await, Bearer(token.into()))
    }

    pub async fn admin(&self, token: &str) -> Admin {
        AdminServiceClient::with_interceptor(self.channel().await, Bearer(token.into()))
    }

    pub async fn put_tenant(&self, id: &str) {
        let tenant = v1::Tenant { id: id.into(), name: id.into() };
        let request = v1::PutTenantRequest { tenant: Some(tenant), ..Default::default() };
        self.admin(OPERATOR).await.put_tenant(request).await.unwrap();
    }

    /// Adds a site of a new or known tenant; gives its upload token.
    pub async fn put_site(&self, tenant: &str, id: &str, zone: &str) -> String {
        self.put_tenant(tenant).await;
        let request =
            v1::PutSiteRequest { site: Some(site(tenant, id, zone)), ..Default::default() };
        self.admin(OPERATOR).await.put_site(request).await.unwrap().into_inner().token
    }

    pub async fn viewer_of(&self, tenant: &str) -> String {
        let api_token = v1::ApiToken {
            tenant_id: tenant.into(),
            role: v1::Role::Viewer.into(),
            name: "wall screen".into(),
            ..Default::default()
        };
        let request = v1::CreateApiTokenRequest { api_token: Some(api_token) };
        self.admin(OPERATOR).await.create_api_token(request).await.unwrap().into_inner().token
    }
}

pub fn site(tenant: &str, id: &str, zone: &str) -> v1::Site {
    v1::Site {
        id: id.into(),
        tenant_id: tenant.into(),
        name: format!("Site {id}"),
        zone: zone.into(),
        upload_interval_s: 300,
        reading_interval_s: 60,
        rated_power_w: 49_500.0,
        ..Default::default()
    }
}

async fn register(log: &dyn Log, entry: &Entry) {
    let to = TopicPartition::new(topic::REGISTRY, 0);
    log.append(NewRecord::event(to, registry::encode(entry))).await.unwrap();
}

/// The fields that an INVALID_ARGUMENT names.
pub fn violated(status: &Status) -> Vec<String> {
    use tonic_types::StatusExt;
    let details = status.get_details_bad_request();
    details.into_iter().flat_map(|d| d.field_violations).map(|v| v.field).collect()
}

pub async fn build(config: QueryConfig, store: StoreConfig, log: Arc<dyn Log>) -> App {
    App::build(config, store, log, Health::default(), Metrics::default()).await.unwrap()
}
