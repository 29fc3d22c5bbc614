//! `docs/heliograph.toml` against the code: the same keys, the same defaults, each explained.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot read has failed")]

use heliograph_config::Config;
use heliograph_service::config::{Settings, leaves, load_from, template};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/heliograph.toml")
}

fn keys(table: &toml::Table) -> BTreeSet<String> {
    leaves(table).into_iter().map(|(key, _)| key).collect()
}

#[test]
fn it_loads_without_a_mistake_and_equals_the_defaults() {
    let loaded = load_from::<Config>(Some(&document()), []);
    assert_eq!(loaded.mistakes, []);
    assert_eq!(loaded.settings, Config::default());
}

#[test]
fn it_has_every_key_of_the_code_and_no_other() {
    let text = std::fs::read_to_string(document()).unwrap();
    let written = keys(&toml::from_str(&text).unwrap());
    let known = keys(&template::<Config>());
    let missing: Vec<_> = known.difference(&written).collect();
    assert!(missing.is_empty(), "docs/heliograph.toml lacks {missing:?}: add them with a comment");
    let gone: Vec<_> = written.difference(&known).collect();
    assert!(gone.is_empty(), "docs/heliograph.toml has {gone:?}, which the code does not");
    assert!(known.len() > 60, "{} keys", known.len());
}

#[test]
fn it_writes_every_default_as_the_program_prints_it() {
    let text = std::fs::read_to_string(document()).unwrap();
    let written: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(written, template::<Config>(), "the same value in another form, such as 60s for 1m");
}

#[test]
fn every_key_has_a_comment_above_it() {
    let text = std::fs::read_to_string(document()).unwrap();
    let mut before = "";
    let mut keys = 0;
    for (number, line) in text.lines().enumerate() {
        let is_key = !line.starts_with(['#', '[']) && line.contains(" = ");
        if is_key {
            keys += 1;
            assert!(before.starts_with("# "), "line {}: {line} has no comment", number + 1);
        }
        before = line;
    }
    assert_eq!(keys + 1, leaves(&template::<Config>()).len(), "properties has no line of its own");
}

/// What `SECRETS` does not list would be shown; what is a secret by its type must be listed.
#[test]
fn what_is_secret_by_type_is_secret_by_name() {
    let mut config = Config::default();
    config.store.password = "5318008".into();
    config.log.kafka.properties.insert("a.b".into(), "5318008".into());
    let table = heliograph_service::config::table(&config);
    let hidden: Vec<String> = leaves(&table)
        .into_iter()
        .filter(|(_, value)| value.as_str() == Some("***"))
        .map(|(key, _)| key)
        .collect();
    assert_eq!(hidden, ["log.kafka.properties.\"a.b\"", "store.password"]);
    for key in hidden {
        let covered = Config::SECRETS.iter().any(|s| key == *s || key.starts_with(s));
        assert!(covered, "{key} is not in SECRETS");
    }
}
