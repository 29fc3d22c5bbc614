//! Which buckets a request selects, and which of them must be computed from raw readings.
//!
//! Pure. Invariants: a window is whole buckets, those whose start lies in `[start, end)`; the spans
//! cover every output bucket that holds a dirty 15-minute bucket, do not overlap, and are few.

use heliograph_domain::{
    Timestamp,
    rollup::{BUCKET_1H_MS, BUCKET_15M_MS, LocalDay, bucket_start, local_day},
};
use jiff::tz::TimeZone;
use std::ops::Range;

/// More spans than this become one that covers them all: raw readings are always right, only
/// slower, and a statement must not grow without bound.
pub const SPANS_MAX: usize = 16;

/// How long a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    FifteenMinutes,
    Hour,
    Day,
}

/// Whole buckets of one grain. A bucket is named by the number its table has for it: seconds since
/// 1970 of its start, or days since 1970 for a local day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub grain: Grain,
    pub buckets: Range<i64>,
    pub time: Range<Timestamp>,
    /// The local days, for [`Grain::Day`] alone.
    pub days: Vec<LocalDay>,
}

/// Neighbouring buckets that are computed from raw readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub buckets: Range<i64>,
    pub time: Range<Timestamp>,
}

impl Window {
    /// The buckets whose start lies in `[start, end)`.
    ///
    /// # Errors
    /// When a time lies outside the calendar.
    pub fn select(
        grain: Grain,
        start: Timestamp,
        end: Timestamp,
        zone: &TimeZone,
    ) -> Result<Self, jiff::Error> {
        let step_ms = match grain {
            Grain::FifteenMinutes => BUCKET_15M_MS,
            Grain::Hour => BUCKET_1H_MS,
            Grain::Day => return Self::of_days(start, end, zone),
        };
        let from = round_up(start, step_ms);
        let to = round_up(end, step_ms).max(from);
        let buckets = from.as_ms() / 1_000..to.as_ms() / 1_000;
        Ok(Self { grain, buckets, time: from..to, days: Vec::new() })
    }

