//! What is wrong with an input: which field, what it got, what it wants.

use std::{fmt, time::Duration};

/// One broken rule of an upload, a request or a configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The field as the sender wrote it, for example `ts` or `readings`.
    pub field: String,
    /// What stood there, shortened to [`GOT_CHARS_MAX`] characters.
    pub got: String,
    /// What would have been right, in words.
    pub want: String,
}

/// An echo of the input is cut here, so that an answer is never larger than its request by much.
pub const GOT_CHARS_MAX: usize = 80;

impl Violation {
    pub fn new(field: impl Into<String>, got: impl fmt::Display, want: impl Into<String>) -> Self {
        let got = got.to_string();
        let got = match got.char_indices().nth(GOT_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &got[..end]),
            None => got,
        };
        Self { field: field.into(), got, want: want.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: got {}, want {}", self.field, self.got, self.want)
    }
}

impl std::error::Error for Violation {}

/// Collects the broken rules of one part of a configuration, so that all are said at once.
#[derive(Debug)]
pub struct Violations {
    part: &'static str,
    found: Vec<Violation>,
}

impl Violations {
    /// Of the keys below `part`, such as `log.kafka`.
    pub fn of(part: &'static str) -> Self {
        Self { part, found: Vec::new() }
    }

    pub fn add(&mut self, key: &str, got: impl fmt::Display, want: impl Into<String>) {
        self.found.push(Violation::new(format!("{}.{key}", self.part), got, want));
    }

    /// Adds one when `got` is not in `least..=most`.
    pub fn range<T: PartialOrd + fmt::Display>(&mut self, key: &str, got: T, least: T, most: T) {
        if got < least || got > most {
            self.add(key, got, format!("{least} to {most}"));
        }
    }

    /// [`Violations::range`] of durations.
    pub fn time(&mut self, key: &str, got: Duration, least: Duration, most: Duration) {
        if got < least || got > most {
            self.add(key, format_args!("{got:?}"), format!("{least:?} to {most:?}"));
        }
    }

    pub fn into_vec(self) -> Vec<Violation> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_echo_is_cut_on_a_character_boundary() {
        let v = Violation::new("device", "日".repeat(200), "at most 64 characters");
        assert_eq!(v.got.chars().count(), GOT_CHARS_MAX + 1);
        assert!(v.got.ends_with('…'));
    }

    #[test]
    fn all_are_collected_under_their_full_keys() {
        let mut found = Violations::of("log.kafka");
        found.range("replicas", 3, 1, 9);
        found.range("replicas", 10, 1, 9);
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        found.time("wait", Duration::ZERO, second, minute);
        let said: Vec<String> = found.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            ["log.kafka.replicas: got 10, want 1 to 9", "log.kafka.wait: got 0ns, want 1s to 60s"]
        );
    }
}
