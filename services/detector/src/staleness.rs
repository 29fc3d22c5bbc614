//! Which sites of one partition are stale. Pure: records in, in offset order; alerts out.
//!
//! A site's silence is the open time since its last upload, on the clock of its partition, less the
//! grace that it got to return in after the door was closed. It is stale when its silence reaches its
//! limit, and has recovered with its next upload. A site that never uploaded is silent since it was
//! registered.
//!
//! Invariant: what comes out depends on the records of the partition and on nothing else, so whoever
//! reads them again says the same, byte for byte. What it is not: it neither reads nor writes the
//! log; `pipeline` does.

use crate::{
    clock::{Change, Clock},
    door::Door,
    planted::{Bug, is_planted},
    sites::{NEVER, Profile, Row, Site, Sites, UNIT_MS, UNWATCHED, Units},
};
use heliograph_contract::{
    alert::Alert,
    v1::{DoorReport, DoorTick, SiteRecovered, SiteWatched, SiteWentStale, StaleReason},
};
use heliograph_domain::Timestamp;
use std::collections::BTreeMap;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub offset: u64,
    pub append_time: Timestamp,
}

/// How long a site has been silent, and what that is measured by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    pub tenant: String,
    /// When the log took its last upload; none when none came.
    pub last_upload: Option<Timestamp>,
    /// Open time since then, or since its registration, less the grace, in ms.
    pub silent_ms: u64,
    /// Open time since then that did not count, in ms.
    pub grace_ms: u64,
    pub limit_ms: u64,
    /// Where it was decided that the site is stale, if it is.
    pub stale_since: Option<At>,
}

/// What a tick came to, beside the sites that [`Partition::judge`] finds stale.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ticked {
    pub changes: Vec<Change>,
    /// For the judge.
    pub report: Option<DoorReport>,
}

/// All that a detector knows of one partition.
#[derive(Debug, Clone, Default)]
pub struct Partition {
    pub(crate) number: u32,
    pub(crate) clock: Clock,
    pub(crate) door: Door,
    pub(crate) sites: Sites,
    /// Where it was decided that a site is stale, of those that are.
    pub(crate) stale: BTreeMap<Row, At>,
    /// The largest Retry-After that a gateway said, in ms.
    pub(crate) retry_after_ms: u64,
    /// The offset of the next record.
    pub(crate) next: u64,
    /// Sites before this one have been judged at the last tick; none when all have.
    pub(crate) judging: Option<(Row, At)>,
}

impl Partition {
    pub fn new(number: u32) -> Self {
        Self { number, ..Self::default() }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn sites(&self) -> &Sites {
        &self.sites
    }

    pub fn stale_sites(&self) -> usize {
        self.stale.len()
    }

    /// The offset of the record that comes next; one below it has been read.
    pub fn next_offset(&self) -> u64 {
        self.next
    }

    /// What was last said of a site; none when nothing was, or that it is no more.
    pub fn heard_of(&self, site_id: &str) -> Option<SiteWatched> {
        self.as_said(self.sites.find(site_id.as_bytes())?)
    }

    /// What was last said of each site that is watched.
    pub fn watched_sites(&self) -> impl Iterator<Item = SiteWatched> + '_ {
        (0..self.sites.len()).filter_map(|row| self.as_said(row as Row))
    }

    fn as_said(&self, row: Row) -> Option<SiteWatched> {
        let site = self.sites.get(row);
        let profile = self.sites.profile_of(&site)?;
        Some(SiteWatched {
            site_id: self.name(row),
            version: site.version,
            tenant_id: profile.tenant.to_string(),
            upload_interval_s: profile.upload_interval_s,
            stale_after_s: profile.stale_after_s,
            removed: false,
        })
    }

    /// A record that says nothing here was read.
    pub fn pass(&mut self, at: At) {
        debug_assert!(self.judging.is_none(), "the last tick has not been judged to its end");
        self.next = at.offset + 1;
    }

