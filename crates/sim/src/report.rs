//! What came out of one seed and of many, for people and as JSON.

use crate::{
    control,
    oracle::{Kind, Oracle, Wrong},
    scenario::Scenario,
    spans::{Ms, SEC, Spans, clock},
    told::Told,
    world::World,
};
use heliograph_contract::{alert::Alert, event::Encoded};
use std::fmt::Write;

/// One seed, run and judged.
#[derive(Debug, Default)]
pub struct Outcome {
    pub seed: u64,
    pub simulated: Ms,
    pub wrong: Vec<Wrong>,
    /// Alerts that were said again with other bytes, or not again.
    pub repeats_wrong: u64,
    pub control_false_alerts: u64,
    pub told: Vec<Told>,
    /// All alerts, as they stood on the log, by id.
    pub encoded: Vec<Encoded>,
    /// A hash of every record of every partition.
    pub digest: u64,
    /// What it ended with before its time, if it did: nothing else is known then.
    pub panicked: Option<String>,
}

impl Outcome {
    pub fn of(seed: u64) -> Self {
        let scenario = Scenario::of(seed);
        let run = World::new(&scenario).run();
        let oracle = Oracle::new(&scenario);
        Self {
            seed,
            simulated: scenario.ends,
            wrong: oracle.judge(&run.seen, run.alerts.told()),
            repeats_wrong: run.alerts.repeats_wrong,
            control_false_alerts: control::false_alerts(&scenario, &oracle, &run.seen),
            told: run.alerts.told().to_vec(),
            encoded: run.alerts.encoded().cloned().collect(),
            digest: run.digest,
            panicked: None,
        }
    }

    pub fn panicked(seed: u64, message: String) -> Self {
        Self { seed, panicked: Some(message), ..Self::default() }
    }

    pub fn has_failed(&self) -> bool {
        !self.wrong.is_empty() || self.repeats_wrong > 0 || self.panicked.is_some()
    }

    /// What was wrong, and the first of it.
    pub fn verdict(&self) -> String {
        if let Some(message) = &self.panicked {
            return format!("panicked: {message}");
        }
        let first = self.wrong.first().map_or_else(String::new, |wrong| {
            let Wrong { kind, site, at, why } = wrong;
            format!("; first: {kind:?} at {} of {site}: {why}", clock(*at))
        });
        format!("{} verdicts and {} repeats wrong{first}", self.wrong.len(), self.repeats_wrong)
    }
}

/// What came out of many seeds.
#[derive(Debug, Default, serde::Serialize)]
pub struct Report {
    pub seeds: u64,
    pub simulated_seconds: u64,
    pub site_alerts: u64,
    pub false_site_alerts: u64,
    pub missed_site_alerts: u64,
    pub late_site_alerts: u64,
    pub recoveries: u64,
    pub recoveries_wrong: u64,
    pub repeats_wrong: u64,
    pub control_false_site_alerts: u64,
    pub panicked: u64,
    pub failing_seeds: Vec<u64>,
}

impl Report {
    pub fn add(&mut self, outcome: &Outcome) {
        let wrong = |kind| outcome.wrong.iter().filter(|w| w.kind == kind).count() as u64;
        let stale = outcome.told.iter().filter(|t| matches!(t.alert, Alert::WentStale(_)));
        let stale = stale.count() as u64;
        self.seeds += 1;
        self.simulated_seconds += outcome.simulated / SEC;
        self.site_alerts += stale;
        self.false_site_alerts += wrong(Kind::False);
        self.missed_site_alerts += wrong(Kind::Missed);
        self.late_site_alerts += wrong(Kind::Late);
        self.recoveries += outcome.told.len() as u64 - stale;
        self.recoveries_wrong += wrong(Kind::Recovery);
        self.repeats_wrong += outcome.repeats_wrong;
        self.control_false_site_alerts += outcome.control_false_alerts;
        self.panicked += u64::from(outcome.panicked.is_some());
        if outcome.has_failed() {
            let at = self.failing_seeds.partition_point(|seed| *seed < outcome.seed);
            self.failing_seeds.insert(at, outcome.seed);
        }
    }

    pub fn summary(&self) -> String {
        format!(
            "{} seeds, {} simulated seconds: {} site alerts, {} false, {} missed, {} late; \
             {} recoveries, {} wrong; {} repeats wrong; {} panicked; a plain timer: {} false",
            self.seeds,
            self.simulated_seconds,
            self.site_alerts,
            self.false_site_alerts,
            self.missed_site_alerts,
            self.late_site_alerts,
            self.recoveries,
            self.recoveries_wrong,
            self.repeats_wrong,
            self.panicked,
            self.control_false_site_alerts,
        )
    }
}

/// The story of a seed, a line each.
pub fn story(outcome: &Outcome) -> String {
    let scenario = Scenario::of(outcome.seed);
    let oracle = Oracle::new(&scenario);
    let mut text = format!(
        "seed {}: {} for {} sites, {} gateways, {} partitions\n",
        scenario.seed,
        clock(scenario.ends),
        scenario.sites.len(),
        scenario.gateways,
        scenario.partitions
    );
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    scenario.faults.iter().for_each(|fault| line(format!("fault     {fault}")));
    for (partition, door) in oracle.doors().iter().enumerate() {
        line(format!("touched   {partition}: {}", spans(&door.touched, scenario.ends)));
        line(format!("barred    {partition}: {}", spans(&door.barred, scenario.ends)));
    }
    for site in scenario.sites.iter().filter(|s| s.alive.iter().all(|(_, to)| to != Ms::MAX)) {
        let Some((_, died)) = site.alive.iter().last() else {
            line(format!("never     {}", site.id));
            continue;
        };
        line(format!("dies      {} {} of partition {}", clock(died), site.id, site.partition));
    }
    for told in &outcome.told {
        line(format!("told      {} {:?}", clock(told.decided), told.alert));
    }
    for wrong in &outcome.wrong {
        let Wrong { kind, site, at, why } = wrong;
        line(format!("WRONG     {} {site}: {kind:?}: {why}", clock(*at)));
    }
    line(format!("control   {} false alerts", outcome.control_false_alerts));
    text
}

fn spans(spans: &Spans, ends: Ms) -> String {
    let one = |(from, to): (Ms, Ms)| format!("{}–{}", clock(from), clock(to.min(ends)));
    spans.iter().map(one).collect::<Vec<_>>().join(", ")
}
