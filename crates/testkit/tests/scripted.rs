//! The scripted front of ClickHouse, before a store that says what it was asked.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use axum::{Router, body::Bytes, http::Uri};
use heliograph_testkit::scripted::{Answer, ScriptedStore};

async fn store() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let say = |uri: Uri, body: Bytes| async move { format!("{uri} {}", body.len()) };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(say)).await });
    format!("http://{addr}")
}

#[tokio::test]
async fn a_statement_gets_the_answer_of_its_words_and_all_others_reach_the_store() {
    let front = ScriptedStore::start(&store().await).unwrap();
    let client = reqwest::Client::new();
    let insert = format!("{}/?query=INSERT+INTO+readings", front.url());
    front.answer("INSERT INTO readings", Answer::TOO_MANY_PARTS);
    front.answer("SELECT 1", Answer::BAD_GATEWAY);

    let answer = client.post(&insert).body(vec![0; 1 << 20]).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-clickhouse-exception-code"]),
        (503, &"252".parse().unwrap())
    );
    assert!(answer.text().await.unwrap().starts_with("Code: 252. DB::Exception:"));
    let answer = client.post(front.url()).body("SELECT 1").send().await.unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!((front.answered(), front.forwarded()), (2, 0));

    let other = format!("{}/?query=INSERT+INTO+dirty", front.url());
    let answer = client.post(other).body(vec![0; 1 << 20]).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "/?query=INSERT+INTO+dirty 1048576");
    front.forward_all();
    let answer = client.post(&insert).body("x").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "/?query=INSERT+INTO+readings 1");
    assert_eq!((front.answered(), front.forwarded()), (2, 2));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_for_whoever_reads_it() {
    let front = ScriptedStore::start(&store().await).unwrap();
    front.answer("", Answer::BreaksOff);
    let answer = reqwest::Client::new().post(front.url()).body("SELECT 1").send().await;
    let read = async { answer?.bytes().await };
    assert!(read.await.is_err());
}