    /// An upload is a sign of life when it arrives, whatever times its readings have.
    pub fn upload(&mut self, at: At, site_id: &[u8]) -> Option<Alert> {
        self.pass(at);
        let now = self.units_at_most();
        let row = self.sites.row(site_id, now);
        let mut site = self.sites.get(row);
        site.since = site.since.max(now);
        site.last_upload_s = u32::try_from(at.append_time.as_ms() / 1_000).unwrap_or(0);
        site.due = self.due(&site);
        self.sites.set(row, site);
        self.recover(row, at, false)
    }

    /// The registry said something of a site.
    pub fn watched(&mut self, at: At, said: &SiteWatched) -> Option<Alert> {
        self.pass(at);
        let now = self.units_at_most();
        let known = self.sites.find(said.site_id.as_bytes());
        if known.is_none() && said.removed {
            return None;
        }
        let row = self.sites.row(said.site_id.as_bytes(), now);
        let mut site = self.sites.get(row);
        let is_old = said.version <= site.version && !is_planted(Bug::OlderRegistryWins);
        if known.is_some() && is_old {
            return None;
        }
        let tenant = self.sites.profile_of(&site).map(|p| p.tenant.clone());
        let is_another = tenant.is_some_and(|tenant| *tenant != *said.tenant_id);
        let is_over = said.removed || is_another;
        let over = match is_over && !is_planted(Bug::RemovalUntold) {
            true => self.recover(row, at, true),
            false => None,
        };
        if is_over && !is_planted(Bug::RemovalForgotten) {
            (site.since, site.last_upload_s) = (now, 0);
        }
        if !site.is_watched() && site.last_upload_s == 0 {
            site.since = now;
        }
        site.version = said.version;
        site.profile = match said.removed && !is_planted(Bug::RemovedWatched) {
            true => UNWATCHED,
            false => self.sites.intern(Profile {
                tenant: said.tenant_id.as_str().into(),
                upload_interval_s: said.upload_interval_s,
                stale_after_s: said.stale_after_s,
            }),
        };
        site.due = if self.stale.contains_key(&row) { NEVER } else { self.due(&site) };
        self.sites.set(row, site);
        over
    }

    /// The clock goes on. Who is stale by now, [`Partition::judge`] says.
    pub fn tick(&mut self, at: At, tick: &DoorTick) -> Ticked {
        self.pass(at);
        let retry_after_ms = u64::from(tick.retry_after_max_s) * 1_000;
        self.retry_after_ms = self.retry_after_ms.max(retry_after_ms);
        let changes = self.clock.tick(at.append_time, tick);
        self.judging = Some((0, at));
        let report = self.door.ticked(self.number, at, &self.clock, &changes);
        Ticked { changes, report }
    }

    /// Nobody ticks, a detector found. It moves no clock: it is said to people while it lasts, and
    /// not only when it is over.
    pub fn ticks_missing(&mut self, at: At) -> Option<DoorReport> {
        self.pass(at);
        self.door.ticks_missing(self.number, at)
    }

    /// Goes through the sites that are due at the last tick, and adds at most `max` alerts. Called
    /// again until it says that it is through: before that no record may be read.
    #[must_use]
    pub fn judge(&mut self, max: usize, alerts: &mut Vec<Alert>) -> bool {
        let Some((mut from, at)) = self.judging else { return true };
        let open = units(self.clock.open_ms());
        for _ in 0..max {
            let Some(row) = self.sites.next_due(from, open) else {
                self.judging = None;
                return true;
            };
            alerts.extend(self.judge_one(row, at));
            from = row + 1;
        }
        self.judging = Some((from, at));
        false
    }

    /// How long a site that is watched has been silent.
    pub fn silence(&self, site_id: &str) -> Option<Silence> {
        self.silence_of(self.sites.find(site_id.as_bytes())?)
    }

