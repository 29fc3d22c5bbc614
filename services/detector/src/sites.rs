//! The sites of one partition, in columns: a million of them are scanned in a millisecond. Pure.
//!
//! Invariant: a site has one row for good, found by its id. What it is not: it decides nothing;
//! `staleness` does.

use crate::planted::{Bug, is_planted};
use hashbrown::HashTable;
use heliograph_domain::Timestamp;
use std::hash::BuildHasher;

/// Where a site stands in the columns.
pub type Row = u32;

/// Open time in units of [`UNIT_MS`], so that a column holds 13 years of it.
pub type Units = u32;
pub const UNIT_MS: u64 = 100;

/// What a site is due at that cannot become stale.
pub const NEVER: Units = Units::MAX;

/// What many sites have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Profile {
    pub tenant: Box<str>,
    pub upload_interval_s: u32,
    pub stale_after_s: u32,
}

/// What is known of one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// Open time at its last upload, or at its registration.
    pub since: Units,
    /// When its silence has to be looked at; [`NEVER`] while nothing can come of it.
    pub due: Units,
    /// When the log took its last upload, in s since 1970; 0 when none came.
    pub last_upload_s: u32,
    /// Which of the profiles it has; [`UNWATCHED`] when the registry has not been heard of it.
    pub profile: u32,
    /// How far the registry had been read when that was said.
    pub version: u64,
}

/// The profile of a site that uploads and that nobody watches: not yet, or no more.
pub const UNWATCHED: u32 = u32::MAX;

impl Site {
    pub const fn is_watched(&self) -> bool {
        self.profile != UNWATCHED
    }

    pub fn last_upload(&self) -> Option<Timestamp> {
        (self.last_upload_s != 0).then(|| Timestamp::from_secs(i64::from(self.last_upload_s)))
    }
}

/// What the table is made of, as a snapshot holds it.
#[derive(Debug)]
pub(crate) struct Columns {
    pub ids: Vec<u8>,
    pub id_ends: Vec<u32>,
    pub since: Vec<Units>,
    pub due: Vec<Units>,
    pub last_upload_s: Vec<u32>,
    pub profile: Vec<u32>,
    pub version: Vec<u64>,
    pub profiles: Vec<Profile>,
}

/// The table.
#[derive(Debug, Clone, Default)]
pub struct Sites {
    /// The ids one after the other, and where each ends.
    ids: Vec<u8>,
    id_ends: Vec<u32>,
    rows: HashTable<Row>,
    hasher: foldhash::fast::FixedState,
    pub(crate) since: Vec<Units>,
    pub(crate) due: Vec<Units>,
    pub(crate) last_upload_s: Vec<u32>,
    pub(crate) profile: Vec<u32>,
    pub(crate) version: Vec<u64>,
    pub(crate) profiles: Vec<Profile>,
}

impl Sites {
    pub fn len(&self) -> usize {
        self.due.len()
    }

    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    pub fn find(&self, id: &[u8]) -> Option<Row> {
        let hash = self.hasher.hash_one(id);
        self.rows.find(hash, |row| self.id(*row) == id).copied()
    }

    /// The site's row; a new one when it has none, unwatched.
    pub fn row(&mut self, id: &[u8], since: Units) -> Row {
        if let Some(row) = self.find(id) {
            return row;
        }
        let row = self.due.len() as Row;
        self.ids.extend_from_slice(id);
        self.id_ends.push(self.ids.len() as u32);
        self.since.push(since);
        self.due.push(NEVER);
        self.last_upload_s.push(0);
        self.profile.push(UNWATCHED);
        self.version.push(0);
        self.index(row);
        row
    }

    fn index(&mut self, row: Row) {
        let Self { ids, id_ends, rows, hasher, .. } = self;
        let hash_of = |row: &Row| hasher.hash_one(id_of(ids, id_ends, *row));
        rows.insert_unique(hash_of(&row), row, hash_of);
    }

    pub fn id(&self, row: Row) -> &[u8] {
        id_of(&self.ids, &self.id_ends, row)
    }

    pub fn get(&self, row: Row) -> Site {
        let row = row as usize;
        Site {
            since: self.since[row],
            due: self.due[row],
            last_upload_s: self.last_upload_s[row],
            profile: self.profile[row],
            version: self.version[row],
        }
    }

    pub fn set(&mut self, row: Row, site: Site) {
        let row = row as usize;
        self.since[row] = site.since;
        self.due[row] = site.due;
        self.last_upload_s[row] = site.last_upload_s;
        self.profile[row] = site.profile;
        self.version[row] = site.version;
    }

    pub(crate) fn ids(&self) -> (&[u8], &[u32]) {
        (&self.ids, &self.id_ends)
    }

    /// Sites from their columns; none when these do not fit together.
    pub(crate) fn from_columns(columns: Columns) -> Option<Self> {
        let Columns { ids, id_ends, since, due, last_upload_s, profile, version, profiles } =
            columns;
        let sites = id_ends.len();
        let fits = [&since, &due, &last_upload_s, &profile].iter().all(|c| c.len() == sites)
            && version.len() == sites
            && id_ends.is_sorted()
            && id_ends.last().map_or(0, |end| *end as usize) == ids.len()
            && profile.iter().all(|p| *p == UNWATCHED || (*p as usize) < profiles.len());
        if !fits {
            return None;
        }
        let mut all = Self {
            ids,
            id_ends,
            rows: HashTable::with_capacity(sites),
            since,
            due,
            last_upload_s,
            profile,
            version,
            profiles,
            ..Self::default()
        };
        let found = if is_planted(Bug::RestoredUnfound) { 0 } else { sites };
        for row in 0..found {
            all.index(row as Row);
        }
        Some(all)
    }

    /// What a watched site has in common with others.
    pub fn profile_of(&self, site: &Site) -> Option<&Profile> {
        self.profiles.get(site.profile as usize)
    }

    /// The number of a profile. There are few: tenants by their kinds of loggers.
    pub fn intern(&mut self, profile: Profile) -> u32 {
        let known = self.profiles.iter().position(|p| {
            *p == profile || is_planted(Bug::ProfileByTenant) && p.tenant == profile.tenant
        });
        known.unwrap_or_else(|| {
            self.profiles.push(profile);
            self.profiles.len() - 1
        }) as u32
    }

    /// The first site from `from` on that is due at `open`.
    pub fn next_due(&self, from: Row, open: Units) -> Option<Row> {
        // In blocks, so that the common case (nobody is due) is a comparison of vectors.
        const BLOCK: usize = 1_024;
        let mut at = from as usize;
        for block in self.due.get(at..)?.chunks(BLOCK) {
            if block.iter().fold(false, |any, due| any | (*due <= open)) {
                return block.iter().position(|due| *due <= open).map(|i| (at + i) as Row);
            }
            at += block.len();
        }
        None
    }
}

fn id_of<'a>(ids: &'a [u8], ends: &[u32], row: Row) -> &'a [u8] {
    let row = row as usize;
    let start = row.checked_sub(1).map_or(0, |before| ends[before]);
    &ids[start as usize..ends[row] as usize]
}
