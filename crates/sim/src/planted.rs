//! The proof that the simulation finds what is wrong: one bug after the other is planted in what
//! decides, and some seed must fail.
//!
//! Invariant: no fault and no rule of the oracle is there for one bug alone. What it is not: a
//! measure of how many bugs there are.

use crate::many;
use heliograph_detector::planted::{self, Bug};

/// What became of a bug.
#[derive(Debug, serde::Serialize)]
pub struct Found {
    pub bug: &'static str,
    pub what: &'static str,
    /// None when it was missed.
    pub first_failing_seed: Option<u64>,
    /// What was wrong in that.
    pub verdict: Option<String>,
}

impl Found {
    /// A line of the table.
    pub fn row(&self) -> String {
        let seed = self.first_failing_seed.map_or("MISSED".to_owned(), |seed| seed.to_string());
        let verdict = self.verdict.as_deref().unwrap_or(self.what);
        format!("{:<24} {seed:>6}  {verdict}", self.bug)
    }
}

pub fn find(name: &str) -> Option<Bug> {
    Bug::ALL.iter().copied().find(|bug| bug.name() == name)
}

/// The names of all, and what they are, a line each.
pub fn list() -> String {
    Bug::ALL.iter().map(|bug| format!("{:<24} {}\n", bug.name(), bug.what().trim())).collect()
}

/// Plants each in turn, in this process, and runs up to `seeds` until one fails that does not
/// without it. Afterwards none is planted.
pub fn all(seeds: u64, mut found: impl FnMut(&Found)) -> Vec<Found> {
    planted::plant(None);
    let known = many::run(0..seeds, |_| {}).failing_seeds;
    let one = |bug: &Bug| {
        planted::plant(Some(*bug));
        let failed = many::first_failing(0..seeds, &known);
        let one = Found {
            bug: bug.name(),
            what: bug.what().trim(),
            first_failing_seed: failed.as_ref().map(|outcome| outcome.seed),
            verdict: failed.map(|outcome| outcome.verdict()),
        };
        found(&one);
        one
    };
    let all = Bug::ALL.iter().map(one).collect();
    planted::plant(None);
    all
}
