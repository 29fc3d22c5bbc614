//! What the registry says of the sites, and how it comes to their partitions.

use super::World;
use crate::{
    log::Body,
    oracle::{Seen, What},
    queue::Event,
    spans::{MIN, SEC},
};
use heliograph_contract::v1::SiteWatched;
use rand::RngExt;

impl World<'_> {
    pub(super) fn registers(&mut self, site: usize, entry: usize) {
        self.registered[site] = !self.scenario.sites[site].entries[entry].removed;
        let in_ms = self.between(100, 5 * SEC);
        self.after(in_ms, Event::Watches { site, entry, is_repeat: false });
    }

    pub(super) fn watches(&mut self, site: usize, entry: usize, is_repeat: bool) {
        let plan = &self.scenario.sites[site];
        if self.faults().any(|f| f.bars(plan.partition)) {
            self.after(SEC, Event::Watches { site, entry, is_repeat });
            return;
        }
        let removed = plan.entries[entry].removed;
        let said = SiteWatched {
            site_id: plan.id.clone(),
            version: entry as u64 + 1,
            tenant_id: format!("tenant-{}", site % 7),
            upload_interval_s: (plan.interval / SEC) as u32,
            stale_after_s: (plan.limit / SEC) as u32,
            removed,
        };
        let offset = self.append(plan.partition, Body::Watched(said));
        if is_repeat {
            return;
        }
        let what = if removed { What::Removed } else { What::Watched };
        self.seen[site].push(Seen { at: self.now, offset, what });
        // Whoever takes over the partition says it again.
        if self.rng.random_bool(0.2) {
            let in_ms = self.between(SEC, 30 * MIN);
            self.after(in_ms, Event::Watches { site, entry, is_repeat: true });
        }
        if let Some(next) = plan.entries.get(entry + 1) {
            let at = next.at.max(self.now + SEC);
            self.queue.at(at, Event::Registers { site, entry: entry + 1 });
        }
    }
}
