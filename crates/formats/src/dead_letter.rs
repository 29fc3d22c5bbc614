//! Rejected readings in a dead letter: written by the gateway, read again to be replayed.
//!
//! The value of such a dead letter is a JSON array of `{index, field, got, want, reading}`, where
//! `reading` stands as it was sent ([`AsSent`](crate::AsSent)). Invariant: what [`encode`] wrote,
//! [`again`] puts before the same rules as the upload that it came in. What it is not: it decides
//! nothing about who may send or where it goes.

use crate::{Checked, Format, Refused, RejectedReading, decode};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use heliograph_domain::{
    Reading, SiteId, Timestamp, Violation,
    upload::{self, Rejected},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The gateway took no more in one body.
const READINGS_OF_AN_ITEM_MAX: usize = 1_000_000;

#[derive(Serialize)]
struct Written<'a> {
    index: usize,
    field: &'a str,
    got: &'a str,
    want: &'a str,
    reading: &'a crate::AsSent<'a>,
}

/// A rejected reading as it stands in a dead letter.
#[derive(Deserialize)]
struct Item<'a> {
    index: usize,
    field: String,
    got: String,
    want: String,
    #[serde(borrow)]
    reading: &'a RawValue,
}

/// JSON arrays of the rejected readings, each of at most `bytes_max` or of one reading.
pub fn encode(rejected: &[RejectedReading<'_>], bytes_max: usize) -> Vec<Vec<u8>> {
    let (mut arrays, mut open) = (Vec::new(), Vec::new());
    for RejectedReading { rejected: Rejected { index, violation }, as_sent } in rejected {
        let item = Written {
            index: *index,
            field: &violation.field,
            got: &violation.got,
            want: &violation.want,
            reading: as_sent,
        };
        // A struct of strings and JSON always serializes.
        let item = serde_json::to_vec(&item).unwrap_or_default();
        if !open.is_empty() && open.len() + item.len() + 2 > bytes_max {
            open.push(b']');
            arrays.push(std::mem::take(&mut open));
        }
        open.push(if open.is_empty() { b'[' } else { b',' });
        open.extend_from_slice(&item);
    }
    if !open.is_empty() {
        open.push(b']');
        arrays.push(open);
    }
    arrays
}

/// What the rules say now of the readings of a dead letter.
#[derive(Debug, Default, PartialEq)]
pub struct Again {
    pub readings: Vec<Reading>,
    /// Those that still break a rule; the index is that in the upload in which they came.
    pub rejected: Vec<Rejected>,
}

/// Puts rejected readings of `site` before the rules again: first as if at `received_at`, when they
/// came, so that what had no time of its own gets the same; then, what was ahead of its time, at
/// `now`. A line of line protocol is taken when nothing of it is rejected any more: its good fields
/// were taken when it came.
///
/// # Errors
/// A [`Violation`] of `value` or `format` when this is no dead letter of the gateway's.
pub fn again(
    format: &str,
    value: &[u8],
    site: &SiteId,
    received_at: Timestamp,
    now: Timestamp,
) -> Result<Again, Violation> {
    let not_ours = |e: &dyn std::fmt::Display| {
        Violation::new("value", e, "a JSON array of {index, reading}, as the gateway writes it")
    };
    let text = std::str::from_utf8(value).map_err(|e| not_ours(&e))?;
    let items: Vec<Item<'_>> = serde_json::from_str(text).map_err(|e| not_ours(&e))?;
    let format = Format::of_dead_letter(format)?;
    let (mut readings, mut rejected) = (Vec::new(), Vec::new());
    for item in items {
        let Item { index, field, got, want, reading } = item;
        // Another value of the same upload was taken instead. A line may say more behind it.
        if want.starts_with(upload::WANT_ONE_VALUE) {
            rejected.push(Rejected { index, violation: Violation { field, got, want } });
            continue;
        }
        let body = body(format, reading)?;
        let judged = judged(format, &body, site, received_at);
        match judged.or_else(|_| self::judged(format, &body, site, now)) {
            Ok(good) => readings.extend(good),
            Err(violation) => rejected.push(Rejected { index, violation }),
        }
    }
    // The later of two values for one reading counts, as in one upload.
    let (readings, _) = upload::last_of_each(readings.into_iter().enumerate().collect());
    Ok(Again { readings, rejected })
}

/// The readings of one item, if nothing of it breaks a rule.
fn judged(
    format: Format,
    body: &Bytes,
    site: &SiteId,
    at: Timestamp,
) -> Result<Vec<Reading>, Violation> {
    let unsound = || Violation::new("reading", "nothing", "a reading");
    let Checked { readings, rejected, .. } =
        match decode(format, body, site, at, READINGS_OF_AN_ITEM_MAX) {
            Ok(decoded) => decoded.checked,
            Err(Refused::TooMany(violation)) => return Err(violation),
            Err(Refused::Malformed(all)) => {
                return Err(all.into_iter().next().unwrap_or_else(unsound));
            }
        };
    match rejected.into_iter().next() {
        None => Ok(readings),
        Some(first) => Err(first.rejected.violation),
    }
}

/// An item as an upload of its own.
fn body(format: Format, reading: &RawValue) -> Result<Bytes, Violation> {
    let wrong = |want| Violation::new("reading", reading.get(), want);
    let of_base64 = |text: &str, want| STANDARD.decode(text).map_err(|_| wrong(want));
    match format {
        Format::Json => Ok(format!("{{\"readings\":[{}]}}", reading.get()).into()),
        Format::Protobuf => {
            const WANT: &str = "a SentReading in base64";
            let text: String = serde_json::from_str(reading.get()).map_err(|_| wrong(WANT))?;
            Ok(crate::protobuf::upload_of(of_base64(&text, WANT)?.into()))
        }
        Format::LineProtocol(_) => {
            const WANT: &str = "a line as text, or as {\"base64\": …}";
            let mut line = match serde_json::from_str(reading.get()).map_err(|_| wrong(WANT))? {
                Sent::Text(line) => line.into_bytes(),
                Sent::Line { base64 } => of_base64(&base64, WANT)?,
            };
            // Its own end, which was not kept: a line that ends in \r had \r\n behind it.
            line.extend(b"\r\n");
            Ok(line.into())
        }
    }
}

/// A line as [`AsSent`](crate::AsSent) writes it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sent {
    Text(String),
    Line { base64: String },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Precision;

    /// 2026-01-01T00:00:00Z.
    const THEN: Timestamp = Timestamp::from_secs(1_767_225_600);
    const WEEK_MS: i64 = 7 * 86_400_000;

    fn reading(ts: &str, value: &str) -> String {
        format!(r#"{{"device":"inv1","metric":"ac_power","ts":"{ts}","value":{value}}}"#)
    }

    /// What an upload that came at [`THEN`] leaves in its dead letters, read again a week later.
    fn a_week_later(format: Format, body: &Bytes) -> Again {
        let site = SiteId::parse("s1").unwrap();
        let checked = decode(format, body, &site, THEN, 100).unwrap().checked;
        let letters = encode(&checked.rejected, usize::MAX);
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        let now = THEN.plus_ms(WEEK_MS);
        again(format.in_dead_letters(), letter, &site, THEN, now).unwrap()
    }

    #[test]
    fn what_was_ahead_of_its_time_passes_later_and_the_rest_still_says_why() {
        let readings = [
            reading("2025-12-31T23:59:00Z", "1"),
            reading("2026-01-05T00:00:00Z", "2"),
            reading("2026-01-05T00:01:00Z", "null"),
            reading("2026-02-05T00:00:00Z", "3"),
        ];
        let body = format!(r#"{{"readings":[{}]}}"#, readings.join(","));
        let got = a_week_later(Format::Json, &body.into());
        assert_eq!(got.readings.iter().map(|r| r.value).collect::<Vec<_>>(), [2.0]);
        let still: Vec<_> =
            got.rejected.iter().map(|r| (r.index, r.violation.field.as_str())).collect();
        assert_eq!(still, [(2, "value"), (3, "ts")]);
    }

    #[test]
    fn a_reading_that_a_later_one_outdid_is_never_taken() {
        let ts = "2025-12-31T23:59:00Z";
        let body = format!(r#"{{"readings":[{},{}]}}"#, reading(ts, "1"), reading(ts, "2"));
        let got = a_week_later(Format::Json, &body.into());
        assert_eq!(got.readings, []);
        assert_eq!(got.rejected[0].violation.want, upload::WANT_ONE_VALUE);
    }

    #[test]
    fn protobuf_comes_back_too() {
        use heliograph_contract::v1::{SentReading, UploadRequest};
        use prost::Message;
        let reading = |ts_ms| SentReading {
            device: "inv1".into(),
            metric: "ac_power".into(),
            ts_ms,
            value: Some(7.0),
            ..Default::default()
        };
        let ahead = THEN.plus_ms(WEEK_MS / 2).as_ms();
        let readings = vec![reading(Some(ahead)), reading(None)];
        let upload = UploadRequest { readings, ..Default::default() };
        let got = a_week_later(Format::Protobuf, &upload.encode_to_vec().into());
        assert_eq!(got.readings.iter().map(|r| r.ts.as_ms()).collect::<Vec<_>>(), [ahead]);
        assert_eq!(got.rejected.iter().map(|r| r.index).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn what_is_no_letter_of_ours_says_so() {
        let rows: &[(&str, &str, &str)] = &[
            ("", "{}", "value"),
            ("", "[{}]", "value"),
            ("text/csv", "[]", "format"),
            (
                "application/protobuf",
                r#"[{"index":0,"field":"","got":"","want":"","reading":7}]"#,
                "reading",
            ),
        ];
        for (format, value, field) in rows {
            let site = SiteId::parse("s1").unwrap();
            let got = again(format, value.as_bytes(), &site, THEN, THEN).unwrap_err();
            assert_eq!(got.field, *field, "{got}");
        }
    }

    #[test]
    fn a_line_comes_back_whole_with_its_precision_and_the_time_it_came() {
        let ahead_s = THEN.plus_ms(WEEK_MS / 2).as_ms() / 1_000;
        let body = format!(
            "inv1 ac_power=1 {ahead_s}\ninv1 ac_power=2,name=\"a\nb\"\ninv\u{e9} a=3\ninv1 a=4"
        );
        let mut body = body.into_bytes();
        body.extend(b"\n\xff\n");
        let got = a_week_later(Format::LineProtocol(Precision::S), &body.into());
        let readings: Vec<_> = got.readings.iter().map(|r| (r.value, r.ts.as_ms())).collect();
        assert_eq!(readings, [(1.0, ahead_s * 1_000)], "4 was taken when it came");
        let still: Vec<_> = got.rejected.iter().map(|r| r.index).collect();
        assert_eq!(still, [1, 3, 5]);
    }

    #[test]
    fn a_line_that_was_rejected_is_rejected_again() {
        let rows: &[(&str, &str, usize)] = &[
            ("a later line has other values for both", "a p=1,q=1\na p=2,q=2", 0),
            ("the same line has", "a p=1,q=1,p=2,q=2", 0),
            ("a carriage return too many", "a p=1\r\r\n", 0),
            ("and a line that breaks off", "a p=2\na p=\"1\r\r\n", 1),
        ];
        for (name, body, index) in rows {
            let body = Bytes::copy_from_slice(body.as_bytes());
            let got = a_week_later(Format::LineProtocol(Precision::Ns), &body);
            assert_eq!(got.readings, [], "{name}");
            assert_eq!(
                got.rejected.iter().map(|r| r.index).collect::<Vec<_>>(),
                [*index],
                "{name}"
            );
        }
    }

    #[test]
    fn every_format_is_found_by_its_name() {
        let lines = Precision::ALL.map(Format::LineProtocol);
        for format in [Format::Json, Format::Protobuf].into_iter().chain(lines) {
            assert_eq!(Format::of_dead_letter(format.in_dead_letters()), Ok(format));
        }
    }
}
