//! A value that is used and never shown.
//!
//! Invariant: neither `Debug` nor `Serialize` gives it away, so it stays out of logs, error
//! messages and printed configurations; only [`Secret::expose`] does, and a search for that word
//! finds every use. It deliberately does not scrub memory.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// Stands where a secret is not shown.
pub const HIDDEN: &str = "***";

/// A password or the like; empty means that there is none.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The value itself, for whom it is meant.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    fn shown(&self) -> &'static str {
        if self.is_set() { HIDDEN } else { "" }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { HIDDEN } else { "none" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_used_and_not_shown() {
        let secret = Secret::from("hunter2");
        let value = serde::de::value::StrDeserializer::<serde::de::value::Error>::new("hunter2");
        assert_eq!(Secret::deserialize(value).unwrap(), secret);
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        assert_eq!(secret.shown(), HIDDEN);
        assert_eq!((Secret::default().shown(), Secret::default().is_set()), ("", false));
    }
}
