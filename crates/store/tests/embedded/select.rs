//! Results: whole, in one piece, and an error when they are not.

use clickhouse::Row;
use serde::Deserialize;

use crate::support::{code_of, database, post, run, url};

#[derive(Debug, PartialEq, Row, Deserialize)]
struct Numbered {
    n: u64,
    s: String,
}

/// Three blocks of the engine and a bit.
const MANY: u64 = 200_000;

#[tokio::test]
async fn the_header_of_a_streamed_result_comes_once() {
    let client = database("header_once").await;
    let sql = format!("SELECT number AS n, toString(number) AS s FROM numbers({MANY})");
    let rows = client.query_raw(&sql).fetch_all::<Numbered>().await.expect("rows");
    assert_eq!(rows.len() as u64, MANY);
    for (n, row) in (0..).zip(&rows) {
        assert_eq!((row.n, row.s.as_str()), (n, n.to_string().as_str()));
    }
    let csv = post(url(), &[("default_format", "CSVWithNames")], sql).await;
    let text = csv.text();
    assert_eq!(text.lines().count() as u64, MANY + 1);
    assert_eq!(text.matches("\"n\",\"s\"").count(), 1);
}

#[tokio::test]
async fn a_result_of_one_chunk_or_none_is_whole_and_no_error() {
    let client = database("one_chunk").await;
    for rows in [0, 1, 3] {
        let sql = format!("SELECT number AS n, 'x' AS s FROM numbers({rows})");
        let got = client.query_raw(&sql).fetch_all::<Numbered>().await.expect("rows");
        assert_eq!(got.len(), rows);
        for format in ["RowBinaryWithNamesAndTypes", "TSV", "CSVWithNames", "Native", "JSON"] {
            let answer = post(url(), &[("default_format", format)], sql.clone()).await;
            assert_eq!((answer.status, answer.cut_short), (200, false), "{format}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_sparse_result_is_streamed_to_its_last_row() {
    let client = database("sparse").await;
    let sql =
        "SELECT number FROM numbers(5000000) WHERE number % 2000000 = 1999999 OR number = 4999999";
    let got = client.query_raw(sql).fetch_all::<u64>().await.expect("rows");
    assert_eq!(got, [1_999_999, 3_999_999, 4_999_999]);
}

#[tokio::test]
async fn a_document_is_one_document_however_many_rows_it_has() {
    let sql = format!("SELECT number FROM numbers({MANY})");
    let answer = post(url(), &[("default_format", "JSON")], sql).await;
    let document: serde_json::Value = serde_json::from_slice(&answer.body).expect("one document");
    assert_eq!(document["rows"], MANY);
    assert_eq!(document["data"].as_array().map(Vec::len), usize::try_from(MANY).ok());
}

#[tokio::test]
async fn totals_come_once_and_at_the_end() {
    let sql = "SELECT number AS n, count() AS c FROM numbers(100000) GROUP BY n WITH TOTALS";
    let answer = post(url(), &[("default_format", "TSV")], sql).await;
    let text = answer.text();
    assert_eq!(text.lines().count(), 100_000 + 2);
    assert!(text.ends_with("\n\n0\t100000\n"), "{}", &text[text.len() - 40..]);
}

#[tokio::test]
async fn a_query_beside_a_streaming_one_gets_its_own_answer() {
    let client = database("beside_stream").await;
    let mut stream =
        client.query_raw("SELECT number FROM numbers(3000000)").fetch::<u64>().expect("a cursor");
    let first = stream.next().await.expect("no error");
    assert_eq!(first, Some(0));
    for n in 0..20_u64 {
        let sql = "SELECT {n:UInt64} + 1";
        let got = client.query_raw(sql).param("n", n).fetch_one::<u64>().await.expect("a row");
        assert_eq!(got, n + 1);
    }
    let mut rows = 1_u64;
    while let Some(n) = stream.next().await.expect("no error") {
        assert_eq!(n, rows);
        rows += 1;
    }
    assert_eq!(rows, 3_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parameterised_calls_on_four_connections_do_not_mix() {
    let client = database("four_connections").await;
    let callers = (0..4_u64).map(|caller| {
        let client = client.clone();
        tokio::spawn(async move {
            for call in 0..100_u64 {
                let text = format!("caller {caller}, call {call}");
                let got = client
                    .query_raw("SELECT {n:UInt64} AS n, {s:String} AS s")
                    .param("n", call)
                    .param("s", &text)
                    .fetch_one::<Numbered>()
                    .await
                    .expect("a row");
                assert_eq!(got, Numbered { n: call, s: text });
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.expect("no caller failed");
    }
}

#[tokio::test]
async fn a_parameter_is_a_value_whatever_it_holds() {
    let client = database("params").await;
    for text in
        ["it's", "a\tb\nc", r"back\slash", "`;DROP TABLE t; --", "日射強度", "{x:String}", ""]
    {
        let sql = "SELECT {s:String}";
        let got = client.query_raw(sql).param("s", text).fetch_one::<String>().await.expect(text);
        assert_eq!(got, text);
    }
    let in_url = [("query", "SELECT {a:Array(UInt8)}"), ("param_a", "[1,2]")];
    assert_eq!(post(url(), &in_url, "").await.text(), "[1,2]\n");
    let list = vec!["a'b", "c"];
    let sql = "SELECT arrayStringConcat({l:Array(String)}, '|')";
    let got = client.query_raw(sql).param("l", list).fetch_one::<String>().await.expect("a row");
    assert_eq!(got, "a'b|c");
}

#[tokio::test]
async fn an_error_after_the_first_byte_reaches_the_client_as_an_error() {
    let client = database("late_error").await;
    // One thread: two could come to the bad row before the first block is out.
    let sql = "SELECT throwIf(number = 900000, 'too late') AS n FROM numbers(1000000) \
        SETTINGS max_threads = 1";
    let mut cursor = client.query_raw(sql).fetch::<u8>().expect("a cursor");
    let error = loop {
        match cursor.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a short result without an error"),
            Err(error) => break error,
        }
    };
    assert_eq!(code_of(&error), 395, "{error}");

    // A client that knows nothing of ClickHouse sees that the body is not whole.
    let answer = post(url(), &[], sql).await;
    assert_eq!((answer.status, answer.cut_short), (200, true));
    let tag = answer.headers["x-clickhouse-exception-tag"].to_str().expect("text");
    assert!(answer.text().ends_with(&format!(" {tag}\r\n__exception__\r\n")), "no exception");
    assert!(answer.text().contains("too late"));
}

#[tokio::test]
async fn an_error_before_the_first_byte_is_a_status_and_a_code() {
    let rows: &[(&str, &str, u16, u32)] = &[
        ("a table that is not there", "SELECT * FROM nowhere", 404, 60),
        ("a column that is not there", "SELECT nothing", 404, 47),
        ("a word that is no statement", "nothing", 400, 62),
        ("two statements", "SELECT 1; SELECT 2", 400, 62),
        ("an empty query", "", 400, 62),
        ("a user, which the engine has none of", "CREATE USER u", 403, 497),
        (
            "a time zone that is not a constant",
            "SELECT toTimeZone(now(), toString(number)) FROM numbers(2)",
            500,
            44,
        ),
        ("a file to be written", "SELECT 1 INTO OUTFILE '/tmp/x'", 500, 358),
        ("the end of this process", "SYSTEM SHUTDOWN", 501, 48),
    ];
    for (name, sql, status, code) in rows {
        let answer = post(url(), &[], *sql).await;
        assert_eq!(answer.code, Some(*code), "{name}: {}", answer.text());
        if *code != 44 {
            assert_eq!(answer.status, *status, "{name}");
        }
        assert!(answer.text().starts_with(&format!("Code: {code}. DB::Exception: ")), "{name}");
    }
}

#[tokio::test]
async fn native_blocks_are_read_by_the_client() {
    let client = database("native_out").await;
    let sql = format!(
        "SELECT number AS n, toLowCardinality(toString(number % 7)) AS s FROM numbers({MANY})"
    );
    let mut cursor = client.query_raw(&sql).fetch_native().expect("a cursor");
    let (mut rows, mut sum, mut sevens) = (0, 0, 0);
    while let Some(block) = cursor.next().await.expect("a block") {
        rows += block.num_rows() as u64;
        for n in block["n"].iter::<u64>().expect("UInt64") {
            sum += n.expect("a number");
        }
        for s in block["s"].iter::<&str>().expect("String") {
            sevens += u64::from(s.expect("text") == "6");
        }
    }
    assert_eq!(
        (rows, sum, sevens),
        (MANY, MANY * (MANY - 1) / 2, (0..MANY).filter(|n| n % 7 == 6).count() as u64)
    );
}

#[tokio::test]
async fn settings_and_database_are_those_of_the_request_alone() {
    let client = database("settings").await;
    run(&client, "CREATE TABLE here (a UInt8) ENGINE = Memory").await;
    let read = "SELECT toUInt64(getSetting('max_threads')), currentDatabase()";
    let other = client.clone().with_setting("max_threads", "7");
    let got = other.query_raw(read).fetch_one::<(u64, String)>().await.expect("a row");
    assert_eq!(got, (7, "settings".into()));
    let answer = post(url(), &[("query", read)], "").await;
    assert!(answer.text().ends_with("\tdefault\n") && !answer.text().starts_with("7\t"));

    let quoted = "a', max_threads = '3";
    let sql = "SELECT getSetting('log_comment'), toUInt64(getSetting('max_threads')) != 3";
    let answer = post(url(), &[("query", sql), ("log_comment", quoted)], "").await;
    assert_eq!(answer.text(), "a\\', max_threads = \\'3\t1\n");
    let unknown = post(url(), &[("query", "SELECT 1"), ("no_such_setting", "1")], "").await;
    assert_eq!(unknown.code, Some(115));
    let nowhere = post(url(), &[("query", "SELECT 1"), ("database", "no`where")], "").await;
    assert_eq!(nowhere.code, Some(81), "{}", nowhere.text());
}
