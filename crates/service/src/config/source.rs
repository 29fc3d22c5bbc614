//! The two places that values come from: a TOML file, and environment variables over it.

use super::{Mistake, Origin, dotted};
use heliograph_domain::Violation;
use std::{collections::BTreeMap, ffi::OsString, ops::Range, path::Path};
use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

/// `HELIOGRAPH_GATEWAY__LISTEN=…` overrides `listen` of section `[gateway]`.
const PREFIX: &str = "HELIOGRAPH_";
/// Stands between sections and keys; one underscore is a part of a name.
const SEPARATOR: &str = "__";

/// What was given, not yet understood.
#[derive(Default)]
pub(super) struct Given {
    pub table: Table,
    pub origins: BTreeMap<String, Origin>,
    pub mistakes: Vec<Mistake>,
}

impl Given {
    /// Notes that `path` is wrong.
    pub fn wrong(&mut self, path: &[String], got: String, want: String) {
        let key = dotted(path);
        let origin = self.origins.get(&key).cloned();
        self.mistakes.push(Mistake { violation: Violation::new(key, got, want), origin });
    }

    pub fn read_file(&mut self, path: &Path) {
        let name = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let violation = Violation::new(
                    "configuration file",
                    format_args!("{name} ({error})"),
                    "a TOML file that can be read",
                );
                return self.mistakes.push(Mistake { violation, origin: None });
            }
        };
        let (parsed, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            self.no_toml(&name, &text, error);
        }
        if !errors.is_empty() {
            return;
        }
        // Well-formed is not all: a number may be too large.
        self.table = match toml::from_str(&text) {
            Ok(table) => table,
            Err(error) => return self.no_toml(&name, &text, &error),
        };
        note_lines(&mut Vec::new(), parsed.get_ref(), &mut |key, span| {
            let origin = Origin::File { path: name.clone(), line: line_at(&text, &span) };
            self.origins.insert(key, origin);
        });
    }

    fn no_toml(&mut self, name: &str, text: &str, error: &toml::de::Error) {
        let line = error.span().map_or(1, |span| line_at(text, &span));
        let violation = Violation::new(
            format!("{name} line {line}"),
            without_value(text.lines().nth(line - 1).unwrap_or_default()),
            format!("TOML: {}", error.message().replace('\n', ", ")),
        );
        self.mistakes.push(Mistake { violation, origin: None });
    }

    pub fn read_environment(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        template: &Table,
    ) {
        let mut ours: Vec<(String, OsString)> = environment
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        ours.sort();
        for (name, value) in ours {
            let rest = &name[PREFIX.len()..];
            if !rest.contains(SEPARATOR) {
                self.refuse_lookalike(&name, rest, template);
                continue;
            }
            let mut path: Vec<String> =
                rest.split(SEPARATOR).map(str::to_ascii_lowercase).collect();
            let slot = Slot::find(template, &mut path);
            self.origins.insert(dotted(&path), Origin::Environment(name));
            match value.into_string() {
                Ok(text) => put(&mut self.table, &path, slot.value(text)),
                Err(_) => self.wrong(&path, "bytes that are not UTF-8".into(), "UTF-8".into()),
            }
        }
    }

    /// A single underscore behind the section is easily written and would change nothing.
    fn refuse_lookalike(&mut self, name: &str, rest: &str, template: &Table) {
        let rest = rest.to_ascii_lowercase();
        let meant = super::leaves(template)
            .into_iter()
            .map(|(key, _)| key)
            .find(|key| key.replace('.', "_") == rest);
        if let Some(key) = meant {
            let want = format!("{PREFIX}{}", key.replace('.', SEPARATOR).to_ascii_uppercase());
            let violation = Violation::new(key, name, format!("{want}, with two underscores"));
            let origin = Some(Origin::Environment(name.to_owned()));
            self.mistakes.push(Mistake { violation, origin });
        }
    }
}

/// What the template has at a path.
enum Slot<'t> {
    Known(&'t Value),
    Unknown,
}

impl<'t> Slot<'t> {
    /// Looks `path` up. Below a table of free keys, which are names with dots, `_` becomes `.`:
    /// variables have no dots.
    fn find(template: &'t Table, path: &mut [String]) -> Self {
        let mut table = template;
        for i in 0..path.len() {
            match table.get(&path[i]) {
                Some(Value::Table(free)) if free.is_empty() && i + 2 == path.len() => {
                    path[i + 1] = path[i + 1].replace('_', ".");
                    return Slot::Unknown;
                }
                Some(Value::Table(inner)) => table = inner,
                Some(value) if i + 1 == path.len() => return Slot::Known(value),
                _ => return Slot::Unknown,
            }
        }
        Slot::Unknown
    }

    /// A variable is text; where the key wants something else and the text is that, it is taken
    /// as such.
    fn value(&self, text: String) -> Value {
        match self {
            Slot::Known(Value::String(_)) | Slot::Unknown => Value::String(text),
            Slot::Known(wanted) => match text.trim().parse::<Value>() {
                Ok(value) if value.same_type(wanted) => value,
                _ => Value::String(text),
            },
        }
    }
}

fn put(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [section, rest @ ..] => {
            let entry = table.entry(section.clone()).or_insert(Value::Table(Table::new()));
            if !entry.is_table() {
                *entry = Value::Table(Table::new());
            }
            if let Value::Table(inner) = entry {
                put(inner, rest, value);
            }
        }
    }
}

fn note_lines(
    path: &mut Vec<String>,
    table: &DeTable<'_>,
    note: &mut impl FnMut(String, Range<usize>),
) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        note(dotted(path), Spanned::span(key));
        if let DeValue::Table(inner) = value.get_ref() {
            note_lines(path, inner, note);
        }
        path.pop();
    }
}

/// Lines count from 1.
fn line_at(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().get(..span.start).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// A line that is no TOML may hold a password that somebody forgot to quote.
fn without_value(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) => format!("`{} = …`", key.trim()),
        None => format!("`{}`", line.trim()),
    }
}
