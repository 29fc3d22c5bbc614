//! A compressed body. The first byte of an input chooses the encoding, the rest is the body.

use crate::rules;
use bytes::Bytes;
use heliograph_formats::compression::{Encoding, Undone, decompress};

const BYTES_MAX: usize = 64 * 1024;

pub fn check(data: &[u8]) {
    let Some((encoding, body)) = data.split_first() else { return };
    let encoding = match encoding {
        b'g' => Encoding::Gzip,
        b'z' => Encoding::Zstd,
        _ => Encoding::Identity,
    };
    let body = Bytes::copy_from_slice(body);
    match decompress(encoding, body.clone(), BYTES_MAX) {
        Ok(out) => {
            assert!(out.len() <= BYTES_MAX, "{} bytes", out.len());
            if encoding == Encoding::Identity {
                assert_eq!(out, body);
            }
            at_its_own_size(encoding, &body, &out);
        }
        Err(Undone::TooLarge(violation) | Undone::Broken(violation)) => {
            rules::violations(&[violation]);
        }
    }
}

/// The limit is exact: as many bytes as it has are given, and not with one less.
fn at_its_own_size(encoding: Encoding, body: &Bytes, out: &Bytes) {
    assert_eq!(decompress(encoding, body.clone(), out.len()).as_ref(), Ok(out));
    if let Some(less) = out.len().checked_sub(1) {
        let got = decompress(encoding, body.clone(), less);
        assert!(matches!(got, Err(Undone::TooLarge(_))), "{got:?}");
    }
}
