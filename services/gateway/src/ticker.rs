//! Writes the ticks: the thin shell around `ticks`.
//!
//! Invariant: what a tick says was accepted lies before it in its partition, since it was
//! acknowledged before the tick is appended. A tick that the log does not answer is waited for,
//! not given up: a second one beside it could overtake it. What it is not: it decides nothing.

use crate::{
    door::Door,
    metrics::TickMetrics,
    ticks::{Counts, PartitionTicks},
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use heliograph_contract::event::encode_tick;
use heliograph_log::{Appended, Log, LogError, NewRecord, TopicPartition};
use heliograph_service::{Shutdown, liveness::Heartbeat, retry::Backoff};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// The ticks of this gateway on all partitions.
pub struct Ticker {
    pub log: Arc<dyn Log>,
    pub door: Arc<Door>,
    pub self_upload_ok: Arc<AtomicBool>,
    pub partitions: Vec<(TopicPartition, PartitionTicks)>,
    /// When the gateway started.
    pub started: Instant,
    pub interval: Duration,
    pub leave_timeout: Duration,
    pub metrics: TickMetrics,
}

/// Appends that are not answered yet, with the position of their partition.
type Open = FuturesUnordered<BoxFuture<'static, (usize, Result<Appended, LogError>)>>;

impl Ticker {
    /// Ticks until `leave`, then says `leaving` to every partition within the deadline. Beats at
    /// each tick, acknowledged or not.
    pub async fn run(mut self, leave: Shutdown, heartbeat: Heartbeat) {
        let mut due = interval_at(Instant::now() + self.interval, self.interval);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut open, mut healthy) = (Open::new(), true);
        loop {
            heartbeat.beat();
            tokio::select! {
                () = leave.cancelled() => break,
                _ = due.tick() => self.append_due(&open, false),
                Some((at, result)) = open.next(), if !open.is_empty() => {
                    report(&mut healthy, &result);
                    self.settle(at, &result);
                }
            }
        }
        let leaving = timeout(self.leave_timeout, self.leave(&mut open));
        if heartbeat.while_waiting(leaving).await.is_err() {
            let missing = self.partitions.iter().filter(|(_, t)| !t.has_left()).count();
            tracing::warn!(missing, "left without the last tick on some partitions");
        }
    }

    async fn leave(&mut self, open: &mut Open) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
        loop {
            self.append_due(open, true);
            let Some((at, result)) = open.next().await else { return };
            self.settle(at, &result);
            if result.is_err() {
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }

    fn append_due(&mut self, open: &Open, leaving: bool) {
        let (now, self_upload_ok) = (self.started.elapsed(), self.self_upload_ok.load(Relaxed));
        for (at, (to, ticks)) in self.partitions.iter_mut().enumerate() {
            let fresh: Counts = self.door.take(to.partition);
            let Some(tick) = ticks.due(now, fresh, self_upload_ok, leaving) else { continue };
            let record = NewRecord::event(to.clone(), encode_tick(&tick));
            let log = self.log.clone();
            open.push(async move { (at, log.append(record).await) }.boxed());
        }
    }

    fn settle(&mut self, at: usize, result: &Result<Appended, LogError>) {
        let Some((_, ticks)) = self.partitions.get_mut(at) else { return };
        match result {
            Ok(_) => {
                self.metrics.appended.inc();
                ticks.acknowledged();
            }
            Err(_) => {
                self.metrics.failed.inc();
                ticks.failed();
            }
        }
    }
}

/// Says it once when ticks begin to fail, and once when they are well again.
fn report(healthy: &mut bool, result: &Result<Appended, LogError>) {
    match (result, *healthy) {
        (Err(error), true) => tracing::warn!(%error, "ticks fail: the log does not take them"),
        (Ok(_), false) => tracing::info!("ticks are taken again"),
        _ => return,
    }
    *healthy = result.is_ok();
}
