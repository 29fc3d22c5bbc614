//! `QueryReadings`: raw readings, or rollups that are never behind what a viewer could see.
//!
//! **Why no stale rollup is served.** The list of dirty buckets is read first, at t₀; the data
//! after it, at t₁. Take a reading that is visible at t₀. Before it became visible its bucket was
//! marked dirty. So at t₀ the bucket is either dirty still, and then its point is computed from the
//! readings themselves; or it is clean again, and then a rollup that holds the reading was written
//! before that mark, and rollups only move forward. The other way round it would be wrong: the
//! rollup read first, then the roller writes the new one and marks the bucket clean, then the list
//! is read and says "clean" about a rollup we do not have. A reading that becomes visible between
//! t₀ and t₁ may be in the answer or not, as if the call had come a moment earlier.
//!
//! Each bucket is answered from one source only, in one statement, so nothing counts twice. On a
//! cluster this holds per replica; the balancer must keep a viewer's statements on one.

use crate::{
    config::QueryConfig,
    deadline::Deadline,
    error::{internal, violation},
    points::Points,
    request::{Aggregate, Ask, Step},
    sql::{self, Statement},
    store::Reader,
    window::{Grain, Window},
};
use heliograph_contract::v1;
use heliograph_domain::{Timestamp, Violation};
use jiff::tz::TimeZone;
use tonic::Status;

/// Few sites have so many series.
const SERIES_MANY: u64 = 100;

/// One call.
pub struct Readings<'a> {
    pub reader: &'a Reader,
    pub config: &'a QueryConfig,
    pub deadline: Deadline,
    pub ask: &'a Ask,
    /// The site's.
    pub zone: &'a TimeZone,
}

/// How one step went.
enum Tried {
    Fits(Points),
    TooManyPoints,
}

impl Readings<'_> {
    /// The answer at the finest step that will do.
    pub async fn answer(&self) -> Result<v1::QueryReadingsResponse, Status> {
        for step in &self.ask.steps {
            if let Tried::Fits(points) = self.try_step(*step).await? {
                return Ok(self.response(*step, points));
            }
        }
        Err(violation(self.too_many().await?))
    }

    async fn try_step(&self, step: Step) -> Result<Tried, Status> {
        let Step::Buckets(grain) = step else {
            let statement =
                sql::raw(&self.ask.selection, self.ask.start, self.ask.end, self.rows_max());
            return self.read(statement, None).await;
        };
        let window = self.window(grain)?;
        if window.is_empty() {
            return Ok(Tried::Fits(Points::default()));
        }
        // First the dirty list, then the data: see above.
        let dirty = self.dirty(&window).await?;
        if self.may_not_fit(&window) && self.count(&window).await? > self.points_max() {
            return Ok(Tried::TooManyPoints);
        }
        let spans = window.spans(&dirty);
        let aggregate = self.ask.aggregate;
        let statement =
            sql::points(&self.ask.selection, &window, &spans, aggregate, self.rows_max());
        self.read(statement, Some(&window)).await
    }

    /// Whether a count is worth its while: a cheap refusal, or the choice between steps. The answer
    /// of a named step of few buckets shows by itself whether it fits.
    fn may_not_fit(&self, window: &Window) -> bool {
        self.ask.steps.len() > 1 || window.len() > self.points_max() / SERIES_MANY
    }

    async fn read(&self, statement: Statement, window: Option<&Window>) -> Result<Tried, Status> {
        let mut blocks = self.reader.blocks(statement, self.deadline)?;
        let mut points = Points::default();
        while let Some(block) = blocks.next().await? {
            match window {
                None => points.take_raw(&block)?,
                Some(window) => points.take_buckets(&block, |at| window.start_of(at))?,
            }
            if points.len() as u64 > self.points_max() {
                return Ok(Tried::TooManyPoints);
            }
            if points.series_len() > self.config.series_max as usize {
                return Err(violation(self.too_many_series()));
            }
        }
        Ok(Tried::Fits(points))
    }

    async fn dirty(&self, window: &Window) -> Result<Vec<Timestamp>, Status> {
        let statement = sql::dirty(&self.ask.selection.site, window);
        let seconds: Vec<i64> = self.reader.rows(statement, self.deadline).await?;
        Ok(seconds.into_iter().map(Timestamp::from_secs).collect())
    }

    /// How many points the rollups hold. Buckets that were never rolled up are not among them; they
    /// are few, and the read itself counts again.
    async fn count(&self, window: &Window) -> Result<u64, Status> {
        let statement = sql::count(&self.ask.selection, window, self.rows_max());
        Ok(self.reader.row(statement, self.deadline).await?.unwrap_or(0))
    }

    fn window(&self, grain: Grain) -> Result<Window, Status> {
        Window::select(grain, self.ask.start, self.ask.end, self.zone)
            .map_err(|e| internal("a time lies outside the calendar", e))
    }

    fn points_max(&self) -> u64 {
        self.config.points_max.into()
    }

    /// One more than fits, so that "too many" is seen.
    fn rows_max(&self) -> u64 {
        self.points_max() + 1
    }

    fn response(&self, step: Step, points: Points) -> v1::QueryReadingsResponse {
        let mut series = points.into_series();
        if step != Step::Raw && self.ask.aggregate == Aggregate::Count {
            series.iter_mut().for_each(|s| s.unit = "1".into());
        }
        v1::QueryReadingsResponse { step: step.to_wire().into(), series }
    }

    /// Which step would do, when none of those asked for does.
    async fn too_many(&self) -> Result<Violation, Status> {
        let tried = self.ask.steps.last().copied().unwrap_or(Step::Raw);
        let points_max = self.config.points_max;
        let got = format!("{} with more than {points_max} points", tried.to_wire().as_str_name());
        let coarser = Step::FINEST_FIRST.into_iter().skip_while(|step| *step != tried).skip(1);
        for step in coarser {
            let Step::Buckets(grain) = step else { continue };
            let window = self.window(grain)?;
            if window.is_empty() || self.count(&window).await? <= self.points_max() {
                let step = step.to_wire().as_str_name();
                let want = format!("{step}, or a shorter range, or fewer devices and metrics");
                return Ok(Violation::new("step", got, want));
            }
        }
        let want = "a shorter range, or fewer devices and metrics: no step is coarse enough";
        Ok(Violation::new("step", got, want))
    }

    fn too_many_series(&self) -> Violation {
        let series_max = self.config.series_max;
        let got = format!("a request for more than {series_max} series");
        Violation::new("devices", got, format!("names of devices for at most {series_max} series"))
    }
}
