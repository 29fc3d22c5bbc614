//! Line protocol over a real socket: each answer, and what is on the log after it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
mod common;
mod limits;

use common::*;
use heliograph_domain::Timestamp;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

const V2: &str = "/api/v2/write?bucket=b&org=o";
const V1: &str = "/write?db=d&rp=&consistency=one";
const S1: Option<&str> = Some("Token token-s1");
const VERSION: &str = concat!("heliograph-", env!("CARGO_PKG_VERSION"));

/// A request, its answer, and what is new on the log after it.
struct Row {
    name: &'static str,
    path: &'static str,
    auth: Option<&'static str>,
    body: &'static str,
    status: u16,
    /// `line` and `message`; none with 204.
    answer: Option<(Option<u64>, String)>,
    /// (device, metric, value, ms since 2026) of the new upload, if there is one.
    stored: Option<Vec<(&'static str, &'static str, f64, i64)>>,
    /// (index, field, line) in the new dead letter, if there is one.
    letter: Vec<(u64, &'static str, &'static str)>,
}

const MS_2026: i64 = 1_767_225_600_000;
const NAME: &str = "1 to 64 ASCII letters, digits or . _ -, beginning with a letter or digit";

/// A line that is taken as a whole.
fn taken(
    name: &'static str,
    path: &'static str,
    auth: Option<&'static str>,
    body: &'static str,
    stored: Vec<(&'static str, &'static str, f64, i64)>,
) -> Row {
    let (status, answer, stored, letter) = (204, None, Some(stored), Vec::new());
    Row { name, path, auth, body, status, answer, stored, letter }
}

/// A request of which nothing is taken.
fn refused(
    name: &'static str,
    path: &'static str,
    auth: Option<&'static str>,
    status: u16,
    message: &str,
) -> Row {
    let (body, stored, letter) = ("inv1 ac_power=1 1767225600000000000", None, Vec::new());
    let answer = Some((None, message.to_owned()));
    Row { name, path, auth, body, status, answer, stored, letter }
}

fn partial(
    name: &'static str,
    body: &'static str,
    message: &str,
    stored: Vec<(&'static str, &'static str, f64, i64)>,
    letter: Vec<(u64, &'static str, &'static str)>,
) -> Row {
    let answer = Some((letter.first().map(|l| l.0 + 1), format!("partial write: {message}")));
    let (path, status, stored) = (V2, 400, Some(stored));
    Row { name, path, auth: S1, body, status, answer, stored, letter }
}

fn rows_taken() -> Vec<Row> {
    const LINE: &str = "inv1 ac_power=1.5 1767225600000000000";
    let one = || vec![("inv1", "ac_power", 1.5, 0)];
    let at = |ms| vec![("inv1", "ac_power", 1.5, ms)];
    vec![
        taken("version 2", V2, S1, LINE, one()),
        taken("version 1", V1, Some("Basic dXNlcjp0b2tlbi1zMQ=="), LINE, one()),
        taken("bearer", V2, Some("Bearer token-s1"), LINE, one()),
        taken("a user with the token", V1, Some("Token user:token-s1"), LINE, one()),
        taken("in the query", "/write?u=user&p=token-s1&db=d", None, LINE, one()),
        taken("no parameter at all", "/api/v2/write", S1, LINE, one()),
        taken("an empty precision", "/write?precision=", S1, LINE, one()),
        taken("seconds", "/write?precision=s", S1, "inv1 ac_power=1.5 1767225601\n", at(1_000)),
        taken(
            "microseconds",
            "/api/v2/write?precision=%C2%B5",
            S1,
            "inv1 ac_power=1.5 1767225600001999",
            at(1),
        ),
        taken(
            "tags, fields, comments",
            V2,
            S1,
            "# c\nm,device=inv1,site=s1,host=h ac_power=1i,ok=true 1767225600000000000\r\n\
             inv2 operating_state=\"MPPT\" 1767225600000000000\n",
            vec![
                ("inv1", "ac_power", 1.0, 0),
                ("inv1", "ok", 1.0, 0),
                ("inv2", "operating_state", 4.0, 0),
            ],
        ),
        taken("an empty body is a sign of life", V2, S1, "", vec![]),
        taken("a newline", V1, S1, "\n", vec![]),
    ]
}

fn rows_refused() -> Vec<Row> {
    let no_token = "send the site's token as `Authorization: Token …`, as the password of a \
                    login, or as the parameter `p`";
    let wrong = "no site has this upload token, or it was replaced; `heliograph site rotate-token \
                 SITE` makes a new one and ends the old one";
    let precision = "nothing was stored: precision: got \"d\", want one of ns, us, ms, s, m, h, or \
                     none: ns";
    vec![
        refused("no token", V2, None, 401, no_token),
        refused("no token", V1, None, 401, no_token),
        refused("another token", V2, Some("Token token-x"), 401, wrong),
        refused("another password", V1, Some("Basic cm9vdDpyb290"), 401, wrong),
        refused("another in the query", "/write?p=token-x", None, 401, wrong),
        refused("a precision", "/write?precision=d", S1, 400, precision),
        refused("a precision", "/api/v2/write?precision=d", S1, 400, precision),
    ]
}

