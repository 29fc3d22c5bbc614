//! Events on the log: protobuf values under CloudEvents headers.
//!
//! Headers follow the CloudEvents Kafka protocol binding, binary content mode (CloudEvents 1.0.2,
//! "Kafka Protocol Binding" 3.2), so that jobs which are not ours can read the log. Ticks carry
//! `ce_type` only: they are many and small. Uploads, and the dead letters that come of them, carry
//! `traceparent` besides ([`trace_header`]), under the name that Kafka's instrumentations read.

use crate::{v1, wire};
use bytes::Bytes;
use heliograph_domain::{
    DeviceId, MetricName, Quality, Reading, SiteId, TenantId, Timestamp, UploadId, Violation,
    event_id::event_id,
    trace::{TRACEPARENT, TraceContext},
    upload::{TS_END, TS_MIN, Upload},
};
use prost::Message;
use std::borrow::{Borrow, Cow};

pub const TYPE_UPLOAD_ACCEPTED: &str = "heliograph.v1.UploadAccepted";
pub const TYPE_DOOR_TICK: &str = "heliograph.v1.DoorTick";
pub const TYPE_TICKS_MISSING: &str = "heliograph.v1.TicksMissing";
pub const TYPE_SITE_WATCHED: &str = "heliograph.v1.SiteWatched";
pub const TYPE_REGISTRY_ENTRY: &str = "heliograph.v1.RegistryEntry";
pub const TYPE_DEAD_LETTER: &str = "heliograph.v1.DeadLetter";

/// Header that names the message of the value.
pub const HEADER_TYPE: &str = "ce_type";
pub const HEADER_ID: &str = "ce_id";
pub const CONTENT_TYPE: &str = "application/protobuf";

/// One header of a record.
pub type Header = (Cow<'static, str>, Bytes);

/// An event ready to be appended: everything of a record that the event itself decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    pub key: Option<Bytes>,
    pub headers: Vec<Header>,
    pub value: Bytes,
}

/// What a record of `heliograph.uploads` says.
#[derive(Debug, Clone, PartialEq)]
pub enum UploadsEvent {
    Upload(Upload),
    Tick(v1::DoorTick),
    /// What the registry says of a site, for the detector.
    Watched(v1::SiteWatched),
    /// A detector has waited for ticks.
    TicksMissing(v1::TicksMissing),
    /// A type that this version does not know: a newer writer's, to be passed over.
    Unknown(String),
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum DecodeError {
    #[error("header ce_type: got none, want the name of the value's message")]
    NoType,
    #[error("value: got a tombstone, want a {0}")]
    NoValue(String),
    #[error("value: not a {kind}: {source}")]
    Malformed { kind: String, source: prost::DecodeError },
    #[error("{0}")]
    Rule(#[from] Violation),
}

/// The value of header `name`, where it is there and is UTF-8.
pub fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).and_then(|(_, v)| std::str::from_utf8(v).ok())
}

/// The header that says which step of which trace a record comes from.
pub fn trace_header(trace: TraceContext) -> Header {
    (Cow::Borrowed(TRACEPARENT), Bytes::from(trace.to_string()))
}

/// The trace that a record belongs to; none where the header is missing or makes no sense.
pub fn trace_of(headers: &[Header]) -> Option<TraceContext> {
    TraceContext::parse(header(headers, TRACEPARENT)?.as_bytes())
}

pub(crate) fn cloud_event(
    kind: &'static str,
    id: String,
    source: String,
    time: Timestamp,
) -> Vec<Header> {
    let fixed = |name: &'static str, value: &'static str| {
        (Cow::Borrowed(name), Bytes::from_static(value.as_bytes()))
    };
    let own = |name: &'static str, value: String| (Cow::Borrowed(name), Bytes::from(value));
    vec![
        fixed("ce_specversion", "1.0"),
        own(HEADER_ID, id),
        fixed(HEADER_TYPE, kind),
        own("ce_source", source),
        own("ce_time", time.to_string()),
        fixed("content-type", CONTENT_TYPE),
    ]
}

