//! Rollups as the audit computes them: 15 minutes, UTC hour, local day, each from the readings.
//!
//! Invariant: a bucket is added up from its readings in the order of ts, without the buckets
//! below it; readings of bad quality do not count. Shares no code with the writer or `domain`.

use jiff::{Timestamp, civil::date, tz::TimeZone};

const MINUTES_15_S: i64 = 15 * 60;
const HOUR_S: i64 = 60 * 60;
const BAD: u8 = 3;

/// Which table a bucket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Minutes15,
    Hour,
    Day,
}

impl Step {
    pub const ALL: [Self; 3] = [Self::Minutes15, Self::Hour, Self::Day];

    pub const fn table(self) -> &'static str {
        match self {
            Self::Minutes15 => "readings_15m",
            Self::Hour => "readings_1h",
            Self::Day => "readings_1d",
        }
    }

    /// The bucket's number as the table has it, for people.
    pub fn show(self, bucket: i64) -> String {
        match self {
            Self::Day => date(1970, 1, 1)
                .checked_add(jiff::Span::new().try_days(bucket).unwrap_or_default())
                .map_or_else(|_| bucket.to_string(), |day| format!("{day} (local day)")),
            Self::Minutes15 | Self::Hour => {
                let length = if self == Self::Hour { "1 h" } else { "15 min" };
                Timestamp::from_second(bucket)
                    .map_or_else(|_| bucket.to_string(), |t| format!("{t} ({length})"))
            }
        }
    }
}

/// One bucket of one series, with what its readings make of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    /// Index into the site's series.
    pub series: u32,
    /// Start in seconds since 1970 UTC; for a day the days since 1970-01-01.
    pub bucket: i64,
    pub count: u64,
    pub sum: f64,
    /// Sum of the values without their signs: what rounding errors are measured by.
    pub sum_abs: f64,
    pub min: f64,
    pub max: f64,
    pub first: f64,
    pub last: f64,
    pub first_ts_ms: i64,
    pub last_ts_ms: i64,
}

impl Bucket {
    fn new(series: u32, bucket: i64, ts_ms: i64, value: f64) -> Self {
        let (first_ts_ms, last_ts_ms) = (ts_ms, ts_ms);
        let (sum, sum_abs, min, max, first, last) =
            (value, value.abs(), value, value, value, value);
        Self {
            series,
            bucket,
            count: 1,
            sum,
            sum_abs,
            min,
            max,
            first,
            last,
            first_ts_ms,
            last_ts_ms,
        }
    }

    fn add(&mut self, ts_ms: i64, value: f64) {
        self.count += 1;
        self.sum += value;
        self.sum_abs += value.abs();
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
        self.last_ts_ms = ts_ms;
    }

    /// Whether a stored row says the same: everything exactly, the sum but for rounding.
    pub fn equals(&self, stored: &Self) -> bool {
        let exact = [
            (self.min, stored.min),
            (self.max, stored.max),
            (self.first, stored.first),
            (self.last, stored.last),
        ];
        self.count == stored.count
            && exact.iter().all(|(a, b)| a == b)
            && (self.sum - stored.sum).abs() <= self.sum_abs * 1e-9
            && (self.first_ts_ms, self.last_ts_ms) == (stored.first_ts_ms, stored.last_ts_ms)
    }

    pub fn show(&self) -> String {
        format!(
            "count {} sum {:?} min {:?} max {:?} first {:?} at {} last {:?} at {}",
            self.count,
            self.sum,
            self.min,
            self.max,
            self.first,
            self.first_ts_ms,
            self.last,
            self.last_ts_ms
        )
    }
}

/// A site's days: which local day a time falls into. Remembers the day it answered last.
#[derive(Debug)]
struct Days {
    zone: TimeZone,
    start_ms: i64,
    end_ms: i64,
    day: i64,
}

impl Days {
    fn new(zone: TimeZone) -> Self {
        Self { zone, start_ms: 0, end_ms: 0, day: 0 }
    }

    /// Days since 1970-01-01; `None` outside of the calendar.
    fn day(&mut self, ts_ms: i64) -> Option<i64> {
        if !(self.start_ms..self.end_ms).contains(&ts_ms) {
            let local = Timestamp::from_millisecond(ts_ms).ok()?.to_zoned(self.zone.clone());
            let next = local.tomorrow().ok()?.start_of_day().ok()?;
            self.start_ms = local.start_of_day().ok()?.timestamp().as_millisecond();
            self.end_ms = next.timestamp().as_millisecond();
            self.day = i64::from(date(1970, 1, 1).until(local.date()).ok()?.get_days());
        }
        Some(self.day)
    }
}

/// Adds a site's readings up, as they come in the order (series, ts).
#[derive(Debug)]
pub struct Recompute {
    days: Option<Days>,
    minutes_15: Vec<Bucket>,
    hours: Vec<Bucket>,
    local_days: Vec<Bucket>,
}

impl Recompute {
    /// Without a zone there are no days.
    pub fn new(zone: Option<TimeZone>) -> Self {
        let (minutes_15, hours, local_days) = (Vec::new(), Vec::new(), Vec::new());
        Self { days: zone.map(Days::new), minutes_15, hours, local_days }
    }

