use super::*;
use heliograph_domain::checksum::ReadingsChecksum;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What the server does with one request, by its number over all connections.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Accept,
    /// 503 with `Retry-After: 1`.
    Refuse,
    /// Takes the upload, then cuts the connection before the answer.
    TakeAndCut,
    /// Reads the headers, then cuts the connection.
    Cut,
    /// 400.
    Reject,
    /// Takes the upload and never answers.
    Hang,
}

type Script = Box<dyn Fn(usize) -> Act + Send + Sync>;

/// A gateway as small as can be: it keeps the bodies that it took, in order.
struct Server {
    url: String,
    script: Script,
    requests: AtomicUsize,
    /// (body, whether its 2xx was written)
    log: Mutex<Vec<(Value, bool)>>,
    /// When each request came.
    times: Mutex<Vec<Instant>>,
}

impl Server {
    async fn start(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Arc::new(Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            script: Box::new(script),
            requests: AtomicUsize::new(0),
            log: Mutex::new(Vec::new()),
            times: Mutex::new(Vec::new()),
        });
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let server = serving.clone();
                tokio::spawn(async move { server.connection(socket).await });
            }
        });
        server
    }

    async fn connection(&self, mut socket: TcpStream) -> Option<()> {
        let mut buffer = Vec::new();
        loop {
            let end = head_end(&mut socket, &mut buffer).await?;
            let act = (self.script)(self.requests.fetch_add(1, Ordering::SeqCst));
            self.times.lock().unwrap().push(Instant::now());
            if act == Act::Cut {
                return None;
            }
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
            assert!(head.contains("authorization: bearer token-of-"), "{head}");
            let length: usize =
                head.split("content-length: ").nth(1)?.split_whitespace().next()?.parse().ok()?;
            while buffer.len() < end + length {
                read_some(&mut socket, &mut buffer).await?;
            }
            let body: Value = serde_json::from_slice(&buffer[end..end + length]).unwrap();
            buffer.drain(..end + length);
            let answer = self.act(act, body).await?;
            socket.write_all(answer.as_bytes()).await.ok()?;
        }
    }

    async fn act(&self, act: Act, body: Value) -> Option<String> {
        let rejected: Vec<Value> = body["readings"]
            .as_array()?
            .iter()
            .enumerate()
            .filter(|(_, r)| is_malformed(r))
            .map(|(index, _)| json!({ "index": index, "field": "f", "got": "g", "want": "w" }))
            .collect();
        let text = json!({ "upload_id": body["upload_id"], "accepted": 0, "rejected": rejected });
        match act {
            Act::Accept => {
                self.log.lock().unwrap().push((body, true));
                Some(answer("200 OK", "", &text.to_string()))
            }
            Act::TakeAndCut => {
                self.log.lock().unwrap().push((body, false));
                None
            }
            Act::Hang => {
                self.log.lock().unwrap().push((body, false));
                std::future::pending().await
            }
            Act::Refuse => Some(answer("503 Service Unavailable", "Retry-After: 1\r\n", "")),
            Act::Reject => Some(answer("400 Bad Request", "", r#"{"detail":"no"}"#)),
            Act::Cut => None,
        }
    }

    /// One value per reading of `site`, the last one taken with or without an answer.
    fn stored(&self, site: &str) -> ReadingsChecksum {
        let mut last = BTreeMap::new();
        for (body, _) in self.log.lock().unwrap().iter().filter(|(b, _)| b["site"] == site) {
            for r in body["readings"].as_array().unwrap().iter().filter(|r| !is_malformed(r)) {
                let text = |key: &str| r[key].as_str().unwrap_or_default().to_owned();
                let factor = match r["unit"].as_str() {
                    Some("kW") => 1e3,
                    Some("%") => 1e-2,
                    _ => 1.0,
                };
                let value = r["value"].as_f64().unwrap() * factor;
                last.insert((text("device"), text("metric"), text("ts")), value);
            }
        }
        let mut sum = ReadingsChecksum::default();
        for ((device, metric, ts), value) in last {
            let ts_ms = ts.parse::<jiff::Timestamp>().unwrap().as_millisecond();
            sum.add(site, &device, &metric, ts_ms, value);
        }
        sum
    }
}

fn is_malformed(r: &Value) -> bool {
    r["device"] == ""
        || r["metric"] == "not a name"
        || r["unit"] == "furlong"
        || r["quality"] == "excellent"
        || r["ts"].as_str().is_some_and(|ts| ts.starts_with("1999"))
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

async fn read_some(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    (socket.read_buf(buffer).await.ok()? > 0).then_some(())
}

async fn head_end(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            return Some(at + 4);
        }
        read_some(socket, buffer).await?;
    }
}

fn config(server: &Server, sites: usize) -> FleetConfig {
    let tokens =
        site_specs(sites).into_iter().map(|s| (s.id.clone(), format!("token-of-{}", s.id)));
    FleetConfig {
        backoff: (Duration::from_millis(2), Duration::from_millis(20)),
        ..FleetConfig::new(server.url.clone(), tokens.collect(), sites)
    }
}

async fn run_fleet(config: FleetConfig, cancel: Shutdown) -> anyhow::Result<FleetSummary> {
    Fleet::build(config)?.run(cancel).await
}

