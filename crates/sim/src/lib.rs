//! A simulation of the staleness detector: hours of a small world in a second, judged by what truly
//! happened in it.
//!
//! ```text
//!             scenario (a seed: sites, faults) ─────────────────────────────┐
//!                │                                                          ▼
//!  loggers ─▶ balancer ─▶ gateways ─▶ log ─▶ detectors ─▶ alerts ─────▶ oracle ─▶ report
//!                            │ ticks   ▲        │ ▲                         ▲
//!                            └─────────┘        ▼ │                         │
//!                          registry ─▶ log   snapshots       truth: when the door was shut
//! ```
//!
//! What decides is the product's own code: `PartitionTicks` and `Door` of the gateway, `Partition`
//! and `Snapshot` of the detector. What surrounds it is made up here, and goes wrong as `fault`
//! says.
//!
//! Invariant: one number decides everything; a seed that failed fails again, bit by bit. What it is
//! not: it runs no sockets, no brokers and no clocks; the tests of whole processes do. It has no
//! faults that ticks cannot see: nothing in the product watches for these yet.
//!
//! In the order of the flow: `scenario`, `fault` → `world` (with `queue`, `logger`, `balancer`,
//! `gateway`, `log`, `detector`, `told`) → `truth`, `oracle`, `control` → `report`, `many`.

mod balancer;
mod control;
mod detector;
pub mod fault;
mod gateway;
mod log;
mod logger;
pub mod many;
pub mod oracle;
#[cfg(feature = "planted")]
pub mod planted;
mod queue;
pub mod report;
pub mod scenario;
pub mod spans;
pub mod told;
pub mod truth;
pub mod world;

#[cfg(test)]
mod tests {
    use crate::{many, report::Outcome};

    #[test]
    fn a_seed_runs_bit_identically() {
        for seed in [3, 11, 42] {
            let (once, again) = (Outcome::of(seed), Outcome::of(seed));
            assert_eq!(once.digest, again.digest);
            assert_eq!(once.encoded, again.encoded);
            assert_eq!(once.control_false_alerts, again.control_false_alerts);
        }
        assert_ne!(Outcome::of(3).digest, Outcome::of(4).digest);
    }

    #[test]
    fn no_fault_of_ours_is_reported_as_a_sites_and_no_silence_is_missed() {
        let report = many::run(0..300, |_| {});
        assert_eq!(report.failing_seeds, [0; 0], "{}", report.summary());
        assert!(report.site_alerts > 300 && report.recoveries > 100, "{}", report.summary());
        assert!(report.control_false_site_alerts > 0, "{}", report.summary());
    }
}
