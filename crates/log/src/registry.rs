//! The registry as every service sees it: a projection of `heliograph.registry`, kept current.
//!
//! Invariant: [`Projection::load`] returns only when the topic has been read to the end it had
//! then, so nobody answers from half a registry. What it is not: it never writes; changes are
//! appended to the topic and come back.

use crate::port::{LogError, LogRead, Record, TopicPartition};
use heliograph_contract::{registry, topic};
use heliograph_domain::registry::Registry;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const READ_BYTES_MAX: usize = 1 << 20;
const WAIT: Duration = Duration::from_secs(5);

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
        let tp = TopicPartition::new(topic::REGISTRY, 0);
        let end = log.offsets(&tp).await?.end;
        let mut view = View::default();
        while view.next_offset < end {
            let records = log.read(&tp, view.next_offset, READ_BYTES_MAX).await?;
            if records.is_empty() {
                break;
            }
            apply(&mut view, records);
        }
        let (publish, receive) = watch::channel(view.clone());
        tokio::spawn(follow(log, tp, view, publish, shutdown));
        Ok(Self { view: receive })
    }

    /// The registry as far as it has been read.
    pub fn current(&self) -> Arc<Registry> {
        self.view.borrow().registry.clone()
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
) {
    loop {
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
                tokio::time::sleep(Duration::from_secs(1)).await;
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
