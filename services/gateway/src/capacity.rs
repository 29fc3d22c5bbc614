//! Places for uploads that are being worked on, for the bytes that they need, and for streams.
//!
//! Invariant: no more is held at once than the configuration says, by all sites together and by
//! each of them, so that one site leaves places to the others whatever it does. A site that holds
//! nothing costs no memory. Nobody waits here. What it is not: it knows no answer and no rate.

use crate::metrics::PlaceMetrics;
use heliograph_domain::SiteId;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So much of each kind, held or at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    pub uploads: usize,
    pub bytes: usize,
    pub streams: usize,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The site holds its whole share.
    Share,
    /// All that there is is held.
    All,
}

/// What there is.
#[derive(Debug)]
pub struct Capacity {
    uploads: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    shares: Arc<Shares>,
}

/// A place for an upload; given back when dropped.
#[derive(Debug)]
pub struct Place {
    _upload: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
    share: Share,
}

/// A place for a stream; given back when dropped.
#[derive(Debug)]
pub struct StreamPlace {
    _stream: OwnedSemaphorePermit,
    _share: Share,
}

impl Capacity {
    pub fn new(all: Amount, of_site: Amount, metrics: PlaceMetrics) -> Self {
        metrics.most(all);
        Self {
            uploads: Arc::new(Semaphore::new(all.uploads)),
            bytes: Arc::new(Semaphore::new(all.bytes)),
            streams: Arc::new(Semaphore::new(all.streams)),
            shares: Arc::new(Shares { max: of_site, held: Mutex::default(), metrics }),
        }
    }

    /// A place for an upload of so many bytes; who is no site has no share.
    ///
    /// # Errors
    /// [`Full`].
    pub fn admit(&self, site: Option<&SiteId>, bytes: usize) -> Result<Place, Full> {
        let share = self.share(site, Amount { uploads: 1, bytes, streams: 0 })?;
        let _upload = take(&self.uploads, 1)?;
        Ok(Place { _upload, bytes: take(&self.bytes, bytes)?, share })
    }

    /// A place for a stream.
    ///
    /// # Errors
    /// [`Full`].
    pub fn admit_stream(&self, site: Option<&SiteId>) -> Result<StreamPlace, Full> {
        let _share = self.share(site, Amount { streams: 1, ..Amount::default() })?;
        Ok(StreamPlace { _stream: take(&self.streams, 1)?, _share })
    }

    fn share(&self, site: Option<&SiteId>, of: Amount) -> Result<Share, Full> {
        if let Some(site) = site {
            self.shares.take(site, of)?;
        }
        self.shares.metrics.add(of);
        Ok(Share { shares: self.shares.clone(), site: site.cloned(), held: of })
    }
}

fn take(of: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit, Full> {
    let count = u32::try_from(count).map_err(|_| Full::All)?;
    of.clone().try_acquire_many_owned(count).map_err(|_| Full::All)
}

impl Place {
    /// Takes what is missing to so many bytes, or nothing.
    ///
    /// # Errors
    /// [`Full`].
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.bytes.num_permits());
        self.share.grow(more)?;
        match take(self.bytes.semaphore(), more) {
            Ok(taken) => self.bytes.merge(taken),
            Err(full) => {
                self.share.shrink(more);
                return Err(full);
            }
        }
        Ok(())
    }

    /// It turned out to be no more than this.
    pub fn shrink_to(&mut self, bytes: usize) {
        let unused = self.bytes.num_permits().saturating_sub(bytes);
        drop(self.bytes.split(unused));
        self.share.shrink(unused);
    }
}

/// What each site holds.
#[derive(Debug)]
struct Shares {
    max: Amount,
    held: Mutex<HashMap<SiteId, Amount>>,
    metrics: PlaceMetrics,
}

/// A part of a site's share; given back when dropped.
#[derive(Debug)]
struct Share {
    shares: Arc<Shares>,
    site: Option<SiteId>,
    held: Amount,
}

impl Shares {
    fn take(&self, site: &SiteId, more: Amount) -> Result<(), Full> {
        let mut held = self.held();
        let before = held.get(site).copied().unwrap_or_default();
        let after = Amount {
            uploads: before.uploads.saturating_add(more.uploads),
            bytes: before.bytes.saturating_add(more.bytes),
            streams: before.streams.saturating_add(more.streams),
        };
        let max = self.max;
        if after.uploads > max.uploads || after.bytes > max.bytes || after.streams > max.streams {
            return Err(Full::Share);
        }
        held.insert(site.clone(), after);
        Ok(())
    }

    fn give_back(&self, site: &SiteId, less: Amount) {
        let mut held = self.held();
        let Entry::Occupied(mut entry) = held.entry(site.clone()) else { return };
        let left = entry.get_mut();
        left.uploads = left.uploads.saturating_sub(less.uploads);
        left.bytes = left.bytes.saturating_sub(less.bytes);
        left.streams = left.streams.saturating_sub(less.streams);
        if *left == Amount::default() {
            entry.remove();
        }
    }

