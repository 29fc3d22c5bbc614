//! One engine per process, one process per directory; a kill costs nothing that was acknowledged.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use heliograph_store::{EmbedError, EmbeddedConfig, EmbeddedStore};
use serde_json::json;

use crate::support::{Served, count, post, run, scratch_dir, spawn_child, url, with_params};

#[tokio::test]
async fn a_second_engine_in_the_process_is_refused() {
    url();
    let config = EmbeddedConfig { path: scratch_dir("second"), ..Default::default() };
    let error = EmbeddedStore::start(config).await.err().expect("refused");
    assert!(matches!(error, EmbedError::AlreadyOpen), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_directory_is_refused() {
    let path = scratch_dir("two-processes");
    let served = Served::start(&path, json!({}));
    let mut second = spawn_child(&path, json!({}));
    assert!(!second.wait().expect("its status").success());
    let mut said = String::new();
    second.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    second.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(said.contains("another process has the embedded store at"), "{said}");
    assert_eq!(post(&served.url, &[], "SELECT 1").await.text(), "1\n");
    assert!(served.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_the_process_ends_and_the_next_one_goes_on() {
    let path = scratch_dir("stop");
    let first = Served::start(&path, json!({}));
    run(&first.client(), "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a").await;
    run(&first.client(), "INSERT INTO t SELECT number FROM numbers(1000)").await;
    assert!(first.stop());
    let second = Served::start(&path, json!({}));
    assert_eq!(count(&second.client(), "SELECT count() FROM t").await, 1000);
    assert!(second.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_cancels_what_does_not_end() {
    let served = Served::start(&scratch_dir("stop-busy"), json!({"shutdown_timeout_ms": 500}));
    let sql = "SELECT sum(sipHash64(number)) AS endless FROM numbers(1000000000000)";
    let request = reqwest::Client::new().post(with_params(&served.url, &[])).body(sql).send();
    let request = tokio::spawn(request);
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%AS endless%' AND query NOT LIKE '%system.processes%'";
    while count(&served.client(), running).await == 0 {}
    assert!(tokio::task::spawn_blocking(|| served.stop()).await.expect("joined"));
    let outcome = request.await.expect("joined");
    assert!(outcome.is_err() || outcome.is_ok_and(|answer| answer.status() != 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    let path = scratch_dir("kill");
    let mut acknowledged = 0_u64;
    for round in 0..3_u64 {
        let served = Served::start(&path, json!({}));
        let client = served.client();
        run(
            &client,
            "CREATE TABLE IF NOT EXISTS t (a UInt64) ENGINE = MergeTree ORDER BY a \
             SETTINGS fsync_after_insert = 1, fsync_part_directory = 1",
        )
        .await;
        let stored = count(&client, "SELECT count() FROM t WHERE a < 1000000").await;
        assert_eq!(stored, acknowledged, "after {round} kills");
        for _ in 0..5 {
            let insert = format!("INSERT INTO t SELECT number + {acknowledged} FROM numbers(100)");
            run(&client, &insert).await;
            acknowledged += 100;
        }
        // In the middle of an insert that nobody will acknowledge.
        let sql = "INSERT INTO t SELECT number + 1000000 AS unheard FROM numbers(1000000000)";
        let request = reqwest::Client::new().post(with_params(&served.url, &[])).body(sql).send();
        let request = tokio::spawn(request);
        let running = "SELECT count() FROM system.processes WHERE query LIKE '%AS unheard%' AND query NOT LIKE '%system.processes%'";
        while count(&client, running).await == 0 {}
        served.kill();
        assert!(request.await.expect("joined").is_err());
    }
    let served = Served::start(&path, json!({}));
    assert_eq!(
        count(&served.client(), "SELECT uniqExact(a) FROM t WHERE a < 1000000").await,
        acknowledged
    );
    assert!(served.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_stay_with_the_process() {
    let mut served = Served::start(&scratch_dir("signals"), json!({}));
    assert_eq!(post(&served.url, &[], "SELECT 1").await.text(), "1\n");
    let pid = served.child.id().to_string();
    // The shell's own kill: a minimal system has no other.
    let kill = format!("kill -TERM {pid}");
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh").success());
    // Nobody handles it here, so it ends the process: the engine has not taken it over.
    let status = served.child.wait().expect("its status");
    assert_eq!(status.signal(), Some(15), "{status}");
}