/// Encodes an accepted upload; its id is a hash of kind, site and upload id.
pub fn encode_upload(upload: &Upload, gateway: &str) -> Encoded {
    let id = event_id(&[
        TYPE_UPLOAD_ACCEPTED.as_bytes(),
        upload.site.as_str().as_bytes(),
        upload.upload_id.as_str().as_bytes(),
    ]);
    let source = format!("/heliograph/gateway/{gateway}");
    Encoded {
        key: Some(bytes_of(upload.site.as_str())),
        headers: cloud_event(TYPE_UPLOAD_ACCEPTED, id, source, upload.received_at),
        value: upload_to_wire(upload).encode_to_vec().into(),
    }
}

/// Encodes a tick; it has no key, since it is written to a partition, not about a subject.
pub fn encode_tick(tick: &v1::DoorTick) -> Encoded {
    Encoded {
        key: None,
        headers: vec![(Cow::Borrowed(HEADER_TYPE), Bytes::from_static(TYPE_DOOR_TICK.as_bytes()))],
        value: tick.encode_to_vec().into(),
    }
}

/// Encodes what the registry says of a site, for its partition of `heliograph.uploads`. It carries
/// `ce_type` only, like a tick: both are for the pipeline itself.
pub fn encode_watched(watched: &v1::SiteWatched) -> Encoded {
    let kind = Bytes::from_static(TYPE_SITE_WATCHED.as_bytes());
    Encoded {
        key: Some(bytes_of(&watched.site_id)),
        headers: vec![(Cow::Borrowed(HEADER_TYPE), kind)],
        value: watched.encode_to_vec().into(),
    }
}

/// Encodes that no ticks come, for the partition in which they are missing.
pub fn encode_ticks_missing(missing: &v1::TicksMissing) -> Encoded {
    let kind = Bytes::from_static(TYPE_TICKS_MISSING.as_bytes());
    Encoded {
        key: None,
        headers: vec![(Cow::Borrowed(HEADER_TYPE), kind)],
        value: missing.encode_to_vec().into(),
    }
}

/// Encodes a dead letter; its id is a hash of where it came from, so a repeat after a crash is the
/// same event.
pub fn encode_dead_letter(letter: &v1::DeadLetter) -> Encoded {
    let origin = match letter.origin_partition {
        Some(p) => format!("{}/{p}", letter.origin_topic),
        None => format!("{}/{}", letter.origin_topic, letter.site_id),
    };
    let value: Bytes = letter.encode_to_vec().into();
    let id = event_id(&[TYPE_DEAD_LETTER.as_bytes(), origin.as_bytes(), &value]);
    let at = Timestamp::from_ms(letter.at_ms);
    Encoded {
        headers: cloud_event(TYPE_DEAD_LETTER, id, "/heliograph/dead-letters".to_owned(), at),
        key: Some(origin.into()),
        value,
    }
}

/// Reads a record of `heliograph.uploads`.
///
/// # Errors
/// [`DecodeError`] when the type is missing, or the value is not what the type says, or breaks a
/// rule of the domain: a dead letter.
pub fn decode_uploads(
    headers: &[Header],
    value: Option<&Bytes>,
) -> Result<UploadsEvent, DecodeError> {
    let kind = header(headers, HEADER_TYPE).ok_or(DecodeError::NoType)?;
    let value = value.ok_or_else(|| DecodeError::NoValue(kind.to_owned()))?;
    let malformed = |source| DecodeError::Malformed { kind: kind.to_owned(), source };
    match kind {
        TYPE_UPLOAD_ACCEPTED => {
            let upload = wire::UploadAccepted::decode(value.clone()).map_err(malformed)?;
            Ok(UploadsEvent::Upload(upload_from_wire(upload)?))
        }
        TYPE_DOOR_TICK => {
            Ok(UploadsEvent::Tick(v1::DoorTick::decode(value.clone()).map_err(malformed)?))
        }
        TYPE_TICKS_MISSING => Ok(UploadsEvent::TicksMissing(
            v1::TicksMissing::decode(value.clone()).map_err(malformed)?,
        )),
        TYPE_SITE_WATCHED => {
            let watched = v1::SiteWatched::decode(value.clone()).map_err(malformed)?;
            SiteId::parse_from_log(&watched.site_id)?;
            TenantId::parse(&watched.tenant_id)?;
            Ok(UploadsEvent::Watched(watched))
        }
        other => Ok(UploadsEvent::Unknown(other.to_owned())),
    }
}

