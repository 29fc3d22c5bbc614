//! JSON: the envelope, then its readings.
//!
//! Two ways lead through it. The fast one is typed and takes the whole body at once; what it
//! cannot take goes the slow way (`explain`), field by field, which says what is wrong with which
//! field, and keeps each bad reading as it was sent. Invariants: no bytes make it panic; what the
//! fast way takes, the slow way takes with the same result. Unknown and repeated keys are refused,
//! in readings too: `"units":"kW"` taken silently would store a value that is wrong by 1000.
//! What it is not: the rules of a reading are `heliograph_domain::upload`'s.

mod explain;

use crate::{AsSent, Checked, Decoded};
use heliograph_domain::{
    Reading, SiteId, Timestamp, UploadId, Violation,
    upload::{self, RawReading, Rejected},
};
use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// Reads an upload; at most `readings_max` readings.
///
/// # Errors
/// Every rule that the envelope breaks, at least one.
pub fn decode(
    body: &[u8],
    received_at: Timestamp,
    readings_max: usize,
) -> Result<Decoded<'_>, Vec<Violation>> {
    Envelope::parse(body, readings_max)?.decoded(received_at)
}

/// A string of the body; borrowed where it stands there without escapes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The value of a reading: a number, or the name of an operating state.
#[derive(Debug, Clone, PartialEq)]
enum Value<'a> {
    Number(f64),
    Name(Cow<'a, str>),
}

/// A reading with the right shape; no rule has been applied yet.
#[derive(Debug, Clone, PartialEq)]
struct Sent<'a> {
    device: Text<'a>,
    metric: Text<'a>,
    ts: Text<'a>,
    value: Value<'a>,
    unit: Option<Text<'a>>,
    quality: Option<Text<'a>>,
}

/// The body in the shape that the fast way takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed<'a> {
    #[serde(borrow)]
    site: Option<Text<'a>>,
    #[serde(borrow)]
    upload_id: Option<Text<'a>>,
    #[serde(borrow)]
    sent_at: Option<Text<'a>>,
    #[serde(borrow)]
    readings: Vec<Sent<'a>>,
}

/// A sound envelope, its readings not looked at.
#[derive(Debug)]
struct Envelope<'a> {
    site: Option<SiteId>,
    upload_id: Option<UploadId>,
    sent_at: Option<Timestamp>,
    readings: Shape<'a>,
    body: &'a str,
}

#[derive(Debug)]
enum Shape<'a> {
    Typed(Vec<Sent<'a>>),
    Raw(Vec<&'a RawValue>),
}

/// The strings of an envelope, before their form is looked at.
struct Strings<'a> {
    site: Option<Text<'a>>,
    upload_id: Option<Text<'a>>,
    sent_at: Option<Text<'a>>,
}

impl<'a> Envelope<'a> {
    fn parse(body: &'a [u8], readings_max: usize) -> Result<Self, Vec<Violation>> {
        let body = std::str::from_utf8(body).map_err(|e| {
            let got = format!("bytes that are not UTF-8 from position {} on", e.valid_up_to());
            vec![Violation::new("body", got, "JSON in UTF-8")]
        })?;
        // A derived struct would take an array of its members as well.
        let object = body.trim_start().starts_with('{');
        let (strings, readings) = match serde_json::from_str::<Typed<'a>>(body) {
            Ok(t) if object => {
                let Typed { site, upload_id, sent_at, readings } = t;
                (Strings { site, upload_id, sent_at }, Shape::Typed(readings))
            }
            _ => {
                let (strings, readings) = explain::envelope(body)?;
                (strings, Shape::Raw(readings))
            }
        };
        Self::check(body, &strings, readings, readings_max)
    }

    fn check(
        body: &'a str,
        strings: &Strings<'a>,
        readings: Shape<'a>,
        readings_max: usize,
    ) -> Result<Self, Vec<Violation>> {
        // The platform's own site passes here, so that it is told apart by its token alone.
        let site = strings.site.as_ref().map(|t| SiteId::parse_from_log(&t.0)).transpose();
        let upload_id = strings.upload_id.as_ref().map(|t| UploadId::parse(&t.0)).transpose();
        let sent_at = strings.sent_at.as_ref();
        let sent_at = sent_at.map(|t| Timestamp::parse_rfc3339("sent_at", &t.0)).transpose();
        let count = match readings.len() {
            n if n > readings_max => Err(crate::too_many(n, readings_max)),
            _ => Ok(()),
        };
        match (site, upload_id, sent_at, count) {
            (Ok(site), Ok(upload_id), Ok(sent_at), Ok(())) => {
                Ok(Self { site, upload_id, sent_at, readings, body })
            }
            (site, upload_id, sent_at, count) => {
                Err([site.err(), upload_id.err(), sent_at.err(), count.err()]
                    .into_iter()
                    .flatten()
                    .collect())
            }
        }
    }

    /// Applies the rules to each reading. What [`Envelope::parse`] took, the slow way takes; it is
    /// no panic all the same.
    fn decoded(self, received_at: Timestamp) -> Result<Decoded<'a>, Vec<Violation>> {
        let Self { site, upload_id, sent_at, readings, body } = self;
        let all_good = match &readings {
            Shape::Typed(sent) => all_good(sent, received_at),
            Shape::Raw(_) => None,
        };
        let checked = match (all_good, readings) {
            (Some(readings), sent) => Checked { sent: sent.len(), readings, rejected: Vec::new() },
            (None, Shape::Typed(_)) => each_by_itself(&explain::envelope(body)?.1, received_at),
            (None, Shape::Raw(raw)) => each_by_itself(&raw, received_at),
        };
        Ok(Decoded { site, upload_id, sent_at, checked })
    }
}

