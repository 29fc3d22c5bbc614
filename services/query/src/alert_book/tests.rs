use super::*;
use heliograph_contract::{alert::Alert, v1::SiteWentStale};
use heliograph_log::{Log, NewRecord, topics};
use heliograph_testkit::faulty::FaultyLog;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

async fn append(log: &FaultyLog, partition: u32, n: u64) {
    let stale = SiteWentStale {
        site_id: format!("s{n}"),
        tenant_id: "t1".into(),
        offset: n,
        ..Default::default()
    };
    let to = TopicPartition::new(topic::ALERTS, partition);
    log.append(NewRecord::event(to, Alert::WentStale(stale).encode())).await.unwrap();
}

async fn log() -> Arc<FaultyLog> {
    let log = FaultyLog::new();
    log.ensure_topics(&topics::declared().unwrap()).await.unwrap();
    log
}

/// The clock is the test's: it stands still but for what the follower sleeps.
#[tokio::test(start_paused = true)]
async fn all_partitions_are_read_to_their_ends_and_followed_also_after_an_error() {
    let log = log().await;
    for n in 0..20 {
        append(&log, n as u32 % 4, n).await;
    }
    let (turns, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
    let told = turns.clone();
    let turn = Turn::tell(move || {
        told.fetch_add(1, Relaxed);
    });
    let book = AlertBook::load(log.clone(), stop.clone(), turn).await.unwrap();
    assert_eq!(book.read().stale().count(), 20, "nobody has to wait for what was there");
    for (failures, n) in [(0, 20), (1, 21), (3, 22)] {
        log.unread.store(failures, Relaxed);
        append(&log, n as u32 % 4, n).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(book.read().stale().count(), n as usize + 1, "after {failures} errors");
    }

    // While the log is away the follower turns, the book stays, and what is known does not grow.
    log.unread.store(u32::MAX, Relaxed);
    tokio::time::sleep(2 * WAIT).await;
    let (known, before) = (book.known_up_to(), turns.load(Relaxed));
    tokio::time::sleep(2 * WAIT).await;
    assert!(turns.load(Relaxed) > before);
    assert_eq!((book.known_up_to(), book.read().stale().count()), (known, 23));
    // Back again, it is known that nothing came.
    log.unread.store(0, Relaxed);
    while book.known_up_to() <= known {
        tokio::time::sleep(WAIT).await;
    }
    stop.cancel();
    book.stopped().await;
}

#[tokio::test]
async fn nothing_is_served_from_a_log_that_cannot_be_read() {
    let log = log().await;
    log.unread.store(1, Relaxed);
    let stop = CancellationToken::new();
    let refused = AlertBook::load(log.clone(), stop.clone(), Turn::untold()).await;
    assert!(refused.unwrap_err().is_transient());
    assert!(AlertBook::load(log, stop, Turn::untold()).await.is_ok());
}
