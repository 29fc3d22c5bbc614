//! Buckets that are rolled up and that ClickHouse does not know to be clean yet.
//!
//! Each block of readings brings an insert into `dirty_buckets` anyway: marks that wait here go with
//! it, so that there is one insert instead of two. Where no block comes for a while, the roller
//! inserts them by itself. A mark that waits costs nothing but a bucket that is read raw, and one
//! that is lost with its process a recompute.

use super::DirtyMark;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Marks that wait for company; cloned, it is the same waiting room.
#[derive(Debug, Clone, Default)]
pub struct CleanMarks(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    marks: Vec<DirtyMark>,
    /// When the first of them came.
    since: Option<Instant>,
}

impl CleanMarks {
    /// These buckets are rolled up to these changes.
    pub fn add(&self, marks: Vec<DirtyMark>) {
        if marks.is_empty() {
            return;
        }
        let mut waiting = self.lock();
        waiting.since.get_or_insert_with(Instant::now);
        waiting.marks.extend(marks);
    }

    /// Takes those that go with an insert of `company`: of its months, so that no part is made for
    /// them alone.
    pub fn take_with(&self, company: &[DirtyMark]) -> Vec<DirtyMark> {
        let months: BTreeSet<i64> = company.iter().map(|mark| mark.bucket.start.month()).collect();
        let mut waiting = self.lock();
        let all = std::mem::take(&mut waiting.marks);
        let (taken, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|mark| months.contains(&mark.bucket.start.month()));
        if rest.is_empty() {
            waiting.since = None;
        }
        waiting.marks = rest;
        taken
    }

    /// Takes all of them.
    pub fn take(&self) -> Vec<DirtyMark> {
        std::mem::take(&mut *self.lock()).marks
    }

    /// When the first has waited for `patience`, if any waits.
    pub fn due(&self, patience: Duration) -> Option<Instant> {
        self.lock().since.map(|since| since + patience)
    }

    pub fn len(&self) -> usize {
        self.lock().marks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Change, SiteBucket};
    use heliograph_domain::{SiteId, Timestamp};

    const YEAR_S: i64 = 365 * 86_400;
    const PATIENCE: Duration = Duration::from_secs(2);

    fn mark(secs: i64) -> DirtyMark {
        let site = SiteId::parse("s1").unwrap();
        let bucket = SiteBucket { site, start: Timestamp::from_secs(secs) };
        DirtyMark { bucket, change: Change { partition: 0, offset: 7 } }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_company_goes_with_it_and_the_rest_is_due() {
        let clean = CleanMarks::default();
        assert_eq!(clean.due(PATIENCE), None);
        let came = Instant::now();
        clean.add(vec![mark(900), mark(YEAR_S)]);
        tokio::time::advance(Duration::from_secs(1)).await;
        clean.add(vec![mark(1_800)]);
        assert_eq!(clean.take_with(&[mark(0)]), [mark(900), mark(1_800)]);
        assert_eq!(clean.take_with(&[mark(0)]), []);
        assert_eq!(clean.due(PATIENCE), Some(came + PATIENCE));
        assert_eq!(clean.take(), [mark(YEAR_S)]);
        assert_eq!((clean.due(PATIENCE), clean.is_empty()), (None, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_room_that_was_emptied_waits_anew() {
        let clean = CleanMarks::default();
        clean.add(vec![mark(900)]);
        assert_eq!(clean.take_with(&[mark(0)]).len(), 1);
        tokio::time::advance(Duration::from_secs(5)).await;
        clean.add(vec![mark(900)]);
        assert_eq!(clean.due(PATIENCE), Some(Instant::now() + PATIENCE));
    }
}
