//! Telling somebody that a loop turns.
//!
//! Invariant: it is told each time that the loop turns, whatever the turn brought, and dropped when
//! the loop ends. What it is not: a judge of how often that must be; who listens knows.

/// Called at each turn of a loop.
pub struct Turn(Box<dyn Fn() + Send + Sync>);

impl Turn {
    pub fn tell(told: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(told))
    }

    /// Nobody wants to know.
    pub fn untold() -> Self {
        Self::tell(|| ())
    }

    /// The loop turns.
    pub fn turn(&self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turn")
    }
}
