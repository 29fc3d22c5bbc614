//! `UploadAccepted` as services read and write it by the million: its names are slices of the
//! record, or one buffer shared by all readings that have the name, where the generated message has
//! a string of its own for each.
//!
//! On the wire a protobuf `string` and `bytes` are the same (Protocol Buffers, "Encoding": LEN).
//! Invariant: the same fields as `v1::UploadAccepted`, and the same bytes, which a test compares.

use crate::v1::Quality;
use bytes::Bytes;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct UploadAccepted {
    #[prost(bytes = "bytes", tag = "1")]
    pub site_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub tenant_id: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub upload_id: Bytes,
    #[prost(int64, tag = "4")]
    pub received_at_ms: i64,
    #[prost(int64, optional, tag = "5")]
    pub sent_at_ms: Option<i64>,
    #[prost(message, repeated, tag = "6")]
    pub readings: Vec<Reading>,
    #[prost(bool, tag = "7")]
    pub replayed: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Reading {
    #[prost(bytes = "bytes", tag = "1")]
    pub device: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub metric: Bytes,
    #[prost(int64, tag = "3")]
    pub ts_ms: i64,
    #[prost(double, tag = "4")]
    pub value: f64,
    #[prost(enumeration = "Quality", tag = "5")]
    pub quality: i32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;
    use proptest::{collection::vec, prelude::*};
    use prost::Message;

    fn reading() -> impl Strategy<Value = v1::Reading> {
        (".{0,9}", ".{0,9}", any::<i64>(), any::<f64>(), any::<i32>()).prop_map(
            |(device, metric, ts_ms, value, quality)| v1::Reading {
                device,
                metric,
                ts_ms,
                value,
                quality,
            },
        )
    }

    fn upload() -> impl Strategy<Value = v1::UploadAccepted> {
        let ids = (".{0,9}", ".{0,9}", ".{0,9}");
        (ids, any::<i64>(), any::<Option<i64>>(), vec(reading(), 0..9), any::<bool>()).prop_map(
            |((site_id, tenant_id, upload_id), received_at_ms, sent_at_ms, readings, replayed)| {
                v1::UploadAccepted {
                    site_id,
                    tenant_id,
                    upload_id,
                    received_at_ms,
                    sent_at_ms,
                    readings,
                    replayed,
                }
            },
        )
    }

    proptest! {
        /// A field that one of the two has and the other has not would be lost here.
        #[test]
        fn both_forms_have_the_same_bytes(upload in upload()) {
            let bytes = upload.encode_to_vec();
            let ours = UploadAccepted::decode(Bytes::from(bytes.clone())).unwrap();
            prop_assert_eq!(ours.encode_to_vec(), bytes);
        }
    }
}
