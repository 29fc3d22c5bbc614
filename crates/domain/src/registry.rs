//! Who may upload and who may look: tenants, sites, API tokens; a projection of
//! `heliograph.registry`.
//!
//! Invariant: the state is the last entry of each key, whatever was applied before. What it is
//! not: it never reads the log itself; `heliograph_log::registry` feeds it.

use crate::{SiteId, TenantId, Timestamp, event_id::token_hash};
use std::collections::HashMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub id: TenantId,
    /// Shown to people.
    pub name: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    pub id: SiteId,
    pub tenant: TenantId,
    /// Shown to people.
    pub name: String,
    /// IANA time zone; the site's days are cut by it. Fixed for the life of a site.
    pub zone: String,
    /// How often the logger uploads, as declared.
    pub upload_interval_s: u32,
    /// How often the logger measures, as declared; completeness is counted against it.
    pub reading_interval_s: u32,
    /// Rated power P₀, DC at standard test conditions, in W; 0 when unknown.
    pub rated_power_w: f64,
    /// The open time without an upload after which the site is stale, in seconds; none: by its upload
    /// interval.
    pub stale_after_s: Option<u32>,
    /// SHA-256 of the upload token, hex.
    pub token_hash: String,
}

impl Site {
    /// The open time without an upload after which the site is stale, in seconds: its own, or three
    /// upload intervals and no less than five minutes.
    pub fn stale_limit_s(&self) -> u32 {
        self.stale_after_s.unwrap_or(stale_after_default_s(self.upload_interval_s))
    }
}

/// The limit of a site that has none of its own, both in seconds: see [`Site::stale_limit_s`].
pub fn stale_after_default_s(upload_interval_s: u32) -> u32 {
    const LEAST_S: u32 = 300;
    upload_interval_s.saturating_mul(3).max(LEAST_S)
}

/// A site that is gone. What it sent stays, and its days were cut by its zone.
#[derive(Debug, Clone, PartialEq)]
pub struct RemovedSite {
    /// As it was; its token's hash is empty.
    pub site: Site,
    pub at: Timestamp,
}

/// What a site's upload token begins with, so that one found in a file says what it is.
pub const UPLOAD_TOKEN_PREFIX: &str = "hg_site_";
/// What an API token begins with.
pub const API_TOKEN_PREFIX: &str = "hg_api_";

/// What an API token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads its own tenant's sites.
    Viewer,
    /// Reads and changes everything.
    Operator,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    /// SHA-256 of the token, hex.
    pub hash: String,
    pub tenant: TenantId,
    pub role: Role,
    /// What it is for, shown in lists.
    pub name: String,
    /// When it was made, where that was written down.
    pub created_at: Option<Timestamp>,
}

/// Characters of a token's hash that name it to people.
pub const TOKEN_ID_CHARS: usize = 12;

impl ApiToken {
    /// How lists and `token revoke` name it; says nothing of the token.
    pub fn id(&self) -> &str {
        self.hash.get(..TOKEN_ID_CHARS).unwrap_or(&self.hash)
    }
}

/// One entry of the registry.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    Tenant(Tenant),
    Site(Site),
    RemovedSite(RemovedSite),
    ApiToken(ApiToken),
}

impl Entry {
    /// The record's key: kind and entity id, so that compaction keeps the last of each.
    pub fn key(&self) -> String {
        match self {
            Self::Tenant(t) => format!("tenant/{}", t.id),
            Self::Site(s) | Self::RemovedSite(RemovedSite { site: s, .. }) => {
                format!("site/{}", s.id)
            }
            Self::ApiToken(t) => format!("token/{}", t.hash),
        }
    }
}

/// The registry as far as it has been read.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    tenants: HashMap<TenantId, Tenant>,
    sites: HashMap<SiteId, Site>,
    removed_sites: HashMap<SiteId, RemovedSite>,
    /// Hash of an upload token → its site.
    uploaders: HashMap<String, SiteId>,
    api_tokens: HashMap<String, ApiToken>,
}

impl Registry {
    /// Takes an entry in, over an older one of the same key.
    pub fn put(&mut self, entry: Entry) {
        match entry {
            Entry::Tenant(t) => drop(self.tenants.insert(t.id.clone(), t)),
            Entry::Site(s) => self.put_site(s),
            Entry::RemovedSite(s) => {
                self.remove_site(s.site.id.as_str());
                self.removed_sites.insert(s.site.id.clone(), s);
            }
            Entry::ApiToken(t) => drop(self.api_tokens.insert(t.hash.clone(), t)),
        }
    }

    /// Takes out the entry of `key`: the record was a tombstone.
    pub fn remove(&mut self, key: &str) {
        match key.split_once('/') {
            Some(("tenant", id)) => drop(self.tenants.remove(id)),
            Some(("site", id)) => self.remove_site(id),
            Some(("token", hash)) => drop(self.api_tokens.remove(hash)),
            _ => {}
        }
    }