    fn silence_of(&self, row: Row) -> Option<Silence> {
        let site = self.sites.get(row);
        let profile = self.sites.profile_of(&site)?;
        let (since_ms, open_ms) = (u64::from(site.since) * UNIT_MS, self.clock.open_ms());
        let length = self.retry_after_ms + u64::from(profile.upload_interval_s) * 1_000;
        let grace_ms = self.clock.graces().within(since_ms, open_ms, length);
        Some(Silence {
            tenant: profile.tenant.to_string(),
            last_upload: site.last_upload(),
            silent_ms: open_ms.saturating_sub(since_ms).saturating_sub(grace_ms),
            grace_ms,
            limit_ms: u64::from(profile.stale_after_s) * 1_000,
            stale_since: self.stale.get(&row).copied(),
        })
    }

    fn judge_one(&mut self, row: Row, at: At) -> Option<Alert> {
        let mut site = self.sites.get(row);
        let silence = self.silence_of(row)?;
        let Silence { last_upload, silent_ms, grace_ms, limit_ms, .. } = silence;
        if silent_ms < limit_ms && !is_planted(Bug::DueIsStale) {
            let again = units_up(self.clock.open_ms() + (limit_ms - silent_ms));
            site.due = if is_planted(Bug::DueOnce) { NEVER } else { again };
            self.sites.set(row, site);
            return None;
        }
        site.due = if is_planted(Bug::ToldAgain) { site.due } else { NEVER };
        let alert = Alert::WentStale(SiteWentStale {
            site_id: self.name(row),
            tenant_id: silence.tenant,
            reason: match last_upload {
                Some(_) => StaleReason::Silent,
                None => StaleReason::NeverReported,
            }
            .into(),
            last_upload_at_ms: last_upload.map(Timestamp::as_ms),
            silent_ms,
            limit_ms,
            grace_ms,
            closed_ms: last_upload.map_or(0, |last| {
                let passed = u64::try_from(at.append_time.ms_since(last)).unwrap_or(0);
                passed.saturating_sub(silent_ms + grace_ms)
            }),
            partition: self.number,
            offset: at.offset,
            decided_at_ms: at.append_time.as_ms(),
        });
        self.sites.set(row, site);
        self.stale.insert(row, at);
        Some(alert)
    }

    fn recover(&mut self, row: Row, at: At, removed: bool) -> Option<Alert> {
        let stale_since = self.stale.remove(&row)?;
        if is_planted(Bug::RecoveryForgotten) {
            self.stale.insert(row, stale_since);
        }
        let site_id = self.name(row);
        let profile = self.sites.profile_of(&self.sites.get(row))?;
        let stale_id = SiteWentStale {
            site_id: site_id.clone(),
            partition: self.number,
            offset: if is_planted(Bug::RecoveryNamesItself) {
                at.offset
            } else {
                stale_since.offset
            },
            ..SiteWentStale::default()
        };
        Some(Alert::Recovered(SiteRecovered {
            stale_id: Alert::WentStale(stale_id).id(),
            site_id,
            tenant_id: profile.tenant.to_string(),
            stale_since_ms: stale_since.append_time.as_ms(),
            removed,
            partition: self.number,
            offset: at.offset,
            decided_at_ms: at.append_time.as_ms(),
        }))
    }

    /// Ids come from the log's own checked text.
    fn name(&self, row: Row) -> String {
        String::from_utf8_lossy(self.sites.id(row)).into_owned()
    }

    /// When the site's silence has to be looked at: it may have had grace meanwhile.
    fn due(&self, site: &Site) -> Units {
        match self.sites.profile_of(site) {
            Some(_) if is_planted(Bug::NeverHeardIgnored) && site.last_upload_s == 0 => NEVER,
            Some(profile) => {
                site.since.saturating_add(units(u64::from(profile.stale_after_s) * 1_000))
            }
            None => NEVER,
        }
    }

    /// The most that open time may be now: in doubt for the site.
    fn units_at_most(&self) -> Units {
        units_up(self.clock.open_at_most_ms())
    }
}

fn units(ms: u64) -> Units {
    Units::try_from(ms / UNIT_MS).unwrap_or(NEVER - 1)
}

fn units_up(ms: u64) -> Units {
    units(ms.saturating_add(UNIT_MS - 1))
}

#[cfg(test)]
mod tests;
