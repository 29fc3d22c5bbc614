//! What each configuration mistake is told: the key, what it got, what it wants, where it stands.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot read has failed")]

use heliograph_config::Config;
use heliograph_service::config::load_from;
use std::ffi::OsString;

/// Name, the file's text, one environment variable (`NAME=VALUE`, or nothing), the message.
type Row = (&'static str, &'static str, &'static str, &'static str);

const SYNTAX: &[Row] = &[
    (
        "a value that is not quoted",
        "[gateway]\nlisten = 0.0.0.0:7070",
        "",
        "FILE line 2: got `listen = …`, want TOML: ",
    ),
    ("a section without its end", "[gateway", "", "FILE line 1: got `[gateway`, want TOML: "),
    (
        "a key given twice",
        "[query]\npoints_max = 1\npoints_max = 2",
        "",
        "FILE line 3: got `points_max = …`, want TOML: duplicate key",
    ),
    (
        "a number that no computer of ours has",
        "[gateway]\nreadings_max = 99999999999999999999",
        "",
        "FILE line 2: got `readings_max = …`, want TOML: ",
    ),
];

const NAMES: &[Row] = &[
    (
        "a section misspelt",
        "[gatway]",
        "",
        "gatway: got an unknown section, want a known one: did you mean gateway? (line 1 of FILE)",
    ),
    (
        "a section of another program",
        "[database]",
        "",
        "database: got an unknown section, want one of detector, gateway, log, query, store, writer \
         (line 1 of FILE)",
    ),
    (
        "a key misspelt",
        "[gateway.http]\ndrain_timout = \"5s\"",
        "",
        "gateway.http.drain_timout: got an unknown key, want a known one: did you mean \
         gateway.http.drain_timeout? (line 2 of FILE)",
    ),
    (
        "a key in the wrong section",
        "[log]\nbootstrap_servers = \"a:1\"",
        "",
        "log.bootstrap_servers: got an unknown key, want a known one: did you mean \
         log.kafka.bootstrap_servers? (line 2 of FILE)",
    ),
    (
        "a key in no section",
        "tick_interval = \"1s\"",
        "",
        "tick_interval: got an unknown key, want a known one: did you mean \
         gateway.tick_interval? (line 1 of FILE)",
    ),
    (
        "a key like none",
        "[store]\nfrobs = 1",
        "",
        "store.frobs: got an unknown key, want one of cluster, connections_max, database, \
         password, url, user (line 2 of FILE)",
    ),
    (
        "a variable that misspells its key",
        "",
        "HELIOGRAPH_WRITER__BLOCK_ROWS=5",
        "writer.block_rows: got an unknown key, want a known one: did you mean \
         writer.block_rows_max? (environment HELIOGRAPH_WRITER__BLOCK_ROWS)",
    ),
    (
        "a variable with one underscore",
        "",
        "HELIOGRAPH_GATEWAY_LISTEN=0.0.0.0:7070",
        "gateway.listen: got HELIOGRAPH_GATEWAY_LISTEN, want HELIOGRAPH_GATEWAY__LISTEN, with two \
         underscores (environment HELIOGRAPH_GATEWAY_LISTEN)",
    ),
];

