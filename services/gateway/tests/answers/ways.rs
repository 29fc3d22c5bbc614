//! The ways into the gateway: how each says an upload, and how its answer reads.

use crate::common::{INSTANCE, Running};
use bytes::{Bytes, BytesMut};
use heliograph_contract::v1::{self, upload_stream_response::Result as Outcome};
use heliograph_testkit::grpc::RawBytes;
use prost::Message;
use serde_json::{Value, json};
use tonic::{Request, Status, client::Grpc, transport::Endpoint};
use tonic_types::StatusExt;

/// 2026-01-01T00:00:00Z.
pub const MS: i64 = 1_767_225_600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Json,
    Protobuf,
    Grpc,
    GrpcStream,
    Influx2,
    Influx1,
}

pub const WAYS: [Way; 6] =
    [Way::Json, Way::Protobuf, Way::Grpc, Way::GrpcStream, Way::Influx2, Way::Influx1];

/// What is sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub token: Option<&'static str>,
    pub body: Bytes,
    /// Besides those that the way always has; a name that it has is replaced.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Replaces the way's path.
    pub path: Option<&'static str>,
    pub method: reqwest::Method,
    /// The body is announced as this long and never ends.
    pub endless: Option<usize>,
}

impl Way {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "`POST /v1/uploads`, JSON",
            Self::Protobuf => "`POST /v1/uploads`, protobuf",
            Self::Grpc => "gRPC `Upload`",
            Self::GrpcStream => "gRPC `UploadStream`",
            Self::Influx2 => "`POST /api/v2/write`",
            Self::Influx1 => "`POST /write`",
        }
    }

    pub const fn is_line(self) -> bool {
        matches!(self, Self::Influx1 | Self::Influx2)
    }

    pub const fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcStream)
    }

    /// An upload of these readings, which this way can say or cannot.
    pub fn says(self, site: Option<&str>, id: Option<&str>, readings: &[Spec]) -> Option<Bytes> {
        match self {
            Self::Json => {
                let readings: Option<Vec<Value>> = readings.iter().map(Spec::json).collect();
                let mut body = json!({ "readings": readings? });
                for (key, value) in [("site", site), ("upload_id", id)] {
                    if let Some(value) = value {
                        body[key] = json!(value);
                    }
                }
                Some(body.to_string().into())
            }
            Self::Influx1 | Self::Influx2 => {
                let lines: Option<Vec<String>> = readings.iter().map(|r| r.line(site)).collect();
                id.is_none().then_some(lines?.join("\n").into())
            }
            _ => {
                let readings: Option<Vec<_>> = readings.iter().map(Spec::protobuf).collect();
                let upload = v1::UploadRequest {
                    site_id: site.unwrap_or_default().into(),
                    upload_id: id.unwrap_or_default().into(),
                    readings: readings?,
                    sent_at_ms: None,
                };
                Some(upload.encode_to_vec().into())
            }
        }
    }

    /// Sends it, and gives status, headers and body as a person would write them down.
    pub async fn answer(self, gateway: &Running, sent: Sent) -> String {
        match self {
            Self::Grpc => of_grpc(grpc(gateway, sent, "Upload").await.map(|bytes| {
                v1::UploadResponse::decode(bytes.first().cloned().unwrap_or_default()).unwrap()
            })),
            Self::GrpcStream => {
                let mut message = BytesMut::new();
                // Field 1, length-delimited: the upload, whatever its bytes are.
                prost::encoding::bytes::encode(1, &sent.body, &mut message);
                let sent = Sent { body: message.freeze(), ..sent };
                of_stream(grpc(gateway, sent, "UploadStream").await)
            }
            _ => of_http(self.http(gateway, sent).await).await,
        }
    }

    async fn http(self, gateway: &Running, sent: Sent) -> reqwest::Response {
        let (path, kind) = match self {
            Self::Json => ("/v1/uploads", "application/json"),
            Self::Protobuf => ("/v1/uploads", "application/protobuf"),
            Self::Influx2 => ("/api/v2/write?bucket=b&org=o", "text/plain; charset=utf-8"),
            _ => ("/write?db=d", "text/plain; charset=utf-8"),
        };
        let url = format!("http://{}{}", gateway.addr, sent.path.unwrap_or(path));
        let mut request = gateway.client.request(sent.method, url).header("content-type", kind);
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in sent.headers {
            headers.insert(name, value.parse().unwrap());
        }
        if let Some(token) = sent.token {
            let scheme = if self == Self::Influx2 { "Token" } else { "Bearer" };
            request = match self {
                Self::Influx1 => request.basic_auth("logger", Some(token)),
                _ => request.header("authorization", format!("{scheme} {token}")),
            };
        }
        let request = match sent.endless {
            None => request.body(sent.body),
            Some(length) => {
                let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
                request.header("content-length", length).body(reqwest::Body::wrap_stream(never))
            }
        };
        request.headers(headers).send().await.unwrap()
    }
}