impl Shape<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Typed(all) => all.len(),
            Self::Raw(all) => all.len(),
        }
    }
}

fn all_good(sent: &[Sent<'_>], received_at: Timestamp) -> Option<Vec<Reading>> {
    let indexed = sent.iter().enumerate();
    let indexed = indexed.map(|(i, s)| s.check(received_at).map(|r| (i, r)));
    let (readings, rejected) = upload::last_of_each(indexed.collect::<Result<_, _>>().ok()?);
    rejected.is_empty().then_some(readings)
}

fn each_by_itself<'a>(raw: &[&'a RawValue], received_at: Timestamp) -> Checked<'a> {
    let (mut good, mut bad) = (Vec::with_capacity(raw.len()), Vec::new());
    for (index, json) in raw.iter().enumerate() {
        match explain::reading(json).and_then(|sent| sent.check(received_at)) {
            Ok(reading) => good.push((index, reading)),
            Err(violation) => bad.push(Rejected { index, violation }),
        }
    }
    crate::checked(raw.len(), good, bad, |at| raw.get(at).map(|json| AsSent::Json(json)))
}

impl Sent<'_> {
    fn check(&self, received_at: Timestamp) -> Result<Reading, Violation> {
        let raw = RawReading {
            device: &self.device.0,
            metric: &self.metric.0,
            ts: Timestamp::parse_rfc3339("ts", &self.ts.0)?,
            value: self.number()?,
            unit: self.unit.as_ref().map(|t| &*t.0),
            quality: self.quality.as_ref().map(|t| &*t.0),
        };
        upload::check_reading(&raw, received_at)
    }

    fn number(&self) -> Result<f64, Violation> {
        let name = match &self.value {
            Value::Number(value) => return Ok(*value),
            Value::Name(name) => name,
        };
        let got = || format!("{name:?}");
        if self.metric.0 != "operating_state" {
            return Err(Violation::new("value", got(), "a number"));
        }
        upload::operating_state_code(name).ok_or_else(|| {
            let want = "a number, or one of OFF, SLEEPING, STARTING, MPPT, THROTTLED, \
                        SHUTTING_DOWN, FAULT, STANDBY";
            Violation::new("value", got(), want)
        })
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Device,
    Metric,
    Ts,
    Value,
    Unit,
    Quality,
}

/// By hand, since a derived one would take an array of the members, too.
impl<'de: 'a, 'a> Deserialize<'de> for Sent<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SentVisitor)
    }
}

struct SentVisitor;

impl<'de> Visitor<'de> for SentVisitor {
    type Value = Sent<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reading")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sent<'de>, A::Error> {
        let (mut device, mut metric, mut ts, mut value) = (None, None, None, None);
        // The outer `Option` is whether the key was there, the inner one whether it was null.
        let (mut unit, mut quality) = (None, None);
        while let Some(key) = map.next_key()? {
            match key {
                Key::Device => set(&mut device, map.next_value()?)?,
                Key::Metric => set(&mut metric, map.next_value()?)?,
                Key::Ts => set(&mut ts, map.next_value()?)?,
                Key::Value => set(&mut value, map.next_value()?)?,
                Key::Unit => set(&mut unit, map.next_value()?)?,
                Key::Quality => set(&mut quality, map.next_value()?)?,
            }
        }
        let missing = |field| move || A::Error::missing_field(field);
        Ok(Sent {
            device: device.ok_or_else(missing("device"))?,
            metric: metric.ok_or_else(missing("metric"))?,
            ts: ts.ok_or_else(missing("ts"))?,
            value: value.ok_or_else(missing("value"))?,
            unit: unit.flatten(),
            quality: quality.flatten(),
        })
    }
}

fn set<T, E: Error>(slot: &mut Option<T>, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom("a key stands twice")),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or the name of an operating state")
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(v))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(v as f64))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(v as f64))
    }

    fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Name(Cow::Borrowed(v)))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Value<'de>, E> {
        Ok(Value::Name(Cow::Owned(v.to_owned())))
    }
}

#[cfg(test)]
mod tests;
