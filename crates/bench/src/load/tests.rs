use super::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const REQUEST: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n";

/// Answers what `answer` says of the n-th request of all; an empty answer closes.
async fn server(answer: fn(u64) -> &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, seen.clone(), answer));
        }
    });
    addr
}

async fn serve(mut stream: TcpStream, seen: Arc<AtomicU64>, answer: fn(u64) -> &'static [u8]) {
    let mut request = vec![0; REQUEST.len()];
    while stream.read_exact(&mut request).await.is_ok() {
        let bytes = answer(seen.fetch_add(1, Ordering::SeqCst));
        if bytes.is_empty() || stream.write_all(bytes).await.is_err() {
            return;
        }
    }
}

fn load(addr: SocketAddr, connections: usize, arrivals: Arrivals) -> Load {
    Load { addr, requests: Arc::new([bytes::Bytes::from_static(REQUEST)]), connections, arrivals }
}

const TAKEN: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn every_arrival_has_one_sample_and_is_never_early() {
    let addr = server(|_| TAKEN).await;
    let arrivals = Arrivals::Open { per_second: 2_000.0, count: 300 };
    let run = load(addr, 3, arrivals).run().await.unwrap();
    assert_eq!((run.samples.len(), run.accepted(), run.unanswered()), (300, 300, 0));
    let mut due: Vec<Duration> = run.samples.iter().map(|sample| sample.due).collect();
    due.sort();
    let want: Vec<Duration> = (0..300).map(|i| Clock::due_at(2_000.0, i)).collect();
    assert_eq!(due, want);
    assert!(run.samples.iter().all(|s| s.due <= s.sent && s.sent <= s.answered));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_connection_is_waited_for_from_the_scheduled_time() {
    // A server that answers when it is told to: all 10 requests are due by then.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (told, mut tell) = mpsc::channel(1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; REQUEST.len()];
        stream.read_exact(&mut request).await.unwrap();
        told.send(stream).await.unwrap();
    });
    let arrivals = Arrivals::Open { per_second: 1_000_000.0, count: 10 };
    let running = tokio::spawn(load(addr, 1, arrivals).run());
    let mut stream = tell.recv().await.unwrap();
    for n in 0..10 {
        stream.write_all(TAKEN).await.unwrap();
        if n < 9 {
            stream.read_exact(&mut vec![0; REQUEST.len()]).await.unwrap();
        }
    }
    let samples = running.await.unwrap().unwrap().samples;
    assert_eq!(samples.len(), 10);
    let last = samples.last().unwrap();
    assert_eq!(last.due, Clock::due_at(1_000_000.0, 9));
    // It was sent after the answer before it, and waited since it was due.
    assert!(last.sent >= samples[8].answered && last.latency_ms() > last.service_ms());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_one_unanswered_request_and_the_next_one_has_another() {
    let addr = server(|n| if n == 4 { b"" } else { TAKEN }).await;
    let arrivals = Arrivals::Open { per_second: 2_000.0, count: 20 };
    let run = load(addr, 1, arrivals).run().await.unwrap();
    assert_eq!((run.accepted(), run.unanswered()), (19, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_apart() {
    let addr = server(|n| match n % 2 {
        0 => TAKEN,
        _ => b"HTTP/1.1 429 Too Many\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
    })
    .await;
    let run = load(addr, 1, Arrivals::Closed(Duration::from_millis(30))).run().await.unwrap();
    assert!(run.samples.iter().all(|s| s.has_retry_after == (s.status == 429)));
    let statuses = run.statuses();
    assert!(statuses[&204] >= 1 && statuses.len() <= 2, "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_sent_once() {
    let addr = server(|_| TAKEN).await;
    let requests = vec![bytes::Bytes::from_static(REQUEST); 50].into();
    let load = Load { addr, requests, connections: 4, arrivals: Arrivals::Once };
    assert_eq!(load.run().await.unwrap().accepted(), 50);
}
