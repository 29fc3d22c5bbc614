//! The protobuf upload: `heliograph.v1.UploadRequest`, and the message of a stream around one.

use crate::{NOW, READINGS_MAX, rules};
use bytes::Bytes;
use heliograph_formats::{Format, protobuf};

pub fn check(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    upload(&body);
    match protobuf::upload_of_stream(body) {
        Ok(body) => upload(&body),
        Err(violation) => rules::violations(&[violation]),
    }
}

fn upload(body: &Bytes) {
    match protobuf::decode(body, NOW, READINGS_MAX) {
        Ok(decoded) => {
            assert!(decoded.checked.sent <= READINGS_MAX, "more than are taken");
            rules::decoded(&decoded, decoded.checked.sent);
            rules::dead_letters(Format::Protobuf, &decoded);
        }
        Err(violations) => rules::violations(&violations),
    }
}
