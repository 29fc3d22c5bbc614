//! The slow way through an upload's JSON: field by field, so that the answer can say which field
//! is wrong, what it got and what it wants, and so that one bad reading spoils no other.
//!
//! Invariant: values that nobody asked for are skipped without recursion, whatever they nest.

use super::{Sent, Strings, Text, Value};
use heliograph_domain::Violation;
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

const ENVELOPE: [&str; 4] = ["upload_id", "site", "sent_at", "readings"];
const READING: [&str; 6] = ["device", "metric", "ts", "value", "unit", "quality"];

/// The strings of an envelope and its readings, each as it was sent.
///
/// # Errors
/// Every member that has the wrong shape, at least one.
pub(super) fn envelope(body: &str) -> Result<(Strings<'_>, Vec<&RawValue>), Vec<Violation>> {
    let members = Members::parse(body).map_err(|error| {
        let found = body.trim_start();
        let got = match serde_json::from_str::<&RawValue>(body) {
            Ok(_) => found.to_owned(),
            Err(_) if found.is_empty() => "nothing".to_owned(),
            Err(_) => error,
        };
        vec![Violation::new("body", got, "a JSON object with readings")]
    })?;
    let [upload_id, site, sent_at, readings] = members.named(ENVELOPE)?;
    let site = site.map(|raw| text("site", raw)).transpose();
    let upload_id = upload_id.map(|raw| text("upload_id", raw)).transpose();
    let sent_at = sent_at.map(|raw| text("sent_at", raw)).transpose();
    let wanted = "an array of readings, which may be empty";
    let readings = required("readings", readings, wanted).and_then(|raw| {
        serde_json::from_str::<Vec<&RawValue>>(raw.get())
            .map_err(|_| Violation::new("readings", raw.get(), wanted))
    });
    match (site, upload_id, sent_at, readings) {
        (Ok(site), Ok(upload_id), Ok(sent_at), Ok(readings)) => {
            Ok((Strings { site, upload_id, sent_at }, readings))
        }
        (site, upload_id, sent_at, readings) => {
            Err([site.err(), upload_id.err(), sent_at.err(), readings.err()]
                .into_iter()
                .flatten()
                .collect())
        }
    }
}

/// One reading.
///
/// # Errors
/// The first member that has the wrong shape.
pub(super) fn reading(json: &RawValue) -> Result<Sent<'_>, Violation> {
    let members = Members::parse(json.get())
        .map_err(|_| Violation::new("readings", json.get(), "an object for each reading"))?;
    let members = members.named(READING).map_err(|all| first_of(all, json))?;
    let [device, metric, ts, value, unit, quality] = members;
    let string =
        |name, raw| required(name, raw, "a string; it must be there").and_then(|r| text(name, r));
    Ok(Sent {
        device: string("device", device)?,
        metric: string("metric", metric)?,
        ts: string("ts", ts)?,
        value: number(value)?,
        unit: unit.map(|raw| text("unit", raw)).transpose()?,
        quality: quality.map(|raw| text("quality", raw)).transpose()?,
    })
}

/// Wrong members that are listed; the answer to nonsense stays short.
const VIOLATIONS_MAX: usize = 10;
/// An unknown key is echoed up to here.
const KEY_CHARS_MAX: usize = 80;

fn first_of(all: Vec<Violation>, json: &RawValue) -> Violation {
    let whole = || Violation::new("readings", json.get(), "a reading");
    all.into_iter().next().unwrap_or_else(whole)
}

fn required<'a>(
    name: &str,
    raw: Option<&'a RawValue>,
    want: &str,
) -> Result<&'a RawValue, Violation> {
    raw.ok_or_else(|| Violation::new(name, "nothing", want))
}

fn text<'a>(name: &str, raw: &'a RawValue) -> Result<Text<'a>, Violation> {
    serde_json::from_str(raw.get()).map_err(|_| Violation::new(name, raw.get(), "a string"))
}

fn number(raw: Option<&RawValue>) -> Result<Value<'_>, Violation> {
    let want = "a finite number; leave out the reading when there is none";
    let raw = required("value", raw, want)?;
    serde_json::from_str(raw.get()).map_err(|_| Violation::new("value", raw.get(), want))
}

/// The members of an object in the order in which they were sent.
struct Members<'a>(Vec<(Text<'a>, &'a RawValue)>);

impl<'a> Members<'a> {
    fn parse(json: &'a str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    /// The values of `names`, in their order; null is as good as absent.
    ///
    /// # Errors
    /// Each member that has no such name, or stands twice.
    fn named<const N: usize>(
        self,
        names: [&str; N],
    ) -> Result<[Option<&'a RawValue>; N], Vec<Violation>> {
        let (mut found, mut wrong) = ([None; N], Vec::new());
        for (key, raw) in self.0 {
            match names.iter().position(|n| *n == key.0) {
                Some(at) if found[at].is_none() => found[at] = Some(raw),
                Some(_) => wrong.push(Violation::new(key.0, "the field twice", "it once")),
                None => {
                    let known = format!("no such field; known are {}", names.join(", "));
                    let key: String = key.0.chars().take(KEY_CHARS_MAX).collect();
                    wrong.push(Violation::new(key, raw.get(), known));
                }
            }
            if wrong.len() == VIOLATIONS_MAX {
                break;
            }
        }
        match wrong.is_empty() {
            true => Ok(found.map(|raw| raw.filter(|r| r.get() != "null"))),
            false => Err(wrong),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
