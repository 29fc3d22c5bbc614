//! Inserts: every byte of the body, or nothing and an error.

use clickhouse::Row;
use heliograph_store::blocks::{BlockBuilder, Day, Millis, Seconds};
use heliograph_store::insert_block;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Params, code_of, count, database, post, run, url, with_params};

const MILLION: u64 = 1_000_000;

fn row_binary(rows: u64) -> Vec<u8> {
    (0..rows).flat_map(|n| [n.to_le_bytes(), (n * 3).to_le_bytes()].concat()).collect()
}

#[tokio::test]
async fn a_million_row_binary_rows_arrive_whole() {
    let client = database("million_rb").await;
    run(&client, "CREATE TABLE t (a UInt64, b UInt64) ENGINE = MergeTree ORDER BY a").await;
    let params = [("database", "million_rb"), ("query", "INSERT INTO t (a, b) FORMAT RowBinary")];
    let answer = post(url(), &params, row_binary(MILLION)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let summary = answer.headers["x-clickhouse-summary"].to_str().expect("text");
    assert!(summary.contains(&format!("\"written_rows\":\"{MILLION}\"")), "{summary}");
    assert_eq!(count(&client, "SELECT uniqExact(a) FROM t WHERE b = a * 3").await, MILLION);
}

#[tokio::test]
async fn a_million_native_rows_arrive_whole() {
    let client = database("million_native").await;
    run(
        &client,
        "CREATE TABLE t (a UInt64, s LowCardinality(String)) ENGINE = MergeTree ORDER BY a",
    )
    .await;
    let mut builder = BlockBuilder::new();
    builder.upsert_column::<u64>("a").expect("a").add_all(0..MILLION).expect("rows");
    let names = (0..MILLION).map(|n| if n % 2 == 0 { "even" } else { "odd" });
    builder.upsert_column::<&str>("s").expect("s").add_all(names).expect("rows");
    let block = builder.build().expect("a block");
    insert_block(&client, "t", &block).await.expect("stored");
    assert_eq!(
        count(&client, "SELECT uniqExact(a) FROM t WHERE (s = 'odd') = a % 2").await,
        MILLION
    );
}

#[derive(Debug, PartialEq, Row, Serialize, Deserialize)]
struct Typed {
    a: u64,
    s: String,
}

#[tokio::test]
async fn a_typed_insert_describes_its_table_first() {
    let client = database("typed").await;
    run(
        &client,
        "CREATE TABLE t (a UInt64, s String, d UInt64 DEFAULT a * 2) ENGINE = MergeTree ORDER BY a",
    )
    .await;
    let mut insert = client.insert::<Typed>("t").await.expect("described");
    for a in 0..3 {
        insert.write(&Typed { a, s: format!("'{a}'\n") }).await.expect("written");
    }
    insert.end().await.expect("stored");
    let got =
        client.query("SELECT ?fields FROM t ORDER BY a").fetch_all::<Typed>().await.expect("rows");
    assert_eq!(got[2], Typed { a: 2, s: "'2'\n".into() });
    assert_eq!(count(&client, "SELECT sum(d) FROM t").await, 6);
    let error = client.insert::<Typed>("nowhere").await.err().expect("no such table");
    assert_eq!(code_of(&error), 60);
}

#[tokio::test]
async fn a_native_block_carries_times_dates_and_enums() {
    let client = database("native_types").await;
    run(
        &client,
        "CREATE TABLE t (ts DateTime64(3, 'UTC'), at DateTime('UTC'), day Date, \
         quality Enum8('good' = 1, 'suspect' = 2, 'bad' = 3), value Float64) \
         ENGINE = MergeTree ORDER BY ts",
    )
    .await;
    let mut builder = BlockBuilder::new();
    builder.upsert_column::<Millis>("ts").expect("ts").add(Millis(1_538_714_999_123)).expect("row");
    builder.upsert_column::<Seconds>("at").expect("at").add(Seconds(1_538_714_999)).expect("row");
    builder.upsert_column::<Day>("day").expect("day").add(Day(17_809)).expect("row");
    builder.upsert_column::<&str>("quality").expect("quality").add("suspect").expect("row");
    builder.upsert_column::<f64>("value").expect("value").add(-0.25).expect("row");
    insert_block(&client, "t", &builder.build().expect("a block")).await.expect("stored");
    let sql = "SELECT toString(ts), toString(at), toString(day), toString(quality), value FROM t";
    let got = client.query_raw(sql).fetch_one::<(String, String, String, String, f64)>().await;
    let want = ("2018-10-05 04:49:59.123", "2018-10-05 04:49:59", "2018-10-05", "suspect", -0.25);
    let got = got.expect("a row");
    assert_eq!((got.0.as_str(), got.1.as_str(), got.2.as_str(), got.3.as_str(), got.4), want);

    let mut wrong = BlockBuilder::new();
    wrong.upsert_column::<&str>("quality").expect("quality").add("excellent").expect("row");
    let error = insert_block(&client, "t", &wrong.build().expect("a block"))
        .await
        .expect_err("no such name");
    assert_eq!(error.class(), heliograph_store::StoreErrorClass::BadBlock, "{error}");
    let error = insert_block(&client, "nowhere", &wrong_block()).await.expect_err("no such table");
    assert_eq!(error.class(), heliograph_store::StoreErrorClass::Stop, "{error}");
}

fn wrong_block() -> heliograph_store::blocks::Block {
    let mut builder = BlockBuilder::new();
    builder.upsert_column::<u8>("a").expect("a").add(1).expect("row");
    builder.build().expect("a block")
}

#[tokio::test]
async fn rows_that_begin_like_blanks_are_rows() {
    let client = database("blank_rows").await;
    run(&client, "CREATE TABLE t (a UInt8, b UInt8) ENGINE = MergeTree ORDER BY a").await;
    let params = [("database", "blank_rows"), ("query", "INSERT INTO t FORMAT RowBinary")];
    let answer = post(url(), &params, &b"\n \t\r"[..]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let got = post(url(), &[("database", "blank_rows")], "SELECT a, b FROM t ORDER BY a").await;
    assert_eq!(got.text(), "9\t13\n10\t32\n");
}

#[tokio::test]
async fn rows_may_come_behind_the_statement() {
    let client = database("behind").await;
    run(&client, "CREATE TABLE t (a UInt64, b UInt64 DEFAULT a + 1) ENGINE = MergeTree ORDER BY a")
        .await;
    let rows: &[(&str, Params<'_>, String)] = &[
        ("VALUES", &[], "INSERT INTO t VALUES (1, 1), (2, 1 + 1)".into()),
        ("VALUES with a default", &[], "INSERT INTO t (a) VALUES (3)".into()),
        ("a format", &[], "INSERT INTO t FORMAT JSONEachRow\n{\"a\":4}\n{\"a\":5}".into()),
        ("settings", &[], "INSERT INTO t SETTINGS async_insert = 0 FORMAT CSV\n6,6\n".into()),
        ("a statement in two parts", &[("query", "INSERT INTO t (a)")], " VALUES (7)".into()),
        (
            "more rows than a statement may be long",
            &[],
            [
                "INSERT INTO t FORMAT TSV\n".into(),
                (8..300_000).map(|a| format!("{a}\t{a}\n")).collect::<String>(),
            ]
            .concat(),
        ),
    ];
    for (name, params, body) in rows {
        let params = [&[("database", "behind")], *params].concat();
        let answer = post(url(), &params, body.clone()).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
    assert_eq!(count(&client, "SELECT count() FROM t").await, 299_999);
    assert_eq!(count(&client, "SELECT count() FROM t WHERE a = 4 AND b = 5").await, 1);

    let insert = "INSERT INTO t VALUES ({a:UInt64}, {b:UInt64})";
    client.query_raw(insert).param("a", 0).param("b", 42).execute().await.expect("parameters");
    assert_eq!(count(&client, "SELECT b FROM t WHERE a = 0").await, 42);
    run(&client, "INSERT INTO t SELECT number + 1000000, 0 FROM numbers(10)").await;
    assert_eq!(count(&client, "SELECT count() FROM t WHERE a >= 1000000").await, 10);
}

#[tokio::test]
async fn a_body_that_is_wrong_stores_nothing_and_is_an_error() {
    let client = database("wrong_body").await;
    run(&client, "CREATE TABLE t (a UInt64, b UInt64) ENGINE = MergeTree ORDER BY a").await;
    let cut = row_binary(1000)[..15_997].to_vec();
    let rows: &[(&str, &str, Vec<u8>, u32)] = &[
        ("text for a number", "INSERT INTO t FORMAT TSV", b"1\t1\nfoo\t2\n".to_vec(), 27),
        ("half of a row", "INSERT INTO t FORMAT RowBinary", cut, 33),
        ("a column too many", "INSERT INTO t (a, b, c) FORMAT TSV", b"1\t1\t1\n".to_vec(), 16),
        ("a format that is none", "INSERT INTO t FORMAT Nope", b"1".to_vec(), 73),
        ("a table that is none", "INSERT INTO nowhere FORMAT TSV", b"1".to_vec(), 60),
        (
            "a file of this machine",
            "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV",
            vec![],
            78,
        ),
    ];
    for (name, insert, body, code) in rows {
        let params = [("database", "wrong_body"), ("query", *insert)];
        let answer = post(url(), &params, body.clone()).await;
        assert_eq!(answer.code, Some(*code), "{name}: {}", answer.text());
    }
    assert_eq!(count(&client, "SELECT count() FROM t").await, 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let client = database("broken_off").await;
    run(&client, "CREATE TABLE t (a UInt64, b UInt64) ENGINE = MergeTree ORDER BY a").await;
    let params = [("database", "broken_off"), ("query", "INSERT INTO t FORMAT RowBinary")];
    let uri = with_params("", &params);
    let addr = url().strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    let head = format!("POST {uri} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let rows = row_binary(1000);
    stream.write_all(format!("{:x}\r\n", rows.len()).as_bytes()).await.expect("sent");
    stream.write_all(&rows).await.expect("sent");
    stream.write_all(b"\r\n").await.expect("sent");
    // Whole rows, but without the chunk that ends the body.
    stream.shutdown().await.expect("closed");
    let mut answer = Vec::new();
    // The end of what the server says is the end of the request.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(count(&client, "SELECT count() FROM t").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn inserts_side_by_side_keep_their_own_rows() {
    let client = database("side_by_side").await;
    run(&client, "CREATE TABLE t (a UInt64, b UInt64) ENGINE = MergeTree ORDER BY a").await;
    let writers = (0..8_u64).map(|writer| {
        tokio::spawn(async move {
            for block in 0..10_u64 {
                let rows = (0..500_u64).flat_map(|n| [writer, block * 500 + n]);
                let body: Vec<u8> = rows.flat_map(u64::to_le_bytes).collect();
                let insert = "INSERT INTO t FORMAT RowBinary";
                let params = [("database", "side_by_side"), ("query", insert)];
                assert_eq!(post(url(), &params, body).await.status, 200);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no writer failed");
    }
    let sql = "SELECT countIf(n = 5000 AND s = 12497500) FROM \
        (SELECT a, uniqExact(b) AS n, sum(b) AS s FROM t GROUP BY a)";
    assert_eq!(count(&client, sql).await, 8);
}
