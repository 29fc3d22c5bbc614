//! The shell around the loggers: one task per site, HTTP, real time, the summary's file.
//!
//! Invariant: a logger's ledger changes only when an answer was read, under its lock; so a
//! summary taken at any moment covers exactly what got a 2xx. Loggers share nothing else than the
//! number of requests that may be open at once.

use super::{
    batch::{Batches, Packing},
    client::{self, Client},
    clock::{Clock, Pace},
    logger::{Answer, Kind, Logger, Step, Upload},
    mischief::{Mischief, Shares},
    replay::{Replay, Span},
    sample::{self, SampleSeries},
    sites::{Scale, SiteSpec, site_specs},
    summary::FleetSummary,
    transcript::Transcript,
};
use anyhow::Context;
use heliograph_service::{Shutdown, retry::Backoff};
use std::{
    collections::BTreeMap,
    iter::Peekable,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

/// Uploads that a logger has in hand; what comes later waits with its source.
const QUEUE_MAX: usize = 16;
/// How long a request that is under way may still take once the run is to end.
const GRACE: Duration = Duration::from_secs(5);
/// How often the summary's file is written while the run goes on.
const SUMMARY_EVERY: Duration = Duration::from_secs(1);

/// What part of time is replayed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Replayed {
    /// Each file once, with its own times.
    Once,
    /// The last days up to now.
    Backfill { days: f64 },
    /// The last days up to now, and on until the run is ended.
    Live { days: f64 },
}

/// Everything that decides a run.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// Address of the gateway, `http://HOST:PORT`.
    pub gateway: String,
    /// Upload token of each site.
    pub tokens: BTreeMap<String, String>,
    pub sites: usize,
    pub scale: Scale,
    pub replayed: Replayed,
    /// Times as fast as it was; `None`: as fast as the gateway takes it.
    pub speed: Option<f64>,
    pub shares: Shares,
    pub seed: u64,
    pub readings_per_upload: usize,
    /// Requests open at once, over all sites.
    pub concurrency: usize,
    pub request_timeout: Duration,
    /// First and longest wait where the gateway does not say how long.
    pub backoff: (Duration, Duration),
    /// Read the sample files here instead of in the binary.
    pub sample_dir: Option<PathBuf>,
    /// Keep the summary in this file.
    pub summary: Option<PathBuf>,
    /// Write every upload that got a 2xx into this file, in order.
    pub transcript: Option<PathBuf>,
    /// Begins every upload id; `None`: drawn at random.
    pub run: Option<String>,
}

impl FleetConfig {
    /// One backfilled day of `sites` sites, as fast as it goes, without mischief.
    pub fn new(gateway: String, tokens: BTreeMap<String, String>, sites: usize) -> Self {
        Self {
            gateway,
            tokens,
            sites,
            scale: Scale::PerSite,
            replayed: Replayed::Backfill { days: 1.0 },
            speed: None,
            shares: Shares::default(),
            seed: 1,
            readings_per_upload: 500,
            concurrency: 32,
            request_timeout: Duration::from_secs(30),
            backoff: (Duration::from_millis(200), Duration::from_secs(10)),
            sample_dir: None,
            summary: None,
            transcript: None,
            run: None,
        }
    }

    fn span(&self, now_ms: i64) -> Span {
        let before = |days: f64| now_ms - (days * 86_400_000.0) as i64;
        match self.replayed {
            Replayed::Once => Span::AsItIs,
            Replayed::Backfill { days } => {
                Span::Cyclic { after_ms: before(days), until_ms: Some(now_ms) }
            }
            Replayed::Live { days } => Span::Cyclic { after_ms: before(days), until_ms: None },
        }
    }
}

/// One site's logger with what it needs to send.
#[derive(Debug)]
struct Site {
    spec: SiteSpec,
    token: String,
    series: Arc<SampleSeries>,
    logger: Mutex<Logger>,
}

