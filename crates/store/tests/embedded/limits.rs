//! Every limit has its own clear answer.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Answer, Params, Served, database, post, run, scratch_dir, url, with_params};

#[tokio::test]
async fn a_query_over_its_time_fails_with_159() {
    let sql = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)";
    let answer = post(url(), &[("max_execution_time", "0.2")], sql).await;
    assert_eq!((answer.status, answer.code), (408, Some(159)), "{}", answer.text());
}

#[tokio::test]
async fn readonly_reads_and_writes_nothing() {
    let client = database("readonly").await;
    run(&client, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    let writes = [
        "INSERT INTO readonly.t SELECT 1",
        "INSERT INTO readonly.t FORMAT TSV\n1\n",
        "CREATE TABLE readonly.u (a UInt8) ENGINE = Memory",
        "DROP TABLE readonly.t",
        "SET readonly = 0",
    ];
    for sql in writes {
        let answer = post(url(), &[("readonly", "1")], sql).await;
        assert_eq!(answer.code, Some(164), "{sql}: {}", answer.text());
        let get = reqwest::get(with_params(url(), &[("query", sql), ("readonly", "0")])).await;
        let answer = Answer::of(get.expect("an answer")).await;
        assert_eq!(answer.code, Some(164), "GET {sql}: {}", answer.text());
    }
    let get = reqwest::get(with_params(url(), &[("query", "SELECT 1 SETTINGS max_threads = 1")]));
    assert_eq!(Answer::of(get.await.expect("an answer")).await.text(), "1\n");
    let answer = post(url(), &[("readonly", "1")], "SELECT count() FROM readonly.t").await;
    assert_eq!(answer.text(), "0\n");
}

#[tokio::test]
async fn a_ping_and_a_bare_get_say_ok_and_other_paths_do_not() {
    for (path, status, text) in [("/ping", 200, "Ok.\n"), ("/", 200, "Ok.\n"), ("/play", 404, "")] {
        let answer = Answer::of(reqwest::get(format!("{}{path}", url())).await.expect("an answer"));
        let answer = answer.await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().starts_with(text), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_query_more_than_allowed_is_refused_with_202() {
    let served = Served::start(&scratch_dir("max-queries"), json!({"max_queries": 1}));
    // A stream that nobody reads holds its place until it is dropped.
    let sql = "SELECT number FROM numbers(1000000000)";
    let client = served.client();
    let mut cursor = client.query_raw(sql).fetch::<u64>().expect("a cursor");
    cursor.next().await.expect("it runs");
    let refused = post(&served.url, &[], "SELECT 1").await;
    assert_eq!((refused.status, refused.code), (503, Some(202)), "{}", refused.text());
    drop(cursor);
    loop {
        let answer = post(&served.url, &[], "SELECT 1").await;
        if answer.status == 200 {
            break;
        }
        assert_eq!(answer.code, Some(202), "{}", answer.text());
    }
    // In sequence there is never one too many.
    for _ in 0..50 {
        assert_eq!(post(&served.url, &[], "SELECT 1").await.status, 200);
    }
    assert!(served.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_by_its_own_limit() {
    let limits = json!({
        "max_query_bytes": 2000, "max_body_bytes": 100_000, "max_buffered_bytes": 200_000,
        "max_result_bytes": 100_000, "max_memory_bytes": 700_000_000,
    });
    let served = Served::start(&scratch_dir("sizes"), limits);
    let client = served.client();
    run(&client, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    let long = format!("SELECT '{}'", "x".repeat(2000));
    let insert = [("query", "INSERT INTO t FORMAT RowBinary")];
    let json = [("default_format", "JSON")];
    let rows: &[(&str, Params<'_>, Vec<u8>, u32)] = &[
        ("a statement", &[], long.into_bytes(), 62),
        ("the rows of an insert", &insert, vec![0; 100_008], 241),
        ("a result in one piece", &json, b"SELECT number FROM numbers(100000)".to_vec(), 396),
        ("memory", &[], b"SELECT length(groupArray(number)) FROM numbers(200000000)".to_vec(), 241),
    ];
    for (name, params, body, code) in rows {
        let answer = post(&served.url, params, body.clone()).await;
        assert_eq!(answer.code, Some(*code), "{name}: {}", answer.text());
    }
    assert_eq!(post(&served.url, &insert, vec![0; 80_000]).await.status, 200);
    assert_eq!(post(&served.url, &[], "SELECT count() FROM t").await.text(), "10000\n");
    assert!(served.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_configured_user_is_let_in() {
    let user = json!({"user": "hg", "password": "s3cret"});
    let served = Served::start(&scratch_dir("auth"), user);
    let wrong = post(&served.url, &[("user", "hg"), ("password", "guess")], "SELECT 1").await;
    assert_eq!((wrong.status, wrong.code), (403, Some(516)), "{}", wrong.text());
    let nobody = post(&served.url, &[], "SELECT 1").await;
    assert_eq!((nobody.status, nobody.code), (403, Some(516)));
    let client = served.client().with_user("hg").with_password("s3cret");
    assert_eq!(client.query_raw("SELECT 1").fetch_one::<u8>().await.expect("let in"), 1);
    // Health needs no credentials and tells nothing.
    let ping = reqwest::get(format!("{}/ping", served.url)).await.expect("an answer");
    assert_eq!(ping.status(), 200);
    assert!(served.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_more_than_allowed_is_told_so() {
    let served = Served::start(&scratch_dir("connections"), json!({"max_connections": 1}));
    let addr = served.url.strip_prefix("http://").expect("an address").to_owned();
    let ping = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut first = TcpStream::connect(&addr).await.expect("connected");
    first.write_all(ping).await.expect("sent");
    let mut answer = [0; 15];
    first.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let mut second = TcpStream::connect(&addr).await.expect("connected");
    let mut refusal = String::new();
    second.read_to_string(&mut refusal).await.expect("told");
    assert!(refusal.starts_with("HTTP/1.1 503"), "{refusal}");
    assert!(refusal.contains("X-ClickHouse-Exception-Code: 202"), "{refusal}");
    drop((first, second));
    assert!(served.stop());
}

/// A merge that runs into a full disk may lose its rows, so none is begun; reading goes on.
#[tokio::test(flavor = "multi_thread")]
async fn without_room_on_the_disk_rows_are_refused_with_243_and_no_parts_are_merged() {
    let dir = scratch_dir("no-room");
    let served = Served::start(&dir, json!({}));
    let client = served.client();
    run(&client, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    for sql in ["INSERT INTO t SELECT 1", "INSERT INTO t FORMAT TSV\n2\n"] {
        run(&client, sql).await;
    }
    assert!(served.stop());

    let served = Served::start(&dir, json!({"min_free_bytes": u64::MAX}));
    let parts = "SELECT count() FROM system.parts WHERE database = 'default' AND active";
    let rows = [
        ("rows of its own", "/* x */ INSERT INTO t SELECT 3", Some(243)),
        ("rows that come", "insert into t FORMAT TSV\n4\n", Some(243)),
        ("a merge", "OPTIMIZE TABLE t FINAL", Some(236)),
        ("a question", "SELECT sum(a) FROM t", None),
        ("the parts", parts, None),
    ];
    for (name, sql, code) in rows {
        let answer = post(&served.url, &[], sql).await;
        assert_eq!(answer.code, code, "{name}: {}", answer.text());
        if name == "rows of its own" {
            assert!(answer.text().contains("fewer than min_free_bytes"), "{}", answer.text());
        }
    }
    assert_eq!(post(&served.url, &[], "SELECT sum(a) FROM t").await.text(), "3\n");
    assert_eq!(post(&served.url, &[], parts).await.text(), "2\n");
    drop(served);

    let served = Served::start(&dir, json!({}));
    run(&served.client(), "OPTIMIZE TABLE t FINAL").await;
    assert_eq!(post(&served.url, &[], parts).await.text(), "1\n");
}
