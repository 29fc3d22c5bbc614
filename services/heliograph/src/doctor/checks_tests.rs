use super::*;
use Verdict::{Fail, Warn};

const NOW_MS: i64 = 1_767_225_600_000;
const MIB: u64 = 1 << 20;

/// A running installation in which all is well.
fn well() -> Facts {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let topic =
        |name: &str, declared| Topic { name: name.into(), declared, partitions: Ok(declared) };
    Facts {
        now_ms: NOW_MS,
        version: "0.1.0".into(),
        config: ConfigFacts {
            file: None,
            mistakes: Vec::new(),
            connections_max: 20_000,
            min_free_bytes: 512 * MIB,
        },
        directory: Some(Directory {
            path: "data".into(),
            state: State::There { owner: 1000, we: 1000, is_writable: true, has_log: true },
            endpoint: EndpointFacts::There { pid: 7, is_alive: true, others_read: false },
            disk: Ok(Disk { free_bytes: 9_000 * MIB, inodes: 1_000_000, inodes_free: 900_000 }),
        }),
        engine: Some(Ok("/opt/libchdb.so".into())),
        descriptors: Some(Descriptors { whose: "process 7".into(), soft_max: 1_048_576 }),
        gateway: Some(Asked {
            at: url(7070),
            answer: Ok(Web {
                ready: true,
                reason: "ready".into(),
                version: Some("0.1.0".into()),
                date_ms: Some(NOW_MS - 900),
            }),
        }),
        query: Some(Asked {
            at: url(7071),
            answer: Ok(Query {
                serving: true,
                version: Some("0.1.0".into()),
                token: Token::Operator,
            }),
        }),
        store: Some(Asked {
            at: url(7072),
            answer: Ok(Store {
                version: "26.5.3".into(),
                tables: Ok(Tables { applied: 3, pending: Vec::new() }),
            }),
        }),
        log: Some(Asked {
            at: "through the query".into(),
            answer: Ok(LogFacts {
                topics: vec![topic("heliograph.uploads", 12), topic("heliograph.registry", 1)],
                lag: Ok(Lag { records: 40, has_committed: true }),
                newest_append_ms: Some(NOW_MS - 800),
            }),
        }),
    }
}

/// A cluster: no directory, no engine.
fn cluster() -> Facts {
    Facts { directory: None, engine: None, descriptors: None, ..well() }
}

fn directory(facts: &mut Facts) -> &mut Directory {
    facts.directory.as_mut().unwrap()
}

fn answer<T>(asked: &mut Option<Asked<T>>) -> &mut T {
    asked.as_mut().unwrap().answer.as_mut().unwrap()
}

fn refuse<T>(asked: &mut Option<Asked<T>>) {
    asked.as_mut().unwrap().answer = Err("connection refused".into());
}

/// Nothing is known of services that do not run.
fn nobody_asked(facts: &mut Facts) {
    (facts.gateway, facts.query, facts.store, facts.log) = (None, None, None, None);
}

