//! What people see of sites and readings in a terminal, and scripts as JSON lines.
//!
//! Views speak gRPC like everybody else and print into a writer that they are given. Missing stays
//! missing: a blank, never a zero. What they are not: they round for the eye, so a script takes
//! `--json`, which does not.

pub mod alerts;
mod chart;
mod choice;
mod panel;
pub mod readings;
mod scale;
pub mod sites;
pub mod status;
pub mod terminal;
mod unknown;

pub use chart::Style;

use crate::access::Authorized;
use comfy_table::{Table, presets};
use heliograph_contract::v1::query_service_client::QueryServiceClient;
use heliograph_domain::{Timestamp, Violation};
use jiff::{civil, tz::TimeZone};

/// A client of the query service that brings its token along.
pub type Client = QueryServiceClient<Authorized>;

/// Reads a point in time as people write it: RFC 3339 with an offset; a date or a date and time in
/// the site's zone; `now`; or how long ago, as `-90m`, `-24h`, `-7d`.
///
/// # Errors
/// A [`Violation`] of `field` for anything else.
pub fn parse_time(
    field: &str,
    text: &str,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Timestamp, Violation> {
    let wrong = || {
        let want = "2026-01-31, 2026-01-31T09:00 (in the site's zone), \
                    2026-01-31T00:00:00Z, now, or how long ago: -90m, -24h, -7d";
        Violation::new(field, format_args!("{text:?}"), want)
    };
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let (digits, unit) =
            ago.split_at(ago.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
        let unit_ms: i64 = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let ago_ms = digits.parse::<i64>().ok().and_then(|n| n.checked_mul(unit_ms));
        return Ok(now.plus_ms(-ago_ms.ok_or_else(wrong)?));
    }
    if let Ok(ts) = Timestamp::parse_rfc3339(field, text) {
        return Ok(ts);
    }
    let local: civil::DateTime = text.parse().map_err(|_| wrong())?;
    let zoned = local.to_zoned(zone.clone()).map_err(|_| wrong())?;
    Ok(Timestamp::from_ms(zoned.timestamp().as_millisecond()))
}

/// How long ago, to the unit that matters.
fn age(now: Timestamp, then: Timestamp) -> String {
    let secs = now.ms_since(then) / 1_000;
    let (secs, words) = if secs < 0 { (-secs, "ahead") } else { (secs, "ago") };
    match secs {
        0..120 => format!("{secs} s {words}"),
        120..7_200 => format!("{} min {words}", secs / 60),
        7_200..172_800 => format!("{} h {words}", secs / 3_600),
        _ => format!("{} d {words}", secs / 86_400),
    }
}

/// How long something took, to the unit that matters.
pub fn span(ms: u64) -> String {
    match ms / 1_000 {
        secs @ 0..120 => format!("{secs} s"),
        secs @ 120..7_200 => format!("{} min", secs / 60),
        secs => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
    }
}

/// A value for the eye: thousands apart, at most three decimals, fewer where they say nothing.
pub fn number(value: f64) -> String {
    let decimals = if value.abs() >= 1_000.0 { 1 } else { 3 };
    let text = grouped(value, decimals);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Thousands apart, with so many decimals.
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = match whole.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", whole),
    };
    let mut grouped = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

fn count(n: usize) -> String {
    number(n as f64)
}

/// A time on the site's own clock, with the offset that was in force.
pub fn local_time(ts: Timestamp, zone: &TimeZone, format: &str) -> String {
    match jiff::Timestamp::from_millisecond(ts.as_ms()) {
        Ok(t) => t.to_zoned(zone.clone()).strftime(format).to_string(),
        Err(_) => ts.to_string(),
    }
}

pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header.to_vec());
    table
}

#[cfg(test)]
mod wire_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_the_eye() {
        let rows = [
            (0.0, "0"),
            (-0.0, "0"),
            (-0.0001, "0"),
            (1.5, "1.5"),
            (-12.3456, "-12.346"),
            (999.9999, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-1_234.56, "-1,234.6"),
            (100.0, "100"),
        ];
        for (value, want) in rows {
            assert_eq!(number(value), want);
        }
    }

    #[test]
    fn a_time_is_read_as_people_write_it() {
        let tokyo = TimeZone::get("Asia/Tokyo").unwrap();
        let now = Timestamp::parse_rfc3339("", "2026-01-31T12:00:00Z").unwrap();
        let rows = [
            ("now", "now", Some("2026-01-31T12:00:00Z")),
            ("a day ago", "-24h", Some("2026-01-30T12:00:00Z")),
            ("a week ago", "-7d", Some("2026-01-24T12:00:00Z")),
            ("a local date", "2026-01-31", Some("2026-01-30T15:00:00Z")),
            ("a local time", "2026-01-31T09:30", Some("2026-01-31T00:30:00Z")),
            ("UTC", "2026-01-31T00:00:00Z", Some("2026-01-31T00:00:00Z")),
            ("an offset", "2026-01-31T00:00:00+01:00", Some("2026-01-30T23:00:00Z")),
            ("a word", "yesterday", None),
            ("no unit", "-24", None),
            ("no number", "-h", None),
        ];
        for (name, text, want) in rows {
            let want = want.map(|w| Timestamp::parse_rfc3339("", w).unwrap());
            assert_eq!(parse_time("from", text, &tokyo, now).ok(), want, "{name}");
        }
    }

    #[test]
    fn an_age_has_the_unit_that_matters() {
        let now = Timestamp::from_secs(1_000_000_000);
        let rows = [
            (5, "5 s ago"),
            (180, "3 min ago"),
            (7_200, "2 h ago"),
            (200_000, "2 d ago"),
            (-30, "30 s ahead"),
        ];
        for (secs, want) in rows {
            assert_eq!(age(now, now.plus_ms(-secs * 1_000)), want);
        }
    }
}
