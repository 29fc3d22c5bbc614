//! The value of a dead letter of rejected readings. The first byte of an input chooses the format
//! in its header, the rest is the value.

use crate::{NOW, own_site, rules};
use heliograph_formats::{
    Format,
    dead_letter::{Again, again},
    line::Precision,
};
use std::collections::HashSet;

const WEEK_MS: i64 = 7 * 86_400_000;

pub fn check(data: &[u8]) {
    let Some((format, value)) = data.split_first() else { return };
    let format = match format {
        b'j' => Format::Json.in_dead_letters(),
        b'p' => Format::Protobuf.in_dead_letters(),
        b'l' => Format::LineProtocol(Precision::S).in_dead_letters(),
        _ => "text/html",
    };
    let now = NOW.plus_ms(WEEK_MS);
    match again(format, value, &own_site(), NOW, now) {
        Ok(Again { readings, rejected }) => {
            let mut identities = HashSet::new();
            for reading in &readings {
                assert!(identities.insert(reading.identity()), "{reading:?} is taken twice");
                rules::reading(reading, now);
            }
            // What was said when they were refused is given back as it was, short or not.
            assert!(
                rejected.iter().all(|r| r.violation.to_string().len() < 8 * 1024 + value.len())
            );
        }
        Err(violation) => rules::violations(&[violation]),
    }
}
