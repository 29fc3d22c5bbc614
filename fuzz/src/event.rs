//! A record of the uploads topic. The first byte of an input chooses the type in its header, the
//! rest is the value.

use crate::rules;
use bytes::Bytes;
use heliograph_contract::event::{
    DecodeError, HEADER_TYPE, TYPE_DOOR_TICK, TYPE_SITE_WATCHED, TYPE_TICKS_MISSING,
    TYPE_UPLOAD_ACCEPTED, UploadsEvent, decode_uploads, encode_tick, encode_ticks_missing,
    encode_watched,
};
use heliograph_domain::upload::{TS_END, TS_MIN};

pub fn check(data: &[u8]) {
    let Some((kind, value)) = data.split_first() else { return };
    let kind = match kind {
        b'u' => TYPE_UPLOAD_ACCEPTED,
        b't' => TYPE_DOOR_TICK,
        b'w' => TYPE_SITE_WATCHED,
        b'm' => TYPE_TICKS_MISSING,
        _ => "heliograph.v9.New",
    };
    let headers = [(HEADER_TYPE.into(), Bytes::from_static(kind.as_bytes()))];
    match decode_uploads(&headers, Some(&Bytes::copy_from_slice(value))) {
        Ok(UploadsEvent::Upload(upload)) => {
            for reading in &upload.readings {
                assert!(reading.value.is_finite(), "{reading:?}");
                assert!((TS_MIN..TS_END).contains(&reading.ts), "{reading:?}");
            }
            rules::log_gives_back(upload);
        }
        Ok(UploadsEvent::Tick(tick)) => {
            let encoded = encode_tick(&tick);
            let got = decode_uploads(&encoded.headers, Some(&encoded.value));
            assert_eq!(got, Ok(UploadsEvent::Tick(tick)));
        }
        Ok(UploadsEvent::Watched(watched)) => {
            let encoded = encode_watched(&watched);
            let got = decode_uploads(&encoded.headers, Some(&encoded.value));
            assert_eq!(got, Ok(UploadsEvent::Watched(watched)));
        }
        Ok(UploadsEvent::TicksMissing(missing)) => {
            let encoded = encode_ticks_missing(&missing);
            let got = decode_uploads(&encoded.headers, Some(&encoded.value));
            assert_eq!(got, Ok(UploadsEvent::TicksMissing(missing)));
        }
        Ok(UploadsEvent::Unknown(name)) => assert_eq!(name, kind),
        Err(DecodeError::Rule(violation)) => rules::violations(&[violation]),
        Err(DecodeError::Malformed { .. }) => {}
        Err(error) => panic!("there is a type and a value: {error}"),
    }
}
