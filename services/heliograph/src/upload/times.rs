//! The times of a CSV file: RFC 3339, dates with dashes or slashes, or seconds since 1970.
//!
//! Invariant: a time is never guessed. The order of day and month follows from a number above 12, or
//! from a midnight: `1/2/2022 23:45` and `1/3/2022 0:00` are a quarter of an hour apart in one order
//! and a month in the other. Where neither tells, or a time has no offset and no zone is given, that
//! is an error that says what to add.

use heliograph_domain::{Timestamp, Violation};
use jiff::{civil, tz::TimeZone};

/// How far from UTC a zone may be.
const OFFSET_MAX_MIN: i32 = 14 * 60;

/// In which order a date with slashes has its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Nothing has been seen that tells.
    #[default]
    Unknown,
    MonthFirst,
    DayFirst,
}

impl Order {
    /// What one more time tells, and the one before it.
    ///
    /// # Errors
    /// When it contradicts what was told before.
    pub fn learn(self, before: &str, text: &str) -> Result<Self, Violation> {
        let Some((a, b)) = ambiguous(text) else { return Ok(self) };
        let told = match (a > 12, b > 12) {
            (true, false) => Self::DayFirst,
            (false, true) => Self::MonthFirst,
            _ if self == Self::Unknown => return Ok(midnight(before, text).unwrap_or(self)),
            _ => return Ok(self),
        };
        if self != Self::Unknown && self != told {
            let want = "day and month in one order throughout the file";
            return Err(Violation::new("time", format_args!("{text:?}"), want));
        }
        Ok(told)
    }
}

/// The order in which two times are less than an hour apart, if in the other they are not.
fn midnight(before: &str, text: &str) -> Option<Order> {
    let close = |order| {
        let read = |text| local(text, order)?.ok();
        let apart = read(text)?.duration_since(read(before)?);
        Some(apart.as_secs().unsigned_abs() < 3_600)
    };
    match (close(Order::MonthFirst)?, close(Order::DayFirst)?) {
        (true, false) => Some(Order::MonthFirst),
        (false, true) => Some(Order::DayFirst),
        _ => None,
    }
}

/// The first two parts of `1/2/2022 …`.
pub fn ambiguous(text: &str) -> Option<(u8, u8)> {
    let mut parts = text.split_whitespace().next()?.split('/');
    let (a, b, year) = (parts.next()?, parts.next()?, parts.next()?);
    (year.len() == 4).then_some((a.parse().ok()?, b.parse().ok()?))
}

/// Reads times in one zone and order.
#[derive(Debug, Clone)]
pub struct Times {
    pub order: Order,
    /// Of times without an offset.
    pub zone: Option<TimeZone>,
}

impl Times {
    /// Reads one time.
    ///
    /// # Errors
    /// A [`Violation`] of `time` that says what it wants.
    pub fn read(&self, text: &str) -> Result<Timestamp, Violation> {
        let text = text.trim();
        let wrong = |want: &str| Violation::new("time", format_args!("{text:?}"), want);
        if let Some(ts) = since_1970(text) {
            return Ok(ts);
        }
        if let Ok(ts) = text.parse::<jiff::Timestamp>() {
            return Ok(Timestamp::from_ms(ts.as_millisecond()));
        }
        let local = local(text, self.order).ok_or_else(|| {
            wrong("2026-01-31T09:00:00+09:00, 2026-01-31 09:00, 1/31/2026 9:00 or 1769817600")
        })??;
        let zone = self.zone.as_ref().ok_or_else(|| {
            wrong(
                "an offset in the time, or the zone of the file's times: --zone, such as -07:00, \
                 or an IANA name",
            )
        })?;
        let zoned = zone.to_ambiguous_zoned(local).unambiguous().map_err(|_| {
            wrong(
                "a time that the zone has once, not when its clocks are changed; or the offset of \
                 a logger that keeps winter time, such as --zone -07:00",
            )
        })?;
        Ok(Timestamp::from_ms(zoned.timestamp().as_millisecond()))
    }
}