fn upload_to_wire(upload: &Upload) -> wire::UploadAccepted {
    let (mut devices, mut metrics) = (Names::default(), Names::default());
    let readings = upload.readings.iter().map(|r| wire::Reading {
        device: devices.shared(&r.device),
        metric: metrics.shared(&r.metric),
        ts_ms: r.ts.as_ms(),
        value: r.value,
        quality: quality_to_wire(r.quality).into(),
    });
    wire::UploadAccepted {
        site_id: bytes_of(upload.site.as_str()),
        tenant_id: bytes_of(upload.tenant.as_str()),
        upload_id: bytes_of(upload.upload_id.as_str()),
        received_at_ms: upload.received_at.as_ms(),
        sent_at_ms: upload.sent_at.map(Timestamp::as_ms),
        readings: readings.collect(),
        replayed: upload.replayed,
    }
}

fn upload_from_wire(upload: wire::UploadAccepted) -> Result<Upload, Violation> {
    let (mut devices, mut metrics) = (Names::default(), Names::default());
    let reading = |r: wire::Reading| reading_from_wire(r, &mut devices, &mut metrics);
    Ok(Upload {
        site: SiteId::parse_from_log(text("site", &upload.site_id)?)?,
        tenant: TenantId::parse(text("tenant", &upload.tenant_id)?)?,
        upload_id: UploadId::parse(text("upload_id", &upload.upload_id)?)?,
        received_at: Timestamp::from_ms(upload.received_at_ms),
        sent_at: upload.sent_at_ms.map(Timestamp::from_ms),
        readings: upload.readings.into_iter().map(reading).collect::<Result<_, _>>()?,
        replayed: upload.replayed,
    })
}

fn bytes_of(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn text<'a>(field: &str, bytes: &'a Bytes) -> Result<&'a str, Violation> {
    std::str::from_utf8(bytes)
        .map_err(|_| Violation::new(field, format_args!("{bytes:?}"), "text in UTF-8"))
}

/// Names that came before in the same upload: it says few, and says them with every reading.
struct Names<T> {
    before: Vec<(T, Bytes)>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { before: Vec::new() }
    }
}

/// So many names of a kind are looked through.
const NAMES_MAX: usize = 32;

impl<T: Borrow<str> + Clone> Names<T> {
    /// The bytes of a name, shared with the readings that had it before.
    fn shared(&mut self, name: &T) -> Bytes {
        let text: &str = name.borrow();
        if let Some((_, bytes)) = self.before.iter().find(|(_, b)| b == text.as_bytes()) {
            return bytes.clone();
        }
        let bytes = bytes_of(text);
        self.remember(name.clone(), bytes.clone());
        bytes
    }

    /// The name that came before in these bytes, or one that is checked now.
    fn known(
        &mut self,
        field: &str,
        bytes: Bytes,
        parse: fn(&str) -> Result<T, Violation>,
    ) -> Result<T, Violation> {
        if let Some((name, _)) = self.before.iter().find(|(_, b)| *b == bytes) {
            return Ok(name.clone());
        }
        let name = parse(text(field, &bytes)?)?;
        self.remember(name.clone(), bytes);
        Ok(name)
    }

    fn remember(&mut self, name: T, bytes: Bytes) {
        if self.before.len() < NAMES_MAX {
            self.before.push((name, bytes));
        }
    }
}

