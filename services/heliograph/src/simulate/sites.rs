//! The sites of a simulated fleet: the sample plants, and copies of them of other sizes.

use super::sample::{FILES, SampleFile, ZONE};
use heliograph_contract::v1;
use heliograph_domain::event_id::event_id;

/// Tenant of the sample sites.
const TENANT: &str = "sample";

/// How large a site is against the plant whose data it replays.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Scale {
    /// The plants themselves as they are; each copy by a factor of its own, from its id.
    #[default]
    PerSite,
    /// All sites by this factor.
    Fixed(f64),
}

impl Scale {
    /// The factor of a site.
    pub fn factor(self, site: &SiteSpec) -> f64 {
        match self {
            Self::Fixed(factor) => factor,
            Self::PerSite if site.copy == 1 => 1.0,
            Self::PerSite => {
                // 0.500 to 2.000 in steps of a thousandth, from the site's name alone.
                let step = hash(&["scale", &site.id]) % 1_501;
                0.5 + step as f64 / 1_000.0
            }
        }
    }
}

/// A number that depends on the parts alone, the same on every machine and in every run.
pub fn hash(parts: &[&str]) -> u64 {
    let parts: Vec<&[u8]> = parts.iter().map(|p| p.as_bytes()).collect();
    u64::from_str_radix(&event_id(&parts)[..16], 16).unwrap_or_default()
}

/// One site of the fleet.
#[derive(Debug, Clone)]
pub struct SiteSpec {
    pub id: String,
    /// Index into [`FILES`].
    pub file: usize,
    /// 1: the plant itself; from 2 on a copy.
    pub copy: usize,
}

impl SiteSpec {
    pub fn sample(&self) -> &'static SampleFile {
        &FILES[self.file]
    }
}

/// The first `count` sites: the five plants, then `<name>-002` of each, and so on.
pub fn site_specs(count: usize) -> Vec<SiteSpec> {
    (0..count)
        .map(|n| {
            let (file, copy) = (n % FILES.len(), n / FILES.len() + 1);
            let id = match copy {
                1 => FILES[file].site.to_owned(),
                _ => format!("{}-{copy:03}", FILES[file].site),
            };
            SiteSpec { id, file, copy }
        })
        .collect()
}

/// The first `count` sites as they are registered.
pub fn sample_sites(count: usize) -> Vec<v1::Site> {
    site_specs(count)
        .iter()
        .map(|spec| {
            let file = spec.sample();
            let name = match spec.copy {
                1 => file.name.to_owned(),
                copy => format!("{} ({copy})", file.name),
            };
            v1::Site {
                id: spec.id.clone(),
                tenant_id: TENANT.to_owned(),
                name,
                zone: ZONE.to_owned(),
                upload_interval_s: file.upload_interval_s,
                reading_interval_s: file.reading_interval_s,
                rated_power_w: (file.rated_power_w * Scale::PerSite.factor(spec)).round(),
                ..Default::default()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_contract::registry::site;

    #[test]
    fn a_fleet_is_the_plants_and_then_copies() {
        let ids: Vec<String> = site_specs(7).into_iter().map(|s| s.id).collect();
        let want = [
            "nrel-rsf2",
            "rmis-weather",
            "serf-east",
            "serf-west",
            "snow",
            "nrel-rsf2-002",
            "rmis-weather-002",
        ];
        assert_eq!(ids, want);
    }

    #[test]
    fn every_site_can_be_registered() {
        for s in sample_sites(1_203) {
            assert!(site(s.clone()).is_ok(), "{s:?}");
        }
    }

    #[test]
    fn a_factor_is_the_sites_own_and_stays() {
        let specs = site_specs(500);
        for spec in &specs {
            let factor = Scale::PerSite.factor(spec);
            assert!((0.5..=2.0).contains(&factor));
            assert_eq!(factor, Scale::PerSite.factor(&spec.clone()));
            assert_eq!(Scale::Fixed(1.0).factor(spec), 1.0);
        }
        assert_eq!(Scale::PerSite.factor(&specs[0]), 1.0, "the plants themselves are as they are");
        assert_ne!(Scale::PerSite.factor(&specs[5]), Scale::PerSite.factor(&specs[6]));
    }
}
