//! Liveness does not turn on the log: without it the gateway refuses, and is not restarted.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use heliograph_gateway::{App, GatewayConfig, Metrics};
use heliograph_service::{Shutdown, health::Health};
use std::time::Duration;

/// The clock is the test's: an hour passes in no time.
#[tokio::test(start_paused = true)]
async fn the_loops_turn_while_the_log_answers_nothing() {
    for fault in [Fault::Hang, Fault::Fail] {
        let log = log().await;
        log.faults(move |_| fault);
        let health = Health::default();
        let (liveness, shutdown) = (health.liveness.clone(), Shutdown::new());
        let metrics = Metrics::default();
        let config = GatewayConfig { tick_interval: Duration::from_secs(1), ..config() };
        let app = App::build(config, log.clone(), health, metrics).await.unwrap();
        let running = tokio::spawn(app.run(shutdown.clone()));
        for _ in 0..360 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(liveness.wedged(), [], "{fault:?}");
        }
        shutdown.cancel();
        running.await.unwrap().unwrap();
        assert_eq!(liveness.wedged(), [], "who has left promised nothing");
    }
}
