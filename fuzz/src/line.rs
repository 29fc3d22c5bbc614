//! InfluxDB line protocol. The first byte of an input chooses the unit of its times, the rest is
//! the body.

use crate::{NOW, READINGS_MAX, own_site, rules};
use heliograph_domain::{Reading, SiteId, Violation};
use heliograph_formats::{
    AsSent, Decoded, Format,
    line::{self, Context, Precision},
};

/// Gives what was taken, if the body was.
pub fn check(data: &[u8]) -> Option<Decoded<'_>> {
    let (precision, body) = split(data)?;
    let site = own_site();
    let decoded = match decode(precision, body, &site) {
        Ok(decoded) => decoded,
        Err(violation) => {
            rules::violations(&[violation]);
            return None;
        }
    };
    rules::decoded(&decoded, body.split(|b| *b == b'\n').count());
    rules::dead_letters(Format::LineProtocol(precision), &decoded);
    kept_as_they_came(body, &decoded);
    spoils_no_other(precision, body, &site, &decoded.checked.readings);
    Some(decoded)
}

/// What the target `planted` begins with, too.
pub fn split(data: &[u8]) -> Option<(Precision, &[u8])> {
    let (first, body) = data.split_first()?;
    let precision = match first {
        b'u' => Precision::Us,
        b'm' => Precision::Ms,
        b's' => Precision::S,
        b'M' => Precision::M,
        b'h' => Precision::H,
        _ => Precision::Ns,
    };
    Some((precision, body))
}

pub fn decode<'a>(
    precision: Precision,
    body: &'a [u8],
    own_site: &SiteId,
) -> Result<Decoded<'a>, Violation> {
    let context = Context { precision, received_at: NOW, readings_max: READINGS_MAX, own_site };
    line::decode(body, &context)
}

/// A rejected line stands in the body where its number says.
fn kept_as_they_came(body: &[u8], decoded: &Decoded<'_>) {
    let starts: Vec<usize> =
        [0].into_iter().chain((1..=body.len()).filter(|at| body[at - 1] == b'\n')).collect();
    for r in &decoded.checked.rejected {
        let kept = match &r.as_sent {
            AsSent::Text(text) => text.as_bytes(),
            AsSent::Line { bytes } => bytes,
            other => panic!("no line: {other:?}"),
        };
        assert!(body[starts[r.rejected.index]..].starts_with(kept), "{r:?}");
    }
}

/// A line before all others and one behind them are taken, and change nothing of the others.
fn spoils_no_other(precision: Precision, body: &[u8], site: &SiteId, alone: &[Reading]) {
    const NAME: &[u8] = b"zz.";
    if body.windows(NAME.len()).any(|part| part == NAME) {
        return;
    }
    let around = [b"zz.1 p=1\n", body, b"\nzz.2 p=2"].concat();
    // These two may be the ones that are too many.
    let Ok(decoded) = decode(precision, &around, site) else { return };
    let [first, between @ .., last] = &decoded.checked.readings[..] else { panic!("{decoded:?}") };
    assert_eq!((first.device.as_str(), last.device.as_str()), ("zz.1", "zz.2"));
    assert_eq!(between, alone);
}
