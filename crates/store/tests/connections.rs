//! Connections of a client, counted by the proxy in front of the store.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use axum::Router;
use heliograph_store::{StoreConfig, connect};
use heliograph_testkit::proxy::{Mood, Proxy};
use std::time::Duration;

const PLACES: usize = 3;
const STATEMENTS: usize = 40;

async fn store() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(|| async {})).await });
    addr
}

/// Also when statements are given up and begun again while the store hangs, which is when a client
/// without a limit opens one connection after the other.
#[tokio::test(flavor = "multi_thread")]
async fn there_are_never_more_than_the_limit_and_all_statements_come_through() {
    let proxy = Proxy::start(store().await).unwrap();
    let config =
        StoreConfig { url: proxy.url(), connections_max: PLACES, ..StoreConfig::default() };
    let client = connect(&config);
    let run = async |patience: Duration| {
        let statements: Vec<_> = (0..STATEMENTS)
            .map(|_| {
                let statement = client.query("SELECT 1");
                tokio::spawn(tokio::time::timeout(patience, statement.execute()))
            })
            .collect();
        let mut through = 0;
        for statement in statements {
            through += usize::from(statement.await.unwrap().is_ok_and(|done| done.is_ok()));
        }
        through
    };
    let long = Duration::from_secs(60);
    assert_eq!(run(long).await, STATEMENTS);
    proxy.set(Mood::Hang);
    for _ in 0..3 {
        assert_eq!(run(Duration::from_millis(50)).await, 0);
    }
    proxy.set(Mood::Pass);
    assert_eq!(run(long).await, STATEMENTS);
    let counts = proxy.counts();
    assert_eq!(counts.open_max, PLACES, "{counts:?}");
    assert!(counts.taken > PLACES, "connections were given up: {counts:?}");
}
