//! The alerts in their order, and which sites are stale.
//!
//! Pure. Invariants: an alert is here once, however often it comes. A site's state is what was
//! decided last of it, by its partition of the uploads, in whatever order the alerts of several
//! tenants are read. The open alerts and at least the newest `kept_max` others are here. What it is
//! not: it knows no callers and no registry.

use super::incidents::Incidents;
use heliograph_contract::{
    alert::Alert,
    v1::{self, SiteWentStale},
};
use heliograph_log::Record;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem,
    ops::Range,
    sync::Arc,
};

/// Alerts that are kept besides the open ones.
const ALERTS_MAX: usize = 100_000;
const INCIDENTS_MAX: usize = 1_000;

/// Where an alert stands among all: by when it was decided, then by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    at_ms: i64,
    id: u128,
}

impl Key {
    pub const MAX: Self = Self { at_ms: i64::MAX, id: u128::MAX };

    fn of(alert: &Alert) -> Option<Self> {
        Some(Self { at_ms: alert.decided_at().as_ms(), id: parse_id(&alert.id())? })
    }

    pub fn id(self) -> String {
        format!("{:032x}", self.id)
    }

    /// As text that says which form it has: what a page token is.
    pub fn token(self) -> String {
        format!("1.{}.{}", self.at_ms, self.id())
    }

    /// Reads what [`Key::token`] wrote, and nothing else.
    pub fn parse(token: &str) -> Option<Self> {
        let (at_ms, id) = token.strip_prefix("1.")?.split_once('.')?;
        let key = Self { at_ms: at_ms.parse().ok()?, id: parse_id(id)? };
        (key.token() == token).then_some(key)
    }

    /// The first of those decided at or after a time.
    const fn at(at_ms: i64) -> Self {
        Self { at_ms, id: 0 }
    }

    fn next(self) -> Self {
        match self.id.checked_add(1) {
            Some(id) => Self { id, ..self },
            None => Self::at(self.at_ms.saturating_add(1)),
        }
    }
}

fn parse_id(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32)
}

/// Which alerts are asked for.
#[derive(Debug, Clone, Default)]
pub struct Ask<'a> {
    pub tenant: Option<&'a str>,
    pub site: Option<&'a str>,
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
    pub open_only: bool,
    pub oldest_first: bool,
    /// The last of the page before.
    pub after: Option<Key>,
    pub size: usize,
}

/// What is known of a site.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// No alert is open; since when, if it was stale before and uploaded again.
    Fresh(Option<i64>),
    Stale(SiteWentStale),
}

#[derive(Debug)]
pub struct Book {
    kept_max: usize,
    alerts: BTreeMap<Key, Kept>,
    of_tenant: BTreeSet<(Arc<str>, Key)>,
    of_site: BTreeSet<(Arc<str>, Key)>,
    /// Those of sites that are stale: never forgotten.
    open: BTreeSet<Key>,
    sites: HashMap<Arc<str>, Latest>,
    tenants: HashSet<Arc<str>>,
    pub incidents: Incidents,
}

/// An alert of a site; the names in it are empty, those beside it are shared.
#[derive(Debug)]
struct Kept {
    site: Arc<str>,
    tenant: Arc<str>,
    alert: Alert,
}

/// What was decided last of a site.
#[derive(Debug)]
struct Latest {
    /// In its partition of the uploads.
    offset: u64,
    tenant: Arc<str>,
    is: Is,
}

#[derive(Debug)]
enum Is {
    Stale(Key),
    /// It uploaded again, then.
    Back(i64),
    /// Its tenant has it no more.
    Gone,
}

impl Default for Book {
    fn default() -> Self {
        Self::keeping(ALERTS_MAX)
    }
}

impl Book {
    pub fn keeping(kept_max: usize) -> Self {
        Self {
            kept_max,
            alerts: BTreeMap::new(),
            of_tenant: BTreeSet::new(),
            of_site: BTreeSet::new(),
            open: BTreeSet::new(),
            sites: HashMap::new(),
            tenants: HashSet::new(),
            incidents: Incidents::new(INCIDENTS_MAX),
        }
    }

