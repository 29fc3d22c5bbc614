//! The registry as every service sees it: a projection of `heliograph.registry`, kept current.
//!
//! Invariant: [`Projection::load`] returns only when the topic has been read to the end it had
//! then, so nobody answers from half a registry. What it is not: it never writes; changes are
//! appended to the topic and come back.

use crate::{
    port::{LogError, LogRead, Record, TopicPartition},
    turn::Turn,
};
use heliograph_contract::{registry, topic};
use heliograph_domain::registry::Registry;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const READ_BYTES_MAX: usize = 1 << 20;
const WAIT: Duration = Duration::from_secs(5);
/// After an error; well below the second within which a change is to be known everywhere.
const PAUSE: Duration = Duration::from_millis(200);

/// The registry and how far it has been read.
#[derive(Debug, Clone, Default)]
struct View {
    registry: Arc<Registry>,
    next_offset: u64,
}

/// A registry that follows its topic.
#[derive(Debug, Clone)]
pub struct Projection {
    view: watch::Receiver<View>,
}

impl Projection {
    /// Reads the topic to its end, then goes on following it until `shutdown`.
    ///
    /// # Errors
    /// When the topic cannot be read at all.
    pub async fn load(
        log: Arc<dyn LogRead>,
        shutdown: CancellationToken,
    ) -> Result<Self, LogError> {
        Self::load_watched(log, shutdown, Turn::untold()).await
    }

    /// As [`Projection::load`]; `turn` is told each time that the follower turns.
    ///
    /// # Errors
    /// When the topic cannot be read at all.
    pub async fn load_watched(
        log: Arc<dyn LogRead>,
        shutdown: CancellationToken,
        turn: Turn,
    ) -> Result<Self, LogError> {
        let tp = TopicPartition::new(topic::REGISTRY, 0);
        let end = log.offsets(&tp).await?.end;
        let mut view = View::default();
        while view.next_offset < end {
            turn.turn();
            let records = log.read(&tp, view.next_offset, READ_BYTES_MAX).await?;
            if records.is_empty() {
                break;
            }
            apply(&mut view, records);
        }
        let (publish, receive) = watch::channel(view.clone());
        tokio::spawn(follow(log, tp, view, publish, shutdown, turn));
        Ok(Self { view: receive })
    }

    /// The registry as far as it has been read.
    pub fn current(&self) -> Arc<Registry> {
        self.view.borrow().registry.clone()
    }

    /// The registry, and the offset in its topic up to which it has been read.
    pub fn current_at(&self) -> (Arc<Registry>, u64) {
        let view = self.view.borrow();
        (view.registry.clone(), view.next_offset)
    }

    /// Resolves when the topic is no longer followed: after the shutdown, or by a bug.
    pub async fn stopped(&self) {
        let mut view = self.view.clone();
        while view.changed().await.is_ok() {}
    }

    /// Waits until the entry appended at `offset` has been read: read your own write.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the projection has stopped.
    pub async fn reached(&self, offset: u64) -> Result<(), LogError> {
        let mut view = self.view.clone();
        match view.wait_for(|v| v.next_offset > offset).await {
            Ok(_) => Ok(()),
            Err(_) => Err(LogError::Unavailable("the registry is no longer followed".into())),
        }
    }
}

