//! Clients that mean harm, over real sockets: nothing of theirs is stored, memory stays bounded,
//! and the next logger is served.
//!
//! The allocator of this binary counts, so the tests run one after the other.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use heliograph_gateway::GatewayConfig;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    future::Future,
    io::Write,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Mutex,
};

/// Counts what is allocated, and the most there was.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static ONE_BY_ONE: Mutex<()> = Mutex::const_new(());

#[allow(unsafe_code, reason = "an allocator cannot be written without it")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// By how much what is allocated grew at most while `work` ran.
async fn peak_of<T>(work: impl Future<Output = T>) -> (T, usize) {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let done = work.await;
    (done, PEAK.load(Relaxed).saturating_sub(before))
}

const MIB: usize = 1 << 20;

fn small_times() -> GatewayConfig {
    let mut limits = config();
    limits.body_read_timeout = Duration::from_millis(100);
    limits.http.header_read_timeout = Duration::from_millis(100);
    limits.http.idle_timeout = Duration::from_millis(100);
    limits
}

/// What every test ends with: nothing stored but the upload that is taken now.
async fn still_serves(gateway: Running) {
    assert_eq!(gateway.upload("s1", "honest").await.status(), 200);
    assert_eq!(gateway.stored_ids().await, ["honest"]);
    assert_eq!(gateway.dead_letters().await, []);
    gateway.stop().await;
}

fn head(more: &str) -> String {
    format!(
        "POST /v1/uploads HTTP/1.1\r\nhost: h\r\nauthorization: Bearer token-s1\r\n\
         content-type: application/json\r\n{more}"
    )
}

/// Sends all of it, as far as it is taken, and gives what came back until the other side closed.
async fn raw(gateway: &Running, parts: &[&[u8]]) -> String {
    let mut client = TcpStream::connect(gateway.addr).await.unwrap();
    for part in parts {
        if client.write_all(part).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// `size` spaces, one gzip member.
fn gzip_bomb(size: usize) -> Vec<u8> {
    let best = flate2::Compression::best();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), best);
    let chunk = vec![b' '; MIB];
    for _ in 0..size / MIB {
        encoder.write_all(&chunk).unwrap();
    }
    encoder.finish().unwrap()
}

/// A frame of `size` spaces: blocks of 128 KiB, each one byte and how often.
fn zstd_bomb(size: usize) -> Vec<u8> {
    const BLOCK: usize = 128 * 1024;
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0, 13 << 3];
    let count = size / BLOCK;
    for at in 1..=count {
        let header = u32::from(at == count) | 1 << 1 | (BLOCK as u32) << 3;
        frame.extend(&header.to_le_bytes()[..3]);
        frame.push(b' ');
    }
    frame
}

#[tokio::test]
async fn bombs_end_at_the_limit() {
    let _one = ONE_BY_ONE.lock().await;
    let gateway = start(config()).await;
    let deep_in_zstd = zstd_bomb(1 << 30);
    let bombs =
        [("gzip", gzip_bomb(900 * MIB)), ("zstd", deep_in_zstd), ("zstd", zstd_bomb(256 * MIB))];
    for (encoding, bomb) in bombs {
        assert!(bomb.len() < 1_000_000, "{encoding}: {}", bomb.len());
        let sent = gateway.post("token-s1", bomb).header("content-encoding", encoding);
        let (response, peak) = peak_of(sent.send()).await;
        assert_eq!(response.unwrap().status(), 413, "{encoding}");
        assert!(peak < 8 * MIB, "{encoding}: {peak} bytes");
    }
    still_serves(gateway).await;
}

