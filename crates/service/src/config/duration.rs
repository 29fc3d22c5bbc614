//! Durations in configuration are written as `"250ms"`, `"5s"`, `"2m"`, `"1h"`.

use serde::{
    Deserializer, Serializer,
    de::{Error, Unexpected, Visitor},
};
use std::{fmt, time::Duration};

/// Reads a duration.
///
/// # Errors
/// When the text is not a whole number with a unit.
pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Duration;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as 250ms, 5s, 2m or 1h")
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
    d.deserialize_str(Text)
}

/// Writes a duration in the largest unit that divides it.
///
/// # Errors
/// None of its own.
pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&format(*d))
}

fn format(d: Duration) -> String {
    let ms = d.as_millis();
    let unit = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match unit.into_iter().find(|(unit_ms, _)| ms > 0 && ms.is_multiple_of(*unit_ms)) {
        Some((unit_ms, unit)) => format!("{}{unit}", ms / unit_ms),
        None => format!("{ms}ms"),
    }
}

fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let n: u64 = text[..digits].parse().ok()?;
    let ms = match &text[digits..] {
        "ms" => n,
        "s" => n.checked_mul(1_000)?,
        "m" => n.checked_mul(60_000)?,
        "h" => n.checked_mul(3_600_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse("2m"), Some(Duration::from_secs(120)));
        assert_eq!((parse("2"), parse("m"), parse("-1s"), parse("1.5s")), (None, None, None, None));
        assert_eq!(parse("18446744073709551615h"), None);
    }

    #[test]
    fn they_are_written_as_one_would_and_read_back() {
        for text in ["0ms", "250ms", "5s", "90s", "2m", "1h", "36h"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
    }
}