fn rows_partial() -> Vec<Row> {
    vec![
        partial(
            "a line of another site, and one that is none",
            "inv1 p=1 1767225600000000000\nm,site=s2 p=1\nx\n",
            "line 2: site: got \"s2\", want \"s1\", the site of the token, or no tag; line 3: \
             field: got the end of the line, want name=value; a space or a comma in a name has a \
             backslash before it; 1 reading is stored",
            vec![("inv1", "p", 1.0, 0)],
            vec![(1, "site", "m,site=s2 p=1"), (2, "field", "x")],
        ),
        partial(
            "a string beside numbers, and a name with no form",
            "inv1 p=1,s=\"on\",m/q=2 1767225600000000000",
            "line 1: s: got the string \"on\", want a number or a boolean (1 more field of this \
             line refused); 1 reading is stored",
            vec![("inv1", "p", 1.0, 0)],
            vec![(0, "s", "inv1 p=1,s=\"on\",m/q=2 1767225600000000000")],
        ),
        partial(
            "nothing that can be taken",
            "inv1 m/q=2",
            &format!("line 1: metric: got \"m/q\", want {NAME}; 0 readings are stored"),
            vec![],
            vec![(0, "metric", "inv1 m/q=2")],
        ),
    ]
}

fn request(gateway: &Running, method: Method, path: &str) -> RequestBuilder {
    gateway.client.request(method, format!("http://{}{path}", gateway.addr))
}

fn write(gateway: &Running, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let request = request(gateway, Method::POST, path);
    request.header("authorization", "Token token-s1").body(body)
}

/// Status, then `line` and `message` of a sound error document with its headers.
async fn shown(response: Response, name: &str) -> (u16, Option<(Option<u64>, String)>) {
    let (status, headers) = (response.status(), response.headers().clone());
    assert_eq!(headers["x-influxdb-version"], VERSION, "{name}");
    assert!(!format!("{headers:?}").contains("token-"), "{name}: {headers:?}");
    assert_eq!(headers.contains_key("www-authenticate"), status.as_u16() == 401, "{name}");
    let body = response.text().await.unwrap();
    if status == StatusCode::NO_CONTENT {
        assert_eq!(body, "", "{name}");
        return (204, None);
    }
    assert!(!body.contains("token-"), "{name}: {body}");
    assert_eq!(headers["content-type"], "application/json; charset=utf-8", "{name}");
    let mut document: Value = serde_json::from_str(&body).unwrap();
    let document = document.as_object_mut().unwrap();
    let line = document.remove("line").map(|l| l.as_u64().unwrap());
    let message = document["message"].as_str().unwrap().to_owned();
    let code = match status.as_u16() {
        400 => "invalid",
        401 => "unauthorized",
        413 => "request too large",
        415 => "invalid",
        429 => "too many requests",
        503 => "unavailable",
        other => panic!("{name}: {other}"),
    };
    let want = json!({ "code": code, "message": message, "error": message });
    assert_eq!(Value::Object(document.clone()), want, "{name}");
    let header = headers["x-influxdb-error"].to_str().unwrap();
    let ascii = message.replace(|c: char| !c.is_ascii(), "?");
    assert_eq!(header, &ascii[..ascii.len().min(1024)], "{name}");
    (status.as_u16(), Some((line, message)))
}

