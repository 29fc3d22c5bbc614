//! Protobuf: `heliograph.v1.UploadRequest`.
//!
//! Readings stay encoded until they are looked at, one by one, so that a bad one spoils no other
//! and is kept as it was sent. They are counted before room is made for them: two bytes of a body
//! can be a reading. Unknown fields are passed over, as everywhere in protobuf; what a reading
//! must have is refused when it is missing, since missing is never zero. What it is not: the rules
//! of a reading are `heliograph_domain::upload`'s.

use crate::{AsSent, Checked, Decoded, checked, too_many};
use bytes::{Buf, Bytes};
use heliograph_contract::v1;
use heliograph_domain::{
    Reading, SiteId, Timestamp, UploadId, Violation,
    upload::{self, RawReading, Rejected},
};
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, decode_key, skip_field},
};

/// The number of `UploadRequest.readings`.
const READINGS: u32 = 4;

/// `UploadRequest` with its readings as bytes.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(string, tag = "1")]
    site_id: String,
    #[prost(string, tag = "2")]
    upload_id: String,
    #[prost(int64, optional, tag = "3")]
    sent_at_ms: Option<i64>,
    #[prost(bytes = "bytes", repeated, tag = "4")]
    readings: Vec<Bytes>,
}

/// `UploadStreamRequest` with its upload as bytes.
#[derive(Clone, PartialEq, Message)]
struct OfStream {
    #[prost(bytes = "bytes", optional, tag = "1")]
    upload: Option<Bytes>,
}

/// Reads an upload; at most `readings_max` readings.
///
/// # Errors
/// Every rule that the envelope breaks, at least one.
pub fn decode(
    body: &Bytes,
    received_at: Timestamp,
    readings_max: usize,
) -> Result<Decoded<'static>, Vec<Violation>> {
    let malformed = |error| vec![not_a("UploadRequest", &error)];
    let count = count_readings(body.clone(), readings_max).map_err(malformed)?;
    if count > readings_max {
        return Err(vec![too_many(format_args!("more than {readings_max}"), readings_max)]);
    }
    let Envelope { site_id, upload_id, sent_at_ms, readings } =
        Envelope::decode(body.clone()).map_err(malformed)?;
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    // The platform's own site passes here, so that it is told apart by its token alone.
    let site = said(&site_id).map(|id| SiteId::parse_from_log(&id)).transpose();
    let site = site.map_err(|v| Violation { field: "site_id".to_owned(), ..v });
    let upload_id = said(&upload_id).map(|id| UploadId::parse(&id)).transpose();
    match (site, upload_id) {
        (Ok(site), Ok(upload_id)) => {
            let sent_at = sent_at_ms.map(Timestamp::from_ms);
            Ok(Decoded { site, upload_id, sent_at, checked: each(&readings, received_at) })
        }
        (site, upload_id) => Err([site.err(), upload_id.err()].into_iter().flatten().collect()),
    }
}

/// An `UploadRequest` of one encoded reading.
pub(crate) fn upload_of(reading: Bytes) -> Bytes {
    Envelope { readings: vec![reading], ..Default::default() }.encode_to_vec().into()
}

/// The upload of an `UploadStreamRequest`, still encoded.
///
/// # Errors
/// When there is none.
pub fn upload_of_stream(message: Bytes) -> Result<Bytes, Violation> {
    let message = OfStream::decode(message).map_err(|e| not_a("UploadStreamRequest", &e))?;
    message.upload.ok_or_else(|| Violation::new("upload", "nothing", "an UploadRequest"))
}

/// How many readings there are; more than `max` are not counted further. It is the one user of
/// `prost::encoding` here: the rest of the library cannot count what it does not keep.
fn count_readings(mut body: Bytes, max: usize) -> Result<usize, DecodeError> {
    let mut count = 0;
    while body.has_remaining() && count <= max {
        let (number, wire_type) = decode_key(&mut body)?;
        count += usize::from(number == READINGS);
        skip_field(wire_type, number, &mut body, DecodeContext::default())?;
    }
    Ok(count)
}

fn not_a(message: &str, error: &DecodeError) -> Violation {
    Violation::new("body", error, format!("a heliograph.v1.{message} in protobuf"))
}

fn each(sent: &[Bytes], received_at: Timestamp) -> Checked<'static> {
    let (mut good, mut bad) = (Vec::with_capacity(sent.len()), Vec::new());
    for (index, encoded) in sent.iter().enumerate() {
        match reading(encoded, received_at) {
            Ok(reading) => good.push((index, reading)),
            Err(violation) => bad.push(Rejected { index, violation }),
        }
    }
    checked(sent.len(), good, bad, |at| sent.get(at).cloned().map(AsSent::Protobuf))
}

fn reading(encoded: &Bytes, received_at: Timestamp) -> Result<Reading, Violation> {
    let sent = v1::SentReading::decode(encoded.clone()).map_err(|error| Violation {
        field: "reading".to_owned(),
        ..not_a("SentReading", &error)
    })?;
    let missing = |field: &str, want: &str| Violation::new(field, "nothing", want);
    let raw = RawReading {
        device: &sent.device,
        metric: &sent.metric,
        ts: sent
            .ts_ms
            .map(Timestamp::from_ms)
            .ok_or_else(|| missing("ts_ms", "when it was measured, in ms since 1970"))?,
        value: sent
            .value
            .ok_or_else(|| missing("value", "a number; leave out the reading if there is none"))?,
        unit: (!sent.unit.is_empty()).then_some(&*sent.unit),
        quality: quality(sent.quality)?,
    };
    upload::check_reading(&raw, received_at).map_err(|violation| match &*violation.field {
        "ts" => Violation { field: "ts_ms".to_owned(), ..violation },
        _ => violation,
    })
}

fn quality(sent: i32) -> Result<Option<&'static str>, Violation> {
    Ok(match v1::Quality::try_from(sent) {
        Ok(v1::Quality::Unspecified) => None,
        Ok(v1::Quality::Good) => Some("good"),
        Ok(v1::Quality::Suspect) => Some("suspect"),
        Ok(v1::Quality::Bad) => Some("bad"),
        Err(_) => {
            let want = "QUALITY_GOOD (1), QUALITY_SUSPECT (2), QUALITY_BAD (3) or nothing";
            return Err(Violation::new("quality", sent, want));
        }
    })
}

#[cfg(test)]
mod tests;
