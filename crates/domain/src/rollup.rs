//! Bucket arithmetic of the rollups: 15 minutes, UTC hour, the site's local day.

use crate::{Timestamp, Violation};
use jiff::tz::TimeZone;

/// Length of the finest rollup bucket. Every zone offset in use is a multiple of it, so local
/// days are whole numbers of these buckets.
pub const BUCKET_15M_MS: i64 = 15 * 60 * 1_000;
pub const BUCKET_1H_MS: i64 = 60 * 60 * 1_000;

/// The start of the bucket of length `step_ms` that holds `ts`.
pub const fn bucket_start(ts: Timestamp, step_ms: i64) -> Timestamp {
    Timestamp::from_ms(ts.as_ms() - ts.as_ms().rem_euclid(step_ms))
}

/// The IANA time zone of this name.
///
/// # Errors
/// A [`Violation`] of `zone` when the time zone database has none of that name.
pub fn zone(name: &str) -> Result<TimeZone, Violation> {
    TimeZone::get(name).map_err(|_| {
        Violation::new("zone", format_args!("{name:?}"), "an IANA time zone such as Asia/Tokyo")
    })
}

/// One local calendar day: `[start, end)` in UTC; 23 or 25 hours long where clocks change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalDay {
    /// Days since 1970-01-01, as ClickHouse's `Date`.
    pub days_since_epoch: i32,
    pub start: Timestamp,
    pub end: Timestamp,
}

/// The local day that holds `ts` in `zone`.
///
/// # Errors
/// When `ts` lies outside the years that the calendar covers (−9999 to 9999).
pub fn local_day(ts: Timestamp, zone: &TimeZone) -> Result<LocalDay, jiff::Error> {
    let date = jiff::Timestamp::from_millisecond(ts.as_ms())?.to_zoned(zone.clone()).date();
    let start_of = |d: jiff::civil::Date| -> Result<Timestamp, jiff::Error> {
        let zoned = d.to_zoned(zone.clone())?.start_of_day()?;
        Ok(Timestamp::from_ms(zoned.timestamp().as_millisecond()))
    };
    let epoch = jiff::civil::date(1970, 1, 1);
    Ok(LocalDay {
        days_since_epoch: epoch.until(date)?.get_days(),
        start: start_of(date)?,
        end: start_of(date.tomorrow()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339("ts", text).unwrap()
    }

    #[test]
    fn a_bucket_starts_at_or_before_its_time_also_before_1970() {
        assert_eq!(bucket_start(Timestamp::from_ms(-1), 1_000), Timestamp::from_ms(-1_000));
        assert_eq!(
            bucket_start(at("2026-01-01T00:16:00Z"), BUCKET_15M_MS),
            at("2026-01-01T00:15:00Z")
        );
    }

    #[test]
    fn a_local_day_is_as_long_as_the_calendar_says() {
        let rows = [
            ("Tokyo has no daylight saving", "Asia/Tokyo", "2026-03-29T00:00:00Z", 24),
            ("spring forward is 23 hours", "Europe/Berlin", "2026-03-29T12:00:00Z", 23),
            ("fall back is 25 hours", "Europe/Berlin", "2026-10-25T12:00:00Z", 25),
            ("a fixed offset is 24 hours", "Etc/GMT+7", "2022-01-02T00:00:00Z", 24),
        ];
        for (name, zone, ts, hours) in rows {
            let day = local_day(at(ts), &TimeZone::get(zone).unwrap()).unwrap();
            assert_eq!(day.end.ms_since(day.start), hours * BUCKET_1H_MS, "{name}");
            assert_eq!(day.start.as_ms() % BUCKET_15M_MS, 0, "{name}");
        }
    }

    #[test]
    fn the_day_is_the_sites_own() {
        let day =
            local_day(at("2022-01-02T05:00:00Z"), &TimeZone::get("Etc/GMT+7").unwrap()).unwrap();
        assert_eq!(day.start, at("2022-01-01T07:00:00Z"));
        assert_eq!(day.days_since_epoch, 18_993); // 2022-01-01
    }
}
