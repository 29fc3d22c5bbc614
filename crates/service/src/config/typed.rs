//! From a table to the settings' types, one mistake at a time, until it fits.

use super::{Settings, shown, source::Given};
use serde_path_to_error::Segment;
use toml::{Table, Value};

/// Reads the settings. A value that is not what its key wants becomes a mistake and is left out,
/// so that its default stands in and the next one is found too.
pub(super) fn read<T: Settings>(given: &mut Given, is_secret: &dyn Fn(&str) -> bool) -> T {
    loop {
        let table = Value::Table(given.table.clone());
        let error = match serde_path_to_error::deserialize::<_, T>(table) {
            Ok(settings) => return settings,
            Err(error) => error,
        };
        let path: Vec<String> = error.path().iter().filter_map(name).collect();
        let hidden = is_secret(&super::dotted(&path));
        let message = error.inner().message();
        let Some(value) = take(&mut given.table, &path) else {
            // A key's own name is at fault, which `shape` has seen to; nothing can be left out.
            given.wrong(&path, "what cannot be read".into(), message.to_owned());
            return T::default();
        };
        let want = if hidden { "text in quotes".to_owned() } else { wanted(message) };
        given.wrong(&path, shown(&value, hidden), want);
    }
}

fn name(segment: &Segment) -> Option<String> {
    match segment {
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Seq { .. } | Segment::Unknown => None,
    }
}

fn take(table: &mut Table, path: &[String]) -> Option<Value> {
    match path {
        [] => None,
        [key] => table.remove(key),
        [section, rest @ ..] => take(table.get_mut(section)?.as_table_mut()?, rest),
    }
}

/// What a type's own message says that it wants, in the words of somebody who writes TOML.
fn wanted(message: &str) -> String {
    if message.contains("socket address") {
        return "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080".to_owned();
    }
    let want = message.rsplit_once("expected ").map_or(message, |(_, want)| want);
    match want {
        "u8" | "u16" => whole_number(u16::MAX.into()),
        "u32" => whole_number(u32::MAX.into()),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "a string" | "string" | "path string" => "text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        words => words.replace('`', "\""),
    }
}

fn whole_number(most: u64) -> String {
    format!("a whole number from 0 to {most}")
}
