//! The JSON upload. Beside the rules of every format: each reading stands alone, so what the whole
//! upload made of it follows from what becomes of it in an upload of its own.

use crate::{NOW, READINGS_MAX, rules};
use heliograph_domain::{Reading, Violation};
use heliograph_formats::{Decoded, Format, json};
use serde_json::value::RawValue;
use std::collections::HashMap;

/// Gives what was taken, if the envelope was.
pub fn check(data: &[u8]) -> Option<Decoded<'_>> {
    match json::decode(data, NOW, READINGS_MAX) {
        Ok(decoded) => {
            rules::decoded(&decoded, decoded.checked.sent);
            rules::dead_letters(Format::Json, &decoded);
            each_stands_alone(data, &decoded);
            Some(decoded)
        }
        Err(violations) => {
            rules::violations(&violations);
            None
        }
    }
}

fn each_stands_alone(data: &[u8], together: &Decoded<'_>) {
    let members: HashMap<String, &RawValue> = serde_json::from_slice(data).expect("it was taken");
    let sent: Vec<&RawValue> = serde_json::from_str(members["readings"].get()).expect("an array");
    assert_eq!(together.checked.sent, sent.len());
    let alone: Vec<_> = sent.iter().map(|raw| alone(raw.get())).collect();
    let (mut taken, mut rejected) = (Vec::new(), Vec::new());
    for (index, reading) in alone.iter().enumerate() {
        let Ok(reading) = reading else {
            rejected.push(index);
            continue;
        };
        let later = alone[index + 1..].iter().flatten();
        match later.filter(|r| r.identity() == reading.identity()).last() {
            None => taken.push(reading),
            Some(last) if last == reading => {}
            Some(_) => rejected.push(index),
        }
    }
    let named: Vec<usize> = together.checked.rejected.iter().map(|r| r.rejected.index).collect();
    assert_eq!(named, rejected);
    assert_eq!(together.checked.readings.iter().collect::<Vec<_>>(), taken);
}

/// What becomes of a reading in an upload of its own.
fn alone(json: &str) -> Result<Reading, Violation> {
    let body = format!("{{\"readings\":[{json}]}}");
    let mut checked = json::decode(body.as_bytes(), NOW, 1).expect("a sound envelope").checked;
    match (checked.readings.pop(), checked.rejected.pop()) {
        (Some(reading), None) => Ok(reading),
        (None, Some(refused)) => Err(refused.rejected.violation),
        both => panic!("neither taken nor rejected, or both: {both:?}"),
    }
}