async fn follow(
    log: Arc<dyn LogRead>,
    tp: TopicPartition,
    mut view: View,
    publish: watch::Sender<View>,
    shutdown: CancellationToken,
    turn: Turn,
) {
    loop {
        turn.turn();
        let records = tokio::select! {
            () = shutdown.cancelled() => return,
            records = next(&*log, &tp, view.next_offset) => records,
        };
        match records {
            Ok(records) if records.is_empty() => {}
            Ok(records) => {
                apply(&mut view, records);
                publish.send_replace(view.clone());
            }
            Err(error) => {
                // The last known registry goes on being served: an unreachable log must not turn
                // into refused tokens.
                tracing::warn!(%error, "registry not readable; going on with what is known");
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}

async fn next(log: &dyn LogRead, tp: &TopicPartition, from: u64) -> Result<Vec<Record>, LogError> {
    log.wait_past(tp, from, WAIT).await?;
    log.read(tp, from, READ_BYTES_MAX).await
}

fn apply(view: &mut View, records: Vec<Record>) {
    let registry = Arc::make_mut(&mut view.registry);
    for record in records {
        view.next_offset = record.offset + 1;
        let key = record.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        match record.value {
            None => registry.remove(&key),
            Some(value) => match registry::decode(&value) {
                Ok(entry) => registry.put(entry),
                Err(error) => {
                    tracing::error!(%key, offset = record.offset, %error, "registry entry passed over");
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory::MemoryLog,
        port::{Log, NewRecord, OffsetRange},
        topics,
    };
    use async_trait::async_trait;
    use heliograph_domain::{
        TenantId,
        registry::{Entry, Tenant},
    };
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::time::Instant;

    /// A log whose next reads fail.
    struct Flaky {
        inner: Arc<MemoryLog>,
        failures: AtomicU32,
    }

    #[async_trait]
    impl LogRead for Flaky {
        async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
            self.inner.partitions(topic).await
        }

        async fn offsets(&self, tp: &TopicPartition) -> Result<OffsetRange, LogError> {
            self.inner.offsets(tp).await
        }

        async fn read(
            &self,
            tp: &TopicPartition,
            from: u64,
            max_bytes: usize,
        ) -> Result<Vec<Record>, LogError> {
            let less = |n: u32| n.checked_sub(1);
            if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
                return Err(LogError::Unavailable("the test says so".into()));
            }
            self.inner.read(tp, from, max_bytes).await
        }

        async fn wait_past(
            &self,
            tp: &TopicPartition,
            offset: u64,
            timeout: Duration,
        ) -> Result<(), LogError> {
            self.inner.wait_past(tp, offset, timeout).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_follower_turns_while_the_log_is_away() {
        let inner = MemoryLog::new();
        inner.ensure_topics(&topics::declared().unwrap()).await.unwrap();
        let log = Arc::new(Flaky { inner, failures: AtomicU32::new(0) });
        let (turns, stop) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let told = turns.clone();
        let turn = Turn::tell(move || {
            told.fetch_add(1, Ordering::Relaxed);
        });
        let followed = Projection::load_watched(log.clone(), stop.clone(), turn).await.unwrap();
        for failures in [0, u32::MAX] {
            log.failures.store(failures, Ordering::Relaxed);
            let before = turns.load(Ordering::Relaxed);
            tokio::time::sleep(2 * WAIT).await;
            assert!(turns.load(Ordering::Relaxed) > before, "with {failures} failures to come");
        }
        stop.cancel();
        followed.stopped().await;
    }

    /// The clock is the test's: it stands still but for what the follower sleeps.
    #[tokio::test(start_paused = true)]
    async fn a_change_is_known_within_a_second_also_after_an_error() {
        let inner = MemoryLog::new();
        inner.ensure_topics(&topics::declared().unwrap()).await.unwrap();
        let log = Arc::new(Flaky { inner: inner.clone(), failures: AtomicU32::new(0) });
        let stop = CancellationToken::new();
        let followed = Projection::load(log.clone(), stop.clone()).await.unwrap();
        for (failures, id) in [(0, "t1"), (1, "t2"), (3, "t3")] {
            log.failures.store(failures, Ordering::Relaxed);
            let tenant = Tenant { id: TenantId::parse(id).unwrap(), name: id.into() };
            let to = TopicPartition::new(topic::REGISTRY, 0);
            let record = NewRecord::event(to, registry::encode(&Entry::Tenant(tenant)));
            let changed_at = Instant::now();
            let offset = inner.append(record).await.unwrap().offset;
            followed.reached(offset).await.unwrap();
            assert!(followed.current().tenant(id).is_some());
            assert!(changed_at.elapsed() < Duration::from_secs(1), "after {failures} errors");
            assert_eq!(log.failures.load(Ordering::Relaxed), 0);
        }
        stop.cancel();
    }
}
