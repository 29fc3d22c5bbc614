//! What each tenant holds of the places for viewers' calls.
//!
//! Invariant: no tenant holds more than its share, so that one that asks much leaves places to the
//! others. A tenant that holds nothing costs no memory. Nobody waits here.

use heliograph_domain::TenantId;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
};

/// The shares of all tenants.
#[derive(Debug)]
pub struct Shares {
    max: usize,
    held: Mutex<HashMap<TenantId, usize>>,
}

/// A place within a share; given back when dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    tenant: TenantId,
}

impl Shares {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, held: Mutex::default() })
    }

    /// `None`: the tenant holds its whole share.
    pub fn take(self: &Arc<Self>, tenant: &TenantId) -> Option<Share> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(tenant).copied().unwrap_or(0);
        if count >= self.max {
            return None;
        }
        held.insert(tenant.clone(), count + 1);
        Some(Share { shares: self.clone(), tenant: tenant.clone() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut entry) = held.entry(self.tenant.clone()) else { return };
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_its_share_and_leaves_the_rest_to_others() {
        let shares = Shares::new(2);
        let [a, b] = ["a", "b"].map(|id| TenantId::parse(id).unwrap());
        let first = shares.take(&a).unwrap();
        let second = shares.take(&a).unwrap();
        assert!(shares.take(&a).is_none(), "its whole share");
        let other = shares.take(&b).unwrap();
        drop(first);
        let third = shares.take(&a).unwrap();
        drop((second, third, other));
        assert_eq!(shares.held.lock().unwrap().len(), 0, "who holds nothing is not remembered");
    }
}
