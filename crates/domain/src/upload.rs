//! The rules of an upload: which readings are taken, which are rejected and why.
//!
//! Invariant: whatever passes [`check_reading`] can be stored. What this is not: a parser; JSON,
//! protobuf and line protocol each bring their fields here in the same [`RawReading`].

use crate::{
    DeviceId, MetricName, Quality, Reading, SiteId, TenantId, Timestamp, UploadId, Violation,
    event_id::event_id, unit,
};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Nothing was measured by a logger before this: 2000-01-01T00:00:00Z.
pub const TS_MIN: Timestamp = Timestamp::from_secs(946_684_800);
/// No time from here on is stored: 2106-01-01T00:00:00Z, below the end of ClickHouse's `DateTime`.
pub const TS_END: Timestamp = Timestamp::from_secs(4_291_747_200);
/// A logger's clock may run ahead by this much; beyond it the time is taken to be wrong.
pub const TS_AHEAD_MS_MAX: i64 = 24 * 60 * 60 * 1_000;

/// A reading as it was sent, its time and value already parsed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawReading<'a> {
    pub device: &'a str,
    pub metric: &'a str,
    pub ts: Timestamp,
    pub value: f64,
    /// Absent: `value` is in the stored unit of the metric.
    pub unit: Option<&'a str>,
    /// Absent: good.
    pub quality: Option<&'a str>,
}

/// A reading that was refused: its position in the upload and the broken rule.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Rejected {
    /// Position in the upload's `readings`, from 0.
    pub index: usize,
    #[serde(flatten)]
    pub violation: Violation,
}

/// An upload that was taken: what one record of `heliograph.uploads` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    pub site: SiteId,
    pub tenant: TenantId,
    pub upload_id: UploadId,
    /// When the gateway had read it.
    pub received_at: Timestamp,
    /// When the logger says that it sent it.
    pub sent_at: Option<Timestamp>,
    pub readings: Vec<Reading>,
    /// Taken from a dead letter by an operator: no sign of life of the site.
    pub replayed: bool,
}

/// Checks one reading against the rules and converts it to its stored unit.
///
/// # Errors
/// The first broken rule, as a [`Violation`] of the field.
pub fn check_reading(raw: &RawReading<'_>, received_at: Timestamp) -> Result<Reading, Violation> {
    let device = DeviceId::parse(raw.device)?;
    let metric = MetricName::parse(raw.metric)?;
    let latest = received_at.plus_ms(TS_AHEAD_MS_MAX);
    if raw.ts < TS_MIN || raw.ts > latest {
        return Err(Violation::new("ts", raw.ts, format!("a time from {TS_MIN} to {latest}")));
    }
    // The sign of a zero means nothing here, and protobuf leaves it out.
    let value = unit::to_stored(raw.metric, raw.value, raw.unit)? + 0.0;
    if !value.is_finite() {
        return Err(Violation::new("value", value, "a finite number; leave out what is missing"));
    }
    let quality = raw.quality.map_or(Ok(Quality::Good), parse_quality)?;
    Ok(Reading { device, metric, ts: raw.ts, value, quality })
}

/// Reads a quality by its name.
///
/// # Errors
/// A [`Violation`] of `quality` for any other word.
pub fn parse_quality(text: &str) -> Result<Quality, Violation> {
    [Quality::Good, Quality::Suspect, Quality::Bad]
        .into_iter()
        .find(|q| q.as_str() == text)
        .ok_or_else(|| {
            Violation::new("quality", format_args!("{text:?}"), "one of good, suspect, bad")
        })
}

/// The SunSpec `St` number of an operating state's name (SunSpec model 103, point `St`).
pub fn operating_state_code(name: &str) -> Option<f64> {
    const NAMES: [&str; 8] =
        ["OFF", "SLEEPING", "STARTING", "MPPT", "THROTTLED", "SHUTTING_DOWN", "FAULT", "STANDBY"];
    NAMES.iter().position(|n| *n == name).map(|i| (i + 1) as f64)
}

/// What is wanted of a reading that a later one of its upload took the place of. It stands in dead
/// letters: such a reading must never be replayed over the one that was taken.
pub const WANT_ONE_VALUE: &str = "one value for each device, metric and ts; the last one was taken";

/// Leaves one reading per identity: the last one sent. An earlier one with another value is
/// rejected; an exact repeat is dropped silently, since storing it once is storing it.
pub fn last_of_each(indexed: Vec<(usize, Reading)>) -> (Vec<Reading>, Vec<Rejected>) {
    let mut last = HashMap::with_capacity_and_hasher(indexed.len(), RandomState::default());
    for (at, (_, reading)) in indexed.iter().enumerate() {
        last.insert((&reading.device, &reading.metric, reading.ts), at);
    }
    if last.len() == indexed.len() {
        drop(last);
        return (indexed.into_iter().map(|(_, r)| r).collect(), Vec::new());
    }
    let (mut kept, mut rejected) = (Vec::with_capacity(last.len()), Vec::new());
    for (at, (index, reading)) in indexed.iter().enumerate() {
        let key = (&reading.device, &reading.metric, reading.ts);
        let winner = &indexed[last.get(&key).copied().unwrap_or(at)].1;
        if std::ptr::eq(winner, reading) {
            kept.push(reading.clone());
        } else if winner != reading {
            rejected.push(Rejected {
                index: *index,
                violation: Violation::new(
                    "ts",
                    format_args!("{} twice with different values", reading.ts),
                    WANT_ONE_VALUE,
                ),
            });
        }
    }
    (kept, rejected)
}

