//! Guards that a test build can switch off, to see that the tests miss them.
//!
//! Only with the feature `unguarded`, which nothing that is delivered has: `HELIOGRAPH_UNGUARDED`
//! names the guards to do without, separated by commas. Without the feature [`is_off`] is `false`
//! for the compiler, too, and nothing of this is left.

/// What keeps the promise that nothing is lost or doubled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The embedded log is synced before it acknowledges.
    Fsync,
    /// An offset is committed only when all that it caused is acknowledged.
    Acknowledgement,
    /// Revoked partitions are drained and committed as far as they are done, no further.
    Revoke,
    /// A rollup is recomputed from its resolved readings, not added to.
    Recompute,
}

/// Whether this process does without a guard.
#[cfg(feature = "unguarded")]
pub fn is_off(guard: Guard) -> bool {
    use std::sync::LazyLock;
    static OFF: LazyLock<String> =
        LazyLock::new(|| std::env::var("HELIOGRAPH_UNGUARDED").unwrap_or_default());
    OFF.split(',').any(|name| name == format!("{guard:?}").to_lowercase())
}

/// Whether this process does without a guard: it does not.
#[cfg(not(feature = "unguarded"))]
pub const fn is_off(_: Guard) -> bool {
    false
}
