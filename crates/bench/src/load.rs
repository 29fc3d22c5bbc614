//! Clients: HTTP/1.1 with kept-alive connections, encoded beforehand, on one thread.
//!
//! Two kinds. *Closed*: each connection sends its next request when the last is answered; it finds
//! what a server can take. *Open*: requests come by a schedule that no answer changes, as loggers'
//! do, and a request that waits for a free connection is already being waited for: latency is from
//! the scheduled time. Invariant: each request is sent once and has one [`Sample`]. What it is not:
//! it does not send again, and it does not look into answers.

mod connection;

use connection::Connection;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// No answer within this is none.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);

/// When requests are sent.
#[derive(Debug, Clone, Copy)]
pub enum Arrivals {
    /// One after the other on each connection, for so long.
    Closed(Duration),
    /// One after the other on each connection, each request once.
    Once,
    /// By the clock.
    Open { per_second: f64, count: u64 },
}

/// What is sent where.
#[derive(Debug, Clone)]
pub struct Load {
    pub addr: SocketAddr,
    /// Whole requests, head and body, sent round and round.
    pub requests: Arc<[bytes::Bytes]>,
    pub connections: usize,
    pub arrivals: Arrivals,
}

/// What became of one request; times are from the beginning of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was to be sent.
    pub due: Duration,
    pub sent: Duration,
    pub answered: Duration,
    /// 0: the connection ended without an answer.
    pub status: u16,
    pub has_retry_after: bool,
}

impl Sample {
    /// As a client feels it that sends by the clock.
    pub fn latency_ms(&self) -> f64 {
        (self.answered.saturating_sub(self.due)).as_secs_f64() * 1e3
    }

    /// From sending to the answer.
    pub fn service_ms(&self) -> f64 {
        (self.answered.saturating_sub(self.sent)).as_secs_f64() * 1e3
    }

    pub fn is_accepted(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A whole run.
#[derive(Debug)]
pub struct Run {
    pub samples: Vec<Sample>,
    pub took: Duration,
}

impl Run {
    pub fn accepted(&self) -> u64 {
        self.samples.iter().filter(|sample| sample.is_accepted()).count() as u64
    }

    /// Requests whose fate nobody knows.
    pub fn unanswered(&self) -> u64 {
        self.samples.iter().filter(|sample| sample.status == 0).count() as u64
    }

    pub fn accepted_per_second(&self) -> f64 {
        self.accepted() as f64 / self.took.as_secs_f64()
    }

    /// How often each status was answered.
    pub fn statuses(&self) -> std::collections::BTreeMap<u16, u64> {
        let mut counts = std::collections::BTreeMap::new();
        for sample in &self.samples {
            *counts.entry(sample.status).or_default() += 1;
        }
        counts
    }
}

impl Load {
    /// Sends all of it, on a thread of its own.
    ///
    /// # Errors
    /// When no connection can be made at all.
    pub async fn run(self) -> anyhow::Result<Run> {
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.run_here())
        })
        .await?
    }

    async fn run_here(self) -> anyhow::Result<Run> {
        let mut open = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            open.push(Connection::open(self.addr).await?);
        }
        let started = Instant::now();
        let clock = Arc::new(Clock {
            arrivals: self.arrivals,
            started,
            connections: self.connections,
            requests: self.requests.len() as u64,
            next: AtomicU64::new(0),
            due: Semaphore::new(0),
        });
        let pacer = clock.clone().pace();
        let mut workers = JoinSet::new();
        for connection in open {
            let worker = Worker {
                connection: Some(connection),
                addr: self.addr,
                requests: self.requests.clone(),
                clock: clock.clone(),
            };
            workers.spawn(worker.run());
        }
        let mut samples = Vec::new();
        while let Some(of_one) = workers.join_next().await {
            samples.extend(of_one?);
        }
        let took = started.elapsed();
        if let Some(pacer) = pacer {
            pacer.join().map_err(|_| anyhow::anyhow!("the pacer panicked"))?;
        }
        Ok(Run { samples, took })
    }
}

/// Hands out which request is next, and when.
struct Clock {
    arrivals: Arrivals,
    started: Instant,
    connections: usize,
    requests: u64,
    next: AtomicU64,
    due: Semaphore,
}

impl Clock {
    fn due_at(per_second: f64, index: u64) -> Duration {
        Duration::from_secs_f64(index as f64 / per_second)
    }

    /// Lets a request go when its time has come: on a thread, since a runtime's timer counts whole
    /// milliseconds.
    fn pace(self: Arc<Self>) -> Option<std::thread::JoinHandle<()>> {
        let Arrivals::Open { per_second, count } = self.arrivals else { return None };
        Some(std::thread::spawn(move || {
            for index in 0..count {
                let due = Self::due_at(per_second, index);
                sleep_until(self.started + due);
                self.due.add_permits(1);
            }
            // Tells every worker that there is nothing more.
            self.due.add_permits(self.connections);
        }))
    }

    /// The number of the next request and when it is due; none when there are no more.
    async fn next(&self) -> Option<(u64, Duration)> {
        match self.arrivals {
            Arrivals::Closed(length) => {
                let now = self.started.elapsed();
                (now < length).then(|| (self.next.fetch_add(1, Ordering::Relaxed), now))
            }
            Arrivals::Once => {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                (index < self.requests).then(|| (index, self.started.elapsed()))
            }
            Arrivals::Open { per_second, count } => {
                self.due.acquire().await.ok()?.forget();
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                (index < count).then(|| (index, Self::due_at(per_second, index)))
            }
        }
    }
}

/// For a thread of its own that keeps the time.
#[allow(clippy::disallowed_methods, reason = "there is nothing on this thread but the waiting")]
pub fn sleep_until(due: Instant) {
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
}

struct Worker {
    connection: Option<Connection>,
    addr: SocketAddr,
    requests: Arc<[bytes::Bytes]>,
    clock: Arc<Clock>,
}

impl Worker {
    async fn run(mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        while let Some((index, due)) = self.clock.next().await {
            let at = usize::try_from(index).unwrap_or_default() % self.requests.len().max(1);
            let Some(request) = self.requests.get(at).cloned() else { break };
            let sent = self.clock.started.elapsed();
            let answer = tokio::time::timeout(ANSWER_WAIT_MAX, self.exchange(&request)).await;
            let answered = self.clock.started.elapsed();
            let answer = answer.ok().flatten();
            if answer.is_none_or(|answer| answer.closes) {
                self.connection = None;
            }
            let (status, has_retry_after) =
                answer.map_or((0, false), |answer| (answer.status, answer.has_retry_after));
            samples.push(Sample { due, sent, answered, status, has_retry_after });
        }
        samples
    }

    async fn exchange(&mut self, request: &[u8]) -> Option<connection::Answer> {
        if self.connection.is_none() {
            self.connection = Connection::open(self.addr).await.ok();
        }
        self.connection.as_mut()?.exchange(request).await.ok()
    }
}

#[cfg(test)]
mod tests;
