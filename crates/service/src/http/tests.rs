//! A listener and its connections, from a client's side.

use super::*;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn open_requests_finish_after_the_shutdown_and_new_ones_are_not_taken() {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (entered, go) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (e, g) = (entered.clone(), go.clone());
    let router = Router::new().route(
        "/",
        get(move || async move {
            e.add_permits(1);
            let _go = g.acquire().await;
            "done"
        }),
    );
    let shutdown = Shutdown::new();
    let server = tokio::spawn(serve(
        listener,
        router,
        HttpLimits::default(),
        HttpMetrics::default(),
        shutdown.clone(),
    ));
    let mut client = tokio::net::TcpStream::connect(addr).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    drop(entered.acquire().await.unwrap());
    shutdown.cancel();
    go.add_permits(1);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    server.await.unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn what_is_open_at_the_deadline_is_cut() {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let entered = Arc::new(Semaphore::new(0));
    let e = entered.clone();
    let endless = move || async move {
        e.add_permits(1);
        std::future::pending::<&str>().await
    };
    let limits = HttpLimits { drain_timeout: Duration::from_millis(20), ..Default::default() };
    let shutdown = Shutdown::new();
    let router = Router::new().route("/", get(endless));
    let server =
        tokio::spawn(serve(listener, router, limits, HttpMetrics::default(), shutdown.clone()));
    let mut client = tokio::net::TcpStream::connect(addr).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    drop(entered.acquire().await.unwrap());
    shutdown.cancel();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty());
    server.await.unwrap();
}

#[tokio::test]
async fn who_waits_for_a_place_is_not_forgotten() {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..1_000 {
        // Where the kernel's queue is full this fails after minutes.
        clients.push(tokio::net::TcpStream::connect(addr).await.unwrap());
    }
    for client in &clients {
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    }
}

