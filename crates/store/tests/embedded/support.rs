//! The shared engine, a database per test, and child processes with a store of their own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use clickhouse::Client;
use heliograph_store::{EmbeddedConfig, EmbeddedStore, StoreConfig, connect};

/// The address of the engine that all tests of this process share.
pub fn url() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::channel();
        // A runtime of its own: those of the tests end with them.
        thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("runtime");
            runtime.block_on(async {
                let config = EmbeddedConfig { path: scratch_dir("shared"), ..Default::default() };
                let store = EmbeddedStore::start(config).await.expect("the engine starts");
                tell.send(store.url()).expect("the test waits");
                std::future::pending::<()>().await;
            });
        });
        told.recv().expect("the engine starts")
    })
}

/// A directory below the target directory; those of processes that are gone are removed.
pub fn scratch_dir(name: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_TARGET_TMPDIR")).join("embedded-store");
    for entry in fs::read_dir(&top).into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        let pid = file_name.to_string_lossy().split('-').next().map(str::to_owned);
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let dir = top.join(format!("{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).expect("scratch directory");
    dir
}

/// A client of the shared engine, with an empty database.
pub async fn database(name: &str) -> Client {
    let config = StoreConfig { url: url().into(), database: name.into(), ..Default::default() };
    let client = connect(&config);
    let outside = client.clone().with_database("default");
    run(&outside, &format!("DROP DATABASE IF EXISTS {name}")).await;
    run(&outside, &format!("CREATE DATABASE {name}")).await;
    client
}

pub async fn run(client: &Client, sql: &str) {
    client.query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

pub async fn count(client: &Client, sql: &str) -> u64 {
    client.query_raw(sql).fetch_one::<u64>().await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// URL parameters.
pub type Params<'a> = &'a [(&'a str, &'a str)];

/// A plain POST, as `curl` sends it.
pub async fn post(url: &str, params: Params<'_>, body: impl Into<reqwest::Body>) -> Answer {
    let request = reqwest::Client::new().post(with_params(url, params)).body(body);
    Answer::of(request.send().await.expect("an answer")).await
}

pub fn with_params(url: &str, params: Params<'_>) -> String {
    let query: String =
        form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    format!("{url}/?{query}")
}

/// What came back, with the error that broke it off if one did.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub code: Option<u32>,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
    pub cut_short: bool,
}

impl Answer {
    pub async fn of(mut response: reqwest::Response) -> Answer {
        let headers = response.headers().clone();
        let code = headers.get("x-clickhouse-exception-code");
        let mut answer = Answer {
            status: response.status().as_u16(),
            code: code.and_then(|code| code.to_str().ok()?.parse().ok()),
            headers,
            body: Vec::new(),
            cut_short: false,
        };
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => answer.body.extend_from_slice(&chunk),
                Ok(None) => return answer,
                Err(_) => {
                    answer.cut_short = true;
                    return answer;
                }
            }
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The exception code of a failed statement.
pub fn code_of(error: &clickhouse::error::Error) -> u32 {
    let text = error.to_string();
    let digits = text.split("Code: ").nth(1).unwrap_or_else(|| panic!("no code in: {text}"));
    digits.split('.').next().and_then(|code| code.parse().ok()).expect("a number")
}

/// A process of this same binary that serves a store until its standard input ends.
pub struct Served {
    pub child: Child,
    pub url: String,
    stdin: Option<ChildStdin>,
}

const CHILD_CONFIG: &str = "HELIOGRAPH_TEST_CHILD_CONFIG";

impl Served {
    /// `config` as JSON keys of `EmbeddedConfig`, without the path.
    pub fn start(path: &Path, config: serde_json::Value) -> Served {
        let mut child = spawn_child(path, config);
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines();
        let url = lines
            .find_map(|line| line.expect("text").strip_prefix("SERVING ").map(str::to_owned))
            .expect("the child serves");
        // What it says later must not fill its pipe.
        thread::spawn(move || lines.for_each(drop));
        Served { child, url, stdin }
    }

    pub fn client(&self) -> Client {
        let config =
            StoreConfig { url: self.url.clone(), database: "default".into(), ..Default::default() };
        connect(&config)
    }

    /// Ends it as an operator would, and returns whether it ended well.
    pub fn stop(mut self) -> bool {
        drop(self.stdin.take());
        self.child.wait().expect("its status").success()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("its status");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn spawn_child(path: &Path, mut config: serde_json::Value) -> Child {
    config["path"] = path.to_string_lossy().into_owned().into();
    Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "support::a_process_serves_until_its_input_ends", "--nocapture"])
        .env(CHILD_CONFIG, config.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

/// As a child, what [`Served`] runs; by itself, the test of that.
#[test]
fn a_process_serves_until_its_input_ends() {
    match std::env::var(CHILD_CONFIG) {
        Ok(config) => serve(&config),
        Err(_) => {
            let served = Served::start(&scratch_dir("served"), serde_json::json!({}));
            let runtime = tokio::runtime::Runtime::new().expect("runtime");
            assert_eq!(runtime.block_on(count(&served.client(), "SELECT toUInt64(7)")), 7);
            assert!(served.stop());
        }
    }
}

#[expect(clippy::print_stdout, reason = "the parent reads the address")]
fn serve(config: &str) {
    let config: EmbeddedConfig = serde_json::from_str(config).expect("a config");
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(async {
        let store = EmbeddedStore::start(config).await.unwrap_or_else(|error| panic!("{error}"));
        println!("\nSERVING {}", store.url());
        let wait_for_end = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        tokio::task::spawn_blocking(wait_for_end).await.expect("joined").expect("read");
        store.shutdown().await.expect("a clean end");
    });
}
