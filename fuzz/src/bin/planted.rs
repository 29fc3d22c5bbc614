//! A panic planted behind the parser of line protocol, which only a sound body reaches: one reading
//! is taken, and the name of its device begins with four certain letters. Chance would need about
//! 2^32 inputs for them; who is guided by coverage sees each letter that is right.
//! `scripts/fuzz.sh planted` fails unless the fuzzer finds it, and unless the same run with
//! HELIOGRAPH_FUZZ_PLANT=off finds nothing.
#![no_main]

use heliograph_fuzz::{line, own_site};
use std::{hint::black_box, sync::LazyLock};

static ARMED: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("HELIOGRAPH_FUZZ_PLANT").is_none_or(|plant| plant != "off"));

/// Keeps the letters apart: the compiler would make one comparison of four bytes out of them.
#[inline(never)]
fn right(letters: usize) {
    black_box(letters);
}

#[inline(never)]
fn plant(device: &[u8]) {
    let [first, second, third, fourth, ..] = device else { return };
    if *first == b'z' {
        right(1);
        if *second == b'e' {
            right(2);
            if *third == b'p' {
                right(3);
                if *fourth == b'h' {
                    right(4);
                    assert!(!*ARMED, "the planted panic");
                }
            }
        }
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((precision, body)) = line::split(data) else { return };
    let Ok(decoded) = line::decode(precision, body, &own_site()) else { return };
    if let [reading] = decoded.checked.readings.as_slice() {
        plant(reading.device.as_str().as_bytes());
    }
});
