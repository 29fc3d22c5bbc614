//! The effective configuration, as TOML or JSON, with the origin of all that is not a default.
//!
//! What is printed can be read again, except for secrets: `***` stands in their place, and loading
//! refuses it.

use crate::{Config, Loaded};
use heliograph_service::config::{leaves, table};
use serde_json::{Map, json};
use std::fmt::Write;
use toml::{Table, Value};

/// In the order in which data flow through them.
const SECTIONS: [&str; 6] = ["log", "store", "gateway", "writer", "detector", "query"];

/// Every section and key.
pub fn toml(loaded: &Loaded<Config>) -> String {
    let table = table(&loaded.settings);
    let mut out = String::new();
    for section in SECTIONS {
        if let Some(Value::Table(keys)) = table.get(section) {
            write_section(&mut out, section, keys, loaded);
        }
    }
    out
}

fn write_section(out: &mut String, name: &str, keys: &Table, loaded: &Loaded<Config>) {
    if !out.is_empty() {
        out.push('\n');
    }
    // Writing to a string does not fail.
    let _ = writeln!(out, "[{name}]");
    for (key, value) in keys.iter().filter(|(_, value)| !value.is_table()) {
        // A table of one key has the key quoted where it must be.
        let key = leaves(&Table::from_iter([(key.clone(), value.clone())])).remove(0).0;
        let origin = loaded.origins.get(&format!("{name}.{key}"));
        let comment = origin.map(|o| format!("  # {o}")).unwrap_or_default();
        let _ = writeln!(out, "{key} = {value}{comment}");
    }
    for (key, value) in keys {
        if let Value::Table(inner) = value {
            write_section(out, &format!("{name}.{key}"), inner, loaded);
        }
    }
}

/// `{"config": {…}, "origins": {KEY: WHERE, …}}`.
pub fn json(loaded: &Loaded<Config>) -> serde_json::Value {
    let table = table(&loaded.settings);
    let origins: Map<String, serde_json::Value> = leaves(&table)
        .into_iter()
        .filter_map(|(key, _)| Some((key.clone(), json!(loaded.origins.get(&key)?.to_string()))))
        .collect();
    json!({ "config": table, "origins": origins })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_service::config::load_from;
    use std::ffi::OsString;

    const SECRET: &str = "5318008";

    fn loaded() -> Loaded<Config> {
        let env = [
            ("HELIOGRAPH_STORE__PASSWORD", SECRET),
            ("HELIOGRAPH_LOG__KAFKA__PROPERTIES__SASL_PASSWORD", SECRET),
            ("HELIOGRAPH_GATEWAY__HTTP__DRAIN_TIMEOUT", "20s"),
        ];
        load_from(None, env.map(|(name, value)| (OsString::from(name), OsString::from(value))))
    }

    #[test]
    fn what_is_printed_is_the_configuration_with_its_origins() {
        let loaded = loaded();
        assert_eq!(loaded.mistakes, []);
        let printed = toml(&loaded);
        let want = "drain_timeout = \"20s\"  # environment HELIOGRAPH_GATEWAY__HTTP__DRAIN_TIMEOUT";
        assert!(printed.lines().any(|line| line == want), "{printed}");
        assert!(printed.contains("\"sasl.password\" = \"***\"  # environment HELIOGRAPH_LOG__"));
        assert_eq!(::toml::from_str::<Table>(&printed).unwrap(), table(&loaded.settings));
        let json = json(&loaded);
        assert_eq!(json["config"]["gateway"]["http"]["drain_timeout"], "20s");
        let origin = &json["origins"]["gateway.http.drain_timeout"];
        assert_eq!(origin, "environment HELIOGRAPH_GATEWAY__HTTP__DRAIN_TIMEOUT");
    }

    #[test]
    fn a_secret_is_in_nothing_that_is_printed() {
        let loaded = loaded();
        assert_eq!(loaded.settings.store.password.expose(), SECRET, "it is there to be used");
        let everything = format!(
            "{} {} {:?} {loaded:#?} {}",
            toml(&loaded),
            json(&loaded),
            loaded.settings,
            serde_json::to_string(&loaded.settings).unwrap()
        );
        assert!(everything.contains("***") && !everything.contains(SECRET), "{everything}");
    }
}