    /// Counts stay sound wherever a holder panics.
    fn held(&self) -> MutexGuard<'_, HashMap<SiteId, Amount>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        if let Some(site) = &self.site {
            self.shares.take(site, Amount { bytes, ..Amount::default() })?;
        }
        self.shares.metrics.add(Amount { bytes, ..Amount::default() });
        self.held.bytes += bytes;
        Ok(())
    }

    fn shrink(&mut self, bytes: usize) {
        self.shares.metrics.remove(Amount { bytes, ..Amount::default() });
        self.held.bytes = self.held.bytes.saturating_sub(bytes);
        if let Some(site) = &self.site {
            self.shares.give_back(site, Amount { bytes, ..Amount::default() });
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.metrics.remove(self.held);
        if let Some(site) = &self.site {
            self.shares.give_back(site, self.held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Amount = Amount { uploads: usize::MAX, bytes: usize::MAX, streams: usize::MAX };

    fn metrics() -> PlaceMetrics {
        PlaceMetrics::default()
    }

    /// What the metrics say is held: uploads, bytes, streams.
    fn shown(capacity: &Capacity) -> [i64; 3] {
        let PlaceMetrics { uploads, bytes, streams, .. } = &capacity.shares.metrics;
        [uploads.get(), bytes.get(), streams.get()]
    }

    fn site(name: &str) -> SiteId {
        SiteId::parse(name).unwrap()
    }

    #[test]
    fn places_are_limited_by_number_and_by_bytes_and_come_back() {
        let capacity =
            Capacity::new(Amount { uploads: 2, bytes: 100, streams: 1 }, MOST, metrics());
        let site = site("a");
        let admit = |bytes| capacity.admit(Some(&site), bytes);
        let first = admit(60).unwrap();
        assert_eq!(admit(60).err(), Some(Full::All), "over the bytes");
        let mut second = admit(40).unwrap();
        assert_eq!(admit(0).err(), Some(Full::All), "over the number");
        drop(first);
        second.shrink_to(10);
        assert_eq!(second.grow_to(101), Err(Full::All), "over the bytes");
        assert_eq!(second.grow_to(40), Ok(()));
        assert_eq!(admit(61).err(), Some(Full::All), "what it grew by is taken");
        second.shrink_to(10);
        assert_eq!(shown(&capacity), [1, 10, 0]);
        assert!(admit(90).is_ok(), "what was not needed is free again");
        drop(second);
        assert!(admit(100).is_ok());
        assert_eq!(capacity.shares.held().len(), 0, "who holds nothing is not remembered");
    }

    #[test]
    fn a_site_has_its_share_and_leaves_the_rest_to_others() {
        let all = Amount { uploads: 10, bytes: 1_000, streams: 10 };
        let capacity = Capacity::new(all, Amount { uploads: 2, bytes: 100, streams: 1 }, metrics());
        let (a, b) = (site("a"), site("b"));
        let mut first = capacity.admit(Some(&a), 60).unwrap();
        assert_eq!(capacity.admit(Some(&a), 41).err(), Some(Full::Share), "over its bytes");
        assert_eq!(first.grow_to(101), Err(Full::Share));
        let second = capacity.admit(Some(&a), 40).unwrap();
        assert_eq!(capacity.admit(Some(&a), 0).err(), Some(Full::Share), "over its number");
        let stream = capacity.admit_stream(Some(&a)).unwrap();
        assert_eq!(capacity.admit_stream(Some(&a)).err(), Some(Full::Share));
        assert!(capacity.admit(Some(&b), 100).is_ok() && capacity.admit_stream(Some(&b)).is_ok());
        assert!(capacity.admit(None, 900).is_ok(), "who is no site has no share");
        drop(second);
        first.shrink_to(10);
        assert_eq!(first.grow_to(100), Ok(()), "what came back can be taken again");
        assert_eq!(shown(&capacity), [1, 100, 1]);
        drop((first, stream));
        assert_eq!(shown(&capacity), [0, 0, 0]);
        assert_eq!(capacity.shares.held().len(), 0, "who holds nothing is not remembered");
    }

    #[test]
    fn what_all_hold_is_given_back_to_the_share_when_there_is_no_place() {
        let all = Amount { uploads: 1, bytes: 100, streams: 0 };
        let capacity = Capacity::new(all, Amount { uploads: 5, bytes: 200, streams: 5 }, metrics());
        let a = site("a");
        assert_eq!(capacity.admit(Some(&a), 101).err(), Some(Full::All));
        assert_eq!(capacity.admit_stream(Some(&a)).err(), Some(Full::All));
        let mut place = capacity.admit(Some(&a), 1).unwrap();
        assert_eq!(place.grow_to(150), Err(Full::All));
        assert_eq!(shown(&capacity), [1, 1, 0]);
        drop(place);
        assert_eq!(capacity.shares.held().len(), 0);
        assert!(capacity.admit(Some(&a), 100).is_ok());
    }
}
