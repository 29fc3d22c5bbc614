//! Time as data: milliseconds since the Unix epoch, UTC.

use crate::Violation;
use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z. Finer input is truncated towards the past.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    pub const fn from_secs(secs: i64) -> Self {
        Self(secs * 1_000)
    }

    pub const fn as_ms(self) -> i64 {
        self.0
    }

    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The calendar month in UTC, counted from January of year 0. A time outside of the calendar has
    /// no month: it counts as of January 1970.
    pub fn month(self) -> i64 {
        let at = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        let date = jiff::tz::Offset::UTC.to_datetime(at).date();
        i64::from(date.year()) * 12 + i64::from(date.month()) - 1
    }

    /// Milliseconds from `earlier` to `self`; negative when `earlier` is later.
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads RFC 3339 with an offset (`2026-01-01T00:00:00.123Z`, `…+09:00`).
    ///
    /// # Errors
    /// A [`Violation`] of `field` when the text is not such a time, or has no offset.
    pub fn parse_rfc3339(field: &str, text: &str) -> Result<Self, Violation> {
        match text.parse::<jiff::Timestamp>() {
            Ok(t) => Ok(Self(t.as_nanosecond().div_euclid(1_000_000) as i64)),
            Err(_) => Err(Violation::new(
                field,
                format_args!("{text:?}"),
                "an RFC 3339 time with an offset, such as 2026-01-01T00:00:00Z",
            )),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_the_calendars() {
        let month = |text: &str| Timestamp::parse_rfc3339("ts", text).unwrap().month();
        let january = month("2026-01-01T00:00:00Z");
        assert_eq!(january, 2026 * 12);
        assert_eq!(month("2026-01-31T23:59:59.999Z"), january);
        assert_eq!(month("2026-02-01T08:59:00+09:00"), january, "of UTC");
        assert_eq!(month("2026-02-01T00:00:00Z"), january + 1);
        assert_eq!(month("2025-12-31T23:59:59Z"), january - 1);
        assert_eq!(Timestamp::from_ms(i64::MAX).month(), 1970 * 12, "not in the calendar");
    }

    #[test]
    fn a_time_is_read_with_its_offset_and_truncated_to_milliseconds() {
        let rows: &[(&str, &str, Option<i64>)] = &[
            ("UTC", "1970-01-01T00:00:01Z", Some(1_000)),
            ("an offset is applied", "1970-01-01T09:00:00+09:00", Some(0)),
            ("a space instead of T is taken", "1970-01-01 00:00:00Z", Some(0)),
            ("finer than a millisecond is cut", "1970-01-01T00:00:00.123999Z", Some(123)),
            ("cut towards the past, also before 1970", "1969-12-31T23:59:59.9999Z", Some(-1)),
            ("without an offset it is refused", "1970-01-01T00:00:00", None),
            ("a date alone is refused", "1970-01-01", None),
            ("words are refused", "yesterday", None),
        ];
        for (name, text, want) in rows {
            let got = Timestamp::parse_rfc3339("ts", text).ok().map(Timestamp::as_ms);
            assert_eq!(got, *want, "{name}");
        }
    }

    #[test]
    fn it_is_shown_in_rfc_3339() {
        assert_eq!(Timestamp::from_ms(1_500).to_string(), "1970-01-01T00:00:01.500Z");
    }
}
