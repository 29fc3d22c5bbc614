//! Says whether what was told is true, by what truly happened. Pure.
//!
//! What it goes by: when each logger ran (the scenario), what of a site stood on the log and when
//! (`Seen`), and when the door was shut (`truth`). It never asks the product's clock. A site's
//! silence begins with its last upload on the log, or, when none came since the registry named it,
//! with that.
//!
//! - **False**: a site that is not watched, or is stale already, or is not truly silent. A logger
//!   that ran all the time is truly silent only when its limit was reached in time in which the door
//!   was *untouched*; one that did not run for some of it when its limit was reached in time in which
//!   the door was not *barred*: it could have been heard then. Up to [`UNSEEN`] of barred time may
//!   look open.
//! - **Late**: decided, or told, when the silence was more than the limit, the grace and
//!   [`LATE_AFTER`] of untouched time. The grace is the longest `Retry-After` and the upload interval
//!   for each touched span that ends in the silence, or so shortly before that its grace reaches into
//!   it. Told: time in which the detector was deaf does not count.
//! - **Missed**: as late, and never told while the silence lasted.
//! - **Recoveries**: the first upload of a stale site, and its removal, is told once, at that very
//!   record, and names the alert that it ends.

use crate::{
    scenario::{Scenario, Site},
    spans::{MIN, Ms, SEC},
    told::Told,
    truth::Door,
};
use heliograph_contract::alert::Alert;

/// See the module.
pub const LATE_AFTER: Ms = 2 * MIN;
/// How long a door may be shut before a tick can know it: an upload to itself is given up after two
/// seconds, once a second; and a step of the log's clock counts for three.
pub const UNSEEN: Ms = 10 * SEC;

/// What stood on the log of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub at: Ms,
    pub offset: u64,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Upload,
    Watched,
    Removed,
}

/// Something that was told, or not told, and should not have been so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub kind: Kind,
    pub site: String,
    /// When it was decided, or should have been at the latest.
    pub at: Ms,
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    False,
    Missed,
    Late,
    Recovery,
}

/// Knows when the door was truly shut.
#[derive(Debug)]
pub struct Oracle<'a> {
    scenario: &'a Scenario,
    doors: Vec<Door>,
}

impl<'a> Oracle<'a> {
    pub fn new(scenario: &'a Scenario) -> Self {
        let doors = (0..scenario.partitions).map(|p| Door::of(scenario, p)).collect();
        Self { scenario, doors }
    }

    pub fn doors(&self) -> &[Door] {
        &self.doors
    }

    /// All that is wrong with what was told of all sites, given what stood on the log of each.
    pub fn judge(&self, seen: &[Vec<Seen>], told: &[Told]) -> Vec<Wrong> {
        let mut by_site: Vec<&Told> = told.iter().collect();
        by_site.sort_by_key(|t| (t.alert.site_id(), t.offset));
        let mut wrong = Vec::new();
        for (site, seen) in self.scenario.sites.iter().zip(seen) {
            let first = by_site.partition_point(|t| t.alert.site_id() < Some(site.id.as_str()));
            let end = by_site.partition_point(|t| t.alert.site_id() <= Some(site.id.as_str()));
            let mut case = Case::new(site, self.door(site), &mut wrong);
            case.hear(seen, &by_site[first..end], self.scenario.ends);
        }
        wrong
    }

    /// Why the site's silence from `since` to `at` is not its own; none when it is.
    pub fn not_silent(&self, site: &Site, since: Ms, at: Ms) -> Option<String> {
        not_silent(site, self.door(site), since, at)
    }

    fn door(&self, site: &Site) -> &Door {
        &self.doors[site.partition as usize]
    }
}

fn not_silent(site: &Site, door: &Door, since: Ms, at: Ms) -> Option<String> {
    let ran = site.alive.outside(since, at) == 0;
    let could = match ran {
        true => door.touched.outside(since, at),
        false => door.barred.outside(since, at) + UNSEEN,
    };
    (could < site.limit).then(|| {
        let (who, door) = if ran { ("ran", "untouched") } else { ("did not run", "not barred") };
        let [could, all, limit] = [could, at - since, site.limit].map(|ms| ms / SEC);
        format!("its logger {who}; {could} s {door} of {all} s, limit {limit} s")
    })
}

