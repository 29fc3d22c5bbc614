//! InfluxDB line protocol: each line stands alone, each of its fields is a reading.
//!
//! device = the tag `device`, else the measurement; metric = the field's key; numbers and booleans
//! (1 and 0) are taken, strings only for `operating_state`, by its names. A tag `site` must be the
//! sender's own site; all other tags are ignored. A line without a time gets the time of
//! its arrival, so that sent again it is another reading. Times finer than a millisecond are
//! truncated towards the past.
//!
//! Invariants: a rejected field spoils no other field of its line, and a line no other line, not
//! even by a quote that it leaves open; a bad line is rejected once, whatever is wrong with it, so
//! that what is kept of a body is never larger than the body by much. The parser is our own: the
//! one on crates.io (`influxdb-line-protocol`) takes a whole body of UTF-8 or none of it, gives up
//! a line for one integer out of range, and lets an open quote swallow all lines behind it.
//! What it is not: a copy of InfluxDB, which keeps strings, and any name.

mod syntax;

use crate::{AsSent, Checked, Decoded, RejectedReading};
use heliograph_domain::{
    DeviceId, MetricName, Reading, SiteId, Timestamp, Violation,
    upload::{self, RawReading, Rejected},
};
use std::borrow::Cow;
use syntax::{Line, Next, Pair, Scan, shown, unescaped};

/// What the lines of a body are read by.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub precision: Precision,
    pub received_at: Timestamp,
    /// The most readings and rejected lines, together.
    pub readings_max: usize,
    /// The site of the sender.
    pub own_site: &'a SiteId,
}

/// Reads an upload.
///
/// # Errors
/// A [`Violation`] of `body` when it has more lines and readings than are taken at once. A single
/// line with too many is rejected like any bad line: who sent it cannot split it.
pub fn decode<'a>(body: &'a [u8], context: &Context<'_>) -> Result<Decoded<'a>, Violation> {
    let mut lines = Lines { context, good: Vec::new(), from: Vec::new(), bad: Vec::new() };
    let (mut index, mut used) = (0, 0);
    for next in Scan::new(body, context.readings_max) {
        let raw = next.raw();
        used += match &next {
            Next::Blank(_) => 0,
            Next::Broken(..) => 1,
            Next::Line(line) => line.fields.len(),
        };
        if used > context.readings_max {
            return Err(too_many(context.readings_max));
        }
        let source = Source { index, raw };
        match next {
            Next::Blank(_) => {}
            Next::Broken(_, violation) => lines.bad.push(Bad { source, violation, more: 0 }),
            Next::Line(line) => lines.line(&line, source),
        }
        index += 1 + raw.iter().filter(|b| **b == b'\n').count();
    }
    let checked = lines.checked();
    Ok(Decoded { site: None, upload_id: None, sent_at: None, checked })
}

fn too_many(max: usize) -> Violation {
    let got = format!("more than {max} readings and rejected lines");
    Violation::new("body", got, format!("at most {max}; send fewer lines at once"))
}

/// The unit of the timestamps of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    #[default]
    Ns,
    Us,
    Ms,
    S,
    M,
    H,
}

impl Precision {
    pub(crate) const ALL: [Self; 6] = [Self::Ns, Self::Us, Self::Ms, Self::S, Self::M, Self::H];

