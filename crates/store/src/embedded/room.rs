//! Room on the disk, without which nothing may be written.
//!
//! Invariant: below the mark no row is taken and no part is merged. The engine itself looks at the
//! disk before it begins to write, and not while it writes: a merge that ran into a full disk has
//! been seen to replace its parts by one of empty files. It cannot keep other programs from taking
//! the last byte faster than it looks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::EmbeddedConfig;
use super::engine::Engine;
use super::error::Failure;

/// How often the disk is looked at: at a gigabyte a second, the mark of 256 MiB is still in time.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub(super) struct Room {
    path: PathBuf,
    min_free_bytes: u64,
}

impl Room {
    pub(super) fn of(config: &EmbeddedConfig) -> Room {
        Room { path: config.path.clone(), min_free_bytes: config.min_free_bytes }
    }

    /// Why no row is taken now, if so: ClickHouse's own code for it.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let free = free_bytes(&self.path)
            .map_err(|error| Failure::new(1001, format!("{}: {error}", self.path.display())))?;
        if free >= self.min_free_bytes {
            return Ok(());
        }
        let (path, min) = (self.path.display(), self.min_free_bytes);
        let said = format!("{path}: {free} bytes free, fewer than min_free_bytes {min}");
        Err(Failure::new(243, said))
    }

    /// Looks once, and then goes on looking in what is returned, for as long as the engine is open.
    pub(super) async fn watch(&self, engine: Arc<Engine>) -> impl Future<Output = ()> + use<> {
        let room = self.clone();
        let mut merges_on = room.turn(&engine, true).await;
        async move {
            let mut due = tokio::time::interval(LOOK_INTERVAL);
            due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                due.tick().await;
                merges_on = room.turn(&engine, merges_on).await;
            }
        }
    }

    /// Stops or starts merging where that must change, and returns how it is now.
    async fn turn(&self, engine: &Engine, merges_on: bool) -> bool {
        let has_room = self.check();
        if has_room.is_ok() == merges_on {
            return merges_on;
        }
        match (&has_room, engine.merges(!merges_on).await) {
            (Ok(()), Ok(())) => tracing::warn!("the disk has room again: parts are merged again"),
            (Err(why), Ok(())) => {
                tracing::warn!(why = why.text, "no rows are taken and no parts merged");
            }
            (_, Err(error)) => {
                tracing::error!(%error, "merging could not be stopped or started; trying again");
                return merges_on;
            }
        }
        !merges_on
    }
}

/// Bytes that an ordinary user may still write on the disk of `dir`.
fn free_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