#[tokio::test]
async fn each_request_has_its_answer_and_its_records() {
    let gateway = start(config()).await;
    let rows = [rows_taken(), rows_refused(), rows_partial()];
    for Row { name, path, auth, body, status, answer, stored, letter } in rows.into_iter().flatten()
    {
        let (uploads, letters) = (gateway.stored().await.len(), gateway.dead_letters().await.len());
        let mut request = request(&gateway, Method::POST, path).body(body);
        if let Some(auth) = auth {
            request = request.header("authorization", auth);
        }
        let got = shown(request.send().await.unwrap(), name).await;
        assert_eq!(got, (status, answer), "{name}");

        let new = gateway.stored().await.split_off(uploads);
        assert_eq!(new.len(), usize::from(stored.is_some()), "{name}");
        if let (Some(upload), Some(want)) = (new.first(), stored) {
            assert_eq!(upload.site.as_str(), "s1");
            let row = |r: &heliograph_domain::Reading| {
                let ms = r.ts.ms_since(Timestamp::from_ms(MS_2026));
                (r.device.to_string(), r.metric.to_string(), r.value, ms)
            };
            let got: Vec<_> = upload.readings.iter().map(row).collect();
            let own = |(d, m, v, t): (&str, &str, f64, i64)| (d.to_owned(), m.to_owned(), v, t);
            assert_eq!(got, want.into_iter().map(own).collect::<Vec<_>>(), "{name}");
        }
        let new = gateway.dead_letters().await.split_off(letters);
        assert_eq!(new.len(), usize::from(!letter.is_empty()), "{name}");
        for new in new {
            let got: Vec<Value> = serde_json::from_slice(&new.value).unwrap();
            let row = |v: &Value| json!([v["index"], v["field"], v["reading"]]);
            let got: Vec<Value> = got.iter().map(row).collect();
            assert_eq!(json!(got), json!(letter), "{name}");
            assert_eq!(new.format, "text/plain; format=line-protocol; precision=ns", "{name}");
            assert_eq!((new.reason.as_str(), new.site_id.as_str()), ("rejected_readings", "s1"));
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_time_a_reading_has_the_time_of_its_arrival() {
    let gateway = start(config()).await;
    for _ in 0..2 {
        let response = write(&gateway, V2, "inv1 p=1").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
    for upload in gateway.stored().await {
        assert_eq!(upload.readings[0].ts, upload.received_at);
        assert!(plausible(upload.received_at));
    }
    for _ in 0..2 {
        let response = write(&gateway, "/write?precision=s", "inv1 p=1 1767225600");
        assert_eq!(response.send().await.unwrap().status(), StatusCode::NO_CONTENT);
    }
    let stored = gateway.stored().await;
    assert_eq!(stored.len(), 4);
    assert_eq!(stored[2].upload_id, stored[3].upload_id, "the same content has the same id");
    gateway.stop().await;
}

#[tokio::test]
async fn a_line_is_kept_byte_by_byte() {
    let gateway = start(config()).await;
    let body = b"\xff p=1\n\ta\\,b p=\"\\\"\x01\" \r\n".as_slice();
    let response = write(&gateway, "/api/v2/write?precision=h", body).send().await.unwrap();
    assert_eq!(shown(response, "bytes").await.0, 400);
    let letters = gateway.dead_letters().await;
    assert_eq!(letters[0].format, "text/plain; format=line-protocol; precision=h");
    let letter: Value = serde_json::from_slice(&letters[0].value).unwrap();
    assert_eq!(letter[0]["reading"], json!({ "base64": "/yBwPTE=" }));
    assert_eq!(letter[1]["reading"], "\ta\\,b p=\"\\\"\u{1}\" ");
    gateway.stop().await;
}

#[tokio::test]
async fn clients_find_that_somebody_is_there() {
    let gateway = start(config()).await;
    gateway.ticks_until(0, |t| !t.is_empty()).await;
    let version = json!({ "version": VERSION });
    let health = json!({
        "name": "heliograph", "message": "ready for writes", "status": "pass", "checks": [],
        "version": VERSION,
    });
    let created = json!({ "results": [{ "statement_id": 0 }] });
    let rows = [
        (Method::GET, "/ping", "", 204, None),
        (Method::HEAD, "/ping", "", 204, None),
        (Method::GET, "/ping?verbose=false", "", 204, None),
        (Method::GET, "/ping?verbose=true", "", 200, Some(version)),
        (Method::GET, "/health", "", 200, Some(health)),
        (Method::HEAD, "/health", "", 200, None),
        (Method::POST, "/query", "q=CREATE+DATABASE+%22d%22", 200, Some(created.clone())),
        (Method::POST, "/query?q=create+database+d", "", 200, Some(created)),
    ];
    for (method, path, body, status, want) in rows {
        // One client says so of a body that it does not send.
        let request = request(&gateway, method, path).header("content-encoding", "gzip");
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers()["x-influxdb-version"], VERSION, "{path}");
        assert_eq!(response.headers()["x-influxdb-build"], "heliograph", "{path}");
        let body = response.text().await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&body).ok(), want, "{path}");
    }
    for (method, path, body, status, code) in [
        (Method::GET, "/query?q=SELECT+1", String::new(), 404, "not found"),
        (Method::POST, "/query", "q=SHOW+DATABASES".into(), 404, "not found"),
        (Method::POST, "/query", "x".repeat(5_000), 413, "request too large"),
        (Method::POST, "/api/v3/write_lp?db=d", "m p=1".into(), 405, "method not allowed"),
    ] {
        let response = request(&gateway, method, path).body(body).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path}");
        let document: Value = response.json().await.unwrap();
        assert_eq!(document["code"], code, "{path}");
        assert_eq!(document["message"], document["error"], "{path}");
    }
    for path in ["/write", "/api/v2/write"] {
        let response = request(&gateway, Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(response.headers()["allow"], "POST", "{path}");
        let document: Value = response.json().await.unwrap();
        assert_eq!(document["code"], "method not allowed", "{path}");
    }
    assert_eq!(gateway.stored().await, []);
    gateway.stop().await;
}