#[tokio::test]
async fn bodies_made_to_cost_memory_do_not() {
    let _one = ONE_BY_ONE.lock().await;
    let gateway = start(config()).await;
    let nested = |open: &str, close: &str| {
        let deep = 400_000;
        format!(r#"{{"readings":[{}{}]}}"#, open.repeat(deep), close.repeat(deep))
    };
    let arrays = nested("[", "]");
    let rows = [
        ("half-open JSON", "application/json", "[".repeat(900_000).into_bytes()),
        ("half-open objects", "application/json", r#"{"a":"#.repeat(150_000).into_bytes()),
        ("an endless string", "application/json", [b"\"", &[b'a'; 900_000][..]].concat()),
        ("many small readings", "application/json", {
            format!(r#"{{"readings":[{}0]}}"#, "0,".repeat(400_000)).into_bytes()
        }),
        ("500,000 empty readings", "application/protobuf", [0x22, 0].repeat(490_000)),
        ("a length beyond all", "application/protobuf", vec![0x22, 255, 255, 255, 255, 15]),
    ];
    for (name, kind, body) in rows {
        let url = format!("http://{}/v1/uploads", gateway.addr);
        let sent = gateway.client.post(url).bearer_auth("token-s1").header("content-type", kind);
        let (response, peak) = peak_of(sent.body(body).send()).await;
        assert_eq!(response.unwrap().status(), 400, "{name}");
        assert!(peak < 48 * MIB, "{name}: {peak} bytes");
    }
    // One bad reading, however deep: kept as it came.
    let (response, peak) = peak_of(gateway.post("token-s2", arrays).send()).await;
    assert_eq!(response.unwrap().status(), 200);
    assert!(peak < 48 * MIB, "{peak} bytes");
    assert_eq!(gateway.dead_letters().await.len(), 1);
    assert_eq!(gateway.upload("s1", "honest").await.status(), 200);
    gateway.stop().await;
}

#[tokio::test]
async fn heads_that_do_not_end_are_cut() {
    let _one = ONE_BY_ONE.lock().await;
    let gateway = start(small_times()).await;
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2 * MIB));
    let header = format!("{}x: {}\r\n\r\n", head(""), "a".repeat(2 * MIB));
    let many = head(&"x: y\r\n".repeat(1_000)) + "\r\n";
    let rows: [(&str, &[&[u8]], &str); 7] = [
        ("nothing", &[], ""),
        ("half a head", &[b"POST /v1/up"], ""),
        ("half of HTTP/2", &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n"], ""),
        ("no HTTP", &[&[0; 100]], "HTTP/1.1 400 "),
        ("an endless line", &[long.as_bytes()], "HTTP/1.1 4"),
        ("an endless header", &[header.as_bytes()], "HTTP/1.1 431 "),
        ("endless headers", &[many.as_bytes()], "HTTP/1.1 431 "),
    ];
    for (name, parts, want) in rows {
        let (answer, peak) = peak_of(raw(&gateway, parts)).await;
        // The answer may be lost where the rest of the request was still on its way.
        assert!(answer.starts_with(want) || answer.is_empty(), "{name}: {answer}");
        assert!(peak < 2 * MIB, "{name}: {peak} bytes");
    }
    still_serves(gateway).await;
}

#[tokio::test]
async fn bodies_that_do_not_end_are_given_up() {
    let _one = ONE_BY_ONE.lock().await;
    let gateway = start(small_times()).await;
    let slow = head("content-length: 100\r\nconnection: close\r\n\r\n{");
    let slow_chunks = head("transfer-encoding: chunked\r\nconnection: close\r\n\r\n1\r\n{\r\n");
    for body in [slow, slow_chunks] {
        let answer = raw(&gateway, &[body.as_bytes()]).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    let begin = head("transfer-encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n", &[b' '; 0x10000][..], b"\r\n"].concat();
    let endless = async {
        let mut client = TcpStream::connect(gateway.addr).await.unwrap();
        client.write_all(begin.as_bytes()).await.unwrap();
        let mut sent = 0;
        while client.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        sent
    };
    let (sent, peak) = peak_of(endless).await;
    assert!(sent < 64 * MIB, "{sent} bytes were taken");
    assert!(peak < 8 * MIB, "{peak} bytes");
    let both = head("content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    let answer = raw(&gateway, &[both.as_bytes()]).await;
    assert!(!answer.starts_with("HTTP/1.1 200 "), "two lengths: {answer}");
    still_serves(gateway).await;
}

#[tokio::test]
async fn who_closes_one_side_still_gets_the_answer() {
    let _one = ONE_BY_ONE.lock().await;
    let gateway = start(config()).await;
    let body = body("s1", "u1", &[]);
    let request = format!("{}{body}", head(&format!("content-length: {}\r\n\r\n", body.len())));
    let mut client = TcpStream::connect(gateway.addr).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // Closed in the middle of a body: nothing is stored.
    let mut client = TcpStream::connect(gateway.addr).await.unwrap();
    client.write_all(&request.as_bytes()[..request.len() - 1]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    let _ = client.read_to_string(&mut answer).await;
    assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for _ in 0..100 {
        let mut client = TcpStream::connect(gateway.addr).await.unwrap();
        client.write_all(&request.as_bytes()[..request.len() - 1]).await.unwrap();
        client.set_zero_linger().unwrap();
    }
    assert_eq!(gateway.upload("s1", "u2").await.status(), 200);
    assert_eq!(gateway.stored_ids().await, ["u1", "u2"]);
    gateway.stop().await;
}

#[tokio::test]
async fn chunks_of_a_byte_cost_what_they_hold() {
    let _one = ONE_BY_ONE.lock().await;
    let gateway = start(config()).await;
    let head = head("transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    let chunks = "1\r\n \r\n".repeat(300_000) + "0\r\n\r\n";
    let (answer, peak) = peak_of(raw(&gateway, &[head.as_bytes(), chunks.as_bytes()])).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(peak < 6 * MIB, "{peak} bytes");
    still_serves(gateway).await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn floods_of_http2_are_cut() {
    let _one = ONE_BY_ONE.lock().await;
    let gateway = start(small_times()).await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[])].concat();
    // `:method POST`, `:scheme http`, `:path /`, each from HPACK's own table.
    let open = |id: u32| frame(1, 4, 2 * id + 1, &[0x83, 0x86, 0x84]);
    let reset = |id: u32| frame(3, 0, 2 * id + 1, &[0, 0, 0, 8]);
    let rapid: Vec<u8> = (0..50_000).flat_map(|id| [open(id), reset(id)].concat()).collect();
    let streams: Vec<u8> = (0..50_000).flat_map(open).collect();
    let endless_head: Vec<u8> = std::iter::once(frame(1, 0, 1, &[0x83]))
        .chain((0..50_000).map(|_| frame(9, 0, 1, &[0x84; 100])))
        .flatten()
        .collect();
    let pings: Vec<u8> = (0..50_000).flat_map(|_| frame(6, 0, 0, &[0; 8])).collect();
    let settings: Vec<u8> = (0..50_000).flat_map(|_| frame(4, 0, 0, &[])).collect();
    let rows = [
        ("streams that are reset at once", rapid),
        ("streams without end", streams),
        ("a head without end", endless_head),
        ("pings", pings),
        ("settings", settings),
        ("nothing", Vec::new()),
    ];
    for (name, flood) in rows {
        // It returns when the gateway has closed the connection.
        let (_, peak) = peak_of(raw(&gateway, &[&preface, &flood])).await;
        assert!(peak < 16 * MIB, "{name}: {peak} bytes");
    }
    still_serves(gateway).await;
}

#[tokio::test]
async fn messages_of_grpc_are_limited_before_they_are_read() {
    let _one = ONE_BY_ONE.lock().await;
    use heliograph_contract::v1::{self, upload_service_client::UploadServiceClient};
    let gateway = start(config()).await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", gateway.addr));
    let channel = endpoint.unwrap().connect().await.unwrap();
    let empty = vec![v1::SentReading::default(); 400_000];
    let rows = [
        (
            "larger than the limit",
            vec![v1::SentReading { device: "x".repeat(3 * MIB), ..Default::default() }],
        ),
        ("many empty readings", empty),
    ];
    for (name, readings) in rows {
        let upload = v1::UploadRequest { readings, ..Default::default() };
        let mut request = tonic::Request::new(upload);
        request.metadata_mut().insert("authorization", "Bearer token-s1".parse().unwrap());
        let mut client = UploadServiceClient::new(channel.clone());
        let (answer, peak) = peak_of(client.upload(request)).await;
        let status = answer.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{name}: {status:?}");
        // The client's own message is among it.
        assert!(peak < 16 * MIB, "{name}: {peak} bytes");
    }
    still_serves(gateway).await;
}

#[tokio::test]
async fn idle_connections_are_cut_and_a_logger_gets_through() {
    let _one = ONE_BY_ONE.lock().await;
    let mut limits = small_times();
    // What is over it waits in the kernel, which forgets nobody before its queue is full.
    limits.http.connections_max = 100;
    let gateway = start(limits).await;
    let open = (0..800).map(|_| async {
        let mut idle = TcpStream::connect(gateway.addr).await.unwrap();
        let mut rest = Vec::new();
        let _ = idle.read_to_end(&mut rest).await;
    });
    let honest = gateway.upload("s1", "honest");
    let (_, response) = tokio::join!(futures::future::join_all(open), honest);
    assert_eq!(response.status(), 200);
    assert_eq!(gateway.stored_ids().await, ["honest"]);
    gateway.stop().await;
}
