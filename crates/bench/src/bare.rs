//! The bare endpoint that the gateway is compared with, as a process of its own.
//!
//! It has what no endpoint for these uploads can do without: the listener, connections and router
//! that the gateway has, the whole body, and the gateway's own parser with all of its rules, into
//! the same struct. Then it answers 204 and forgets. It knows no token, no site, no limit, no metric
//! and no log.

use anyhow::Context;
use axum::{Router, body::Body, extract::Request, http::StatusCode, routing::post};
use heliograph_domain::{SiteId, Timestamp};
use heliograph_formats::{Format, decode};
use heliograph_service::{
    Shutdown,
    http::{HttpLimits, HttpMetrics, bind, serve},
};
use http_body_util::BodyExt;
use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

const PATH: &str = "/v1/uploads";
const READINGS_MAX: usize = 10_000;

/// Serves until it is killed; prints its address when it listens.
pub async fn run() -> anyhow::Result<()> {
    let listener = bind(([127, 0, 0, 1], 0).into()).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let router = Router::new().route(PATH, post(upload));
    serve(listener, router, HttpLimits::default(), HttpMetrics::default(), Shutdown::new()).await;
    Ok(())
}

async fn upload(request: Request) -> StatusCode {
    static SITE: LazyLock<Option<SiteId>> = LazyLock::new(|| SiteId::parse("bench").ok());
    let Some(site) = &*SITE else { return StatusCode::INTERNAL_SERVER_ERROR };
    let body: Body = request.into_body();
    let Ok(body) = body.collect().await else { return StatusCode::BAD_REQUEST };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_ms(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    match decode(Format::Json, &body.to_bytes(), site, now, READINGS_MAX) {
        Ok(decoded) if decoded.checked.rejected.is_empty() => {
            std::hint::black_box(&decoded);
            StatusCode::NO_CONTENT
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The running endpoint.
pub struct Bare {
    child: Child,
    pub addr: SocketAddr,
}

impl Bare {
    pub fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("bare").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let addr = line.trim().parse().with_context(|| format!("bare endpoint: {line:?}"))?;
        Ok(Self { child, addr })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
