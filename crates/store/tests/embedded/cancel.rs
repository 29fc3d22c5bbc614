//! Who goes away takes his query with him.

use clickhouse::Client;

use crate::support::{count, database, url, with_params};

/// Waits by asking again: the engine has no event for a query's start or end.
async fn wait_until_running(client: &Client, word: &str, want: bool) {
    let sql = "SELECT count() FROM system.processes WHERE query LIKE {like:String} AND query NOT LIKE '%system.processes%'";
    loop {
        let like = format!("%{word}%");
        let running =
            client.query_raw(sql).param("like", like).fetch_one::<u64>().await.expect("a row") > 0;
        if running == want {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_stops_its_long_aggregation() {
    let client = database("cancel_aggregation").await;
    let sql = "SELECT sum(sipHash64(number)) AS leaving_early FROM numbers(1000000000000)";
    let request = reqwest::Client::new().post(with_params(url(), &[])).body(sql).send();
    let request = tokio::spawn(request);
    wait_until_running(&client, "leaving_early", true).await;
    request.abort();
    wait_until_running(&client, "leaving_early", false).await;
    assert_eq!(count(&client, "SELECT toUInt64(1)").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_stops_its_insert_select() {
    let client = database("cancel_insert").await;
    crate::support::run(&client, "CREATE TABLE t (leaving_insert UInt64) ENGINE = Null").await;
    let sql =
        "INSERT INTO cancel_insert.t (leaving_insert) SELECT number FROM numbers(1000000000000)";
    let request =
        tokio::spawn(reqwest::Client::new().post(with_params(url(), &[])).body(sql).send());
    wait_until_running(&client, "leaving_insert", true).await;
    request.abort();
    wait_until_running(&client, "leaving_insert", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_and_leaves_stops_its_stream() {
    let client = database("cancel_stream").await;
    let sql = "SELECT number AS leaving_stream FROM numbers(1000000000000)";
    let mut cursor = client.query_raw(sql).fetch::<u64>().expect("a cursor");
    for want in 0..10 {
        assert_eq!(cursor.next().await.expect("no error"), Some(want));
    }
    wait_until_running(&client, "leaving_stream", true).await;
    drop(cursor);
    wait_until_running(&client, "leaving_stream", false).await;
}
