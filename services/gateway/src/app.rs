//! Puts the gateway together and runs it.
//!
//! Shutdown, in this order: not ready and no new connections; open uploads finish (drain
//! time-out); `leaving` on every partition (leave time-out); the end.

use crate::{
    accept::Itself,
    capacity::{Amount, Capacity},
    config::GatewayConfig,
    door::Door,
    grpc, http,
    metrics::{Metrics, PlaceMetrics},
    pipeline::{Gateway, RecordBytesMax, now},
    rate::SiteRate,
    self_upload::{self, SelfUpload},
    ticker::Ticker,
    ticks::PartitionTicks,
};
use anyhow::{Context, bail};
use heliograph_contract::topic;
use heliograph_domain::{Timestamp, event_id::hex};
use heliograph_log::{Log, TopicPartition, registry::Projection, topics, turn::Turn};
use heliograph_service::{
    Shutdown,
    health::Health,
    http::{HttpLimits, bind, serve},
};
use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::net::TcpListener;
use tonic_health::{ServingStatus, server::HealthReporter};

/// The longest that these loops may take for a turn: a tick is due after 3 s at most; to follow the
/// registry means to wait for answers of the log, each for 2 minutes at most.
const TICKER_SILENCE_MAX: Duration = Duration::from_secs(30);
const REGISTRY_SILENCE_MAX: Duration = Duration::from_secs(300);

/// How often sites that were not heard are dropped from what remembers their rate.
const SITES_FORGOTTEN_EVERY: Duration = Duration::from_secs(60);

/// A gateway that is ready to run.
pub struct App {
    listener: TcpListener,
    addr: SocketAddr,
    gateway: Arc<Gateway>,
    ticker: Ticker,
    self_upload: SelfUpload,
    limits: HttpLimits,
    health: Health,
    /// Stops the registry's follower when the app is gone.
    background: Shutdown,
}

impl App {
    /// Checks the configuration and the log's topics, reads the registry to its end and binds the
    /// listener. Connections wait until [`App::run`].
    ///
    /// # Errors
    /// When the configuration makes no sense, or the log or the address cannot be used.
    pub async fn build(
        config: GatewayConfig,
        log: Arc<dyn Log>,
        health: Health,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        config.validate()?;
        topics::check(&*log).await.context("gateway: the log's topics")?;
        let count = log.partitions(topic::UPLOADS).await?;
        let name: Arc<str> = topic::UPLOADS.into();
        let partitions: Arc<[TopicPartition]> =
            (0..count).map(|p| TopicPartition::new(name.clone(), p)).collect();
        let background = Shutdown::new();
        let heartbeat = health.liveness.register("gateway registry", REGISTRY_SILENCE_MAX);
        let turn = Turn::tell(move || heartbeat.beat());
        let registry = Projection::load_watched(log.clone(), background.clone(), turn)
            .await
            .context("gateway: the registry")?;
        let listener = bind(config.listen).await?;
        let addr = listener.local_addr()?;
        let (started, token) = (now(), hex(&rand::random::<[u8; 32]>()));
        let itself = Itself::new(&config.instance, &token)?;
        let self_upload_ok = Arc::new(AtomicBool::new(false));
        let self_upload = SelfUpload::new(self_upload::Parts {
            addr,
            token,
            site: itself.site.clone(),
            incarnation_ms: started.as_ms(),
            interval: config.tick_interval,
            timeout: config.self_upload_timeout,
            ok: self_upload_ok.clone(),
            shown: metrics.self_upload_ok.clone(),
        })?;
        let door = Arc::new(Door::new(count));
        let ticker = Ticker {
            log: log.clone(),
            door: door.clone(),
            self_upload_ok,
            partitions: ticks(&config, started, &partitions),
            started: tokio::time::Instant::now(),
            interval: config.tick_interval,
            leave_timeout: config.leave_timeout,
            metrics: metrics.ticks.clone(),
        };
        let gateway = Arc::new(Gateway {
            log,
            registry,
            partitions,
            door,
            itself,
            capacity: capacity(&config, metrics.places.clone()),
            metrics,
            site_rate: SiteRate::new(
                at_least_one(config.site_uploads_per_second),
                at_least_one(config.site_uploads_burst),
            ),
            stream_idle_timeout: config.stream_idle_timeout,
            leaving: Shutdown::new(),
            retry_after: config.retry_after()?,
            record_bytes_max: RecordBytesMax {
                uploads: topics::spec(topic::UPLOADS)?.max_message_bytes,
                dead_letters: topics::spec(topic::DEAD_LETTERS)?.max_message_bytes,
            },
            instance: config.instance,
            body_bytes_max: config.body_bytes_max,
            decompressed_bytes_max: config.decompressed_bytes_max,
            body_read_timeout: config.body_read_timeout,
            readings_max: config.readings_max,
            upload_held_bytes_max: config.in_flight_bytes_max.min(config.site_in_flight_bytes_max),
            append_timeout: config.append_timeout,
        });
        let limits = config.http;
        Ok(Self { listener, addr, gateway, ticker, self_upload, limits, health, background })
    }

