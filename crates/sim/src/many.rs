//! Many seeds, on all cores.

use crate::report::{Outcome, Report};
use std::{
    num::NonZero,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

/// Runs them all; `failed` is told of each that fails, in any order.
pub fn run(seeds: Range<u64>, failed: impl Fn(&Outcome) + Sync) -> Report {
    let (next, report) = (AtomicU64::new(seeds.start), Mutex::new(Report::default()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = Outcome::of(seed);
            if outcome.has_failed() {
                failed(&outcome);
            }
            report.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}