const TYPES: &[Row] = &[
    (
        "text for a number",
        "[gateway]\nreadings_max = \"many\"",
        "",
        "gateway.readings_max: got \"many\", want a whole number, 0 or more (line 2 of FILE)",
    ),
    (
        "a fraction",
        "[writer]\nblock_rows_max = 1.5",
        "",
        "writer.block_rows_max: got 1.5, want a whole number, 0 or more (line 2 of FILE)",
    ),
    (
        "a negative number",
        "[query]\npoints_max = -1",
        "",
        "query.points_max: got -1, want a whole number from 0 to 4294967295 (line 2 of FILE)",
    ),
    (
        "a number for text",
        "[store]\ndatabase = 7",
        "",
        "store.database: got 7, want text in quotes (line 2 of FILE)",
    ),
    (
        "a list for text",
        "[log.kafka]\nbootstrap_servers = [\"a:1\"]",
        "",
        "log.kafka.bootstrap_servers: got [\"a:1\"], want text in quotes (line 2 of FILE)",
    ),
    (
        "a value for a section",
        "gateway = true",
        "",
        "gateway: got true, want a section: [gateway] with its keys below (line 1 of FILE)",
    ),
    (
        "a section for a value",
        "[gateway.listen]\nport = 1",
        "",
        "gateway.listen: got a section, want an IP address and a port, such as 127.0.0.1:8080 or \
         [::]:8080 (line 1 of FILE)",
    ),
    (
        "a duration without a unit",
        "[gateway]\nappend_timeout = 5",
        "",
        "gateway.append_timeout: got 5, want a duration such as 250ms, 5s, 2m or 1h \
         (line 2 of FILE)",
    ),
    (
        "a duration in words",
        "[writer]\nblock_interval = \"soon\"",
        "",
        "writer.block_interval: got \"soon\", want a duration such as 250ms, 5s, 2m or 1h \
         (line 2 of FILE)",
    ),
    (
        "an address without a port",
        "[gateway]\nlisten = \"0.0.0.0\"",
        "",
        "gateway.listen: got \"0.0.0.0\", want an IP address and a port, such as 127.0.0.1:8080 \
         or [::]:8080 (line 2 of FILE)",
    ),
    (
        "a name for an address",
        "",
        "HELIOGRAPH_QUERY__LISTEN=localhost:7071",
        "query.listen: got \"localhost:7071\", want an IP address and a port, such as \
         127.0.0.1:8080 or [::]:8080 (environment HELIOGRAPH_QUERY__LISTEN)",
    ),
    (
        "a word that is none of the choices",
        "[log]\nkind = \"redis\"",
        "",
        "log.kind: got \"redis\", want \"kafka\" or \"local\" (line 2 of FILE)",
    ),
    (
        "a variable that is no number",
        "",
        "HELIOGRAPH_GATEWAY__IN_FLIGHT_MAX=lots",
        "gateway.in_flight_max: got \"lots\", want a whole number, 0 or more (environment \
         HELIOGRAPH_GATEWAY__IN_FLIGHT_MAX)",
    ),
    (
        "a secret that is not quoted",
        "[store]\npassword = 5318008",
        "",
        "store.password: got \"***\", want text in quotes (line 2 of FILE)",
    ),
];

const VALUES: &[Row] = &[
    (
        "nothing where something must be",
        "[gateway]\nin_flight_max = 0",
        "",
        "gateway.in_flight_max: got 0, want 1 to 2305843009213693951 (line 2 of FILE)",
    ),
    (
        "a body that no record holds",
        "",
        "HELIOGRAPH_GATEWAY__BODY_BYTES_MAX=1048576",
        "gateway.body_bytes_max: got 1048576, want 1 to 1044480: a record of heliograph.uploads \
         must hold what a body becomes (environment HELIOGRAPH_GATEWAY__BODY_BYTES_MAX)",
    ),
    (
        "a drain that cuts what it waits for",
        "[gateway]\nappend_timeout = \"20s\"",
        "",
        "gateway.http.drain_timeout: got 10s, want at least append_timeout (20s), or open uploads \
         are cut at shutdown",
    ),
    (
        "a range upside down",
        "[gateway]\nretry_after_min = \"9s\"\nretry_after_max = \"8s\"",
        "",
        "gateway.retry_after_max: got 8s, want at least retry_after_min (9s) (line 3 of FILE)",
    ),
    (
        "a name that a site id cannot have",
        "[gateway]\ninstance = \"a b\"",
        "",
        "gateway.instance: got \"a b\", want 1 to 56 ASCII letters, digits or . _ - \
         (line 2 of FILE)",
    ),
    (
        "no connections",
        "[query.http]\nconnections_max = 0",
        "",
        "query.http.connections_max: got 0, want 1 to 1000000 (line 2 of FILE)",
    ),
    (
        "more places than a semaphore has",
        "[query]\nconcurrency_max = 9223372036854775807",
        "",
        "query.concurrency_max: got 9223372036854775807, want 1 to 100000 (line 2 of FILE)",
    ),
    (
        "more series than points",
        "[query]\npoints_max = 100",
        "",
        "query.series_max: got 2000, want 1 to points_max (100): a series has a point",
    ),
    (
        "a drain longer than the session",
        "[writer]\nsession_timeout = \"10s\"",
        "",
        "writer.consumer.drain_timeout_ms: got 10000, want less than the session_timeout (10s), \
         in ms",
    ),
    (
        "a drain longer than the session, of the detector",
        "[detector]\nsession_timeout = \"10s\"",
        "",
        "detector.consumer.drain_timeout_ms: got 10000, want less than the session_timeout (10s), \
         in ms",
    ),
    (
        "a snapshot that is never made",
        "[detector]\nsnapshot_interval = \"2h\"",
        "",
        "detector.snapshot_interval: got 7200s, want 1s to 3600s (line 2 of FILE)",
    ),
    (
        "a block that ClickHouse would cut",
        "[writer]\nblock_rows_max = 1000001",
        "",
        "writer.block_rows_max: got 1000001, want 1 to 1000000 (line 2 of FILE)",
    ),
    (
        "more copies in step than there are",
        "[log.kafka]\nreplicas = 1",
        "",
        "log.kafka.min_insync_replicas: got 2, want 1 to replicas (1)",
    ),
    (
        "a broker without a port",
        "[log.kafka]\nbootstrap_servers = \"k0:9092, k1\"",
        "",
        "log.kafka.bootstrap_servers: got \"k1\", want host:port[,host:port]… (line 2 of FILE)",
    ),
    (
        "a property that breaks a promise",
        "",
        "HELIOGRAPH_LOG__KAFKA__PROPERTIES__ENABLE_AUTO_COMMIT=true",
        "log.kafka.properties.\"enable.auto.commit\": got a property of ours, want another \
         property: this one is decided by heliograph (environment \
         HELIOGRAPH_LOG__KAFKA__PROPERTIES__ENABLE_AUTO_COMMIT)",
    ),
    (
        "a journal too small to work with",
        "[log.local]\njournal_bytes_max = 1",
        "",
        "log.local.journal_bytes_max: got 1, want 67108864 to 1099511627776 (line 2 of FILE)",
    ),
    (
        "a store without a scheme",
        "[store]\nurl = \"clickhouse:8123\"",
        "",
        "store.url: got \"clickhouse:8123\", want http://host:port of ClickHouse's HTTP interface \
         (line 2 of FILE)",
    ),
    (
        "a password in an address",
        "",
        "HELIOGRAPH_STORE__URL=http://u:5318008@clickhouse:8123",
        "store.url: got \"http://***@clickhouse:8123\", want an address without user and password: \
         they have keys of their own (environment HELIOGRAPH_STORE__URL)",
    ),
    (
        "a database that is no name",
        "[store]\ndatabase = \"a-b\"",
        "",
        "store.database: got \"a-b\", want letters, digits and _ (line 2 of FILE)",
    ),
    (
        "what is printed instead of a secret",
        "[store]\npassword = \"***\"",
        "",
        "store.password: got \"***\", want the secret itself: this is what stands for it where it \
         is not shown (line 2 of FILE)",
    ),
];

