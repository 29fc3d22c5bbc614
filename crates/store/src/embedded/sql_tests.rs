//! What a statement is taken for; the row's name is the rule.

use super::*;

fn select(format: Option<&str>, streamable: bool) -> Plan {
    Plan::Select { format: format.map(Into::into), streamable }
}

fn other(format: Option<&str>) -> Plan {
    Plan::Other { format: format.map(Into::into) }
}

#[test]
fn statements_are_recognised_by_their_first_word() {
    let rows: &[(&str, &str, Plan)] = &[
        ("a plain SELECT streams", "SELECT 1", select(None, true)),
        ("WITH is a SELECT", "with 1 as a select a", select(None, true)),
        ("a SELECT in brackets is one", "(SELECT 1) UNION ALL (SELECT 2)", select(None, true)),
        ("FROM first is a SELECT", "FROM t SELECT a", select(None, true)),
        ("its FORMAT is found", "SELECT 1 format CSV", select(Some("CSV"), true)),
        (
            "also before SETTINGS and a semicolon",
            "SELECT 1 FORMAT CSV SETTINGS max_threads = 1 ;",
            select(Some("CSV"), true),
        ),
        ("a column called format is not one", "SELECT format, 1 FROM t", select(None, true)),
        ("nor one inside brackets", "SELECT (SELECT 1 FORMAT x) FROM t", select(None, true)),
        ("text in a literal is not syntax", "SELECT '; FORMAT JSON --'", select(None, true)),
        ("a literal ends after an escaped quote", r"SELECT 'a\'; b' , 1", select(None, true)),
        ("and after a doubled quote", "SELECT 'a''; b' , 1", select(None, true)),
        ("a here-document is a literal", "SELECT $x$; FORMAT JSON$x$", select(None, true)),
        ("comments are passed over", "-- ; a\n/* FORMAT x; */ SELECT 1 # b", select(None, true)),
        (
            "totals are more than rows",
            "SELECT a FROM t GROUP BY a WITH TOTALS",
            select(None, false),
        ),
        (
            "so are output settings",
            "SELECT 1 SETTINGS output_format_json_array_of_rows = 1",
            select(None, false),
        ),
        ("DESCRIBE is run whole", "DESCRIBE TABLE t", other(None)),
        ("so is SHOW, with its format", "SHOW TABLES FORMAT JSON", other(Some("JSON"))),
        ("INSERT … SELECT has no data", "INSERT INTO t SELECT * FROM s", other(None)),
        ("nor has one with columns", "INSERT INTO t (a) WITH 1 AS x SELECT x", other(None)),
        ("a trailing semicolon is fine", "SELECT 1; -- end", select(None, true)),
    ];
    for (name, sql, want) in rows {
        assert_eq!(plan(sql.as_bytes()).as_ref(), Ok(want), "{name}: {sql}");
    }
}

#[test]
fn an_insert_is_cut_into_head_format_and_data() {
    let rows: &[(&str, &str, &str, &str, &str)] = &[
        ("FORMAT", "INSERT INTO t FORMAT Native\n<data>", "INSERT INTO t ", "Native", "<data>"),
        (
            "blanks and one line end are head",
            "INSERT INTO t FORMAT TSV \r\n\nx",
            "INSERT INTO t ",
            "TSV",
            "\nx",
        ),
        ("columns", "insert into d.t(a, b) format CSV 1,2", "insert into d.t(a, b) ", "CSV", "1,2"),
        ("VALUES", "INSERT INTO t (a) VALUES (1)", "INSERT INTO t (a) ", "Values", " (1)"),
        (
            "a table called format",
            "INSERT INTO format FORMAT TSV 1",
            "INSERT INTO format ",
            "TSV",
            "1",
        ),
        (
            "quoted names",
            "INSERT INTO `FORMAT x`.`VALUES` FORMAT TSV 1",
            "INSERT INTO `FORMAT x`.`VALUES` ",
            "TSV",
            "1",
        ),
        (
            "the file comes before SETTINGS",
            "INSERT INTO t SETTINGS a = 1 FORMAT TSV 1",
            "INSERT INTO t ",
            "TSV",
            "1",
        ),
        (
            "data is not looked at",
            "INSERT INTO t FORMAT TSV\n'; SELECT /*",
            "INSERT INTO t ",
            "TSV",
            "'; SELECT /*",
        ),
        ("without INTO", "INSERT t VALUES (1)", "INSERT t ", "Values", " (1)"),
    ];
    for (name, sql, before_file, format, data) in rows {
        let Ok(Plan::Insert(head)) = plan(sql.as_bytes()) else { panic!("{name}: no insert") };
        assert_eq!(&sql[..head.infile_at], *before_file, "{name}");
        assert_eq!(head.format, *format, "{name}");
        assert_eq!(&sql[head.data_at..], *data, "{name}");
        assert!(head.infile_at <= head.format_at && head.format_at < head.data_at, "{name}");
    }
}

#[test]
fn what_would_escape_the_request_is_refused() {
    let rows: &[(&str, &str, u32)] = &[
        ("a second statement", "SELECT 1; DROP TABLE t", 62),
        ("an empty query", " -- nothing\n", 62),
        ("a file written by the engine", "SELECT 1 INTO OUTFILE '/tmp/x'", 358),
        (
            "a file read by the engine's client",
            "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT TSV",
            78,
        ),
        ("the end of the process", "SYSTEM SHUTDOWN", 48),
        ("its sudden end", "system /* now */ kill", 48),
    ];
    for (name, sql, code) in rows {
        let refused = plan(sql.as_bytes()).expect_err(name);
        assert_eq!(refused.code, *code, "{name}");
    }
}

#[test]
fn a_script_is_split_at_its_own_semicolons_only() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("two statements", "A b;\nC d;\n", &["A b", "C d"]),
        ("the last needs no semicolon", "A; B", &["A", "B"]),
        ("comments between them are dropped", "-- one; two\nA; /* ; */ -- end", &["A"]),
        ("comments inside stay", "A /* ; */ b;", &["A /* ; */ b"]),
        ("a semicolon in a literal", "A COMMENT 'x; y';B", &["A COMMENT 'x; y'", "B"]),
        ("more than ASCII", "A COMMENT '発電所;'; B", &["A COMMENT '発電所;'", "B"]),
        ("nothing", " ;; -- x", &[]),
    ];
    for (name, script, want) in rows {
        assert_eq!(statements(script), *want, "{name}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_lexer(text in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = plan(&text);
    }

    #[test]
    fn a_literal_is_opaque_whatever_it_holds(content in "[ -~]{0,40}") {
        let literal = content.replace('\\', "\\\\").replace('\'', "\\'");
        let sql = format!("SELECT '{literal}'");
        proptest::prop_assert_eq!(plan(sql.as_bytes()), Ok(select(None, true)));
    }
}
