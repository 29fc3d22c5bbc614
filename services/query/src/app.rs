//! Puts the service together and runs it.

use crate::{
    admin::Admin,
    alert_book::AlertBook,
    config::QueryConfig,
    edge,
    edge::Edge,
    metrics::{Metrics, Places},
    shares::Shares,
    store::Reader,
    viewer::Viewer,
};
use anyhow::bail;
use axum::{Router, middleware};
use heliograph_contract::v1::{
    self, admin_service_server::AdminServiceServer, query_service_server::QueryServiceServer,
};
use heliograph_log::{Log, registry::Projection, turn::Turn};
use heliograph_service::{
    Shutdown,
    aside::{AsideLimits, limited},
    health::{self, Health},
    http,
};
use heliograph_store::StoreConfig;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::DropGuard;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;

/// The largest request: names of devices and metrics.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// The largest question about health or reflection, which anybody may ask: names.
const ASIDE_BYTES_MAX: usize = 4 * 1024;

/// To follow the registry or the alerts means to wait for answers of the log, each for 2 minutes at
/// most.
const FOLLOWER_SILENCE_MAX: Duration = Duration::from_secs(300);

/// The query service, listening but not yet answering.
pub struct App {
    listener: TcpListener,
    addr: SocketAddr,
    router: Router,
    health: Health,
    metrics: Metrics,
    reporter: HealthReporter,
    config: QueryConfig,
    /// Cancelled when the service begins to leave: log streams end.
    leaving: Shutdown,
    registry: Projection,
    alerts: AlertBook,
    /// Ends the followers of registry and alerts when the last call has ended.
    _following: DropGuard,
}

impl App {
    /// Binds the port and reads the registry and the alerts to their ends.
    ///
    /// # Errors
    /// When the configuration makes no sense, the port is taken, or the log cannot be read.
    pub async fn build(
        config: QueryConfig,
        store: StoreConfig,
        log: Arc<dyn Log>,
        health: Health,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        config.validate()?;
        let listener = http::bind(config.listen).await?;
        let addr = listener.local_addr()?;
        let following = Shutdown::new();
        let heartbeat = health.liveness.register("query registry", FOLLOWER_SILENCE_MAX);
        let turn = Turn::tell(move || heartbeat.beat());
        let registry = Projection::load_watched(log.clone(), following.clone(), turn).await?;
        let heartbeat = health.liveness.register("query alerts", FOLLOWER_SILENCE_MAX);
        let turn = Turn::tell(move || heartbeat.beat());
        let alerts = AlertBook::load(log.clone(), following.clone(), turn).await?;
        let leaving = Shutdown::new();
        let (reporter, health_service) = tonic_health::server::health_reporter();
        let viewer = Viewer {
            reader: Reader::connect(&store, &config, metrics.clone()),
            registry: registry.clone(),
            alerts: alerts.clone(),
            config: config.clone(),
            log: log.clone(),
            leaving: leaving.clone(),
        };
        let admin = Admin::new(log, registry.clone(), leaving.clone());
        let edge = Edge {
            registry: registry.clone(),
            calls: Arc::new(Semaphore::new(config.concurrency_max)),
            shares: Shares::new(config.tenant_concurrency_max),
            admin_calls: Arc::new(Semaphore::new(config.concurrency_max)),
            log_streams: Arc::new(Semaphore::new(config.log_streams_max)),
            alert_streams: Arc::new(Semaphore::new(config.alert_streams_max)),
            alert_shares: Shares::new(config.tenant_alert_streams_max),
            deadline_max: config.deadline_max,
            metrics: metrics.clone(),
        };
        metrics.most(Places::Viewers, config.concurrency_max);
        metrics.most(Places::Operators, config.concurrency_max);
        metrics.most(Places::LogStreams, config.log_streams_max);
        metrics.most(Places::AlertStreams, config.alert_streams_max);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let viewer = QueryServiceServer::new(viewer).max_decoding_message_size(REQUEST_BYTES_MAX);
        let admin = AdminServiceServer::new(admin).max_decoding_message_size(REQUEST_BYTES_MAX);
        let aside = Routes::new(health_service.max_decoding_message_size(ASIDE_BYTES_MAX))
            .add_service(reflection().build_v1()?.max_decoding_message_size(ASIDE_BYTES_MAX))
            .add_service(reflection().build_v1alpha()?.max_decoding_message_size(ASIDE_BYTES_MAX))
            .into_axum_router()
            .reset_fallback();
        let router = Routes::new(viewer)
            .add_service(admin)
            .into_axum_router()
            .merge(limited(aside, AsideLimits::DEFAULT))
            .merge(health::routes(health.clone()))
            .layer(middleware::from_fn_with_state(Arc::new(edge), edge::guard));
        let _following = following.drop_guard();
        Ok(Self {
            listener,
            addr,
            router,
            health,
            metrics,
            reporter,
            config,
            leaving,
            registry,
            alerts,
            _following,
        })
    }

    /// The registry as this service follows it.
    pub fn registry(&self) -> Projection {
        self.registry.clone()
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `shutdown`, then lets open calls finish within the drain time.
    ///
    /// # Errors
    /// When the registry or the alerts are no longer followed: a bug. Calls tell their callers what
    /// fails.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        report(&self.reporter, true).await;
        self.health.readiness.ready();
        tracing::info!(addr = %self.addr, "query service ready");
        let leave = async {
            shutdown.cancelled().await;
            self.health.readiness.leaving();
            self.leaving.cancel();
            report(&self.reporter, false).await;
        };
        let (limits, metrics) = (self.config.http, self.metrics.http);
        let serve = http::serve(self.listener, self.router, limits, metrics, shutdown.clone());
        tokio::select! {
            _ = async { tokio::join!(leave, serve) } => Ok(()),
            () = self.registry.stopped() => bail!("the registry is no longer followed"),
            () = self.alerts.stopped() => bail!("the alerts are no longer followed"),
        }
    }
}

async fn report(reporter: &HealthReporter, serving: bool) {
    let status = match serving {
        true => tonic_health::ServingStatus::Serving,
        false => tonic_health::ServingStatus::NotServing,
    };
    for service in ["", "heliograph.v1.QueryService", "heliograph.v1.AdminService"] {
        reporter.set_service_status(service, status).await;
    }
}
