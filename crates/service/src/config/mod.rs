//! Configuration: one TOML file, overridden by environment variables.
//!
//! Invariant: an unknown key, a wrong type or a value out of range is a [`Mistake`] that names the
//! key, what it got, what it wants and where it stands; all of a file are told at once, and nothing
//! starts on a half-understood configuration. A secret's value is in no message.
//!
//! The keys that exist, their kinds and defaults are those of `T::default()` as it is serialized:
//! there is no second list that could drift.

pub mod duration;
mod shape;
mod source;
mod typed;

use heliograph_domain::{Violation, secret::HIDDEN};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, ffi::OsString, fmt, path::Path};
use toml::{Table, Value};

/// A whole configuration: a struct of sections, each a struct of keys, all with defaults.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// Dotted keys whose values are never shown; a key that ends in `.` takes in all below it.
    const SECRETS: &'static [&'static str];

    /// Values out of range, and values that contradict each other.
    fn violations(&self) -> Vec<Violation>;
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    File { path: String, line: usize },
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "line {line} of {path}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Key, what it got, what it wants.
    pub violation: Violation,
    /// `None`: the value is the default.
    pub origin: Option<Origin>,
}

impl Mistake {
    /// The section that the key stands in.
    fn section(&self) -> &str {
        self.violation.field.split('.').next().unwrap_or_default()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{} ({origin})", self.violation),
            None => write!(f, "{}", self.violation),
        }
    }
}

/// A configuration that cannot be used. The process ends with status 64 (EX_USAGE).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub Vec<Mistake>);

impl ConfigError {
    /// # Errors
    /// When there is any violation.
    pub fn check(violations: Vec<Violation>) -> Result<(), Self> {
        let mistake = |violation| Mistake { violation, origin: None };
        match violations.is_empty() {
            true => Ok(()),
            false => Err(Self(violations.into_iter().map(mistake).collect())),
        }
    }
}

impl fmt::Display for ConfigError {
    /// One line each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// What was read. Where there are mistakes, the settings have defaults in their places.
#[derive(Debug, Clone)]
pub struct Loaded<T> {
    pub settings: T,
    /// By dotted key, for every key that was given.
    pub origins: BTreeMap<String, Origin>,
    pub mistakes: Vec<Mistake>,
}

impl<T: Settings> Loaded<T> {
    /// Adds what does not fit the use that is to be made of it.
    pub fn and(mut self, violations: impl IntoIterator<Item = Violation>) -> Self {
        for violation in violations {
            let origin = self.origins.get(&violation.field).cloned();
            self.mistakes.push(Mistake { violation, origin });
        }
        self
    }

    /// # Errors
    /// When there is any mistake.
    pub fn sound(self) -> Result<T, ConfigError> {
        match self.mistakes.is_empty() {
            true => Ok(self.settings),
            false => Err(ConfigError(self.mistakes)),
        }
    }

    /// As [`Loaded::sound`], for a process that reads `sections` alone: mistakes in the others are
    /// logged, so that one file may serve releases that differ.
    ///
    /// # Errors
    /// When there is a mistake in `sections`, or one that is in no section.
    pub fn sound_for(mut self, sections: &[&str]) -> Result<T, ConfigError> {
        let known = template::<T>();
        let is_theirs =
            |m: &Mistake| known.contains_key(m.section()) && !sections.contains(&m.section());
        let (theirs, ours) = std::mem::take(&mut self.mistakes).into_iter().partition(is_theirs);
        for mistake in theirs {
            tracing::warn!(%mistake, "passed over: it is not in a section that is read here");
        }
        self.mistakes = ours;
        self.sound()
    }
}

/// Reads `file` (if given) and the process's environment.
pub fn load<T: Settings>(file: Option<&Path>) -> Loaded<T> {
    load_from(file, std::env::vars_os())
}

/// Reads `file` (if given), overridden by `environment`.
pub fn load_from<T: Settings>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Loaded<T> {
    let template = template::<T>();
    let mut given = source::Given::default();
    if let Some(path) = file {
        given.read_file(path);
    }
    given.read_environment(environment, &template);
    let is_secret = |key: &str| {
        let covers =
            |secret: &&str| key == *secret || secret.ends_with('.') && key.starts_with(*secret);
        T::SECRETS.iter().any(covers)
    };
    shape::check(&mut given, &template, &is_secret);
    let settings: T = typed::read(&mut given, &is_secret);
    let source::Given { origins, mistakes, .. } = given;
    let blamed: Vec<String> = mistakes.iter().map(|m| m.violation.field.clone()).collect();
    let violations = settings.violations().into_iter().filter(|v| !is_echo(v, &blamed));
    Loaded { settings, origins, mistakes }.and(violations.collect::<Vec<_>>())
}

/// Whether a rule is broken only by the default that stands in for a mistaken value.
fn is_echo(violation: &Violation, blamed: &[String]) -> bool {
    let leaf = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    blamed.iter().any(|key| *key == violation.field || violation.want.contains(&leaf(key)))
}

/// Every key with its default.
pub fn template<T: Settings>() -> Table {
    table(&T::default())
}

/// The settings as TOML, secrets hidden.
pub fn table<T: Settings>(settings: &T) -> Table {
    // Structs of numbers, texts and tables: there is nothing that TOML cannot hold.
    Table::try_from(settings).unwrap_or_default()
}

/// Every key of `table`, dotted, with its value; a table without keys stands for itself.
pub fn leaves(table: &Table) -> Vec<(String, &Value)> {
    fn walk<'t>(path: &mut Vec<String>, table: &'t Table, out: &mut Vec<(String, &'t Value)>) {
        for (key, value) in table {
            path.push(key.clone());
            match value.as_table().filter(|inner| !inner.is_empty()) {
                Some(inner) => walk(path, inner, out),
                None => out.push((dotted(path), value)),
            }
            path.pop();
        }
    }
    let mut out = Vec::new();
    walk(&mut Vec::new(), table, &mut out);
    out
}

/// The path as one writes it in TOML.
fn dotted(path: &[String]) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let quoted = |key: &String| match !key.is_empty() && key.chars().all(bare) {
        true => key.clone(),
        false => format!("{key:?}"),
    };
    path.iter().map(quoted).collect::<Vec<_>>().join(".")
}

/// What stood there, as TOML; a secret is not repeated, whatever it is.
fn shown(value: &Value, is_secret: bool) -> String {
    match value {
        Value::Table(_) => "a section".to_owned(),
        _ if is_secret => format!("\"{HIDDEN}\""),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
