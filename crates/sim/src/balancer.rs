//! The load balancer in front of the gateways: sends to those that passed its last checks.

use crate::{
    scenario::Rng,
    spans::{Ms, SEC},
};
use rand::RngExt;

pub const CHECK_EVERY: Ms = 2 * SEC;
/// So many checks in a row change its mind.
const CHECKS: u32 = 2;

#[derive(Debug)]
pub struct Balancer {
    backends: Vec<Backend>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Backend {
    is_in: bool,
    /// Checks in a row that said otherwise.
    otherwise: u32,
}

impl Balancer {
    pub fn new(gateways: usize) -> Self {
        Self { backends: vec![Backend { is_in: true, otherwise: 0 }; gateways] }
    }

    pub fn checked(&mut self, gateway: usize, passes: bool) {
        let backend = &mut self.backends[gateway];
        backend.otherwise = if passes == backend.is_in { 0 } else { backend.otherwise + 1 };
        if backend.otherwise == CHECKS {
            *backend = Backend { is_in: passes, otherwise: 0 };
        }
    }

    /// Any of those that are in; none when none is.
    pub fn pick(&self, rng: &mut Rng) -> Option<usize> {
        let within = || (0..self.backends.len()).filter(|g| self.backends[*g].is_in);
        let count = within().count() as u32;
        (count > 0).then(|| rng.random_range(0..count)).and_then(|n| within().nth(n as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn two_checks_take_a_gateway_out_and_two_bring_it_back() {
        let (mut balancer, mut rng) = (Balancer::new(2), Rng::seed_from_u64(1));
        let mut picks = |balancer: &Balancer| -> Vec<usize> {
            let mut all: Vec<_> = (0..50).filter_map(|_| balancer.pick(&mut rng)).collect();
            all.sort_unstable();
            all.dedup();
            all
        };
        balancer.checked(0, false);
        assert_eq!(picks(&balancer), [0, 1]);
        balancer.checked(0, false);
        assert_eq!(picks(&balancer), [1]);
        balancer.checked(0, true);
        balancer.checked(0, false);
        balancer.checked(0, true);
        assert_eq!(picks(&balancer), [1]);
        balancer.checked(0, true);
        assert_eq!(picks(&balancer), [0, 1]);
    }
}
