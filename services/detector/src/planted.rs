//! Bugs that a test build can plant, to see that the simulation finds them.
//!
//! Only with the feature `planted`, which nothing that is delivered has: the simulation chooses one
//! for the whole process (`heliograph-sim --plant NAME`). Each stands in one place of what decides.
//! Without the feature [`is_planted`] is `false` for the compiler, too, and nothing of this is left.

macro_rules! bugs {
    ($($(#[doc = $what:literal])+ $bug:ident = $name:literal,)+) => {
        /// What somebody might get wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $what])+ $bug,)+
        }

        #[cfg(feature = "planted")]
        impl Bug {
            pub const ALL: &[Self] = &[$(Self::$bug,)+];

            /// As it is named on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)+
                }
            }

            /// In a sentence.
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$bug => concat!($($what),+),)+
                }
            }
        }
    };
}

bugs! {
    // The clock.
    /// A tick moves the clock by all the time that the log's clock says.
    WallClock = "wall-clock",
    /// What a tick closes counts as open.
    ClosedCounts = "closed-counts",
    /// A door that refuses is open.
    RefusalsIgnored = "refusals-ignored",
    /// A door that refuses again and again is open in the seconds in which nobody was refused.
    RefusalsBySecond = "refusals-by-second",
    /// A door whose upload to itself fails is open.
    SelfUploadIgnored = "self-upload-ignored",
    /// A gateway that vanished keeps the door closed for ever.
    NeverLost = "never-lost",
    /// A gateway that vanished counts no more after two seconds.
    LostAtOnce = "lost-at-once",
    /// A gateway that leaves has vanished.
    LeavingVanishes = "leaving-vanishes",
    /// Another incarnation of a gateway is the same.
    IncarnationIgnored = "incarnation-ignored",
    /// Time is settled up to the newest tick, not up to the gateway that was silent longest.
    WatermarkNewest = "watermark-newest",
    /// Appends that take unequally long are time unseen.
    JitterUnseen = "jitter-unseen",
    /// A grace begins where the clock is, not where open time is.
    GraceByClock = "grace-by-clock",

    // Grace.
    /// Nobody is given time to return.
    NoGrace = "no-grace",
    /// Time to return does not end by itself.
    GraceEndless = "grace-endless",

    // Sites.
    /// A site that never uploaded is not looked at.
    NeverHeardIgnored = "never-heard-ignored",
    /// A site that uploads again is stale all the same.
    RecoveryForgotten = "recovery-forgotten",
    /// A recovery names its own offset where that of the alert belongs.
    RecoveryNamesItself = "recovery-names-itself",
    /// A stale site is told at each tick.
    ToldAgain = "told-again",
    /// A removed site is watched for ever.
    RemovedWatched = "removed-watched",
    /// A removed site that is stale is not told to be over.
    RemovalUntold = "removal-untold",
    /// A site that is registered anew has been silent since before it was removed.
    RemovalForgotten = "removal-forgotten",
    /// What an older registry said overrules a newer one.
    OlderRegistryWins = "older-registry-wins",
    /// A site that is due is stale, whatever grace it had meanwhile.
    DueIsStale = "due-is-stale",
    /// A site that was due within its grace is not looked at again.
    DueOnce = "due-once",
    /// Sites of a tenant have the limit of its first.
    ProfileByTenant = "profile-by-tenant",

    // Snapshots.
    /// Sites that are restored are not found by their ids.
    RestoredUnfound = "restored-unfound",
    /// A snapshot forgets which sites are stale.
    SnapshotWithoutStale = "snapshot-without-stale",
    /// A snapshot forgets the graces.
    SnapshotWithoutGraces = "snapshot-without-graces",
    /// A snapshot forgets that the door is closed.
    SnapshotWithoutShut = "snapshot-without-shut",
    /// A snapshot forgets when sites uploaded.
    SnapshotWithoutUploads = "snapshot-without-uploads",
    /// A snapshot stands for one record more than were read.
    SnapshotTooFar = "snapshot-too-far",
}

#[cfg(feature = "planted")]
mod chosen {
    use super::Bug;
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

    /// The number of the bug, from 1 on; 0 for none.
    static CHOSEN: AtomicU8 = AtomicU8::new(0);

    /// Plants this one alone, in the whole process; or none any more.
    pub fn plant(bug: Option<Bug>) {
        CHOSEN.store(bug.map_or(0, |bug| bug as u8 + 1), Relaxed);
    }

    /// Whether this process has the bug.
    pub fn is_planted(bug: Bug) -> bool {
        CHOSEN.load(Relaxed) == bug as u8 + 1
    }
}

#[cfg(feature = "planted")]
pub use chosen::{is_planted, plant};

/// Whether this process has the bug: it does not.
#[cfg(not(feature = "planted"))]
pub const fn is_planted(_: Bug) -> bool {
    false
}