fn mistakes(text: &str, variable: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("heliograph.toml");
    std::fs::write(&path, text).unwrap();
    let variable = variable.split_once('=');
    let env = variable.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let loaded = load_from::<Config>(Some(&path), env);
    let name = path.display().to_string();
    loaded.mistakes.iter().map(|m| m.to_string().replace(&name, "FILE")).collect()
}

#[test]
fn each_is_told_in_one_line_with_key_got_want_and_place() {
    let rows = [NAMES, TYPES, VALUES].concat();
    assert!(rows.len() + SYNTAX.len() >= 25, "{} rows", rows.len() + SYNTAX.len());
    for (name, text, variable, want) in rows {
        assert_eq!(mistakes(text, variable), [want], "{name}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    for (name, text, variable, want) in SYNTAX {
        let said = mistakes(text, variable);
        assert!(said.len() == 1 && said[0].starts_with(want), "{name}: {said:?}");
        assert!(!said[0].contains('\n'), "{name}: {said:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let loaded = load_from::<Config>(Some("/nowhere/heliograph.toml".as_ref()), []);
    let said = loaded.mistakes[0].to_string();
    assert_eq!(
        said,
        "configuration file: got /nowhere/heliograph.toml (No such file or directory (os error \
         2)), want a TOML file that can be read"
    );
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let text = "[gatway]\n[gateway]\nin_flight_max = 0\ninstance = \"a b\"\n[query.http]\n\
                connections_max = 0\n[store]\nfrobs = 1\nurl = \"ch\"\n[writer]\n\
                block_rows_max = 1000001";
    let said = mistakes(text, "HELIOGRAPH_QUERY__LISTEN=here");
    let keys: Vec<_> = said.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        keys,
        [
            "gatway",
            "store.frobs",
            "query.listen",
            "store.url",
            "gateway.instance",
            "gateway.in_flight_max",
            "writer.block_rows_max",
            "query.http.connections_max"
        ],
        "{said:#?}"
    );
}