    fn put_site(&mut self, site: Site) {
        self.remove_site(site.id.as_str());
        self.uploaders.insert(site.token_hash.clone(), site.id.clone());
        self.sites.insert(site.id.clone(), site);
    }

    fn remove_site(&mut self, id: &str) {
        if let Some(old) = self.sites.remove(id) {
            self.uploaders.remove(&old.token_hash);
        }
        self.removed_sites.remove(id);
    }

    pub fn tenant(&self, id: &str) -> Option<&Tenant> {
        self.tenants.get(id)
    }

    pub fn site(&self, id: &str) -> Option<&Site> {
        self.sites.get(id)
    }

    /// A site that was there once.
    /// The sites that were removed, as they were, in no order.
    pub fn removed_sites(&self) -> impl Iterator<Item = &Site> {
        self.removed_sites.values().map(|removed| &removed.site)
    }

    pub fn removed_site(&self, id: &str) -> Option<&RemovedSite> {
        self.removed_sites.get(id)
    }

    /// The zone that cuts the days of what a site sent, whether it is still there or removed.
    pub fn zone(&self, id: &str) -> Option<&str> {
        let removed = || self.removed_sites.get(id).map(|removed| &removed.site);
        self.sites.get(id).or_else(removed).map(|site| site.zone.as_str())
    }

    /// All tenants, in the order of their ids.
    pub fn tenants(&self) -> Vec<&Tenant> {
        let mut tenants: Vec<&Tenant> = self.tenants.values().collect();
        tenants.sort_by(|a, b| a.id.cmp(&b.id));
        tenants
    }

    /// All sites, in the order of their ids.
    pub fn sites(&self) -> Vec<&Site> {
        let mut sites: Vec<&Site> = self.sites.values().collect();
        sites.sort_by(|a, b| a.id.cmp(&b.id));
        sites
    }

    /// All API tokens, in no order.
    pub fn api_tokens(&self) -> impl Iterator<Item = &ApiToken> {
        self.api_tokens.values()
    }

    /// The site whose upload token this is. Hashes are looked up, so that the time it takes says
    /// nothing about the token.
    pub fn uploader(&self, token: &str) -> Option<&Site> {
        self.sites.get(self.uploaders.get(&token_hash(token))?)
    }

    /// The API token a caller presented, if there is one.
    pub fn api_token(&self, token: &str) -> Option<&ApiToken> {
        self.api_tokens.get(&token_hash(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(id: &str, token: &str) -> Site {
        Site {
            id: SiteId::parse(id).unwrap(),
            tenant: TenantId::parse("t1").unwrap(),
            name: id.to_owned(),
            zone: "Asia/Tokyo".to_owned(),
            upload_interval_s: 60,
            reading_interval_s: 60,
            rated_power_w: 0.0,
            stale_after_s: None,
            token_hash: token_hash(token),
        }
    }

    #[test]
    fn a_removed_site_is_unknown_but_its_zone_stays() {
        let mut registry = Registry::default();
        registry.put(Entry::Site(site("s1", "token")));
        let gone = Site { token_hash: String::new(), ..site("s1", "token") };
        let at = Timestamp::from_secs(1_700_000_000);
        let removed = Entry::RemovedSite(RemovedSite { site: gone, at });
        assert_eq!(removed.key(), "site/s1", "it takes the place of the site");
        registry.put(removed.clone());
        assert!(registry.site("s1").is_none() && registry.sites().is_empty());
        assert!(registry.uploader("token").is_none() && registry.uploader("").is_none());
        assert_eq!(registry.zone("s1"), Some("Asia/Tokyo"));
        assert_eq!(registry.removed_site("s1").map(|r| r.at), Some(at));
        registry.put(Entry::Site(site("s1", "again")));
        assert!(registry.removed_site("s1").is_none() && registry.site("s1").is_some());
        registry.put(removed.clone());
        registry.remove(&removed.key());
        assert_eq!(registry.zone("s1"), None, "a tombstone leaves nothing");
    }

    #[test]
    fn the_last_entry_of_a_key_counts_and_a_tombstone_removes_it() {
        let mut registry = Registry::default();
        registry.put(Entry::Site(site("s1", "old")));
        registry.put(Entry::Site(site("s1", "new")));
        registry.put(Entry::Site(site("s2", "other")));
        let uploader = |r: &Registry, token| r.uploader(token).map(|s| s.id.to_string());
        assert_eq!(uploader(&registry, "new"), Some("s1".to_owned()));
        assert_eq!(uploader(&registry, "old"), None, "its place was taken by the new one");
        registry.remove(&Entry::Site(site("s1", "new")).key());
        assert!(registry.site("s1").is_none());
        assert_eq!(uploader(&registry, "new"), None);
        assert_eq!(uploader(&registry, "other"), Some("s2".to_owned()));
        registry.remove("nonsense");
    }
}