/// A site's story, told from its first record to its last.
struct Case<'a> {
    site: &'a Site,
    door: &'a Door,
    watched: Option<Ms>,
    /// Its last upload, or when it was first watched.
    since: Option<Ms>,
    /// The alert that stands, by its id.
    stale: Option<String>,
    wrong: &'a mut Vec<Wrong>,
}

impl<'a> Case<'a> {
    fn new(site: &'a Site, door: &'a Door, wrong: &'a mut Vec<Wrong>) -> Self {
        Self { site, door, watched: None, since: None, stale: None, wrong }
    }

    fn say(&mut self, kind: Kind, at: Ms, why: String) {
        self.wrong.push(Wrong { kind, site: self.site.id.clone(), at, why });
    }

    fn hear(&mut self, seen: &[Seen], told: &[&Told], ends: Ms) {
        let mut told = told.iter().peekable();
        for one in seen {
            while let Some(next) = told.next_if(|t| t.offset < one.offset) {
                self.alert(next);
            }
            let ended = self.happens(one);
            let recovery = told.next_if(|t| t.offset == one.offset);
            self.recovered(one, ended, recovery.map(|t| &t.alert));
        }
        for left in told {
            self.alert(left);
        }
        self.silence_ends(ends);
    }

    /// Something stood on the log; the alert that ended with it.
    fn happens(&mut self, one: &Seen) -> Option<String> {
        if one.what != What::Watched {
            self.silence_ends(one.at);
        }
        match one.what {
            What::Upload => self.since = Some(one.at),
            What::Removed => (self.watched, self.since) = (None, None),
            What::Watched => {
                self.watched = Some(one.at);
                self.since.get_or_insert(one.at);
            }
        }
        if one.what == What::Watched { None } else { self.stale.take() }
    }

    fn alert(&mut self, told: &Told) {
        if let Alert::Recovered(_) = told.alert {
            return self.say(Kind::Recovery, told.decided, "nothing ended here".into());
        }
        let at = told.decided;
        let (Some(watched), Some(since)) = (self.watched, self.since) else {
            return self.say(Kind::False, at, "it is not watched".into());
        };
        if self.stale.replace(told.alert.id()).is_some() {
            return self.say(Kind::False, at, "it is stale already".into());
        }
        if let Some(why) = not_silent(self.site, self.door, since, at) {
            return self.say(Kind::False, at, why);
        }
        let since = since.max(watched);
        let lates = [
            ("decided", self.overdue(since, at, false)),
            ("told", self.overdue(since, told.emitted, true)),
        ];
        if let Some((what, by)) = lates.iter().find_map(|(what, by)| by.map(|by| (what, by))) {
            self.say(Kind::Late, at, format!("{what} {} s late", by / SEC));
        }
    }

    /// By how much an alert at `at` is late.
    fn overdue(&self, since: Ms, at: Ms, is_told: bool) -> Option<Ms> {
        let Door { touched, deaf, .. } = self.door;
        let open = match is_told {
            true => touched.or(deaf).outside(since, at),
            false => touched.outside(since, at),
        };
        let length = self.site.grace();
        let graces = touched.iter().filter(|&(_, to)| to < at && to + length > since).count() as Ms;
        let latest = self.site.limit + graces * length + LATE_AFTER;
        open.checked_sub(latest).filter(|by| *by > 0)
    }

    fn silence_ends(&mut self, at: Ms) {
        let (Some(watched), Some(since), None) = (self.watched, self.since, &self.stale) else {
            return;
        };
        if let Some(by) = self.overdue(since.max(watched), at, false) {
            self.say(Kind::Missed, at, format!("{} s overdue", by / SEC));
        }
    }

    fn recovered(&mut self, one: &Seen, ended: Option<String>, told: Option<&Alert>) {
        let why = match (ended, told) {
            (None, None) => return,
            (Some(stale), Some(Alert::Recovered(told))) => {
                if told.stale_id == stale && told.removed == (one.what == What::Removed) {
                    return;
                }
                "it names another alert"
            }
            (Some(_), None) => "not told",
            (_, Some(_)) => "nothing ended here",
        };
        self.say(Kind::Recovery, one.at, why.into());
    }
}

#[cfg(test)]
mod tests;
