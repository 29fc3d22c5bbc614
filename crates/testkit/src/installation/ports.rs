//! Ports that a server finds again.

use anyhow::bail;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first of `n` free ports in a row, each time others. They lie below the range from which the
/// kernel takes ports, so that a server that is away for a moment finds its own again.
///
/// # Errors
/// When there are none.
pub fn ports_in_a_row(n: u16) -> anyhow::Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(u32::from(n), Ordering::Relaxed);
        let base = FIRST + ((std::process::id() + step) % COUNT) as u16;
        if (base..base + n).all(is_free) {
            return Ok(base);
        }
    }
    bail!("no {n} free ports in a row")
}
