//! Deterministic event ids: a hash of an event's kind, its subject and what decided it.
//!
//! A repeat after a crash is therefore the same event under the same id, and readers drop it.

use sha2::{Digest, Sha256};

/// The first 128 bits of SHA-256 over the length-prefixed parts, in hex (32 characters).
/// Length prefixes keep `("ab", "c")` and `("a", "bc")` apart.
pub fn event_id(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize()[..16])
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// SHA-256 of a secret, in hex: what the registry keeps of a token.
pub fn token_hash(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parts_give_equal_ids_and_the_split_matters() {
        assert_eq!(event_id(&[b"k", b"s"]), event_id(&[b"k", b"s"]));
        assert_ne!(event_id(&[b"ab", b"c"]), event_id(&[b"a", b"bc"]));
        assert_eq!(event_id(&[]).len(), 32);
    }

    #[test]
    fn a_token_is_kept_as_its_sha_256() {
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(token_hash("abc"), want);
    }
}
