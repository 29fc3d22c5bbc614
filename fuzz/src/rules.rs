//! What holds for an upload of any format.

use crate::NOW;
use heliograph_contract::event::{UploadsEvent, decode_uploads, encode_upload};
use heliograph_domain::{
    Reading, TenantId, Violation,
    upload::{self, RawReading, Upload},
};
use heliograph_formats::{Checked, Decoded};
use std::collections::HashSet;

/// Counts, order, the rules of each reading, and that the log gives back what it was given.
pub fn decoded(decoded: &Decoded<'_>) {
    checked(&decoded.checked);
    let site = decoded.site.clone().unwrap_or_else(|| "s1".parse().expect("a sound name"));
    let readings = &decoded.checked.readings;
    let upload_id = decoded.upload_id.clone();
    let by_content = || upload::content_id(&site, readings).expect("content has an id");
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

fn checked(checked: &Checked<'_>) {
    let Checked { sent, readings, rejected } = checked;
    assert!(readings.len() + rejected.len() <= *sent, "more is answered for than was sent");
    let mut identities = HashSet::new();
    for reading in readings {
        assert!(identities.insert(reading.identity()), "{reading:?} is taken twice");
        obeys_the_rules(reading);
    }
    for pair in rejected.windows(2) {
        assert!(pair[0].rejected.index < pair[1].rejected.index, "rejected out of order or twice");
    }
    for r in rejected {
        assert!(r.rejected.index < *sent, "rejected what was never sent");
        violations(std::slice::from_ref(&r.rejected.violation));
        serde_json::to_string(&r.as_sent).expect("a rejected reading can be kept");
    }
}

/// A reading that was taken is taken again, in its stored unit, and stays as it is.
fn obeys_the_rules(reading: &Reading) {
    let raw = RawReading {
        device: reading.device.as_str(),
        metric: reading.metric.as_str(),
        ts: reading.ts,
        value: reading.value,
        unit: None,
        quality: Some(reading.quality.as_str()),
    };
    assert_eq!(upload::check_reading(&raw, NOW).as_ref(), Ok(reading));
}

/// What is written to the log comes back, to the last bit of each value.
pub fn log_gives_back(upload: Upload) {
    let encoded = encode_upload(&upload, "g1");
    let got = decode_uploads(&encoded.headers, Some(&encoded.value));
    let Ok(UploadsEvent::Upload(got)) = got else { panic!("{upload:?} came back as {got:?}") };
    let bits = |u: &Upload| u.readings.iter().map(|r| r.value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&got), bits(&upload));
    assert_eq!(got, upload);
}

/// An answer to nonsense says something, and stays short.
pub fn violations(all: &[Violation]) {
    assert!(!all.is_empty(), "refused without a reason");
    let text: String = all.iter().map(Violation::to_string).collect();
    assert!(text.len() < 8 * 1024, "an answer of {} bytes", text.len());
}
