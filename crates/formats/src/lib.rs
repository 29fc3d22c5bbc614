//! From bytes to an upload: the formats that loggers speak, one module each.
//!
//! Every decoder takes a whole body and gives a [`Decoded`], or says which rules the body as a
//! whole breaks. Invariants: no bytes make a decoder panic; one bad reading spoils no other; what
//! is rejected is kept as it was sent; memory is bounded by the body and by the limit of readings.
//! What it is not: it knows no token, no site and no log, and reads no clock.

pub mod compression;
pub mod dead_letter;
pub mod json;
pub mod line;
pub mod protobuf;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use heliograph_domain::{
    Reading, SiteId, Timestamp, UploadId, Violation,
    upload::{self, Rejected},
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    /// `heliograph.v1.UploadRequest`.
    Protobuf,
    /// InfluxDB's, its times in this unit.
    LineProtocol(line::Precision),
}

/// Why a body was refused as a whole.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// Every rule that it breaks, at least one.
    Malformed(Vec<Violation>),
    /// It brings more at once than is taken; its parts, sent one by one, would be taken.
    TooMany(Violation),
}

impl Format {
    /// How a dead letter names the format of its readings (`DeadLetter.format`).
    pub const fn in_dead_letters(self) -> &'static str {
        match self {
            // As the first ones were written.
            Self::Json => "",
            Self::Protobuf => "application/protobuf",
            Self::LineProtocol(precision) => precision.media_type(),
        }
    }

    /// The format of a dead letter's readings.
    ///
    /// # Errors
    /// A [`Violation`] of `format` for a name that this version does not know.
    pub fn of_dead_letter(name: &str) -> Result<Self, Violation> {
        let lines = line::Precision::ALL.map(Self::LineProtocol);
        let mut known = [Self::Json, Self::Protobuf].into_iter().chain(lines);
        known.find(|f| f.in_dead_letters() == name).ok_or_else(|| {
            let want = "a format that this version knows";
            Violation::new("format", format_args!("{name:?}"), want)
        })
    }
}

/// Reads an upload of `own_site`; at most `readings_max` readings.
///
/// # Errors
/// [`Refused`].
pub fn decode<'a>(
    format: Format,
    body: &'a Bytes,
    own_site: &SiteId,
    received_at: Timestamp,
    readings_max: usize,
) -> Result<Decoded<'a>, Refused> {
    match format {
        Format::Json => json::decode(body, received_at, readings_max).map_err(Refused::Malformed),
        Format::Protobuf => {
            protobuf::decode(body, received_at, readings_max).map_err(Refused::Malformed)
        }
        Format::LineProtocol(precision) => {
            let context = line::Context { precision, received_at, readings_max, own_site };
            line::decode(body, &context).map_err(Refused::TooMany)
        }
    }
}

/// A body whose envelope is sound, its readings told apart by the rules.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The site that the body names; without one it is the sender's.
    pub site: Option<SiteId>,
    /// The sender's own name for it.
    pub upload_id: Option<UploadId>,
    /// When the logger says that it sent it.
    pub sent_at: Option<Timestamp>,
    pub checked: Checked<'a>,
}

/// What the rules left of the readings.
#[derive(Debug, Default)]
pub struct Checked<'a> {
    /// How many there were.
    pub sent: usize,
    /// One for each identity, in the order in which they were sent.
    pub readings: Vec<Reading>,
    /// In the order of their index.
    pub rejected: Vec<RejectedReading<'a>>,
}

/// A reading that was refused, as it came.
#[derive(Debug, Clone)]
pub struct RejectedReading<'a> {
    pub rejected: Rejected,
    pub as_sent: AsSent<'a>,
}

/// What stands in a dead letter for a reading that was refused. Written as JSON it is the very
/// JSON that was sent, or a string.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum AsSent<'a> {
    Json(&'a RawValue),
    /// An encoded `SentReading`; base64 in JSON.
    #[serde(serialize_with = "base64")]
    Protobuf(Bytes),
    /// A line of line protocol.
    Text(&'a str),
    /// A line that is not UTF-8.
    Line {
        #[serde(rename = "base64", serialize_with = "base64")]
        bytes: &'a [u8],
    },
}

fn base64<S: Serializer>(bytes: &impl AsRef<[u8]>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&STANDARD.encode(bytes))
}

/// Applies the rule of one reading per identity to readings that were checked one by one, and
/// puts beside each rejected one what was sent.
pub(crate) fn checked<'a>(
    sent: usize,
    good: Vec<(usize, Reading)>,
    mut bad: Vec<Rejected>,
    as_sent: impl Fn(usize) -> Option<AsSent<'a>>,
) -> Checked<'a> {
    let (readings, lost) = upload::last_of_each(good);
    bad.extend(lost);
    bad.sort_by_key(|r| r.index);
    let with_sent = |rejected: Rejected| {
        let as_sent = as_sent(rejected.index)?;
        Some(RejectedReading { rejected, as_sent })
    };
    Checked { sent, readings, rejected: bad.into_iter().filter_map(with_sent).collect() }
}

pub(crate) fn too_many(count: impl std::fmt::Display, readings_max: usize) -> Violation {
    Violation::new(
        "readings",
        format_args!("{count} readings"),
        format!("at most {readings_max}; send the rest in further uploads"),
    )
}
