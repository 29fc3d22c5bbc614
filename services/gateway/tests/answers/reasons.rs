//! Every reason for which an upload, or a reading of it, is not taken.

use crate::ways::{MS, Sent, Spec, Ts, Val, Way};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use reqwest::Method;
use std::io::Write;

/// What must be so before the request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// The gateway is well.
    Well,
    /// The log takes nothing.
    LogAway,
    /// Another upload has the only place.
    Full,
    /// The site has used its rate.
    RateUsed,
    /// The site has as many uploads under way as it may.
    ShareUsed,
}

/// A reason, what brings it about in each way that can, and what is to be done about it.
pub struct Reason {
    pub name: &'static str,
    pub world: World,
    pub sent: fn(Way) -> Option<Sent>,
    pub todo: &'static str,
}

fn sent(body: Option<Bytes>) -> Option<Sent> {
    let (headers, path, endless, method) = (Vec::new(), None, None, Method::POST);
    Some(Sent { token: Some("token-s1"), body: body?, headers, path, method, endless })
}

fn good(way: Way) -> Option<Sent> {
    sent(way.says(None, None, &[Spec::default()]))
}

fn one(way: Way, reading: Spec) -> Option<Sent> {
    sent(way.says(None, None, &[reading]))
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap().into()
}

fn compressed(way: Way, body: Bytes) -> Option<Sent> {
    // gRPC compresses messages, not bodies.
    let mut sent = (!way.is_grpc()).then(|| sent(Some(body)))??;
    sent.headers.push(("content-encoding", "gzip"));
    Some(sent)
}

macro_rules! reason {
    ($name:literal, $sent:expr, $todo:literal) => {
        Reason { name: $name, world: World::Well, sent: $sent, todo: $todo }
    };
    ($name:literal, $world:ident, $sent:expr, $todo:literal) => {
        Reason { name: $name, world: World::$world, sent: $sent, todo: $todo }
    };
}

/// The whole upload is refused: nothing of it is stored.
#[rustfmt::skip]
pub const UPLOADS: &[Reason] = &[
    reason!("No token", |way| Some(Sent { token: None, ..good(way)? }), "send the site's token; `heliograph site add` printed it"),
    reason!("A token that no site has", |way| Some(Sent { token: Some("token-s9"), ..good(way)? }), "use the site's token, or make a new one: `heliograph site rotate-token SITE`"),
    reason!("An API token", |way| Some(Sent { token: Some("hg_api_0"), ..good(way)? }), "use the site's token (`hg_site_…`), not one of `heliograph token`"),
    reason!("Readings of another site", |way| (!way.is_line()).then(|| sent(way.says(Some("s2"), None, &[Spec::default()])))?, "leave out the site, or use that site's token"),
    reason!("A site's name without form", |way| (!way.is_line()).then(|| sent(way.says(Some("a b"), None, &[])))?, "correct the name, or leave it out"),
    reason!("An upload's name without form", |way| sent(way.says(None, Some("a b"), &[])), "correct the name, or leave it out"),
    reason!("Not of its format", |way| (!way.is_line()).then(|| sent(Some(Bytes::from_static(b"{\xff"))))?, "send what `content-type` says; `curl -d` or `--data-binary` sends the body"),
    reason!("Nothing at all", |way| matches!(way, Way::Json).then(|| sent(Some(Bytes::new())))?, "send a body; with curl: `-d` or `--data-binary @FILE`"),
    reason!("Too many readings", |way| {
        let reading = |n: i64| Spec { ts: Ts::At(MS + n), ..Spec::default() };
        sent(way.says(None, None, &[0, 1, 2, 3].map(reading)))
    }, "send the readings in several uploads"),
    reason!("Too large", |_| sent(Some(vec![b' '; 2_001].into())), "send the readings in several uploads"),
    reason!("Too large once decompressed", |way| compressed(way, gzip(&[b' '; 3_001])), "send the readings in several uploads"),
    reason!("Broken compression", |way| compressed(way, gzip(b"inv1 a=1").slice(..12)), "compress the whole body, or send it plain"),
    reason!("Another compression", |way| {
        let mut sent = (!way.is_grpc()).then(|| good(way))??;
        sent.headers.push(("content-encoding", "br"));
        Some(sent)
    }, "compress by gzip or zstd, or send it plain"),
    reason!("Another content type", |way| {
        let mut sent = matches!(way, Way::Json | Way::Protobuf).then(|| good(way))??;
        sent.headers.push(("content-type", "text/csv"));
        Some(sent)
    }, "add `-H 'Content-Type: application/json'`"),
    reason!("A precision that there is not", |way| match way {
        Way::Influx1 => Some(Sent { path: Some("/write?db=d&precision=day"), ..good(way)? }),
        Way::Influx2 => Some(Sent { path: Some("/api/v2/write?bucket=b&precision=day"), ..good(way)? }),
        _ => None,
    }, "use one of those that it names"),
    reason!("Another path", |way| matches!(way, Way::Json).then(|| Some(Sent { path: Some("/v1/upload"), ..good(way)? }))?, "correct the path"),
    reason!("Not a POST", |way| (!way.is_grpc()).then(|| Some(Sent { method: Method::GET, body: Bytes::new(), ..good(way)? }))?, "send a POST; with curl: `-d` or `--data-binary @FILE`"),
    reason!("A body that does not come", |way| (!way.is_grpc()).then(|| Some(Sent { endless: Some(100), ..good(way)? }))?, "send the same again, without pauses; look at the line"),
    reason!("Too often", RateUsed, good, "wait as long as it says; put more readings into one upload"),
    reason!("Too much of one site at once", ShareUsed, good, "wait as long as it says; one upload after the other"),
    reason!("All places are taken", Full, good, "keep the data; send the same again after as long as it says"),
    reason!("The log is away", LogAway, good, "keep the data; send the same again after as long as it says"),
];

