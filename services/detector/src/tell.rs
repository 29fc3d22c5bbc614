//! Puts events on the log, and waits until it has them.

use futures::{StreamExt, stream};
use heliograph_log::{Log, LogError, NewRecord};
use heliograph_service::retry::Backoff;
use std::time::Duration;

/// Appends on their way at a time.
const IN_FLIGHT_MAX: usize = 256;

/// Appends all of them, in their order, and tries again for as long as that can help. What is tried
/// again may come behind what was written after it: what must keep its order is told apart.
///
/// # Errors
/// When the log refuses one for good.
pub async fn tell(
    log: &dyn Log,
    mut records: Vec<NewRecord>,
    retry_delay_max: Duration,
) -> Result<(), LogError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), retry_delay_max);
    loop {
        let appends: Vec<_> = records.iter().map(|record| log.append(record.clone())).collect();
        let outcomes: Vec<_> = stream::iter(appends).buffered(IN_FLIGHT_MAX).collect().await;
        let mut again = Vec::new();
        for (record, outcome) in records.into_iter().zip(outcomes) {
            match outcome {
                Ok(_) => {}
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, to = %record.to, "not taken; trying again");
                    again.push(record);
                }
                Err(error) => return Err(error),
            }
        }
        if again.is_empty() {
            return Ok(());
        }
        records = again;
        tokio::time::sleep(backoff.next_delay()).await;
    }
}
