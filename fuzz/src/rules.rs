//! What holds for an upload of any format.

use crate::{NOW, own_site};
use heliograph_contract::event::{UploadsEvent, decode_uploads, encode_upload};
use heliograph_domain::{
    Reading, TenantId, Timestamp, Violation,
    upload::{self, RawReading, Upload},
};
use heliograph_formats::{Checked, Decoded, Format, dead_letter};
use std::collections::HashSet;

/// Few, so that what is rejected comes in several.
const LETTER_BYTES_MAX: usize = 300;

/// Counts, order, the rules of each reading, and that the log gives back what it was given.
/// What is rejected has a number below `numbers`: of its reading, or of its line.
pub fn decoded(decoded: &Decoded<'_>, numbers: usize) {
    checked(&decoded.checked, numbers);
    let site = decoded.site.clone().unwrap_or_else(own_site);
    let readings = &decoded.checked.readings;
    let upload_id = decoded.upload_id.clone();
    let by_content = || upload::content_id(&site, readings, NOW).expect("content has an id");
    log_gives_back(Upload {
        upload_id: upload_id.unwrap_or_else(by_content),
        site,
        tenant: TenantId::parse("t1").expect("a sound name"),
        received_at: NOW,
        sent_at: decoded.sent_at,
        readings: readings.clone(),
        replayed: false,
    });
}

fn checked(checked: &Checked<'_>, numbers: usize) {
    let Checked { sent, readings, rejected } = checked;
    assert!(readings.len() + rejected.len() <= *sent, "more is answered for than was sent");
    let mut identities = HashSet::new();
    for reading in readings {
        assert!(identities.insert(reading.identity()), "{reading:?} is taken twice");
        self::reading(reading, NOW);
    }
    for pair in rejected.windows(2) {
        assert!(pair[0].rejected.index < pair[1].rejected.index, "rejected out of order or twice");
    }
    for r in rejected {
        assert!(r.rejected.index < numbers, "rejected what was never sent");
        violations(std::slice::from_ref(&r.rejected.violation));
        serde_json::to_string(&r.as_sent).expect("a rejected reading can be kept");
    }
}

/// A reading that was taken is taken again, in its stored unit, and stays as it is.
pub fn reading(reading: &Reading, received_at: Timestamp) {
    let raw = RawReading {
        device: reading.device.as_str(),
        metric: reading.metric.as_str(),
        ts: reading.ts,
        value: reading.value,
        unit: None,
        quality: Some(reading.quality.as_str()),
    };
    assert_eq!(upload::check_reading(&raw, received_at).as_ref(), Ok(reading));
}

/// What was rejected can be read from its dead letters, and read again it is rejected again.
pub fn dead_letters(format: Format, decoded: &Decoded<'_>) {
    let rejected = &decoded.checked.rejected;
    let mut still = Vec::new();
    for letter in dead_letter::encode(rejected, LETTER_BYTES_MAX) {
        let name = format.in_dead_letters();
        let again = dead_letter::again(name, &letter, &own_site(), NOW, NOW);
        let again = again.expect("it is our own");
        // A line with more fields than one upload may have is one that a dead letter may have.
        let is_wide = rejected.iter().any(|r| r.rejected.violation.field == "fields");
        assert!(again.readings.is_empty() || is_wide, "{again:?}");
        still.extend(again.rejected.iter().map(|r| r.index));
        if is_wide {
            return;
        }
    }
    assert_eq!(still, rejected.iter().map(|r| r.rejected.index).collect::<Vec<_>>());
}

/// What is written to the log comes back, to the last bit of each value; but protobuf leaves
/// out the sign of a zero.
pub fn log_gives_back(upload: Upload) {
    let encoded = encode_upload(&upload, "g1");
    let got = decode_uploads(&encoded.headers, Some(&encoded.value));
    let Ok(UploadsEvent::Upload(got)) = got else { panic!("{upload:?} came back as {got:?}") };
    let bits =
        |u: &Upload| u.readings.iter().map(|r| (r.value + 0.0).to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&got), bits(&upload));
    assert_eq!(got, upload);
}

/// An answer to nonsense says something, and stays short.
pub fn violations(all: &[Violation]) {
    assert!(!all.is_empty(), "refused without a reason");
    let text: String = all.iter().map(Violation::to_string).collect();
    assert!(text.len() < 8 * 1024, "an answer of {} bytes", text.len());
}