    pub fn add(&mut self, series: u32, ts_ms: i64, value: f64, quality: u8) {
        if quality == BAD {
            return;
        }
        for step in Step::ALL {
            let Some(bucket) = self.bucket(step, ts_ms) else { continue };
            let list = self.list(step);
            match list.last_mut() {
                Some(open) if (open.series, open.bucket) == (series, bucket) => {
                    open.add(ts_ms, value);
                }
                _ => list.push(Bucket::new(series, bucket, ts_ms, value)),
            }
        }
    }

    /// The bucket that a time falls into.
    pub fn bucket(&mut self, step: Step, ts_ms: i64) -> Option<i64> {
        let floor = |step_s: i64| ts_ms.div_euclid(step_s * 1_000) * step_s;
        match step {
            Step::Minutes15 => Some(floor(MINUTES_15_S)),
            Step::Hour => Some(floor(HOUR_S)),
            Step::Day => self.days.as_mut()?.day(ts_ms),
        }
    }

    fn list(&mut self, step: Step) -> &mut Vec<Bucket> {
        match step {
            Step::Minutes15 => &mut self.minutes_15,
            Step::Hour => &mut self.hours,
            Step::Day => &mut self.local_days,
        }
    }

    /// The buckets of one step, in the order (series, bucket).
    pub fn take(&mut self, step: Step) -> Vec<Bucket> {
        std::mem::take(self.list(step))
    }

    pub fn has_days(&self) -> bool {
        self.days.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn buckets(zone: &str, readings: &[(&str, f64, u8)]) -> Recompute {
        let mut recompute = Recompute::new(Some(TimeZone::get(zone).unwrap()));
        readings.iter().for_each(|(at, value, quality)| recompute.add(0, ms(at), *value, *quality));
        recompute
    }

    #[test]
    fn a_bucket_is_made_of_its_readings_but_not_of_bad_ones() {
        let mut got = buckets(
            "Asia/Tokyo",
            &[
                ("2026-01-01T00:00:00Z", 2.0, 1),
                ("2026-01-01T00:14:59.999Z", -3.0, 2),
                ("2026-01-01T00:15:00Z", 50.0, 3),
                ("2026-01-01T00:59:00Z", 7.0, 1),
            ],
        );
        let quarters = got.take(Step::Minutes15);
        assert_eq!(quarters.len(), 2);
        let b = quarters[0];
        assert_eq!((b.count, b.sum, b.sum_abs, b.min, b.max), (2, -1.0, 5.0, -3.0, 2.0));
        assert_eq!((b.first, b.last, b.bucket), (2.0, -3.0, ms("2026-01-01T00:00:00Z") / 1_000));
        let hours = got.take(Step::Hour);
        assert_eq!((hours.len(), hours[0].count, hours[0].sum), (1, 3, 6.0));
    }

    #[test]
    fn a_day_is_the_sites_own_also_where_clocks_change() {
        let day = |text: &str| {
            i64::from(
                date(1970, 1, 1)
                    .until(text.parse::<jiff::civil::Date>().unwrap())
                    .unwrap()
                    .get_days(),
            )
        };
        let rows = [
            ("Etc/GMT+7", "2022-01-02T06:59:59.999Z", "2022-01-01"),
            ("Etc/GMT+7", "2022-01-02T07:00:00Z", "2022-01-02"),
            ("Asia/Tokyo", "2026-01-01T15:00:00Z", "2026-01-02"),
            ("Europe/Berlin", "2026-03-29T21:59:59Z", "2026-03-29"),
            ("Europe/Berlin", "2026-03-29T22:00:00Z", "2026-03-30"),
            ("Europe/Berlin", "2026-10-25T22:59:59Z", "2026-10-25"),
            ("Europe/Berlin", "2026-10-25T23:00:00Z", "2026-10-26"),
        ];
        for (zone, at, want) in rows {
            let mut got = buckets(zone, &[(at, 1.0, 1)]);
            assert_eq!(got.take(Step::Day)[0].bucket, day(want), "{zone} {at}");
        }
        // The same day is remembered, another one is not taken for it.
        let mut got = buckets(
            "Europe/Berlin",
            &[
                ("2026-03-28T23:00:00Z", 1.0, 1),
                ("2026-03-29T21:00:00Z", 1.0, 1),
                ("2026-03-29T22:00:00Z", 1.0, 1),
            ],
        );
        let counts: Vec<u64> = got.take(Step::Day).iter().map(|b| b.count).collect();
        assert_eq!(counts, [2, 1]);
    }

    #[test]
    fn series_do_not_flow_into_each_other() {
        let mut got = Recompute::new(None);
        got.add(0, 1_000, 1.0, 1);
        got.add(1, 1_000, 2.0, 1);
        assert_eq!(got.take(Step::Hour).iter().map(|b| b.series).collect::<Vec<_>>(), [0, 1]);
        assert!(!got.has_days() && got.take(Step::Day).is_empty());
    }

    #[test]
    fn only_the_sum_may_differ_and_only_by_rounding() {
        let mut b = Bucket::new(0, 0, 1, 1e9);
        b.add(2, -1e9);
        let with = |change: fn(&mut Bucket)| {
            let mut other = b;
            change(&mut other);
            b.equals(&other)
        };
        assert!(with(|o| o.sum += 0.5), "against the size of what was added, not of what is left");
        assert!(!with(|o| o.sum += 5.0));
        assert!(!with(|o| o.count += 1));
        assert!(!with(|o| o.min = -1.000_000_1e9));
        assert!(!with(|o| o.last_ts_ms += 1));
        assert!(!with(|o| o.first = f64::NAN));
    }
}