/// A reading is rejected: it goes to the dead letters, the readings beside it are taken.
#[rustfmt::skip]
pub const READINGS: &[Reason] = &[
    reason!("A device without form", |way| one(way, Spec { device: "inv 1", ..Spec::default() }), "rename the device"),
    reason!("No device", |way| (!way.is_line()).then(|| one(way, Spec { device: "", ..Spec::default() }))?, "name the device"),
    reason!("A metric without form", |way| one(way, Spec { metric: "ac/power", ..Spec::default() }), "rename the metric; `heliograph metrics` lists those with units"),
    reason!("No metric", |way| (!way.is_line()).then(|| one(way, Spec { metric: "", ..Spec::default() }))?, "name the metric; `heliograph metrics` lists those with units"),
    reason!("No time", |way| one(way, Spec { ts: Ts::Missing, ..Spec::default() }), "give the time of measurement"),
    reason!("A time that is none", |way| one(way, Spec { ts: Ts::Words, ..Spec::default() }), "write it as 2026-01-31T09:00:00+09:00"),
    reason!("A time before 2000", |way| one(way, Spec { ts: Ts::At(-1), ..Spec::default() }), "set the logger's clock; look at the unit of the times (seconds or milliseconds)"),
    // 2100-01-01.
    reason!("A time more than a day ahead", |way| one(way, Spec { ts: Ts::At(4_102_444_800_000), ..Spec::default() }), "set the logger's clock; look at the unit of the times (seconds or milliseconds)"),
    reason!("No value", |way| one(way, Spec { value: Val::Missing, ..Spec::default() }), "leave out a reading that was not measured"),
    reason!("A value that is text", |way| one(way, Spec { value: Val::Text("on"), ..Spec::default() }), "send a number; leave out what was not measured"),
    reason!("An operating state that there is not", |way| one(way, Spec { metric: "operating_state", value: Val::Text("mppt"), ..Spec::default() }), "use one of those that it names, in capitals"),
    reason!("A value that is not finite", |way| one(way, Spec { value: Val::Number(f64::NAN), ..Spec::default() }), "leave out what was not measured"),
    reason!("A unit of something else", |way| one(way, Spec { unit: Some("V"), ..Spec::default() }), "use one of those that it names; `heliograph metrics` lists all"),
    reason!("A unit of a metric that is not known", |way| one(way, Spec { metric: "frobs", unit: Some("kW"), ..Spec::default() }), "leave out the unit, or use a metric of `heliograph metrics`"),
    reason!("A quality that there is not", |way| one(way, Spec { quality: Some("fine"), ..Spec::default() }), "use one of those that it names, or leave it out"),
    reason!("Two values for one reading", |way| {
        let other = Spec { value: Val::Number(2.5), ..Spec::default() };
        sent(way.says(None, None, &[Spec::default(), other]))
    }, "send one value for each device, metric and time"),
    reason!("A field that is not known", |way| matches!(way, Way::Json).then(|| sent(Some(Bytes::from_static(
        br#"{"readings":[{"device":"inv1","metric":"ac_power","ts":"2026-01-01T00:00:00Z","value":1,"units":"kW"}]}"#,
    ))))?, "correct the field's name; those that there are stand in it"),
    reason!("A line of another site", |way| way.is_line().then(|| sent(way.says(Some("s2"), None, &[Spec::default()])))?, "leave out the tag `site`, or use that site's token"),
    reason!("A line without a field", |way| way.is_line().then(|| sent(Some(Bytes::from_static(b"inv1"))))?, "write `name,device=D metric=1.5 TIME`"),
    reason!("A line that is not UTF-8", |way| way.is_line().then(|| sent(Some(Bytes::from_static(b"inv1 ac_power=\xff"))))?, "send UTF-8"),
];
