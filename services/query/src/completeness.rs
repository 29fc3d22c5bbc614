//! How complete a site's data are: readings that are there against readings that were due.
//!
//! Pure; `now` is an argument. A series that had readings in the days before and has none now is
//! listed with 0: that it is silent is what people look for.

use heliograph_contract::v1;
use heliograph_domain::{
    Timestamp,
    rollup::{LocalDay, local_day},
};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;

const DAY_MS: i64 = 86_400_000;
/// A series that was there on one of so many local days before today is expected today.
const REMEMBERED_DAYS: i64 = 7;

/// The periods that a site's completeness is counted over. Both end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Periods {
    pub now: Timestamp,
    /// Start of the site's local day.
    pub today: Timestamp,
    pub day_ago: Timestamp,
    /// The first local day (days since 1970) whose series are remembered.
    pub remembered_from: i64,
}

impl Periods {
    /// # Errors
    /// When `now` lies outside the calendar.
    pub fn at(now: Timestamp, zone: &TimeZone) -> Result<Self, jiff::Error> {
        let LocalDay { days_since_epoch, start, .. } = local_day(now, zone)?;
        Ok(Self {
            now,
            today: start,
            day_ago: now.plus_ms(-DAY_MS),
            remembered_from: (i64::from(days_since_epoch) - REMEMBERED_DAYS).max(0),
        })
    }
}

/// Readings of one series that are there: today and in the last 24 hours.
pub type Present = (String, String, u64, u64);

/// Completeness per series, in the order (device, metric): today, last 24 hours.
pub fn completeness(
    periods: &Periods,
    reading_interval_s: u32,
    present: Vec<Present>,
    remembered: Vec<(String, String)>,
) -> (Vec<v1::Completeness>, Vec<v1::Completeness>) {
    let mut series: BTreeMap<(String, String), (u64, u64)> =
        remembered.into_iter().map(|name| (name, (0, 0))).collect();
    for (device, metric, today, last_24h) in present {
        series.insert((device, metric), (today, last_24h));
    }
    let due_today = due(periods.today, periods.now, reading_interval_s);
    let due_24h = due(periods.day_ago, periods.now, reading_interval_s);
    let row = |(device, metric): (String, String), present, expected| v1::Completeness {
        device,
        metric,
        present,
        expected,
    };
    series
        .into_iter()
        .map(|(name, (today, last_24h))| {
            (row(name.clone(), today, due_today), row(name, last_24h, due_24h))
        })
        .unzip()
}

/// How many readings fall due in `[start, end)`: multiples of the interval, counted from 1970, as
/// loggers align them.
fn due(start: Timestamp, end: Timestamp, interval_s: u32) -> u64 {
    let interval_ms = i64::from(interval_s.max(1)) * 1_000;
    let before = |ts: Timestamp| (ts.as_ms() + interval_ms - 1).div_euclid(interval_ms);
    u64::try_from(before(end) - before(start)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339("ts", text).unwrap()
    }

    #[test]
    fn readings_fall_due_on_multiples_of_the_interval() {
        let rows = [
            ("a day of minutes", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", 60, 1_440),
            (
                "any 24 hours hold as many",
                "2026-01-01T00:00:31.5Z",
                "2026-01-02T00:00:31.5Z",
                60,
                1_440,
            ),
            (
                "the one at the start is due",
                "2026-01-01T00:00:00Z",
                "2026-01-01T00:00:00.001Z",
                60,
                1,
            ),
            (
                "the one at the end is not yet",
                "2026-01-01T00:00:00Z",
                "2026-01-01T00:10:00Z",
                60,
                10,
            ),
            ("ten and a half minutes", "2026-01-01T00:00:00Z", "2026-01-01T00:10:30Z", 60, 11),
            ("nothing yet", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 60, 0),
            ("an interval of a day", "2026-01-01T12:00:00Z", "2026-01-02T12:00:00Z", 86_400, 1),
        ];
        for (name, start, end, interval_s, want) in rows {
            assert_eq!(due(at(start), at(end), interval_s), want, "{name}");
        }
    }

    #[test]
    fn today_is_the_sites_own() {
        let now = at("2026-03-29T10:00:00Z");
        let got = Periods::at(now, &TimeZone::get("Europe/Berlin").unwrap()).unwrap();
        assert_eq!(got.today, at("2026-03-28T23:00:00Z"), "the day clocks went forward");
        assert_eq!(got.day_ago, at("2026-03-28T10:00:00Z"));
        assert_eq!(got.remembered_from, 20_541 - 7);
    }

    #[test]
    fn a_silent_series_is_listed_with_nothing_and_order_does_not_depend_on_the_source() {
        let now = at("2026-01-01T01:00:00Z");
        let periods = Periods::at(now, &TimeZone::UTC).unwrap();
        let name = |d: &str| (d.to_owned(), "ac_power".to_owned());
        let (today, last_24h) = completeness(
            &periods,
            60,
            vec![("inv3".into(), "ac_power".into(), 59, 1_400)],
            vec![name("inv3"), name("inv1")],
        );
        let read = |rows: &[v1::Completeness]| -> Vec<(String, u64, u64)> {
            rows.iter().map(|c| (c.device.clone(), c.present, c.expected)).collect()
        };
        assert_eq!(read(&today), [("inv1".into(), 0, 60), ("inv3".into(), 59, 60)]);
        assert_eq!(read(&last_24h), [("inv1".into(), 0, 1_440), ("inv3".into(), 1_400, 1_440)]);
    }
}