/// A time of a reading.
#[derive(Debug, Clone, Copy)]
pub enum Ts {
    At(i64),
    Missing,
    Words,
}

#[derive(Debug, Clone, Copy)]
pub enum Val {
    Number(f64),
    Missing,
    Text(&'static str),
}

/// A reading, for every way to say.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    pub device: &'static str,
    pub metric: &'static str,
    pub ts: Ts,
    pub value: Val,
    pub unit: Option<&'static str>,
    pub quality: Option<&'static str>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            device: "inv1",
            metric: "ac_power",
            ts: Ts::At(MS),
            value: Val::Number(1.5),
            unit: None,
            quality: None,
        }
    }
}

impl Spec {
    fn json(&self) -> Option<Value> {
        let mut reading = json!({ "device": self.device, "metric": self.metric });
        match self.ts {
            Ts::At(ms) => {
                reading["ts"] = json!(heliograph_domain::Timestamp::from_ms(ms).to_string())
            }
            Ts::Words => reading["ts"] = json!("yesterday"),
            Ts::Missing => {}
        }
        match self.value {
            // JSON has no such number.
            Val::Number(value) if !value.is_finite() => return None,
            Val::Number(value) => reading["value"] = json!(value),
            Val::Text(text) => reading["value"] = json!(text),
            Val::Missing => {}
        }
        for (key, value) in [("unit", self.unit), ("quality", self.quality)] {
            if let Some(value) = value {
                reading[key] = json!(value);
            }
        }
        Some(reading)
    }

    fn protobuf(&self) -> Option<v1::SentReading> {
        let quality = match self.quality {
            None => 0,
            Some("bad") => 3,
            // Any number may be sent, no word.
            Some(_) => 9,
        };
        Some(v1::SentReading {
            device: self.device.into(),
            metric: self.metric.into(),
            ts_ms: match self.ts {
                Ts::At(ms) => Some(ms),
                Ts::Missing => None,
                Ts::Words => return None,
            },
            value: match self.value {
                Val::Number(value) => Some(value),
                Val::Missing => None,
                Val::Text(_) => return None,
            },
            unit: self.unit.unwrap_or_default().into(),
            quality,
        })
    }

    fn line(&self, site: Option<&str>) -> Option<String> {
        if self.unit.is_some() || self.quality.is_some() {
            return None;
        }
        let device = self.device.replace(' ', "\\ ");
        let site = site.map(|s| format!(",site={}", s.replace(' ', "\\ "))).unwrap_or_default();
        let value = match self.value {
            Val::Number(value) => value.to_string(),
            Val::Text(text) => format!("\"{text}\""),
            Val::Missing => String::new(),
        };
        let ts = match self.ts {
            Ts::At(ms) => format!(" {ms}000000"),
            Ts::Words => " yesterday".to_owned(),
            // Then it is the time of arrival: no mistake.
            Ts::Missing => return None,
        };
        Some(format!("{device}{site} {}={value}{ts}", self.metric.replace(' ', "\\ ")))
    }
}

