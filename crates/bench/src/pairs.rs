//! A and B in turn.
//!
//! Each pair runs both, and which of them is first changes from pair to pair, so that neither has the
//! warmer machine.

use crate::report::{Pair, Side};

/// Runs `pairs` pairs; each side is told the number of its pair.
pub async fn alternate(
    pairs: usize,
    mut a: impl AsyncFnMut(usize) -> anyhow::Result<Side>,
    mut b: impl AsyncFnMut(usize) -> anyhow::Result<Side>,
) -> anyhow::Result<Vec<Pair>> {
    let mut done = Vec::with_capacity(pairs);
    for n in 0..pairs {
        let pair = if n % 2 == 0 {
            let a = a(n).await?;
            Pair { a, b: b(n).await? }
        } else {
            let b = b(n).await?;
            Pair { a: a(n).await?, b }
        };
        done.push(pair);
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[tokio::test]
    async fn who_is_first_takes_turns() {
        let order = RefCell::new(String::new());
        let run = |name: char| {
            order.borrow_mut().push(name);
            Side::default()
        };
        let pairs = alternate(4, async |_| Ok(run('a')), async |_| Ok(run('b'))).await.unwrap();
        assert_eq!((pairs.len(), order.borrow().as_str()), (4, "abbaabba"));
    }
}