    /// Reads the query parameter `precision` of any version of InfluxDB.
    ///
    /// # Errors
    /// A [`Violation`] of `precision`.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        match text {
            "ns" | "n" | "nanosecond" => Ok(Self::Ns),
            "us" | "u" | "µ" | "µs" | "microsecond" => Ok(Self::Us),
            "ms" | "millisecond" => Ok(Self::Ms),
            "s" | "second" => Ok(Self::S),
            "m" => Ok(Self::M),
            "h" => Ok(Self::H),
            _ => {
                let want = "one of ns, us, ms, s, m, h, or none: ns";
                Err(Violation::new("precision", format_args!("{text:?}"), want))
            }
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Us => "us",
            Self::Ms => "ms",
            Self::S => "s",
            Self::M => "m",
            Self::H => "h",
        }
    }

    /// The format of lines in a dead letter: all that it takes to read them again.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Ns => "text/plain; format=line-protocol; precision=ns",
            Self::Us => "text/plain; format=line-protocol; precision=us",
            Self::Ms => "text/plain; format=line-protocol; precision=ms",
            Self::S => "text/plain; format=line-protocol; precision=s",
            Self::M => "text/plain; format=line-protocol; precision=m",
            Self::H => "text/plain; format=line-protocol; precision=h",
        }
    }

    /// The precision of a format that [`Self::media_type`] wrote.
    pub fn of_media_type(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.media_type() == text)
    }

    fn to_ms(self, timestamp: i64) -> Option<i64> {
        match self {
            Self::Ns => Some(timestamp.div_euclid(1_000_000)),
            Self::Us => Some(timestamp.div_euclid(1_000)),
            Self::Ms => Some(timestamp),
            Self::S => timestamp.checked_mul(1_000),
            Self::M => timestamp.checked_mul(60_000),
            Self::H => timestamp.checked_mul(3_600_000),
        }
    }

    fn time(self, text: &[u8]) -> Result<Timestamp, Violation> {
        let number = str_of(text).and_then(|t| t.parse().ok());
        let ms = number.and_then(|n| self.to_ms(n));
        ms.map(Timestamp::from_ms).ok_or_else(|| {
            let want = format!("an integer of {} since 1970 that is a time", self.as_str());
            Violation::new("timestamp", shown(text), want)
        })
    }
}

/// Where a line stands in the body.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    index: usize,
    raw: &'a [u8],
}

/// A line of which something was rejected.
#[derive(Debug)]
struct Bad<'a> {
    source: Source<'a>,
    /// Of its first bad field, or of the line.
    violation: Violation,
    /// Further bad fields.
    more: usize,
}

/// What has been read of a body.
struct Lines<'a, 'c> {
    context: &'c Context<'c>,
    /// Each with its position in `from`.
    good: Vec<(usize, Reading)>,
    /// Where each reading comes from.
    from: Vec<(Source<'a>, MetricName)>,
    bad: Vec<Bad<'a>>,
}

impl<'a> Lines<'a, '_> {
    fn line(&mut self, line: &Line<'a>, source: Source<'a>) {
        let (device, ts) = match self.device_and_time(line) {
            Ok(both) => both,
            Err(violation) => return self.bad.push(Bad { source, violation, more: 0 }),
        };
        let mut bad: Option<Bad<'a>> = None;
        for field in &line.fields {
            match (self.reading(&device, ts, field), &mut bad) {
                (Ok(reading), _) => {
                    let metric = reading.metric.clone();
                    self.good.push((self.from.len(), reading));
                    self.from.push((source, metric));
                }
                (Err(_), Some(bad)) => bad.more += 1,
                (Err(violation), none) => *none = Some(Bad { source, violation, more: 0 }),
            }
        }
        self.bad.extend(bad);
    }

    /// What all readings of the line share.
    fn device_and_time(&self, line: &Line<'a>) -> Result<(DeviceId, Timestamp), Violation> {
        if let Some(twice) = twice(&line.tags) {
            return Err(Violation::new("tag", format!("{} twice", shown(twice)), "each tag once"));
        }
        if let Some(site) = tag(line, b"site")
            && *site != *self.context.own_site.as_str().as_bytes()
        {
            let want = format!("{:?}, the site of the token, or no tag", self.context.own_site);
            return Err(Violation::new("site", shown(&site), want));
        }
        let (device, hint) = match tag(line, b"device") {
            Some(device) => (device, ""),
            None => (unescaped(line.measurement), "; without a tag `device` the measurement is it"),
        };
        // What is no UTF-8 is refused in its lossy form, too: its form is of ASCII.
        let device =
            DeviceId::parse(&String::from_utf8_lossy(&device)).map_err(|mut violation| {
                violation.want.push_str(hint);
                violation
            })?;
        let received_at = self.context.received_at;
        let ts = line.timestamp.map_or(Ok(received_at), |t| self.context.precision.time(t))?;
        Ok((device, ts))
    }