fn assert_kept_its_promise(server: &Server, summary: &FleetSummary) {
    for site in &summary.sites {
        let stored = server.stored(&site.site);
        assert_eq!(
            (site.readings, &site.checksum),
            (stored.count, &stored.to_hex()),
            "{}",
            site.site
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_arrives_whole_when_nothing_goes_wrong() {
    let server = Server::start(|_| Act::Accept).await;
    let replayed = Replayed::Once;
    let summary =
        run_fleet(FleetConfig { replayed, ..config(&server, 5) }, Shutdown::new()).await.unwrap();
    let readings: Vec<u64> = summary.sites.iter().map(|s| s.readings).collect();
    assert_eq!(readings, [5_760, 13_764, 2_607, 7_200, 2_427]);
    assert!(summary.complete);
    assert_eq!(summary.counts.uploads_sent, summary.counts.uploads_accepted);
    assert_kept_its_promise(&server, &summary);
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_and_hangs_lose_nothing_and_are_sent_again_under_the_same_id() {
    let server = Server::start(|n| match n % 7 {
        2 => Act::TakeAndCut,
        4 => Act::Cut,
        6 if n < 30 => Act::Hang,
        _ => Act::Accept,
    })
    .await;
    let run = FleetConfig {
        request_timeout: Duration::from_millis(150),
        readings_per_upload: 120,
        ..config(&server, 6)
    };
    let summary = run_fleet(run, Shutdown::new()).await.unwrap();
    assert!(summary.complete);
    assert_kept_its_promise(&server, &summary);
    let counts = &summary.counts;
    assert!(counts.uploads_unanswered > 0 && counts.uploads_resent > 0, "{counts:?}");
    let log = server.log.lock().unwrap();
    let cut: Vec<&Value> = log.iter().filter(|(_, answered)| !answered).map(|(b, _)| b).collect();
    assert!(!cut.is_empty());
    for body in cut {
        let same = |b: &Value| b["upload_id"] == body["upload_id"] && b["site"] == body["site"];
        let again = log.iter().find(|(b, answered)| *answered && same(b));
        assert_eq!(again.unwrap().0["readings"], body["readings"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_mischief_ends_with_the_value_that_was_promised_last() {
    let server = Server::start(|n| if n % 11 == 3 { Act::TakeAndCut } else { Act::Accept }).await;
    let dir = tempfile::tempdir().unwrap();
    let run = FleetConfig {
        shares: Shares { late: 0.2, resend: 0.3, correct: 0.5, bad: 0.4 },
        readings_per_upload: 40,
        summary: Some(dir.path().join("summary.json")),
        transcript: Some(dir.path().join("transcript.jsonl")),
        ..config(&server, 10)
    };
    let summary = run_fleet(run, Shutdown::new()).await.unwrap();
    assert_kept_its_promise(&server, &summary);
    let counts = &summary.counts;
    assert!(counts.uploads_late > 0 && counts.corrections_accepted > 0, "{counts:?}");
    assert!(counts.readings_rejected > 0 && counts.uploads_resent > 0, "{counts:?}");
    assert_eq!(FleetSummary::read(&dir.path().join("summary.json")).unwrap(), summary);
    let transcript = std::fs::read_to_string(dir.path().join("transcript.jsonl")).unwrap();
    assert_eq!(transcript.lines().count() as u64, counts.uploads_accepted);
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let server = Server::start(|n| if n == 0 { Act::Refuse } else { Act::Accept }).await;
    let run = FleetConfig { readings_per_upload: 10_000, ..config(&server, 1) };
    let summary = run_fleet(run, Shutdown::new()).await.unwrap();
    assert_eq!(summary.counts.refused_by_status["503"], 1);
    let times = server.times.lock().unwrap();
    assert!(times[1] - times[0] >= Duration::from_secs(1), "the backoff alone is at most 20 ms");
    assert_kept_its_promise(&server, &summary);
}

#[tokio::test]
async fn what_the_gateway_never_takes_is_dropped_and_said() {
    let server = Server::start(|n| if n == 0 { Act::Reject } else { Act::Accept }).await;
    let summary = run_fleet(config(&server, 1), Shutdown::new()).await.unwrap();
    assert_eq!(summary.counts.uploads_dropped, 1);
    assert_eq!(summary.counts.drop_reasons["400: no"], 1);
    assert_kept_its_promise(&server, &summary);
}

#[tokio::test]
async fn a_run_that_is_cut_short_says_so_and_covers_what_was_acknowledged() {
    let cancel = Shutdown::new();
    let stop = cancel.clone();
    let server = Server::start(move |n| {
        if n == 20 {
            stop.cancel();
        }
        Act::Accept
    })
    .await;
    let run = FleetConfig { readings_per_upload: 5, ..config(&server, 2) };
    let summary = run_fleet(run, cancel).await.unwrap();
    assert!(!summary.complete && summary.counts.uploads_accepted >= 20);
    assert_kept_its_promise(&server, &summary);
}

#[tokio::test]
async fn live_loggers_go_on_until_they_are_stopped() {
    let cancel = Shutdown::new();
    let stop = cancel.clone();
    let server = Server::start(move |n| {
        if n == 30 {
            stop.cancel();
        }
        Act::Accept
    })
    .await;
    // Two days at a speed at which an upload is due every few milliseconds.
    let run = FleetConfig {
        replayed: Replayed::Live { days: 2.0 },
        speed: Some(100_000.0),
        ..config(&server, 5)
    };
    let summary = run_fleet(run, cancel).await.unwrap();
    assert!(summary.counts.uploads_accepted >= 30);
    let log = server.log.lock().unwrap();
    let most = log.iter().map(|(b, _)| b["readings"].as_array().unwrap().len()).max().unwrap();
    assert!(most <= 15, "at a given speed a logger uploads by its interval, got {most} at once");
}

#[tokio::test]
async fn a_site_without_a_token_is_named() {
    let server = Server::start(|_| Act::Accept).await;
    let run = FleetConfig { sites: 2, ..config(&server, 1) };
    let error = run_fleet(run, Shutdown::new()).await.unwrap_err();
    assert!(error.to_string().contains("rmis-weather"), "{error}");
}