    /// Takes a record of the topic; passes over what is none of ours.
    pub fn read(&mut self, record: &Record) {
        match Alert::decode(&record.headers, record.value.as_ref()) {
            Ok(Some(alert)) => self.take(alert, record.at.partition),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(at = %record.at, offset = record.offset, %error, "no alert: passed over");
            }
        }
    }

    fn take(&mut self, mut alert: Alert, partition: u32) {
        let Some(key) = Key::of(&alert).filter(|key| !self.alerts.contains_key(key)) else {
            return;
        };
        let (site, tenant, offset, is) = match &mut alert {
            Alert::WentStale(a) => {
                (mem::take(&mut a.site_id), mem::take(&mut a.tenant_id), a.offset, Is::Stale(key))
            }
            Alert::Recovered(a) => {
                let is = if a.removed { Is::Gone } else { Is::Back(a.decided_at_ms) };
                (mem::take(&mut a.site_id), mem::take(&mut a.tenant_id), a.offset, is)
            }
            // It stands in every partition: the first tells it.
            Alert::IncidentOpened(_) | Alert::IncidentClosed(_) if partition != 0 => return,
            Alert::IncidentOpened(a) => return self.incidents.opened(key, mem::take(a)),
            Alert::IncidentClosed(a) => return self.incidents.closed(a),
        };
        let known = self.sites.get_key_value(site.as_str()).map(|(site, _)| site.clone());
        let site = known.unwrap_or_else(|| site.into());
        let known = self.tenants.get(tenant.as_str()).cloned();
        let tenant = known.unwrap_or_else(|| tenant.into());
        self.tenants.insert(tenant.clone());
        self.decided(&site, Latest { offset, tenant: tenant.clone(), is });
        self.of_site.insert((site.clone(), key));
        self.of_tenant.insert((tenant.clone(), key));
        self.alerts.insert(key, Kept { site, tenant, alert });
        self.forget();
    }

    /// Something was decided of a site; what was decided before counts no more.
    fn decided(&mut self, site: &Arc<str>, latest: Latest) {
        let before = self.sites.get(site);
        if before.is_some_and(|before| before.offset > latest.offset) {
            return;
        }
        if let Some(Latest { is: Is::Stale(key), .. }) = before {
            self.open.remove(key);
        }
        if let Is::Stale(key) = latest.is {
            self.open.insert(key);
        }
        self.sites.insert(site.clone(), latest);
    }

    /// Forgets the oldest that are not open, many at a time.
    fn forget(&mut self) {
        let closed = self.alerts.len() - self.open.len();
        if closed <= self.kept_max + self.kept_max / 64 {
            return;
        }
        let closed_keys = self.alerts.keys().filter(|key| !self.open.contains(key));
        let gone: Vec<Key> = closed_keys.take(closed - self.kept_max).copied().collect();
        for key in gone {
            if let Some(Kept { site, tenant, .. }) = self.alerts.remove(&key) {
                self.of_site.remove(&(site, key));
                self.of_tenant.remove(&(tenant, key));
            }
        }
    }

    /// A page of alerts, and where the next one goes on.
    pub fn list(&self, ask: &Ask<'_>) -> (Vec<v1::Alert>, Option<Key>) {
        let mut found = self.keys(ask).filter_map(|key| {
            let kept = self.alerts.get(&key)?;
            let is_asked = ask.tenant.is_none_or(|tenant| *tenant == *kept.tenant)
                && ask.site.is_none_or(|site| *site == *kept.site)
                && (!ask.open_only || self.open.contains(&key));
            is_asked.then_some((key, kept))
        });
        let page: Vec<_> = found.by_ref().take(ask.size).collect();
        let next = found.next().and(page.last()).map(|(key, _)| *key);
        (page.into_iter().map(|(_, kept)| kept.named().into_wire()).collect(), next)
    }

    /// In their order: those asked for, and few others.
    fn keys<'a>(&'a self, ask: &Ask<'_>) -> Box<dyn Iterator<Item = Key> + 'a> {
        let mut keys =
            Key::at(ask.from_ms.unwrap_or(i64::MIN))..ask.to_ms.map_or(Key::MAX, Key::at);
        match (ask.after, ask.oldest_first) {
            (Some(after), true) => keys.start = keys.start.max(after.next()),
            (Some(after), false) => keys.end = keys.end.min(after),
            (None, _) => {}
        }
        if keys.is_empty() {
            return Box::new(std::iter::empty());
        }
        let named = |name: &str, keys: Range<Key>| {
            let name: Arc<str> = name.into();
            (name.clone(), keys.start)..(name, keys.end)
        };
        let found: Box<dyn DoubleEndedIterator<Item = Key> + 'a> = match (ask.site, ask.tenant) {
            (Some(site), _) => Box::new(self.of_site.range(named(site, keys)).map(|(_, k)| *k)),
            _ if ask.open_only => Box::new(self.open.range(keys).copied()),
            (None, Some(t)) => Box::new(self.of_tenant.range(named(t, keys)).map(|(_, k)| *k)),
            (None, None) => Box::new(self.alerts.range(keys).map(|(key, _)| *key)),
        };
        match ask.oldest_first {
            true => found,
            false => Box::new(found.rev()),
        }
    }

    /// What is known of a site that is `tenant`'s now: what was decided of it as another's does not
    /// count.
    pub fn state(&self, site: &str, tenant: &str) -> State {
        let latest = self.sites.get(site).filter(|latest| *latest.tenant == *tenant);
        let open = |key| match self.alerts.get(key)?.named() {
            Alert::WentStale(stale) => Some(State::Stale(stale)),
            _ => None,
        };
        match latest.map(|latest| &latest.is) {
            Some(Is::Stale(key)) => open(key).unwrap_or(State::Fresh(None)),
            Some(Is::Back(at_ms)) => State::Fresh(Some(*at_ms)),
            Some(Is::Gone) | None => State::Fresh(None),
        }
    }

    /// Site and tenant of every open alert.
    pub fn stale(&self) -> impl Iterator<Item = (&str, &str)> {
        let open = self.open.iter().filter_map(|key| self.alerts.get(key));
        open.map(|kept| (&*kept.site, &*kept.tenant))
    }
}

impl Kept {
    /// The alert as it came.
    fn named(&self) -> Alert {
        let (site_id, tenant_id) = (self.site.to_string(), self.tenant.to_string());
        match self.alert.clone() {
            Alert::WentStale(a) => Alert::WentStale(SiteWentStale { site_id, tenant_id, ..a }),
            Alert::Recovered(a) => Alert::Recovered(v1::SiteRecovered { site_id, tenant_id, ..a }),
            of_incident => of_incident,
        }
    }
}

#[cfg(test)]
mod tests;
