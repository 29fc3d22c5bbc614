//! Every reason for which an upload, or a reading of it, is not taken.

use crate::ways::{MS, Sent, Spec, Ts, Val, Way};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
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

/// A reason, and what brings it about in each way that can.
pub struct Reason {
    pub name: &'static str,
    pub world: World,
    pub sent: fn(Way) -> Option<Sent>,
}

fn sent(body: Option<Bytes>) -> Option<Sent> {
    let (headers, path, endless) = (Vec::new(), None, None);
    Some(Sent { token: Some("token-s1"), body: body?, headers, path, endless })
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
    ($name:literal, $sent:expr) => {
        Reason { name: $name, world: World::Well, sent: $sent }
    };
    ($name:literal, $world:ident, $sent:expr) => {
        Reason { name: $name, world: World::$world, sent: $sent }
    };
}

/// The whole upload is refused: nothing of it is stored.
#[rustfmt::skip]
pub const UPLOADS: &[Reason] = &[
    reason!("No token", |way| Some(Sent { token: None, ..good(way)? })),
    reason!("A token that no site has", |way| Some(Sent { token: Some("token-s9"), ..good(way)? })),
    reason!("An API token", |way| Some(Sent { token: Some("hg_api_0"), ..good(way)? })),
    reason!("Readings of another site", |way| (!way.is_line()).then(|| sent(way.says(Some("s2"), None, &[Spec::default()])))?),
    reason!("A site's name without form", |way| (!way.is_line()).then(|| sent(way.says(Some("a b"), None, &[])))?),
    reason!("An upload's name without form", |way| sent(way.says(None, Some("a b"), &[]))),
    reason!("Not of its format", |way| (!way.is_line()).then(|| sent(Some(Bytes::from_static(b"{\xff"))))?),
    reason!("Nothing at all", |way| matches!(way, Way::Json).then(|| sent(Some(Bytes::new())))?),
    reason!("Too many readings", |way| {
        let reading = |n: i64| Spec { ts: Ts::At(MS + n), ..Spec::default() };
        sent(way.says(None, None, &[0, 1, 2, 3].map(reading)))
    }),
    reason!("Too large", |_| sent(Some(vec![b' '; 2_001].into()))),
    reason!("Too large once decompressed", |way| compressed(way, gzip(&[b' '; 3_001]))),
    reason!("Broken compression", |way| compressed(way, gzip(b"inv1 a=1").slice(..12))),
    reason!("Another compression", |way| {
        let mut sent = (!way.is_grpc()).then(|| good(way))??;
        sent.headers.push(("content-encoding", "br"));
        Some(sent)
    }),
    reason!("Another content type", |way| {
        let mut sent = matches!(way, Way::Json | Way::Protobuf).then(|| good(way))??;
        sent.headers.push(("content-type", "text/csv"));
        Some(sent)
    }),
    reason!("A precision that there is not", |way| match way {
        Way::Influx1 => Some(Sent { path: Some("/write?db=d&precision=day"), ..good(way)? }),
        Way::Influx2 => Some(Sent { path: Some("/api/v2/write?bucket=b&precision=day"), ..good(way)? }),
        _ => None,
    }),
    reason!("A body that does not come", |way| (!way.is_grpc()).then(|| Some(Sent { endless: Some(100), ..good(way)? }))?),
    reason!("Too often", RateUsed, good),
    reason!("Too much of one site at once", ShareUsed, good),
    reason!("All places are taken", Full, good),
    reason!("The log is away", LogAway, good),
];

/// A reading is rejected: it goes to the dead letters, the readings beside it are taken.
#[rustfmt::skip]
pub const READINGS: &[Reason] = &[
    reason!("A device without form", |way| one(way, Spec { device: "inv 1", ..Spec::default() })),
    reason!("No device", |way| (!way.is_line()).then(|| one(way, Spec { device: "", ..Spec::default() }))?),
    reason!("A metric without form", |way| one(way, Spec { metric: "ac/power", ..Spec::default() })),
    reason!("No metric", |way| (!way.is_line()).then(|| one(way, Spec { metric: "", ..Spec::default() }))?),
    reason!("No time", |way| one(way, Spec { ts: Ts::Missing, ..Spec::default() })),
    reason!("A time that is none", |way| one(way, Spec { ts: Ts::Words, ..Spec::default() })),
    reason!("A time before 2000", |way| one(way, Spec { ts: Ts::At(-1), ..Spec::default() })),
    // 2100-01-01.
    reason!("A time more than a day ahead", |way| one(way, Spec { ts: Ts::At(4_102_444_800_000), ..Spec::default() })),
    reason!("No value", |way| one(way, Spec { value: Val::Missing, ..Spec::default() })),
    reason!("A value that is text", |way| one(way, Spec { value: Val::Text("on"), ..Spec::default() })),
    reason!("An operating state that there is not", |way| one(way, Spec { metric: "operating_state", value: Val::Text("mppt"), ..Spec::default() })),
    reason!("A value that is not finite", |way| one(way, Spec { value: Val::Number(f64::NAN), ..Spec::default() })),
    reason!("A unit of something else", |way| one(way, Spec { unit: Some("V"), ..Spec::default() })),
    reason!("A unit of a metric that is not known", |way| one(way, Spec { metric: "frobs", unit: Some("kW"), ..Spec::default() })),
    reason!("A quality that there is not", |way| one(way, Spec { quality: Some("fine"), ..Spec::default() })),
    reason!("Two values for one reading", |way| {
        let other = Spec { value: Val::Number(2.5), ..Spec::default() };
        sent(way.says(None, None, &[Spec::default(), other]))
    }),
    reason!("A field that is not known", |way| matches!(way, Way::Json).then(|| sent(Some(Bytes::from_static(
        br#"{"readings":[{"device":"inv1","metric":"ac_power","ts":"2026-01-01T00:00:00Z","value":1,"units":"kW"}]}"#,
    ))))?),
    reason!("A line of another site", |way| way.is_line().then(|| sent(way.says(Some("s2"), None, &[Spec::default()])))?),
    reason!("A line without a field", |way| way.is_line().then(|| sent(Some(Bytes::from_static(b"inv1"))))?),
    reason!("A line that is not UTF-8", |way| way.is_line().then(|| sent(Some(Bytes::from_static(b"inv1 ac_power=\xff"))))?),
];
