//! What a partition has yet to hear of the registry. Pure.

use crate::staleness::Partition;
use heliograph_contract::v1::SiteWatched;
use heliograph_domain::registry::{Registry, Site};
use std::collections::HashSet;

/// What has to be said in the partition, for it to know of its sites what `registry` does, which has
/// been read up to `version`. Nothing that the partition has heard from a newer one.
pub fn unsaid(
    registry: &Registry,
    version: u64,
    partition: &Partition,
    is_of_partition: impl Fn(&str) -> bool,
) -> Vec<SiteWatched> {
    let mut unsaid = Vec::new();
    let mut registered = HashSet::new();
    for site in registry.sites() {
        if !is_of_partition(site.id.as_str()) {
            continue;
        }
        registered.insert(site.id.as_str());
        let said = partition.heard_of(site.id.as_str());
        let wanted = watched(site, version);
        let is_known = said.as_ref().is_some_and(|said| {
            said.version >= version || SiteWatched { version, ..said.clone() } == wanted
        });
        if !is_known {
            unsaid.push(wanted);
        }
    }
    let gone = partition
        .watched_sites()
        .filter(|said| said.version < version && !registered.contains(said.site_id.as_str()));
    unsaid.extend(gone.map(|said| SiteWatched { version, removed: true, ..said }));
    unsaid
}

fn watched(site: &Site, version: u64) -> SiteWatched {
    SiteWatched {
        site_id: site.id.to_string(),
        version,
        tenant_id: site.tenant.to_string(),
        upload_interval_s: site.upload_interval_s,
        stale_after_s: site.stale_limit_s(),
        removed: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staleness::At;
    use heliograph_domain::{SiteId, TenantId, Timestamp, registry::Entry};

    fn site(id: &str, upload_interval_s: u32) -> Entry {
        Entry::Site(Site {
            id: SiteId::parse(id).unwrap(),
            tenant: TenantId::parse("t1").unwrap(),
            name: String::new(),
            zone: "Asia/Tokyo".into(),
            upload_interval_s,
            reading_interval_s: 60,
            rated_power_w: 0.0,
            stale_after_s: None,
            token_hash: id.into(),
        })
    }

    #[test]
    fn what_differs_is_said_until_it_has_been_heard() {
        let (mut registry, mut partition) = (Registry::default(), Partition::new(0));
        registry.put(site("a1", 60));
        registry.put(site("a2", 60));
        registry.put(site("b1", 60));
        let mut offset = 0;
        let mut hear = |partition: &mut Partition, registry: &Registry, version| {
            let said = unsaid(registry, version, partition, |id| id.starts_with('a'));
            for one in &said {
                offset += 1;
                partition.watched(At { offset, append_time: Timestamp::from_ms(0) }, one);
            }
            said.iter().map(|s| (s.site_id.clone(), s.removed)).collect::<Vec<_>>()
        };
        let all = [("a1".to_owned(), false), ("a2".to_owned(), false)];
        assert_eq!(hear(&mut partition, &registry, 3), all);
        assert_eq!(hear(&mut partition, &registry, 3), [], "heard");
        assert_eq!(hear(&mut partition, &registry, 4), [], "nothing new of these");
        registry.put(site("a2", 900));
        assert_eq!(hear(&mut partition, &registry, 2), [], "of an older registry");
        assert_eq!(hear(&mut partition, &registry, 5), [("a2".to_owned(), false)]);
        registry.remove("site/a1");
        assert_eq!(hear(&mut partition, &registry, 6), [("a1".to_owned(), true)]);
        assert_eq!(hear(&mut partition, &registry, 7), [], "removed for good");
    }
}
