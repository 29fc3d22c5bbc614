//! `/livez` and `/readyz`: am I wedged; should I get traffic.
//!
//! Readiness is about this process alone. It does not turn on a dependency that all replicas
//! share: when every server goes unready, there is nowhere to fail over to.

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
}

/// The two routes.
pub fn routes(health: Health) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .with_state(health)
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