/// The upload id of an upload that brings none: a hash of its site and readings, so that the same
/// content sent again has the same id. Without readings it is a sign of life, and each is another:
/// then it is a hash of its site and when it came.
///
/// # Errors
/// None that a test has seen: a hash has the form of an id.
pub fn content_id(
    site: &SiteId,
    readings: &[Reading],
    received_at: Timestamp,
) -> Result<UploadId, Violation> {
    let site = site.as_str().as_bytes();
    if readings.is_empty() {
        let at = received_at.as_ms().to_be_bytes();
        return UploadId::parse(&event_id(&[b"sign-of-life", site, &at]));
    }
    let mut bytes = Vec::with_capacity(readings.len() * 48);
    for r in readings {
        for text in [r.device.as_str(), r.metric.as_str(), r.quality.as_str()] {
            bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes.extend_from_slice(&r.ts.as_ms().to_be_bytes());
        bytes.extend_from_slice(&r.value.to_bits().to_be_bytes());
    }
    UploadId::parse(&event_id(&[b"upload-content", site, &bytes]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    #[test]
    fn a_zero_has_no_sign() {
        let reading = check_reading(&RawReading { value: -0.0, ..raw() }, NOW).unwrap();
        assert_eq!(reading.value.to_bits(), 0.0f64.to_bits());
    }

    fn raw() -> RawReading<'static> {
        RawReading {
            device: "inv1",
            metric: "ac_power",
            ts: NOW,
            value: 1.2,
            unit: Some("kW"),
            quality: None,
        }
    }

    #[test]
    fn a_good_reading_is_converted_and_taken() {
        let got = check_reading(&raw(), NOW).unwrap();
        assert_eq!((got.value, got.quality), (1200.0, Quality::Good));
    }

    #[test]
    fn a_bad_reading_names_its_field() {
        let rows: &[(&str, RawReading, &str)] = &[
            ("a device has a form", RawReading { device: "", ..raw() }, "device"),
            ("a metric has a form", RawReading { metric: "a b", ..raw() }, "metric"),
            ("too old", RawReading { ts: Timestamp::from_ms(0), ..raw() }, "ts"),
            ("too far ahead", RawReading { ts: NOW.plus_ms(TS_AHEAD_MS_MAX + 1), ..raw() }, "ts"),
            ("not a number", RawReading { value: f64::NAN, ..raw() }, "value"),
            ("too large for its unit", RawReading { value: 1e308, ..raw() }, "value"),
            ("a unit of something else", RawReading { unit: Some("V"), ..raw() }, "unit"),
            ("a word that is no quality", RawReading { quality: Some("ok"), ..raw() }, "quality"),
        ];
        for (name, raw, field) in rows {
            assert_eq!(check_reading(raw, NOW).unwrap_err().field, *field, "{name}");
        }
    }

    fn reading(device: u8, value: f64) -> Reading {
        check_reading(
            &RawReading { device: &format!("d{device}"), value, unit: None, ..raw() },
            NOW,
        )
        .unwrap()
    }

    #[test]
    fn within_an_upload_the_last_value_wins_and_the_loser_is_named() {
        let (kept, rejected) =
            last_of_each(vec![(0, reading(1, 1.0)), (1, reading(1, 2.0)), (2, reading(1, 2.0))]);
        assert_eq!(kept, vec![reading(1, 2.0)]);
        assert_eq!(rejected.iter().map(|r| r.index).collect::<Vec<_>>(), vec![0]);
    }

    #[test]
    fn operating_states_are_sunspecs_numbers() {
        assert_eq!(operating_state_code("MPPT"), Some(4.0));
        assert_eq!(operating_state_code("mppt"), None);
    }

    proptest! {
        #[test]
        fn one_reading_per_identity_is_left_and_it_is_the_last(
            devices in proptest::collection::vec((0u8..4, 0u8..3), 0..30)
        ) {
            let sent: Vec<(usize, Reading)> = devices.iter().enumerate()
                .map(|(i, (d, v))| (i, reading(*d, f64::from(*v)))).collect();
            let (kept, rejected) = last_of_each(sent.clone());
            for r in &kept {
                let last = sent.iter().rev().find(|(_, s)| s.identity() == r.identity()).unwrap();
                prop_assert_eq!(&last.1, r);
            }
            let distinct: std::collections::HashSet<_> = devices.iter().map(|(d, _)| d).collect();
            prop_assert_eq!(kept.len(), distinct.len());
            prop_assert!(kept.len() + rejected.len() <= sent.len());
        }
    }
}
