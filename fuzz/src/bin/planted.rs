//! A panic planted behind the JSON decoder, which only a sound upload reaches: two readings are
//! taken, and the second is of one certain device. `scripts/fuzz.sh planted` fails unless the
//! fuzzer finds it, and unless the same run with HELIOGRAPH_FUZZ_PLANT=off finds nothing.
#![no_main]

use heliograph_fuzz::{NOW, READINGS_MAX};
use std::sync::LazyLock;

static ARMED: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("HELIOGRAPH_FUZZ_PLANT").is_none_or(|plant| plant != "off"));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(decoded) = heliograph_formats::json::decode(data, NOW, READINGS_MAX) else { return };
    if let [_, second] = decoded.checked.readings.as_slice()
        && let Some((front, back)) = second.device.as_str().as_bytes().split_first_chunk::<4>()
        && u32::from_be_bytes(*front) == u32::from_be_bytes(*b"zeph")
    {
        assert!(!(*ARMED && matches!(back, [b'y', b'r'])), "the planted panic");
    }
});
