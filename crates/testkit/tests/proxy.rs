//! The proxy of the tests, mood by mood.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use heliograph_testkit::proxy::{Mood, Proxy};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Far longer than anything takes that is awaited here.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
    addr
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask(mut stream: &TcpStream, words: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(words)?;
    let mut answer = vec![0; words.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < end, "it never came to that");
        thread::park_timeout(Duration::from_millis(1));
    }
}

#[test]
fn what_passes_is_whole_and_counted() {
    let proxy = Proxy::start(echo()).unwrap();
    let large = vec![7; 3 << 20];
    let streams = [connect(&proxy), connect(&proxy)];
    assert_eq!(ask(&streams[0], b"hello").unwrap(), b"hello");
    let writer = streams[1].try_clone().unwrap();
    let sent = large.clone();
    let writing = thread::spawn(move || {
        (&writer).write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    (&streams[1]).read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == large, "{} of {} bytes", back.len(), large.len());
    let counts = proxy.counts();
    assert_eq!((counts.open_max, counts.taken), (2, 2));
    let bytes = 5 + large.len() as u64;
    assert_eq!((counts.bytes_up, counts.bytes_down), (bytes, bytes));
    drop(streams);
    until(|| proxy.counts().open == 0);
    assert_eq!(proxy.counts().open_max, 2);
}

#[test]
fn a_cut_resets_what_is_open_and_refuses_what_comes_until_it_is_over() {
    let proxy = Proxy::start(echo()).unwrap();
    for _ in 0..3 {
        let stream = connect(&proxy);
        ask(&stream, b"before").unwrap();
        proxy.set(Mood::Cut);
        assert_eq!(proxy.counts().open, 0);
        let mut byte = [0];
        let error = (&stream).read(&mut byte).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        let error = TcpStream::connect(proxy.addr()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
        let taken = TcpListener::bind(proxy.addr()).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse, "nobody else gets the port");
        proxy.set(Mood::Pass);
        assert_eq!(ask(&connect(&proxy), b"after").unwrap(), b"after");
    }
}

#[test]
fn a_hang_takes_connections_and_carries_nothing_until_it_is_over() {
    let proxy = Proxy::start(echo()).unwrap();
    let old = connect(&proxy);
    ask(&old, b"before").unwrap();
    proxy.set(Mood::Hang);
    let bytes = proxy.counts().bytes_up;
    let new = connect(&proxy);
    let (answers, answered) = mpsc::channel();
    for stream in [&old, &new] {
        let (stream, answers) = (stream.try_clone().unwrap(), answers.clone());
        thread::spawn(move || answers.send(ask(&stream, b"kept")));
    }
    // One that gives up is seen to be gone, though nobody read what it sent.
    let brief = connect(&proxy);
    (&brief).write_all(b"nobody reads this").unwrap();
    until(|| proxy.counts().open == 3);
    drop(brief);
    until(|| proxy.counts().open == 2);
    assert!(answered.try_recv().is_err(), "something came through");
    assert_eq!(proxy.counts().bytes_up, bytes);
    proxy.set(Mood::Pass);
    for _ in 0..2 {
        assert_eq!(answered.recv_timeout(PATIENCE).unwrap().unwrap(), b"kept");
    }
}

#[test]
fn what_is_delayed_or_throttled_takes_its_time_and_a_better_mood_ends_the_wait() {
    let proxy = Proxy::start(echo()).unwrap();
    let stream = connect(&proxy);
    ask(&stream, b"quick").unwrap();
    let delay = Duration::from_millis(100);
    let rows = [
        ("each way has its delay", Mood::Delay(delay), 1, 2 * delay),
        (
            "a quarter of a second's bytes",
            Mood::Throttle { bytes_per_second: 2_000 },
            500,
            2 * delay,
        ),
    ];
    for (name, mood, bytes, least) in rows {
        proxy.set(mood);
        let began = Instant::now();
        ask(&stream, &vec![1; bytes]).unwrap();
        assert!(began.elapsed() >= least, "{name}: {:?}", began.elapsed());
    }
    proxy.set(Mood::Delay(Duration::from_secs(3_600)));
    let asking = {
        let stream = stream.try_clone().unwrap();
        thread::spawn(move || ask(&stream, b"at last"))
    };
    proxy.set(Mood::Pass);
    assert_eq!(asking.join().unwrap().unwrap(), b"at last");
}

#[test]
fn a_server_that_is_away_is_a_reset_and_never_a_silence() {
    let away = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let proxy = Proxy::start(away).unwrap();
    let error = ask(&connect(&proxy), b"hello").unwrap_err();
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(kinds.contains(&error.kind()), "{error}");
    until(|| proxy.counts().open == 0);
}