/// Check, verdict, words of what was found, words of the mending.
type Want = (&'static str, Verdict, &'static str, &'static str);

/// A rule, what is spoilt, and what is then told.
type Row = (&'static str, fn(&mut Facts), &'static [Want]);

fn check(rows: &[Row], base: fn() -> Facts) {
    for (name, spoil, wants) in rows {
        let mut facts = base();
        spoil(&mut facts);
        let found = judge(&facts);
        let bad: Vec<_> = found.iter().filter(|f| f.verdict != Verdict::Ok).collect();
        assert_eq!(bad.len(), wants.len(), "{name}: {bad:#?}");
        for (finding, (check, verdict, words, mend)) in bad.iter().zip(*wants) {
            assert_eq!((finding.check, finding.verdict), (*check, *verdict), "{name}");
            assert!(finding.found.contains(words), "{name}: {finding:?}");
            let told = finding.mend.as_deref().unwrap_or_default();
            assert!(told.contains(mend), "{name}: {finding:?}");
        }
    }
}

#[test]
fn all_is_well() {
    for facts in [well(), cluster()] {
        let found = judge(&facts);
        assert!(found.iter().all(|f| f.verdict == Verdict::Ok && f.mend.is_none()), "{found:#?}");
        assert!(found.len() >= 9, "{found:#?}");
    }
    assert_eq!(judge(&well()).len(), 15);
}

#[test]
fn what_lies_on_this_machine() {
    let rows: &[Row] = &[
        (
            "a mistake in the configuration",
            |f| f.config.mistakes.push("gateway.listen: got 1, want 2".into()),
            &[("configuration", Fail, "gateway.listen: got 1", "docs/heliograph.toml")],
        ),
        (
            "no directory",
            |f| {
                directory(f).state = State::Missing;
                directory(f).endpoint = EndpointFacts::Missing;
                directory(f).disk = Err("not there".into());
                nobody_asked(f);
            },
            &[("data directory", Fail, "data is not there", "heliograph up --data-dir data")],
        ),
        (
            "a file where a directory should be",
            |f| {
                directory(f).state = State::NoDirectory;
                directory(f).endpoint = EndpointFacts::Missing;
                nobody_asked(f);
            },
            &[("data directory", Fail, "data is a file", "--data-dir")],
        ),
        (
            "an empty directory",
            |f| {
                let state =
                    State::There { owner: 1000, we: 1000, is_writable: true, has_log: false };
                directory(f).state = state;
                directory(f).endpoint = EndpointFacts::Missing;
                nobody_asked(f);
            },
            &[("data directory", Fail, "holds no installation", "heliograph up")],
        ),
        (
            "somebody else's directory",
            |f| {
                directory(f).state =
                    State::There { owner: 999, we: 1000, is_writable: false, has_log: true };
            },
            &[("data directory", Fail, "belongs to user 999", "run as user 999")],
        ),
        (
            "another's, but writable",
            |f| {
                directory(f).state =
                    State::There { owner: 999, we: 1000, is_writable: true, has_log: true };
            },
            &[("data directory", Warn, "belongs to user 999", "as user 999")],
        ),
        (
            "never started",
            |f| {
                directory(f).endpoint = EndpointFacts::Missing;
                nobody_asked(f);
            },
            &[("process", Fail, "nothing runs", "heliograph up --data-dir data")],
        ),
        (
            "stopped: one FAIL, not one for each service",
            |f| {
                directory(f).endpoint =
                    EndpointFacts::There { pid: 7, is_alive: false, others_read: false };
                refuse(&mut f.gateway);
                refuse(&mut f.query);
                refuse(&mut f.store);
                f.log = None;
            },
            &[("process", Fail, "process 7 of endpoint.json has ended", "heliograph up")],
        ),
        (
            "a broken endpoint.json",
            |f| {
                directory(f).endpoint = EndpointFacts::Broken("endpoint.json is not JSON".into());
                nobody_asked(f);
            },
            &[("process", Fail, "endpoint.json is not JSON", "remove data/endpoint.json")],
        ),
        (
            "a token that others can read",
            |f| {
                directory(f).endpoint =
                    EndpointFacts::There { pid: 7, is_alive: true, others_read: true };
            },
            &[("process", Warn, "others can read the token", "chmod 600")],
        ),
        (
            "a disk below the log's mark",
            |f| {
                directory(f).disk = Ok(Disk { free_bytes: 511 * MIB, inodes: 0, inodes_free: 0 });
            },
            &[("disk", Fail, "511 MiB free: below 512 MiB", "make room")],
        ),
        (
            "a disk that comes near it",
            |f| {
                directory(f).disk = Ok(Disk { free_bytes: 999 * MIB, inodes: 0, inodes_free: 0 });
            },
            &[("disk", Warn, "999 MiB free", "before uploads are refused")],
        ),
        (
            "no inodes",
            |f| directory(f).disk.as_mut().unwrap().inodes_free = 0,
            &[("disk", Fail, "no inode", "df -i")],
        ),
        (
            "few inodes",
            |f| directory(f).disk.as_mut().unwrap().inodes_free = 9_999,
            &[("disk", Warn, "9999 of 1000000 inodes", "df -i")],
        ),
        (
            "a file system without a count of inodes is well",
            |f| {
                let disk = directory(f).disk.as_mut().unwrap();
                (disk.inodes, disk.inodes_free) = (0, 0);
            },
            &[],
        ),
        (
            "no engine",
            |f| f.engine = Some(Err("libchdb.so is missing".into())),
            &[("engine library", Fail, "missing", "scripts/fetch-libchdb.sh")],
        ),
        (
            "fewer files than connections",
            |f| f.descriptors.as_mut().unwrap().soft_max = 1_024,
            &[("open files", Warn, "may open 1024", "ulimit -n 21024")],
        ),
    ];
    check(rows, well);
}

#[test]
fn what_the_services_answer() {
    let rows: &[Row] = &[
        (
            "a process that runs and does not answer",
            |f| refuse(&mut f.gateway),
            &[("gateway", Fail, "http://127.0.0.1:7070 does not answer: connection", "stderr")],
        ),
        (
            "a gateway that leaves",
            |f| {
                answer(&mut f.gateway).ready = false;
                answer(&mut f.gateway).reason = "leaving: drain in progress".into();
            },
            &[("gateway", Fail, "not ready: leaving", "ask again")],
        ),
        (
            "a query that does not serve",
            |f| answer(&mut f.query).serving = false,
            &[("query", Fail, "is not serving", "ask again")],
        ),
        (
            "a token that is void",
            |f| {
                answer(&mut f.query).token = Token::Refused("no such token".into());
                f.log = None;
            },
            &[("token", Fail, "does not take it: no such token", "restart")],
        ),
        (
            "a table that is not there yet",
            |f| {
                let pending = vec!["0004_new.sql".to_owned()];
                answer(&mut f.store).tables = Ok(Tables { applied: 3, pending });
            },
            &[("tables", Fail, "not yet: 0004_new.sql", "restart `heliograph up`")],
        ),
        (
            "a migration that was changed",
            |f| answer(&mut f.store).tables = Err("0002_rollups.sql is not the file".into()),
            &[("tables", Fail, "0002_rollups.sql", "the version of heliograph")],
        ),
        (
            "other partitions than declared",
            |f| answer(&mut f.log).topics[0].partitions = Ok(6),
            &[("topics", Fail, "heliograph.uploads has 6 partitions, declared are 12", "anew")],
        ),
        (
            "a writer that is behind",
            |f| answer(&mut f.log).lag = Ok(Lag { records: 10_001, has_committed: true }),
            &[("writer", Warn, "10001 records behind", "heliograph lag")],
        ),
        (
            "a writer that never was",
            |f| answer(&mut f.log).lag = Ok(Lag { records: 9, has_committed: false }),
            &[("writer", Warn, "never committed; 9 records", "start the writer")],
        ),
        (
            "a clock a little off",
            |f| answer(&mut f.gateway).date_ms = Some(NOW_MS - 5_000),
            &[("clock", Warn, "differs from the gateway's by 5 s", "time service")],
        ),
        (
            "a clock far off",
            |f| answer(&mut f.gateway).date_ms = Some(NOW_MS + 90_000),
            &[("clock", Fail, "by -90 s", "time service")],
        ),
        (
            "a log of the future",
            |f| answer(&mut f.log).newest_append_ms = Some(NOW_MS + 9_000),
            &[("clock", Fail, "9 s in the future", "time service")],
        ),
        (
            "a gateway that does not tick",
            |f| answer(&mut f.log).newest_append_ms = Some(NOW_MS - 31_000),
            &[("ticks", Warn, "31 s old", "once a second")],
        ),
        (
            "services of another release",
            |f| answer(&mut f.query).version = Some("0.0.9".into()),
            &[("versions", Warn, "this program is 0.1.0, but query 0.0.9", "same release")],
        ),
    ];
    check(rows, well);
}

#[test]
fn what_a_cluster_answers() {
    let rows: &[Row] = &[
        (
            "everything is down: one FAIL each, since each is a machine of its own",
            |f| {
                refuse(&mut f.gateway);
                refuse(&mut f.query);
                refuse(&mut f.store);
                refuse(&mut f.log);
            },
            &[
                ("gateway", Fail, "does not answer", "start it"),
                ("query", Fail, "does not answer", "start it"),
                ("clickhouse", Fail, "does not answer", "start it"),
                ("log", Fail, "does not answer", "start it"),
            ],
        ),
        (
            "a topic that is not there",
            |f| answer(&mut f.log).topics[1].partitions = Err("no such topic".into()),
            &[("topics", Fail, "heliograph.registry: no such topic", "heliograph migrate")],
        ),
        (
            "tables that are not there",
            |f| {
                let pending = vec!["0001_readings.sql".to_owned()];
                answer(&mut f.store).tables = Ok(Tables { applied: 0, pending });
            },
            &[("tables", Fail, "0 migrations applied", "heliograph migrate")],
        ),
        (
            "no token",
            |f| answer(&mut f.query).token = Token::NotGiven,
            &[("token", Warn, "none was given", "--token")],
        ),
        (
            "a viewer's token",
            |f| answer(&mut f.query).token = Token::Viewer,
            &[("token", Warn, "a viewer's", "operator's")],
        ),
        (
            "a revoked token",
            |f| answer(&mut f.query).token = Token::Refused("revoked".into()),
            &[("token", Fail, "revoked", "an operator makes new ones")],
        ),
    ];
    check(rows, cluster);
}

#[test]
fn a_finding_is_one_object_with_the_words_of_the_help() {
    let mut facts = cluster();
    refuse(&mut facts.gateway);
    let json: Vec<_> = judge(&facts).iter().map(|f| serde_json::to_value(f).unwrap()).collect();
    let gateway = json.iter().find(|f| f["check"] == "gateway").unwrap();
    assert_eq!(gateway["verdict"], "fail");
    assert!(gateway["mend"].is_string());
    assert!(json.iter().any(|f| f["verdict"] == "ok" && f.get("mend").is_none()));
}
