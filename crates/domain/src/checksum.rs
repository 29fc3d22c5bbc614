//! An order-independent checksum of a set of readings, by which two ledgers are compared.

use crate::event_id::hex;
use sha2::{Digest, Sha256};

/// Sum modulo 2^128 of a hash of each reading. Equal sets of readings give equal sums in any
/// order; adding the same reading twice changes it, so callers add each identity once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadingsChecksum {
    sum: u128,
    /// How many readings were added.
    pub count: u64,
}

impl ReadingsChecksum {
    /// Adds one logical reading (`ts_ms` in ms UTC, `value` in the stored unit).
    pub fn add(&mut self, site: &str, device: &str, metric: &str, ts_ms: i64, value: f64) {
        let mut hash = Sha256::new();
        for part in [site, device, metric] {
            hash.update((part.len() as u32).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(ts_ms.to_be_bytes());
        // -0.0 and 0.0 are the same value.
        hash.update((value + 0.0).to_bits().to_be_bytes());
        let mut head = [0; 16];
        head.copy_from_slice(&hash.finalize()[..16]);
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(head));
        self.count += 1;
    }

    /// Joins the checksum of a disjoint set.
    pub fn merge(&mut self, other: Self) {
        self.sum = self.sum.wrapping_add(other.sum);
        self.count += other.count;
    }

    pub fn to_hex(self) -> String {
        hex(&self.sum.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_but_content_does() {
        let mut a = ReadingsChecksum::default();
        a.add("s", "d", "m", 1, 1.0);
        a.add("s", "d", "m", 2, 2.0);
        let mut b = ReadingsChecksum::default();
        b.add("s", "d", "m", 2, 2.0);
        b.add("s", "d", "m", 1, 1.0);
        assert_eq!(a, b);
        b.add("s", "d", "m", 3, -0.0);
        a.add("s", "d", "m", 3, 0.0);
        assert_eq!(a.to_hex(), b.to_hex());
        a.add("s", "d", "m", 4, 1.0);
        b.add("s", "d", "m", 4, 1.5);
        assert_ne!(a, b);
    }
}
