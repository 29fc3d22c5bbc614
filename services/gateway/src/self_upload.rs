//! The gateway's upload to itself: a real one, through its own listener, once per tick interval.
//!
//! It shows that the way from the socket to the log is open when no site happens to use it. Its
//! site exists in this process alone, its token is made at start and kept nowhere. What it is
//! not: a witness of what lies before the listener (load balancer, network).

use crate::http::UPLOADS_PATH;
use heliograph_domain::SiteId;
use heliograph_metrics::Gauge;
use heliograph_service::Shutdown;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::MissedTickBehavior;

pub struct SelfUpload {
    client: reqwest::Client,
    url: String,
    token: String,
    site: SiteId,
    incarnation_ms: i64,
    interval: Duration,
    ok: Arc<AtomicBool>,
    shown: Gauge,
}

/// What a [`SelfUpload`] is made of.
pub struct Parts {
    /// Of the gateway's own listener.
    pub addr: SocketAddr,
    pub token: String,
    pub site: SiteId,
    pub incarnation_ms: i64,
    pub interval: Duration,
    pub timeout: Duration,
    /// Where it says whether the last one went through.
    pub ok: Arc<AtomicBool>,
    /// The same for operators.
    pub shown: Gauge,
}

impl SelfUpload {
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(parts: Parts) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            // A new connection each time: the way through `accept` belongs to what is shown.
            .pool_max_idle_per_host(0)
            .timeout(parts.timeout)
            .build()?;
        let url = format!("http://{}{UPLOADS_PATH}", reachable(parts.addr));
        let Parts { token, site, incarnation_ms, interval, ok, shown, .. } = parts;
        Ok(Self { client, url, token, site, incarnation_ms, interval, ok, shown })
    }

    /// Uploads until `shutdown`. The last outcome then stands: that the listener closes on
    /// purpose is said by `leaving`.
    pub async fn run(self, shutdown: Shutdown) {
        let mut due = tokio::time::interval(self.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut count = 0u64;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = due.tick() => {}
            }
            count += 1;
            let outcome = tokio::select! {
                () = shutdown.cancelled() => return,
                outcome = self.upload(count) => outcome,
            };
            let was_ok = self.ok.swap(outcome.is_ok(), Relaxed);
            self.shown.set(outcome.is_ok().into());
            match outcome {
                Err(why) if was_ok || count == 1 => tracing::warn!(why, "own upload failed"),
                Ok(()) if !was_ok && count > 1 => tracing::info!("own upload goes through again"),
                _ => {}
            }
        }
    }

    async fn upload(&self, count: u64) -> Result<(), String> {
        let body = serde_json::json!({
            "upload_id": format!("self-{}-{count}", self.incarnation_ms),
            "site": self.site,
            "readings": [],
        });
        let request = self.client.post(&self.url).bearer_auth(&self.token).json(&body);
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("status {}", response.status())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A listener on all addresses is reached through loopback.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_through_loopback() {
        for (listen, want) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), want);
        }
    }
}
