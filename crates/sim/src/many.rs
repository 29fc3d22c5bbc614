//! Many seeds, on all cores.
//!
//! Invariant: a seed that panics is one that failed, and keeps no other from being run.

use crate::report::{Outcome, Report};
use std::{
    any::Any,
    num::NonZero,
    ops::{ControlFlow, Range},
    panic,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

/// Runs them all; `failed` is told of each that fails, in any order.
pub fn run(seeds: Range<u64>, failed: impl Fn(&Outcome) + Sync) -> Report {
    let report = Mutex::new(Report::default());
    each(seeds, Outcome::of, |outcome| {
        if outcome.has_failed() {
            failed(&outcome);
        }
        report.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome);
        ControlFlow::Continue(())
    });
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The first of them that fails and is none of `known`; those far behind it are not run.
pub fn first_failing(seeds: Range<u64>, known: &[u64]) -> Option<Outcome> {
    let first = Mutex::new(None::<Outcome>);
    each(seeds, Outcome::of, |outcome| {
        if !outcome.has_failed() || known.contains(&outcome.seed) {
            return ControlFlow::Continue(());
        }
        let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|first| outcome.seed < first.seed) {
            *first = Some(outcome);
        }
        ControlFlow::Break(())
    });
    first.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Begins them in their order, up to where one breaks off. What was begun is finished.
fn each(
    seeds: Range<u64>,
    of: impl Fn(u64) -> Outcome + Sync,
    visit: impl Fn(Outcome) -> ControlFlow<()> + Sync,
) {
    let (next, stopped) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let work = || {
        while !stopped.load(Relaxed) {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds.end {
                return;
            }
            // Nothing outlives a seed that could be left half done.
            let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| of(seed)));
            let outcome = outcome.unwrap_or_else(|panic| Outcome::panicked(seed, message(&*panic)));
            if visit(outcome).is_break() {
                stopped.store(true, Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_panics_has_failed_and_the_others_are_run() {
        let of = |seed| match seed {
            3 => panic!("seed {seed} is bad"),
            _ => Outcome { seed, ..Outcome::default() },
        };
        let report = Mutex::new(Report::default());
        each(0..10, of, |outcome| {
            if outcome.seed == 3 {
                assert_eq!(outcome.verdict(), "panicked: seed 3 is bad");
            }
            report.lock().unwrap().add(&outcome);
            ControlFlow::Continue(())
        });
        let report = report.into_inner().unwrap();
        assert_eq!((report.seeds, report.panicked, report.failing_seeds), (10, 1, vec![3]));
    }
}
