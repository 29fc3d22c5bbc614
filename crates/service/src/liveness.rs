//! Whether this process is wedged: the loops that it cannot do without say that they turn.
//!
//! A [`Heartbeat`] is a loop's promise to turn at least so often. Invariant: it is kept whatever
//! the world outside does, since a loop beats each time that it turns, not each time that it got
//! something done; the longest silence allowed is longer than any wait within a turn. So a log or a
//! store that is away or hangs restarts nothing; a dead-locked, blocked or panicked loop does. What
//! it is not: readiness, or a measure of progress.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};
use tokio::time::Instant;

/// The heartbeats of a service.
#[derive(Debug, Clone)]
pub struct Liveness {
    started: Instant,
    beats: Arc<Mutex<Vec<Arc<Beat>>>>,
}

/// Held by a loop for as long as it runs. Dropped in a panic it tells of the panic; dropped
/// otherwise the loop has ended on purpose.
#[derive(Debug)]
pub struct Heartbeat {
    liveness: Liveness,
    beat: Arc<Beat>,
}

#[derive(Debug)]
struct Beat {
    name: &'static str,
    silence_max: Duration,
    /// Since the start.
    last_ms: AtomicU64,
    panicked: AtomicBool,
}

/// A loop that does not turn as it promised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wedged {
    #[error("{name}: silent for {silent:?}, at most {silence_max:?}")]
    Silent { name: &'static str, silent: Duration, silence_max: Duration },
    #[error("{name}: panicked")]
    Panicked { name: &'static str },
}

impl Default for Liveness {
    fn default() -> Self {
        Self { started: Instant::now(), beats: Arc::default() }
    }
}

impl Liveness {
    /// A loop begins, in the place of an earlier one of this name.
    pub fn register(&self, name: &'static str, silence_max: Duration) -> Heartbeat {
        let last_ms = AtomicU64::new(self.now_ms());
        let beat = Arc::new(Beat { name, silence_max, last_ms, panicked: AtomicBool::new(false) });
        let mut beats = self.beats();
        beats.retain(|other| other.name != name);
        beats.push(beat.clone());
        drop(beats);
        Heartbeat { liveness: self.clone(), beat }
    }

    /// Runs `task` as one whose turns cannot be told apart, since it waits for the world outside in
    /// many places: it is wedged when it blocks its thread, or panicked.
    pub fn watch<F: Future>(
        &self,
        name: &'static str,
        silence_max: Duration,
        task: F,
    ) -> impl Future<Output = F::Output> + use<F> {
        let heartbeat = self.register(name, silence_max);
        async move { heartbeat.while_waiting(task).await }
    }

    /// The loops that do not turn; none when all is well.
    pub fn wedged(&self) -> Vec<Wedged> {
        let now = Duration::from_millis(self.now_ms());
        self.beats().iter().filter_map(|beat| judge(beat, now)).collect()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn beats(&self) -> MutexGuard<'_, Vec<Arc<Beat>>> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge(beat: &Beat, now: Duration) -> Option<Wedged> {
    let Beat { name, silence_max, .. } = *beat;
    if beat.panicked.load(Acquire) {
        return Some(Wedged::Panicked { name });
    }
    let silent = now.saturating_sub(Duration::from_millis(beat.last_ms.load(Relaxed)));
    (silent > silence_max).then_some(Wedged::Silent { name, silent, silence_max })
}

impl Heartbeat {
    /// The loop turns.
    pub fn beat(&self) {
        self.beat.last_ms.store(self.liveness.now_ms(), Relaxed);
    }

    /// Waits for what may take as long as it likes, such as something to do: a loop that waits is
    /// not wedged.
    pub async fn while_waiting<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = std::pin::pin!(wait);
        loop {
            self.beat();
            match tokio::time::timeout(self.beat.silence_max / 4, wait.as_mut()).await {
                Ok(came) => {
                    self.beat();
                    return came;
                }
                Err(_) => continue,
            }
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.beat.panicked.store(true, Release);
            return;
        }
        self.liveness.beats().retain(|other| !Arc::ptr_eq(other, &self.beat));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn a_loop_is_wedged_when_it_panicked_or_is_silent_for_longer_than_it_promised() {
        let silent = |secs| Wedged::Silent { name: "l", silent: secs * SEC, silence_max: 10 * SEC };
        let rows = [
            ("it has just turned", 5, 5, false, None),
            ("it turned a while ago", 5, 15, false, None),
            ("it is silent for longer", 5, 16, false, Some(silent(11))),
            ("it never turned", 0, 60, false, Some(silent(60))),
            ("it turned while we looked", 6, 5, false, None),
            ("it panicked", 5, 5, true, Some(Wedged::Panicked { name: "l" })),
        ];
        for (name, last, now, panicked, want) in rows {
            let beat = Beat {
                name: "l",
                silence_max: 10 * SEC,
                last_ms: AtomicU64::new(last * 1_000),
                panicked: AtomicBool::new(panicked),
            };
            assert_eq!(judge(&beat, u32::try_from(now).unwrap() * SEC), want, "{name}");
        }
        assert_eq!(silent(11).to_string(), "l: silent for 11s, at most 10s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_counts_while_it_is_held() {
        let liveness = Liveness::default();
        assert_eq!(liveness.wedged(), [], "nothing was promised");
        let (a, b) = (liveness.register("a", SEC), liveness.register("b", 10 * SEC));
        tokio::time::advance(2 * SEC).await;
        let names = || -> Vec<String> { liveness.wedged().iter().map(|w| w.to_string()).collect() };
        assert_eq!(names(), ["a: silent for 2s, at most 1s"]);
        a.beat();
        assert_eq!(names(), [] as [String; 0]);
        tokio::time::advance(9 * SEC).await;
        assert_eq!(names().len(), 2);
        drop(a);
        assert_eq!(names(), ["b: silent for 11s, at most 10s"], "who has ended promised nothing");
        let again = liveness.register("b", SEC);
        drop(b);
        tokio::time::advance(2 * SEC).await;
        assert_eq!(names(), ["b: silent for 2s, at most 1s"], "the new one counts");
        again.while_waiting(tokio::time::sleep(60 * SEC)).await;
        assert_eq!(names(), [] as [String; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_not_wedged_and_who_panics_is() {
        let liveness = Liveness::default();
        let heartbeat = liveness.register("a", SEC);
        let waiting = async { heartbeat.while_waiting(std::future::pending::<()>()).await };
        let _ = tokio::time::timeout(60 * SEC, waiting).await;
        assert_eq!(liveness.wedged(), []);
        let panicking = tokio::spawn(async move {
            heartbeat.beat();
            panic!("a bug");
        });
        assert!(panicking.await.is_err());
        assert_eq!(liveness.wedged(), [Wedged::Panicked { name: "a" }]);
        let again = liveness.register("a", SEC);
        assert_eq!(liveness.wedged(), [], "it was started again");
        drop(again);
    }
}