/// A date and time without an offset; `None` when it is none.
fn local(text: &str, order: Order) -> Option<Result<civil::DateTime, Violation>> {
    if let Ok(local) = text.parse() {
        return Some(Ok(local));
    }
    let formats: &[&str] = match (ambiguous(text), order) {
        (Some(_), Order::MonthFirst) => &["%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M"],
        (Some(_), Order::DayFirst) => &["%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M"],
        (Some(_), Order::Unknown) => {
            let want = "--date-order month-first or day-first: no date of the file tells";
            return Some(Err(Violation::new("time", format_args!("{text:?}"), want)));
        }
        (None, _) => &["%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y-%m-%d %H:%M"],
    };
    formats.iter().find_map(|f| civil::DateTime::strptime(f, text).ok()).map(Ok)
}

/// Ten digits are seconds, thirteen milliseconds; fewer or more may be anything.
fn since_1970(text: &str) -> Option<Timestamp> {
    let number: i64 = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())??;
    match text.len() {
        10 => Some(Timestamp::from_secs(number)),
        13 => Some(Timestamp::from_ms(number)),
        _ => None,
    }
}

/// Reads the zone of times without an offset: an IANA name, or an offset such as `+09:00`.
///
/// # Errors
/// A [`Violation`] of `zone`.
pub fn parse_zone(text: &str) -> Result<TimeZone, Violation> {
    if let Some(zone) = offset(text) {
        return Ok(zone);
    }
    heliograph_domain::rollup::zone(text).map_err(|v| {
        let want = match meant_offset(text) {
            Some(meant) => format!("an offset: did you mean {meant}?"),
            None => "an offset from -14:00 to +14:00, such as -07:00, or an IANA name".to_owned(),
        };
        Violation { want, ..v }
    })
}

/// `-07:00`; no zone on earth is further off than 14 hours.
fn offset(text: &str) -> Option<TimeZone> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |digits: &str| digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
    if !two(hours) || !two(minutes) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    if minutes > 59 || hours * 60 + minutes > OFFSET_MAX_MIN {
        return None;
    }
    let secs = sign * (hours * 3_600 + minutes * 60);
    Some(jiff::tz::Offset::from_seconds(secs).ok()?.to_time_zone())
}

