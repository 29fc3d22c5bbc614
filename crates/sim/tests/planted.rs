//! Every planted bug is found by the simulation.

use heliograph_sim::planted;

const SEEDS: u64 = 1_000;

#[test]
fn every_planted_bug_is_found() {
    let all = planted::all(SEEDS, |_| {});
    assert!(all.len() >= 20);
    let missed: Vec<_> = all.iter().filter(|found| found.first_failing_seed.is_none()).collect();
    assert!(missed.is_empty(), "missed within {SEEDS} seeds: {missed:#?}");
}