async fn grpc(gateway: &Running, sent: Sent, method: &str) -> Result<Vec<Bytes>, Status> {
    let endpoint = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
    let mut grpc = Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let mut request = Request::new(futures::stream::iter([sent.body]));
    let headers = request.metadata_mut();
    if let Some(token) = sent.token {
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    for (name, value) in sent.headers {
        headers.insert(name, value.parse().unwrap());
    }
    let path = format!("/heliograph.v1.UploadService/{method}").parse().unwrap();
    let mut answers = grpc.streaming(request, path, RawBytes).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

fn of_grpc(answer: Result<v1::UploadResponse, Status>) -> String {
    match answer {
        Ok(v1::UploadResponse { upload_id, accepted, rejected }) => {
            let rejected: Vec<Value> = rejected.iter().map(rejected_json).collect();
            let answer =
                json!({ "upload_id": upload_id, "accepted": accepted, "rejected": rejected });
            format!("`OK` {}", tidy(&answer.to_string()))
        }
        Err(status) => of_status(&status),
    }
}

fn rejected_json(r: &v1::RejectedReading) -> Value {
    json!({ "index": r.index, "field": r.field, "got": r.got, "want": r.want })
}

fn of_status(status: &Status) -> String {
    let mut text = format!("`{}` {}", code(status.code()), tidy(status.message()));
    if let Some(bad) = status.get_details_bad_request() {
        let fields: Vec<_> = bad.field_violations.into_iter().map(|v| v.field).collect();
        text += &format!(", BadRequest of `{}`", fields.join("`, `"));
    }
    if status.get_details_retry_info().is_some() {
        text += ", RetryInfo";
    }
    text
}

fn of_stream(answer: Result<Vec<Bytes>, Status>) -> String {
    let answers = match answer {
        Ok(answers) => answers,
        Err(status) => return format!("the stream ends: {}", of_status(&status)),
    };
    let [answer] = &answers[..] else { panic!("want one result: {answers:?}") };
    match v1::UploadStreamResponse::decode(answer.clone()).unwrap().result.unwrap() {
        Outcome::Accepted(answer) => of_grpc(Ok(answer)).replacen("OK", "accepted", 1),
        Outcome::Refused(v1::UploadRefused { code: number, message, fields, retry_after_ms }) => {
            let mut text = format!("`refused` `{}` {}", code(number.into()), tidy(&message));
            if !fields.is_empty() {
                let fields: Vec<_> = fields.iter().map(|f| f.field.as_str()).collect();
                text += &format!(", fields `{}`", fields.join("`, `"));
            }
            if retry_after_ms.is_some() {
                text += ", retry_after_ms";
            }
            text
        }
    }
}

/// As gRPC's documents write it.
fn code(code: tonic::Code) -> String {
    let mut name = String::new();
    for c in format!("{code:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

async fn of_http(response: reqwest::Response) -> String {
    let mut text = format!("`{}`", response.status());
    for name in ["retry-after", "www-authenticate", "allow"] {
        if let Some(value) = response.headers().get(name) {
            let value = value.to_str().unwrap();
            let value = if name == "retry-after" { "N" } else { value };
            text += &format!(" `{name}: {value}`");
        }
    }
    let is_protobuf =
        response.headers().get("content-type").is_some_and(|k| k == "application/protobuf");
    let body = response.bytes().await.unwrap();
    match (is_protobuf, body.is_empty()) {
        (_, true) => text,
        (true, _) => {
            let answer = v1::UploadResponse::decode(body).unwrap();
            text + &of_grpc(Ok(answer)).replacen("`OK`", "", 1)
        }
        (false, _) => format!("{text} {}", tidy(std::str::from_utf8(&body).unwrap())),
    }
}

/// As code in Markdown; what differs from run to run stands as a name.
fn tidy(text: &str) -> String {
    let mut text = text.replace('\n', " ").replace('|', "\\|").replace(INSTANCE, "gateway-0");
    let after: Vec<usize> =
        text.match_indices("after ").map(|(at, word)| at + word.len()).collect();
    for at in after.into_iter().rev() {
        let digits = text[at..].bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && text[at + digits..].starts_with(" s") {
            text.replace_range(at..at + digits, "N");
        }
    }
    // The end of what is plausible: a day from now.
    while let Some(at) = text.find("Z to 20") {
        let from = at + "Z to ".len();
        let end = text[from..].find('Z').map_or(text.len(), |n| from + n + 1);
        text.replace_range(from..end, "tomorrow");
    }
    // The name of an upload that has none of its own: a hash of its content.
    const ID: &str = "\"upload_id\":\"";
    if let Some(at) = text.find(ID).map(|at| at + ID.len())
        && let Some(len) = text[at..].find('"').filter(|len| *len == 32)
    {
        text.replace_range(at..at + len, "HASH");
    }
    // Code that has backticks stands between two.
    match text.contains('`') {
        true => format!("`` {text} ``"),
        false => format!("`{text}`"),
    }
}