#[test]
fn a_limit_that_makes_no_sense_names_its_key() {
    assert_eq!(HttpLimits::default().violations("s"), []);
    let zero = Duration::ZERO;
    let rows = [
        ("connections_max", HttpLimits { connections_max: 0, ..Default::default() }),
        ("header_read_timeout", HttpLimits { header_read_timeout: zero, ..Default::default() }),
        ("idle_timeout", HttpLimits { idle_timeout: zero, ..Default::default() }),
        ("write_timeout", HttpLimits { write_timeout: zero, ..Default::default() }),
        ("keep_alive_timeout", HttpLimits { keep_alive_timeout: zero, ..Default::default() }),
        ("header_bytes_max", HttpLimits { header_bytes_max: 8_191, ..Default::default() }),
        ("headers_max", HttpLimits { headers_max: 0, ..Default::default() }),
        ("http2_streams_max", HttpLimits { http2_streams_max: 0, ..Default::default() }),
    ];
    for (key, limits) in rows {
        let got = limits.violations("s").iter().map(ToString::to_string).collect::<String>();
        assert!(got.contains(&format!("s.{key}: got ")), "{got}");
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_is_closed_and_an_open_request_is_not_idle() {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let soon = Duration::from_millis(50);
    let limits = HttpLimits { idle_timeout: soon, header_read_timeout: soon, ..Default::default() };
    let go = Arc::new(Semaphore::new(0));
    let g = go.clone();
    let slow = move || async move {
        let _go = g.acquire().await;
        "done"
    };
    let router = Router::new().route("/", get(slow));
    let shutdown = Shutdown::new();
    let server =
        tokio::spawn(serve(listener, router, limits, HttpMetrics::default(), shutdown.clone()));
    let mut busy = tokio::net::TcpStream::connect(addr).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    // Nothing; the beginning of HTTP/2; HTTP/2 without a request.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    for sent in [&b""[..], &preface[..10], &settings] {
        let mut idle = tokio::net::TcpStream::connect(addr).await.unwrap();
        idle.write_all(sent).await.unwrap();
        let mut rest = Vec::new();
        // Closed or reset; either way it ends.
        let _ = idle.read_to_end(&mut rest).await;
    }
    go.add_permits(1);
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    shutdown.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let limits =
        HttpLimits { header_read_timeout: Duration::from_millis(50), ..Default::default() };
    let shutdown = Shutdown::new();
    let server = tokio::spawn(serve(
        listener,
        Router::new(),
        limits,
        HttpMetrics::default(),
        shutdown.clone(),
    ));
    let mut client = tokio::net::TcpStream::connect(addr).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    shutdown.cancel();
    server.await.unwrap();
}

/// A server of `/`, which answers "done" at once, and of `/slow`, which waits for a permit.
struct Rig {
    addr: SocketAddr,
    go: Arc<Semaphore>,
    shutdown: Shutdown,
    server: tokio::task::JoinHandle<()>,
}

async fn start(limits: HttpLimits) -> Rig {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (go, shutdown) = (Arc::new(Semaphore::new(0)), Shutdown::new());
    let g = go.clone();
    let slow = move || async move {
        let _go = g.acquire().await;
        "done"
    };
    let router = Router::new().route("/", get(|| async { "done" })).route("/slow", get(slow));
    let server =
        tokio::spawn(serve(listener, router, limits, HttpMetrics::default(), shutdown.clone()));
    Rig { addr, go, shutdown, server }
}

async fn connect(rig: &Rig) -> TcpStream {
    TcpStream::connect(rig.addr).await.unwrap()
}

/// One answer, whose body is "done".
async fn ask(client: &mut TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"done") {
        answer.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn who_asks_while_we_leave_is_answered_and_told_to_go() {
    let hour = Duration::from_secs(3_600);
    let rig = start(HttpLimits { leave_delay: hour, ..Default::default() }).await;
    let mut known = connect(&rig).await;
    assert!(!ask(&mut known).await.contains("connection: close"));
    rig.shutdown.cancel();
    for mut client in [known, connect(&rig).await] {
        let answer = ask(&mut client).await;
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        let end = client.read(&mut [0]).await.unwrap();
        assert_eq!(end, 0, "closed after the answer that said so");
    }
    rig.server.abort();
}

#[tokio::test]
async fn a_connection_that_ends_is_never_reset_by_what_was_sent_meanwhile() {
    let rig = start(HttpLimits { leave_delay: Duration::ZERO, ..Default::default() }).await;
    let mut idle = connect(&rig).await;
    ask(&mut idle).await;
    rig.shutdown.cancel();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "our side is closed");
    // Too late: what is sent now gets no answer, and breaks nothing.
    idle.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    drop(idle);
    rig.server.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_comes_before_the_end_of_its_request_arrives() {
    let rig = start(HttpLimits::default()).await;
    let mut client = connect(&rig).await;
    // Refused by its head, while all of its body is under way.
    let head = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3000000\r\n\r\n";
    client.write_all(head).await.unwrap();
    client.write_all(&vec![b'x'; 3_000_000]).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 405"), "{}", String::from_utf8_lossy(&answer));
    rig.shutdown.cancel();
    drop(client);
    rig.server.await.unwrap();
}

#[tokio::test]
async fn who_is_idle_longest_makes_room() {
    let rig = start(HttpLimits { connections_max: 3, ..Default::default() }).await;
    let mut busy = connect(&rig).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let (mut first, mut second) = (connect(&rig).await, connect(&rig).await);
    ask(&mut second).await;
    ask(&mut first).await;
    let mut third = connect(&rig).await;
    ask(&mut third).await;
    assert_eq!(second.read(&mut [0]).await.unwrap(), 0, "it was idle longest");
    ask(&mut first).await;
    rig.go.add_permits(1);
    let mut answer = [0; 15];
    busy.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    rig.shutdown.cancel();
    drop((busy, first, third));
    rig.server.await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_listener_about_to_close_lets_in_who_is_under_way_and_nobody_else() {
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut early = TcpStream::connect(addr).await.unwrap();
    listener::ignore_handshakes(&listener);
    let late = tokio::spawn(TcpStream::connect(addr));
    let (mut accepted, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, early.local_addr().unwrap());
    // What was accepted is as good as ever.
    accepted.write_all(b"x").await.unwrap();
    assert_eq!(early.read_u8().await.unwrap(), b'x');
    early.write_all(b"y").await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'y');
    drop(listener);
    let refused = late.await.unwrap().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{refused}");
}
