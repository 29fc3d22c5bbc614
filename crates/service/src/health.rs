//! `/livez` and `/readyz`: am I wedged; should I get traffic.
//!
//! Liveness is about this process's own loops (`liveness`), readiness about this process alone. It
//! does not turn on a dependency that all replicas share: when every server goes unready, there is
//! nowhere to fail over to.

use crate::liveness::Liveness;
use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use std::sync::{Arc, Mutex, PoisonError};

/// Whether this process should get traffic, and why not.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Phase>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Starting,
    Ready,
    Leaving,
}

impl Readiness {
    pub fn ready(&self) {
        self.set(Phase::Ready);
    }

    pub fn leaving(&self) {
        self.set(Phase::Leaving);
    }

    pub fn is_ready(&self) -> bool {
        self.get() == Phase::Ready
    }

    fn set(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    fn get(&self) -> Phase {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a service says of itself.
#[derive(Debug, Clone, Default)]
pub struct Health {
    pub readiness: Readiness,
    pub liveness: Liveness,
}

/// The two routes.
pub fn routes(health: Health) -> Router {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(health)
}

async fn livez(State(health): State<Health>) -> (StatusCode, Json<serde_json::Value>) {
    let reasons: Vec<String> = health.liveness.wedged().iter().map(ToString::to_string).collect();
    let code = match reasons.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(serde_json::json!({ "alive": reasons.is_empty(), "reasons": reasons })))
}

async fn readyz(State(health): State<Health>) -> (StatusCode, Json<serde_json::Value>) {
    let (code, reason) = match health.readiness.get() {
        Phase::Ready => (StatusCode::OK, "ready"),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Phase::Leaving => (StatusCode::SERVICE_UNAVAILABLE, "leaving: drain in progress"),
    };
    let answer = serde_json::json!({
        "ready": code == StatusCode::OK,
        "reason": reason,
        // One version for the whole workspace: that of the service, too.
        "version": env!("CARGO_PKG_VERSION"),
    });
    (code, Json(answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn livez_says_which_loop_is_silent() {
        let health = Health::default();
        let heartbeat = health.liveness.register("ticker", Duration::from_secs(30));
        let ask = async || {
            let (code, Json(answer)) = livez(State(health.clone())).await;
            (code.as_u16(), answer.to_string())
        };
        assert_eq!(ask().await, (200, r#"{"alive":true,"reasons":[]}"#.to_owned()));
        tokio::time::advance(Duration::from_secs(45)).await;
        let want = r#"{"alive":false,"reasons":["ticker: silent for 45s, at most 30s"]}"#;
        assert_eq!(ask().await, (503, want.to_owned()));
        heartbeat.beat();
        assert_eq!(ask().await.0, 200);
    }
}
