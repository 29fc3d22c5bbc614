//! The value of a registry record.

use crate::rules;
use bytes::Bytes;
use heliograph_contract::{
    event::DecodeError,
    registry::{decode, encode},
};

pub fn check(data: &[u8]) {
    match decode(&Bytes::copy_from_slice(data)) {
        Ok(entry) => assert_eq!(decode(&encode(&entry).value), Ok(entry)),
        Err(DecodeError::Rule(violation)) => rules::violations(&[violation]),
        Err(_) => {}
    }
}
