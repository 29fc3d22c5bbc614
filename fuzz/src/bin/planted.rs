//! A panic planted behind the parser of line protocol, which only a sound body reaches: its first
//! two readings are of two devices, and the first value is negative. No input of the corpus is so.
//! Who is guided by coverage keeps the input that brings one more of these.
//! `scripts/fuzz.sh planted` fails unless the fuzzer finds it, and unless the same run with
//! HELIOGRAPH_FUZZ_PLANT=off finds nothing.
#![no_main]

use heliograph_formats::Checked;
use heliograph_fuzz::{line, own_site};
use std::{hint::black_box, sync::LazyLock};

static ARMED: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("HELIOGRAPH_FUZZ_PLANT").is_none_or(|plant| plant != "off"));

/// One condition inside the other, each with code of its own: the compiler would make one branch of
/// them.
#[inline(never)]
fn plant(checked: &Checked<'_>) {
    let [first, second, ..] = checked.readings.as_slice() else { return };
    if black_box(first.device != second.device) {
        black_box(1);
        if black_box(first.value < 0.0) {
            assert!(!*ARMED, "the planted panic");
        }
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((precision, body)) = line::split(data) else { return };
    let Ok(decoded) = line::decode(precision, body, &own_site()) else { return };
    plant(&decoded.checked);
});