fn reading_from_wire(
    r: wire::Reading,
    devices: &mut Names<DeviceId>,
    metrics: &mut Names<MetricName>,
) -> Result<Reading, Violation> {
    if !r.value.is_finite() {
        return Err(Violation::new("readings.value", r.value, "a finite number"));
    }
    let ts = Timestamp::from_ms(r.ts_ms);
    if ts < TS_MIN || ts >= TS_END {
        let want = format!("a time from {TS_MIN} to before {TS_END}");
        return Err(Violation::new("readings.ts_ms", r.ts_ms, want));
    }
    let quality = match r.quality() {
        v1::Quality::Unspecified | v1::Quality::Good => Quality::Good,
        v1::Quality::Suspect => Quality::Suspect,
        v1::Quality::Bad => Quality::Bad,
    };
    Ok(Reading {
        device: devices.known("device", r.device, DeviceId::parse)?,
        metric: metrics.known("metric", r.metric, MetricName::parse)?,
        ts,
        value: r.value,
        quality,
    })
}

pub fn quality_to_wire(quality: Quality) -> v1::Quality {
    match quality {
        Quality::Good => v1::Quality::Good,
        Quality::Suspect => v1::Quality::Suspect,
        Quality::Bad => v1::Quality::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn upload(readings: Vec<(u8, i64, f64)>) -> Upload {
        Upload {
            site: SiteId::parse("s1").unwrap(),
            tenant: TenantId::parse("t1").unwrap(),
            upload_id: UploadId::parse("u1").unwrap(),
            received_at: Timestamp::from_ms(1_700_000_000_123),
            sent_at: None,
            replayed: false,
            readings: readings
                .into_iter()
                .map(|(d, ts, value)| Reading {
                    device: DeviceId::parse(&format!("d{d}")).unwrap(),
                    metric: MetricName::parse("ac_power").unwrap(),
                    ts: Timestamp::from_ms(ts),
                    value,
                    quality: Quality::Suspect,
                })
                .collect(),
        }
    }

    proptest! {
        #[test]
        fn an_upload_comes_back_as_it_was(
            readings in proptest::collection::vec((0u8..60, 1i64 << 40..1 << 41, -1e12f64..1e12), 0..100)
        ) {
            let upload = upload(readings);
            let encoded = encode_upload(&upload, "g1");
            let got = decode_uploads(&encoded.headers, Some(&encoded.value)).unwrap();
            prop_assert_eq!(got, UploadsEvent::Upload(upload));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let headers = encode_upload(&upload(vec![]), "g1").headers;
            let _ = decode_uploads(&headers, Some(&bytes.into()));
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let good = encode_upload(&upload(vec![(1, 1 << 40, 1.0)]), "g1");
        assert_eq!(decode_uploads(&[], Some(&good.value)), Err(DecodeError::NoType));
        assert!(matches!(decode_uploads(&good.headers, None), Err(DecodeError::NoValue(_))));
        let cut = good.value.slice(..good.value.len() - 1);
        let got = decode_uploads(&good.headers, Some(&cut));
        assert!(matches!(got, Err(DecodeError::Malformed { .. })));
        let nan = encode_upload(&upload(vec![(1, 1 << 40, f64::NAN)]), "g1");
        let got = decode_uploads(&nan.headers, Some(&nan.value)).unwrap_err();
        assert!(got.to_string().contains("want a finite number"), "{got}");
    }

    #[test]
    fn a_time_that_no_table_holds_is_refused() {
        for ts_ms in [i64::MIN, -1, 0, TS_END.as_ms(), i64::MAX] {
            let odd = encode_upload(&upload(vec![(1, ts_ms, 1.0)]), "g1");
            let got = decode_uploads(&odd.headers, Some(&odd.value)).unwrap_err();
            assert!(got.to_string().contains("readings.ts_ms"), "{got}");
        }
    }

    #[test]
    fn a_newer_type_is_passed_over_not_refused() {
        let headers = vec![(Cow::Borrowed(HEADER_TYPE), Bytes::from_static(b"heliograph.v9.New"))];
        let got = decode_uploads(&headers, Some(&Bytes::new())).unwrap();
        assert_eq!(got, UploadsEvent::Unknown("heliograph.v9.New".into()));
    }
}