    /// Where uploads are taken.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Runs until `shutdown`, then leaves in good order.
    ///
    /// # Errors
    /// When the routes cannot be put together or the registry is no longer followed: bugs. What
    /// fails otherwise is answered with 503 and said in ticks.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<()> {
        let Self { listener, addr, gateway, ticker, self_upload, limits, health, background } =
            self;
        let _background = background.drop_guard();
        let Health { readiness, liveness } = health.clone();
        let (reporter, grpc_health) = tonic_health::server::health_reporter();
        let router = http::routes(gateway.clone(), health, grpc_health)?;
        let (http_metrics, leave_delay) = (gateway.metrics.http.clone(), limits.leave_delay);
        let (leave, stop) = (Shutdown::new(), shutdown.clone());
        let uploads = async {
            serve(listener, router, limits, http_metrics, shutdown.clone()).await;
            leave.cancel();
        };
        let phases = async {
            readiness.ready();
            report(&reporter, ServingStatus::Serving).await;
            tracing::info!(%addr, "gateway ready");
            stop.cancelled().await;
            readiness.leaving();
            report(&reporter, ServingStatus::NotServing).await;
            // As long as connections are let in, so are streams.
            tokio::time::sleep(leave_delay).await;
            gateway.leaving.cancel();
        };
        let forget = async {
            let mut due = tokio::time::interval(SITES_FORGOTTEN_EVERY);
            while shutdown.run_until_cancelled(due.tick()).await.is_some() {
                gateway.site_rate.forget_idle();
            }
        };
        let own = self_upload.run(shutdown.clone());
        let heartbeat = liveness.register("gateway ticker", TICKER_SILENCE_MAX);
        let ticks = ticker.run(leave.clone(), heartbeat);
        tokio::select! {
            _ = async { tokio::join!(uploads, phases, forget, own, ticks) } => {}
            () = gateway.registry.stopped() => bail!("the registry is no longer followed"),
        }
        tracing::info!(%addr, "gateway left");
        Ok(())
    }
}

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for service in ["", grpc::SERVICE] {
        reporter.set_service_status(service, status).await;
    }
}

fn capacity(config: &GatewayConfig, metrics: PlaceMetrics) -> Capacity {
    let all = Amount {
        uploads: config.in_flight_max,
        bytes: config.in_flight_bytes_max,
        streams: config.streams_max,
    };
    let of_site = Amount {
        uploads: config.site_in_flight_max,
        bytes: config.site_in_flight_bytes_max,
        streams: config.site_streams_max,
    };
    Capacity::new(all, of_site, metrics)
}

/// The configuration was checked: none is 0.
fn at_least_one(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN)
}

fn ticks(
    config: &GatewayConfig,
    started: Timestamp,
    partitions: &[TopicPartition],
) -> Vec<(TopicPartition, PartitionTicks)> {
    let retry_after_max_s = u32::try_from(config.retry_after_max.as_secs()).unwrap_or(u32::MAX);
    let fresh = || PartitionTicks::new(&config.instance, started.as_ms(), retry_after_max_s);
    partitions.iter().map(|tp| (tp.clone(), fresh())).collect()
}
