//! When a call's time is over: what the client gave, at most what is configured.

use http::HeaderMap;
use std::time::Duration;
use tokio::time::Instant;

/// A point in time; travels with the request, so that each statement gets what is left.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// Starts the time of a call. A `grpc-timeout` that cannot be read counts as none, as gRPC
    /// servers do.
    pub fn of_call(headers: &HeaderMap, max: Duration, now: Instant) -> Self {
        let given = headers.get("grpc-timeout").and_then(|v| v.to_str().ok()).and_then(parse);
        Self(now + given.map_or(max, |given| given.min(max)))
    }

    pub fn instant(self) -> Instant {
        self.0
    }

    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// `grpc-timeout`: at most eight digits and a unit ("gRPC over HTTP2", Timeout).
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3_600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_as_grpc_writes_it() {
        let rows: &[(&str, &str, Option<Duration>)] = &[
            ("hours", "1H", Some(Duration::from_secs(3_600))),
            ("minutes", "2M", Some(Duration::from_secs(120))),
            ("seconds", "30S", Some(Duration::from_secs(30))),
            ("milliseconds", "250m", Some(Duration::from_millis(250))),
            ("microseconds", "99999999u", Some(Duration::from_micros(99_999_999))),
            ("nanoseconds", "5n", Some(Duration::from_nanos(5))),
            ("a ninth digit is too many", "123456789m", None),
            ("no digits", "m", None),
            ("no unit", "12", None),
            ("a sign", "+1S", None),
            ("another unit", "1d", None),
            ("not even ASCII", "1日", None),
            ("nothing", "", None),
        ];
        for (name, text, want) in rows {
            assert_eq!(parse(text), *want, "{name}");
        }
    }

    #[test]
    fn the_configured_maximum_holds() {
        let (now, max) = (Instant::now(), Duration::from_secs(30));
        for (given, want) in [(Some("5S"), 5), (Some("1H"), 30), (Some("frobs"), 30), (None, 30)] {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert("grpc-timeout", given.parse().unwrap());
            }
            let got = Deadline::of_call(&headers, max, now).instant();
            assert_eq!(got, now + Duration::from_secs(want), "{given:?}");
        }
    }
}