impl Site {
    fn logger(&self) -> MutexGuard<'_, Logger> {
        self.logger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fleet that is ready to run.
#[derive(Debug)]
pub struct Fleet {
    config: FleetConfig,
    run: String,
    clock: Clock,
    client: Client,
    places: Semaphore,
    sites: Vec<Arc<Site>>,
    transcript: Option<Transcript>,
}

impl Fleet {
    /// # Errors
    /// When a site has no token, a sample file or the address is not right.
    pub fn build(config: FleetConfig) -> anyhow::Result<Arc<Self>> {
        let files = sample::load_all(config.sample_dir.as_deref())?;
        let sites = site_specs(config.sites)
            .into_iter()
            .map(|spec| {
                let token = config.tokens.get(&spec.id).cloned().with_context(|| {
                    format!(
                        "no upload token for site {}: `heliograph site samples --sites N` writes \
                         it, for as many sites as --sites says here",
                        spec.id
                    )
                })?;
                let logger = Mutex::new(Logger::new(spec.id.clone(), QUEUE_MAX));
                let series = files[spec.file].1.clone();
                Ok(Arc::new(Site { spec, token, series, logger }))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Arc::new(Self {
            run: config
                .run
                .clone()
                .unwrap_or_else(|| format!("r{:012x}", rand::random::<u64>() >> 16)),
            clock: Clock::start(),
            client: Client::new(&config.gateway, config.request_timeout)?,
            places: Semaphore::new(config.concurrency.max(1)),
            transcript: config.transcript.as_deref().map(Transcript::create).transpose()?,
            sites,
            config,
        }))
    }

    /// Runs to the end, or until `cancel`.
    ///
    /// # Errors
    /// When summary or transcript cannot be written. What the gateway does is never an error: it
    /// stands in the summary.
    pub async fn run(self: Arc<Self>, cancel: Shutdown) -> anyhow::Result<FleetSummary> {
        let mut loggers = JoinSet::new();
        for site in &self.sites {
            loggers.spawn(run_logger(self.clone(), site.clone(), cancel.clone()));
        }
        let mut complete = true;
        let mut written = FleetSummary::default();
        let mut tick = tokio::time::interval(SUMMARY_EVERY);
        loop {
            tokio::select! {
                joined = loggers.join_next() => match joined {
                    Some(finished) => complete &= finished.context("logger")?,
                    None => break,
                },
                _ = tick.tick() => self.write_if_new(&mut written, false)?,
            }
        }
        if let Some(transcript) = &self.transcript {
            transcript.flush()?;
        }
        self.write_if_new(&mut written, complete)?;
        Ok(self.summary(complete))
    }

    fn write_if_new(&self, written: &mut FleetSummary, complete: bool) -> anyhow::Result<()> {
        let Some(path) = &self.config.summary else { return Ok(()) };
        let summary = self.summary(complete);
        if summary != *written {
            summary.write(path)?;
            *written = summary;
        }
        Ok(())
    }

    /// What has happened so far.
    pub fn summary(&self, complete: bool) -> FleetSummary {
        let (sites, sums): (Vec<_>, Vec<_>) = self
            .sites
            .iter()
            .map(|site| {
                let logger = site.logger();
                (logger.ledger.summary(), logger.ledger.checksum())
            })
            .unzip();
        FleetSummary::new(self.run.clone(), complete, sites, &sums)
    }

    /// About how many readings the whole run has; `None` when it goes on for ever.
    pub fn readings_expected(&self) -> Option<u64> {
        let per_site = |site: &Arc<Site>| {
            let once = site.series.readings_count() as f64;
            match self.config.replayed {
                Replayed::Once => Some(once as u64),
                Replayed::Backfill { days } => {
                    Some((once * days / site.series.cycle_days as f64) as u64)
                }
                Replayed::Live { .. } => None,
            }
        };
        self.sites.iter().map(per_site).sum()
    }

    fn batches(&self, site: &Site) -> (Batches, Pace) {
        let started_ms = self.clock.started_ms();
        let span = self.config.span(started_ms);
        let upload_interval_ms = i64::from(site.spec.sample().upload_interval_s) * 1_000;
        let full_until_ms = match (self.config.speed, span) {
            // At a given speed a logger uploads as it did: by its interval.
            (Some(_), _) => i64::MIN,
            (None, Span::AsItIs) => i64::MAX,
            (None, Span::Cyclic { .. }) => started_ms,
        };
        let from_ms = match span {
            Span::AsItIs => site.series.rows.first().map_or(0, |r| r.ts_ms),
            Span::Cyclic { after_ms, .. } => after_ms,
        };
        let pace = match self.config.speed {
            None => Pace::AsFastAsItGoes,
            Some(factor) => Pace::Speed { from_ms, factor },
        };
        let packing = Packing {
            readings_max: self.config.readings_per_upload.max(1),
            upload_interval_ms,
            phase_ms: Packing::phase_of(&site.spec.id, upload_interval_ms),
            full_until_ms,
            factor: self.config.scale.factor(&site.spec),
        };
        let replay = Replay::new(site.series.clone(), span);
        (Batches::new(replay, site.series.columns, packing), pace)
    }

    fn record(&self, site: &Site, upload: &Upload, answer: &Answer) {
        if let (Some(transcript), Answer::Accepted { rejected }) = (&self.transcript, answer) {
            let id = self.upload_id(upload.seq);
            if let Err(error) = transcript.add(&site.spec.id, &id, &upload.readings, rejected) {
                tracing::error!(error = format!("{error:#}"), "transcript");
            }
        }
    }

    fn upload_id(&self, seq: u64) -> String {
        format!("{}-{seq}", self.run)
    }
}

/// Readings that are not yet uploads.
struct Source {
    batches: Peekable<Batches>,
    pace: Pace,
    mischief: Mischief,
}

impl Source {
    /// Offers what is due; says when the next one will be.
    fn offer_due(&mut self, logger: &mut Logger, clock: &Clock) -> i64 {
        let now_ms = clock.now_ms();
        loop {
            let Some(next) = self.batches.peek() else {
                logger.end();
                return i64::MAX;
            };
            let due_ms = self.pace.due(next.due_ms, clock.started_ms());
            if due_ms > now_ms || !logger.has_room() {
                return due_ms;
            }
            if let Some(mut batch) = self.batches.next() {
                let plan = self.mischief.plan(&mut batch.readings);
                logger.offer(batch.readings, plan);
            }
        }
    }
}

/// One logger until everything is sent and answered (true), or until `cancel` (false).
async fn run_logger(fleet: Arc<Fleet>, site: Arc<Site>, cancel: Shutdown) -> bool {
    let (batches, pace) = fleet.batches(&site);
    let mischief = Mischief::new(fleet.config.shares, fleet.config.seed, &site.spec.id);
    let mut source = Source { batches: batches.peekable(), pace, mischief };
    let (initial, longest) = fleet.config.backoff;
    let mut backoff = Backoff::new(initial, longest);
    loop {
        let place = tokio::select! {
            biased;
            () = cancel.cancelled() => return false,
            place = fleet.places.acquire() => place,
        };
        let Ok(place) = place else { return false };
        let (step, due_ms) = {
            let mut logger = site.logger();
            let due_ms = source.offer_due(&mut logger, &fleet.clock);
            (logger.next(fleet.clock.now_ms()), due_ms)
        };
        let wake = match step {
            Step::Done => return true,
            Step::Send => {
                let sent = send(&fleet, &site, &mut backoff);
                if within_grace(sent, &cancel).await.is_none() {
                    return false;
                }
                continue;
            }
            Step::WaitUntil(until_ms) => fleet.clock.instant(until_ms),
            Step::NeedMore => fleet.clock.instant(due_ms),
        };
        drop(place);
        if !wait(wake, &cancel).await {
            return false;
        }
    }
}

/// Waits until `wake`; false when cancelled before.
async fn wait(wake: Instant, cancel: &Shutdown) -> bool {
    tokio::select! {
        () = cancel.cancelled() => false,
        () = tokio::time::sleep_until(wake) => true,
    }
}

/// `None` when the work was not done within [`GRACE`] after `cancel`.
async fn within_grace<T>(work: impl Future<Output = T>, cancel: &Shutdown) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = async { cancel.cancelled().await; tokio::time::sleep(GRACE).await } => None,
    }
}

/// Sends the upload at the front and tells the logger how it went.
async fn send(fleet: &Fleet, site: &Site, backoff: &mut Backoff) {
    let Some(upload) = site.logger().in_flight().cloned() else { return };
    let id = fleet.upload_id(upload.seq);
    let body = client::body(&site.spec.id, &id, fleet.clock.now_ms(), &upload.readings);
    let answer = match body {
        Ok(body) => fleet.client.post(&site.token, body).await,
        Err(error) => {
            let reason = format!("no JSON: {error}");
            Answer::Refused { status: 400, retry_after_ms: None, reason }
        }
    };
    let delay_ms = match answer {
        Answer::Accepted { .. } => {
            backoff.reset();
            0
        }
        _ => u64::try_from(backoff.next_delay().as_millis()).unwrap_or(u64::MAX),
    };
    fleet.record(site, &upload, &answer);
    if upload.kind == Kind::Correction {
        tracing::trace!(site = site.spec.id, upload = id, ?answer, "correction");
    }
    site.logger().answered(fleet.clock.now_ms(), &answer, delay_ms);
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;