    fn reading(
        &self,
        device: &DeviceId,
        ts: Timestamp,
        field: &Pair<'_>,
    ) -> Result<Reading, Violation> {
        let key = unescaped(field.key);
        let metric = MetricName::parse(&String::from_utf8_lossy(&key))?;
        let raw = RawReading {
            device: device.as_str(),
            metric: metric.as_str(),
            ts,
            value: number(&metric, field.value)?,
            unit: None,
            quality: None,
        };
        upload::check_reading(&raw, self.context.received_at).map_err(|violation| {
            let Violation { field, got, mut want } = violation;
            match field.as_str() {
                "value" => Violation { field: metric.to_string(), got, want },
                "ts" => {
                    want.push_str("; precision=");
                    want.push_str(self.context.precision.as_str());
                    Violation { field: "timestamp".to_owned(), got, want }
                }
                _ => Violation { field, got, want },
            }
        })
    }

    fn checked(self) -> Checked<'a> {
        let Self { good, from, mut bad, .. } = self;
        let good_count = good.len();
        let (readings, lost) = upload::last_of_each(good);
        let taken = good_count - lost.len();
        let lost = lost.into_iter().filter_map(|Rejected { index, violation }| {
            let (source, metric) = from.get(index)?;
            let violation = Violation { field: metric.to_string(), ..violation };
            Some(Bad { source: *source, violation, more: 0 })
        });
        bad.extend(lost);
        bad.sort_by_key(|b| b.source.index);
        bad.dedup_by(|next, kept| {
            let same = next.source.index == kept.source.index;
            kept.more += if same { 1 + next.more } else { 0 };
            same
        });
        let rejected: Vec<_> = bad.into_iter().map(Bad::rejected).collect();
        Checked { sent: taken + rejected.len(), readings, rejected }
    }
}

impl<'a> Bad<'a> {
    fn rejected(self) -> RejectedReading<'a> {
        let Self { source: Source { index, raw }, mut violation, more } = self;
        if more > 0 {
            let fields = if more == 1 { "field" } else { "fields" };
            violation.want.push_str(&format!(" ({more} more {fields} of this line refused)"));
        }
        let as_sent = str_of(raw).map_or(AsSent::Line { bytes: raw }, AsSent::Text);
        RejectedReading { rejected: Rejected { index, violation }, as_sent }
    }
}

fn str_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn tag<'a>(line: &Line<'a>, key: &[u8]) -> Option<Cow<'a, [u8]>> {
    let tag = line.tags.iter().find(|tag| *unescaped(tag.key) == *key)?;
    Some(unescaped(tag.value))
}

/// A key that stands more than once.
fn twice<'a>(tags: &[Pair<'a>]) -> Option<&'a [u8]> {
    let mut keys: Vec<&[u8]> = tags.iter().map(|t| t.key).collect();
    keys.sort_unstable();
    keys.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    })
}

/// The number that a field's value stands for.
fn number(metric: &MetricName, value: &[u8]) -> Result<f64, Violation> {
    let wrong = |want: &str| Violation::new(metric.as_str(), shown(value), want);
    let text = str_of(value).unwrap_or("?");
    if let Some(string) = text.strip_prefix('"') {
        let name = string.strip_suffix('"').unwrap_or(string);
        let got = format!("the string {}", shown(name.as_bytes()));
        return match metric.as_str() == "operating_state" {
            false => Err(Violation::new(metric.as_str(), got, "a number or a boolean")),
            true => upload::operating_state_code(name).ok_or_else(|| {
                wrong(
                    "a number, or one of OFF, SLEEPING, STARTING, MPPT, THROTTLED, \
                     SHUTTING_DOWN, FAULT, STANDBY",
                )
            }),
        };
    }
    match text {
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(0.0),
        _ => {}
    }
    if let Some(integer) = text.strip_suffix('i') {
        let integer = integer.parse::<i64>();
        return integer.map(|i| i as f64).map_err(|_| wrong("an integer of 64 bits before the i"));
    }
    if let Some(integer) = text.strip_suffix('u') {
        let integer = integer.parse::<u64>();
        return integer
            .map(|i| i as f64)
            .map_err(|_| wrong("an integer of 64 bits, 0 or more, before the u"));
    }
    // `parse` would take the words for what is no number, too.
    let is_number =
        text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let float = text.parse().ok().filter(|_| is_number);
    float.ok_or_else(|| wrong("a number such as 1.5 or 15i, a boolean, or no field at all"))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
