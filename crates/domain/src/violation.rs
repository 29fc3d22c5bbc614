//! What is wrong with an input: which field, what it got, what it wants.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_echo_is_cut_on_a_character_boundary() {
        let v = Violation::new("device", "日".repeat(200), "at most 64 characters");
        assert_eq!(v.got.chars().count(), GOT_CHARS_MAX + 1);
        assert!(v.got.ends_with('…'));
    }
}