/// The offset that `-7`, `-0700`, `-7:00` and `UTC-7` say in other forms.
fn meant_offset(text: &str) -> Option<String> {
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("UTC").or_else(|| upper.strip_prefix("GMT")).unwrap_or(&upper);
    let sign = bare.chars().next().filter(|c| matches!(c, '+' | '-'))?;
    let digits = bare.get(1..)?;
    let (hours, minutes) = match (digits.split_once(':'), digits.len()) {
        (Some(parts), _) => parts,
        (None, 3 | 4) => digits.split_at_checked(digits.len() - 2)?,
        (None, _) => (digits, "00"),
    };
    let meant = format!("{sign}{hours:0>2}:{minutes}");
    offset(&meant).map(|_| meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(texts: &[&str]) -> Result<Order, Violation> {
        let before = std::iter::once(&"").chain(texts);
        before
            .zip(texts)
            .try_fold(Order::Unknown, |order, (before, text)| order.learn(before, text))
    }

    #[test]
    fn the_order_of_day_and_month_follows_from_the_file_or_is_not_known() {
        let rows: &[(&[&str], Option<Order>)] = &[
            (&["1/2/2022 0:00", "1/13/2022 0:00"], Some(Order::MonthFirst)),
            (&["13/1/2022 0:00", "1/2/2022 0:00"], Some(Order::DayFirst)),
            (&["1/2/2022 0:00"], Some(Order::Unknown)),
            (&["1/2/2022 0:00", "1/2/2022 0:15"], Some(Order::Unknown)),
            (&["1/2/2022 23:45", "1/3/2022 0:00"], Some(Order::MonthFirst)),
            (&["2/1/2022 23:45", "3/1/2022 0:00"], Some(Order::DayFirst)),
            (&["1/2/2022 0:00", "1/5/2022 0:00"], Some(Order::Unknown)),
            (&["31/1/2022 23:45", "1/2/2022 0:00"], Some(Order::DayFirst)),
            (&["2022-01-13 00:00"], Some(Order::Unknown)),
            (&["13/1/2022 0:00", "1/13/2022 0:00"], None),
        ];
        for (texts, want) in rows {
            assert_eq!(learnt(texts).ok(), *want, "{texts:?}");
        }
    }

    #[test]
    fn a_time_is_read_or_says_what_is_missing() {
        let zone = parse_zone("Asia/Tokyo").ok();
        let month_first = Times { order: Order::MonthFirst, zone };
        let bare = Times { order: Order::Unknown, zone: None };
        let day_first = Times { order: Order::DayFirst, zone: parse_zone("-07:00").ok() };
        let denver = Times { order: Order::Unknown, zone: parse_zone("America/Denver").ok() };
        let rows: &[(&Times, &str, Result<&str, &str>)] = &[
            (&bare, "2022-03-18 04:33:00-07:00", Ok("2022-03-18T11:33:00Z")),
            (&bare, "2022-03-18T11:33:00Z", Ok("2022-03-18T11:33:00Z")),
            (&bare, "1647603180", Ok("2022-03-18T11:33:00Z")),
            (&bare, "1647603180000", Ok("2022-03-18T11:33:00Z")),
            (&bare, "2022-03-18 04:33:00", Err("--zone")),
            (&bare, "1/2/2022 0:00", Err("--date-order")),
            (&bare, "yesterday", Err("2026-01-31")),
            (&bare, "", Err("2026-01-31")),
            (&bare, "12345", Err("2026-01-31")),
            (&month_first, "1/2/2022 0:15", Ok("2022-01-01T15:15:00Z")),
            (&month_first, "2022/1/2 0:15", Ok("2022-01-01T15:15:00Z")),
            (&month_first, "2022-01-02 00:15", Ok("2022-01-01T15:15:00Z")),
            (&day_first, "1/2/2022 0:15:30", Ok("2022-02-01T07:15:30Z")),
            (&denver, "2022-11-06 01:30", Err("clocks are changed")),
            (&denver, "2022-03-13 02:30", Err("clocks are changed")),
            (&denver, "2022-11-06 03:30", Ok("2022-11-06T10:30:00Z")),
        ];
        for (times, text, want) in rows {
            match (times.read(text), want) {
                (Ok(got), Ok(want)) => {
                    assert_eq!(Ok(got), Timestamp::parse_rfc3339("", want), "{text}");
                }
                (Err(got), Err(want)) => assert!(got.want.contains(want), "{text}: {got}"),
                (got, want) => panic!("{text}: {got:?}, want {want:?}"),
            }
        }
    }

    #[test]
    fn a_zone_is_a_name_or_an_offset() {
        let good = ["Asia/Tokyo", "+09:00", "-07:00", "+14:00", "-14:00", "+05:45", "UTC"];
        for good in good {
            assert!(parse_zone(good).is_ok(), "{good}");
        }
        let form = "an offset from -14:00 to +14:00, such as -07:00, or an IANA name";
        let rows = [
            ("JST+9", form),
            ("", form),
            ("+99:00", form),
            ("+14:01", form),
            ("-07:60", form),
            ("+-7:00", form),
            ("é", form),
            ("-é", form),
            ("-7", "an offset: did you mean -07:00?"),
            ("-07", "an offset: did you mean -07:00?"),
            ("-0700", "an offset: did you mean -07:00?"),
            ("-7:00", "an offset: did you mean -07:00?"),
            ("UTC-7", "an offset: did you mean -07:00?"),
            ("gmt+5:45", "an offset: did you mean +05:45?"),
            ("-15", form),
        ];
        for (bad, want) in rows {
            assert_eq!(parse_zone(bad).map_err(|v| v.want), Err(want.to_owned()), "{bad}");
        }
    }
}
