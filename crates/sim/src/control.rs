//! The usual way, for comparison: a timer for each site that every upload sets back. Same limits,
//! same uploads, no clock of the pipeline. Pure.

use crate::{
    oracle::{Oracle, Seen, What},
    scenario::Scenario,
};

/// How many sites it reports that are not silent, each once a silence.
pub fn false_alerts(scenario: &Scenario, oracle: &Oracle<'_>, seen: &[Vec<Seen>]) -> u64 {
    let mut alerts = 0;
    for (site, seen) in scenario.sites.iter().zip(seen) {
        let nexts = seen.iter().skip(1).map(|next| next.at).chain([scenario.ends]);
        for (one, next) in seen.iter().zip(nexts) {
            let fires = one.at + site.limit;
            let is_watched = one.what != What::Removed;
            if is_watched && fires < next && oracle.not_silent(site, one.at, fires).is_some() {
                alerts += 1;
            }
        }
    }
    alerts
}