    fn of_days(start: Timestamp, end: Timestamp, zone: &TimeZone) -> Result<Self, jiff::Error> {
        let mut day = local_day(start, zone)?;
        if day.start < start {
            day = local_day(day.end, zone)?;
        }
        let first = day;
        let mut days = Vec::new();
        while day.start < end {
            days.push(day);
            day = local_day(day.end, zone)?;
        }
        let last = days.last().copied();
        Ok(Self {
            grain: Grain::Day,
            buckets: number(&first)..last.map_or(number(&first), |d| number(&d) + 1),
            time: first.start..last.map_or(first.start, |d| d.end),
            days,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// How many buckets it has.
    pub fn len(&self) -> u64 {
        let step = match self.grain {
            Grain::FifteenMinutes => BUCKET_15M_MS / 1_000,
            Grain::Hour => BUCKET_1H_MS / 1_000,
            Grain::Day => 1,
        };
        u64::try_from((self.buckets.end - self.buckets.start) / step).unwrap_or(0)
    }

    /// When the bucket of this number starts; `None`: it is none of this window's.
    pub fn start_of(&self, bucket: i64) -> Option<Timestamp> {
        match self.grain {
            Grain::FifteenMinutes | Grain::Hour => Some(Timestamp::from_secs(bucket)),
            Grain::Day => self.day(|day| number(day).cmp(&bucket)).map(|day| day.start),
        }
    }

    /// The spans that hold the dirty 15-minute buckets, which must be sorted.
    pub fn spans(&self, dirty: &[Timestamp]) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for bucket in dirty.iter().filter(|ts| self.time.contains(ts)) {
            let Some(next) = self.bucket_of(*bucket) else { continue };
            match spans.last_mut() {
                Some(last) if next.time.start <= last.time.end => {
                    last.buckets.end = last.buckets.end.max(next.buckets.end);
                    last.time.end = last.time.end.max(next.time.end);
                }
                _ => spans.push(next),
            }
        }
        match (spans.first(), spans.last()) {
            (Some(first), Some(last)) if spans.len() > SPANS_MAX => vec![Span {
                buckets: first.buckets.start..last.buckets.end,
                time: first.time.start..last.time.end,
            }],
            _ => spans,
        }
    }

    /// The local days that lie in these spans.
    pub fn days_in(&self, spans: &[Span]) -> Vec<LocalDay> {
        let covered = |day: &LocalDay| spans.iter().any(|s| s.time.contains(&day.start));
        self.days.iter().filter(|day| covered(day)).copied().collect()
    }

    fn bucket_of(&self, ts: Timestamp) -> Option<Span> {
        let step_ms = match self.grain {
            Grain::FifteenMinutes => BUCKET_15M_MS,
            Grain::Hour => BUCKET_1H_MS,
            Grain::Day => {
                let position = |day: &LocalDay| match day {
                    d if d.end <= ts => std::cmp::Ordering::Less,
                    d if d.start > ts => std::cmp::Ordering::Greater,
                    _ => std::cmp::Ordering::Equal,
                };
                let day = self.day(position)?;
                return Some(Span {
                    buckets: number(day)..number(day) + 1,
                    time: day.start..day.end,
                });
            }
        };
        let start = bucket_start(ts, step_ms);
        let end = start.plus_ms(step_ms);
        Some(Span { buckets: start.as_ms() / 1_000..end.as_ms() / 1_000, time: start..end })
    }

    fn day(&self, position: impl Fn(&LocalDay) -> std::cmp::Ordering) -> Option<&LocalDay> {
        self.days.binary_search_by(position).ok().map(|at| &self.days[at])
    }
}

fn number(day: &LocalDay) -> i64 {
    day.days_since_epoch.into()
}

fn round_up(ts: Timestamp, step_ms: i64) -> Timestamp {
    bucket_start(ts.plus_ms(step_ms - 1), step_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339("ts", text).unwrap()
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn window(grain: Grain, start: &str, end: &str, zone_name: &str) -> Window {
        Window::select(grain, at(start), at(end), &zone(zone_name)).unwrap()
    }

    #[test]
    fn a_bucket_is_selected_by_its_start() {
        use Grain::{Day, FifteenMinutes, Hour};
        let rows = [
            (
                "whole hours as they are",
                window(Hour, "2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z", "UTC"),
                "2026-01-01T00:00:00Z..2026-01-01T02:00:00Z",
            ),
            (
                "the hour that began before is left out, the one that ends after is in",
                window(Hour, "2026-01-01T00:00:00.001Z", "2026-01-01T02:00:00.001Z", "UTC"),
                "2026-01-01T01:00:00Z..2026-01-01T03:00:00Z",
            ),
            (
                "a range without a start holds nothing",
                window(FifteenMinutes, "2026-01-01T00:01:00Z", "2026-01-01T00:14:00Z", "UTC"),
                "2026-01-01T00:15:00Z..2026-01-01T00:15:00Z",
            ),
            (
                "days are the site's own",
                window(Day, "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z", "Asia/Tokyo"),
                "2026-01-01T15:00:00Z..2026-01-03T15:00:00Z",
            ),
            (
                "a day of 23 hours is a day",
                window(Day, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "Europe/Berlin"),
                "2026-03-28T23:00:00Z..2026-03-29T22:00:00Z",
            ),
            (
                "no day starts in the range",
                window(Day, "2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z", "UTC"),
                "2026-01-02T00:00:00Z..2026-01-02T00:00:00Z",
            ),
        ];
        for (name, got, want) in rows {
            let (from, to) = want.split_once("..").unwrap();
            assert_eq!(got.time, at(from)..at(to), "{name}");
            assert_eq!(got.is_empty(), from == to, "{name}");
        }
    }

    #[test]
    fn days_have_numbers_and_starts() {
        let w = window(Grain::Day, "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z", "Europe/Berlin");
        assert_eq!(w.buckets, 20_541..20_544); // 2026-03-29, -30, -31
        assert_eq!(w.start_of(20_541), Some(at("2026-03-28T23:00:00Z")));
        assert_eq!(w.start_of(20_542), Some(at("2026-03-29T22:00:00Z")));
        assert_eq!(w.start_of(20_540), None, "a day that was not asked for");
    }

    #[test]
    fn neighbours_make_one_span_and_a_dirty_quarter_dirties_its_day() {
        let dirty = [
            at("2026-01-01T09:00:00Z"), // before the window
            at("2026-01-02T10:15:00Z"),
            at("2026-01-02T10:30:00Z"),
            at("2026-01-02T12:00:00Z"),
            at("2026-01-09T00:00:00Z"), // after it
        ];
        let day = window(Grain::Day, "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z", "UTC");
        let got = day.spans(&dirty);
        let whole_day = at("2026-01-02T00:00:00Z")..at("2026-01-03T00:00:00Z");
        assert_eq!(got, [Span { buckets: 20_455..20_456, time: whole_day }]);
        assert_eq!(day.days_in(&got).len(), 1);
        let quarter =
            window(Grain::FifteenMinutes, "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z", "UTC");
        let got: Vec<_> = quarter.spans(&dirty).into_iter().map(|s| s.time).collect();
        assert_eq!(
            got,
            [
                at("2026-01-02T10:15:00Z")..at("2026-01-02T10:45:00Z"),
                at("2026-01-02T12:00:00Z")..at("2026-01-02T12:15:00Z"),
            ]
        );
    }

    proptest! {
        #[test]
        fn every_dirty_bucket_lies_in_a_span_and_spans_are_few_and_apart(
            mut quarters in proptest::collection::vec(0i64..3_000, 0..60),
            grain in prop_oneof![
                Just(Grain::FifteenMinutes), Just(Grain::Hour), Just(Grain::Day)
            ],
        ) {
            quarters.sort_unstable();
            let origin = at("2026-03-20T00:00:00Z");
            let w = Window::select(
                grain, origin, origin.plus_ms(3_000 * BUCKET_15M_MS), &zone("Europe/Berlin"),
            ).unwrap();
            let dirty: Vec<_> =
                quarters.iter().map(|q| origin.plus_ms(q * BUCKET_15M_MS)).collect();
            let spans = w.spans(&dirty);
            prop_assert!(spans.len() <= SPANS_MAX);
            for ts in dirty.iter().filter(|ts| w.time.contains(ts)) {
                prop_assert!(spans.iter().any(|s| s.time.contains(ts)), "{ts} is not covered");
            }
            for pair in spans.windows(2) {
                prop_assert!(pair[0].time.end < pair[1].time.start);
                prop_assert!(pair[0].buckets.end <= pair[1].buckets.start);
            }
        }
    }
}
