//! Configuration: one TOML file, overridden by environment variables.
//!
//! Invariant: an unknown key, a wrong type or a value out of range is an error that names the
//! key, what it got and what it wants; nothing starts on a half-understood configuration.

use serde::de::DeserializeOwned;
use std::path::Path;

/// `HELIOGRAPH_GATEWAY__LISTEN=…` overrides `listen` of section `[gateway]`.
const ENV_PREFIX: &str = "HELIOGRAPH";

/// A configuration that cannot be used. The process ends with status 64 (EX_USAGE).
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(pub String);

/// Reads `file` (if given) and the environment into `T`.
///
/// # Errors
/// [`ConfigError`] naming the key and the file.
pub fn load<T: DeserializeOwned>(file: Option<&Path>) -> Result<T, ConfigError> {
    let mut builder = config::Config::builder();
    if let Some(path) = file {
        builder = builder.add_source(config::File::from(path).format(config::FileFormat::Toml));
    }
    let env = config::Environment::with_prefix(ENV_PREFIX)
        .prefix_separator("_")
        .separator("__")
        .try_parsing(true);
    // Only variables with a section are keys of the file: HELIOGRAPH_CONFIG is not.
    let env = env.source(Some(
        std::env::vars().filter(|(k, _)| k.starts_with(ENV_PREFIX) && k.contains("__")).collect(),
    ));
    builder
        .add_source(env)
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|e| ConfigError(e.to_string()))
}

/// Durations in configuration are written as `"250ms"`, `"5s"`, `"2m"`, `"1h"`.
pub mod duration {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::Duration;

    /// Reads a duration.
    ///
    /// # Errors
    /// When the text is not a whole number with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(d)?;
        parse(&text).ok_or_else(|| {
            D::Error::custom(format!("got {text:?}, want a duration such as 250ms, 5s, 2m or 1h"))
        })
    }

    /// Writes a duration in milliseconds.
    ///
    /// # Errors
    /// None of its own.
    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format!("{}ms", d.as_millis()))
    }

    pub(super) fn parse(text: &str) -> Option<Duration> {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::{io::Write, time::Duration};

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Demo {
        gateway: Section,
    }

    #[derive(Debug, Deserialize, Default, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Section {
        connections_max: usize,
        #[serde(with = "duration")]
        drain: Duration,
    }

    fn read(text: &str) -> Result<Demo, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        load(Some(file.path())).map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_is_read() {
        let got = read("[gateway]\nconnections_max = 7\ndrain = \"5s\"").unwrap();
        let want = Section { connections_max: 7, drain: Duration::from_secs(5) };
        assert_eq!(got.gateway, want);
    }

    #[test]
    fn a_mistake_names_its_key() {
        for (text, words) in [
            ("[gateway]\nfrobs = 1", "frobs"),
            ("[gatway]\n", "gatway"),
            ("[gateway]\nconnections_max = \"many\"", "connections_max"),
            ("[gateway]\ndrain = \"soon\"", "want a duration"),
        ] {
            let got = read(text).unwrap_err();
            assert!(got.contains(words), "{text}: {got}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration::parse("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration::parse("2m"), Some(Duration::from_secs(120)));
        assert_eq!(duration::parse("2"), None);
        assert_eq!(duration::parse("m"), None);
    }
}
