//! The shell around the judge: whoever owns the one partition of `heliograph.cohorts`.
//!
//! The topic is small, since a door is reported when it closes and when it opens again; so the judge
//! keeps no snapshot and begins with the oldest report that the log has. Invariant: a report is done
//! when every partition of the alerts has the incident that it caused.

use crate::{judge::Judge, metrics::Metrics, records, tell::tell};
use anyhow::Context;
use heliograph_contract::{alert::Alert, topic};
use heliograph_log::{
    Log, NewRecord, Record, TopicPartition,
    consumer::{ProcessorSide, Work},
};
use std::{sync::Arc, time::Duration};

/// The consumer group of the judge.
pub const GROUP: &str = "judge";

const READ_BYTES_MAX: usize = 1 << 20;

/// Decides on incidents, where this member owns the reports.
pub struct Judging {
    pub log: Arc<dyn Log>,
    pub metrics: Metrics,
    pub alerts_partitions: u32,
    pub retry_delay_max: Duration,
}

impl Judging {
    /// Runs until the consumer ends.
    ///
    /// # Errors
    /// When the log cannot be read, or refuses an incident for good.
    pub async fn run(self, mut side: ProcessorSide) -> anyhow::Result<()> {
        let mut judge = None;
        while let Some(work) = side.work.recv().await {
            match work {
                Work::Assigned(tps) => {
                    for at in tps {
                        judge = Some(self.restore(&at).await.context("read the reports")?);
                    }
                }
                Work::Records(taken) => {
                    for taken in taken {
                        let done = taken.done();
                        if let Some(alert) = judge.as_mut().and_then(|j| read(j, &taken.record)) {
                            self.tell(&alert).await.context("tell of an incident")?;
                        }
                        side.acks.done(done);
                    }
                }
                Work::Flush => {}
                Work::Forgotten(_) => judge = None,
            }
        }
        Ok(())
    }

    /// The judge before the next report: what those before caused is on the log.
    async fn restore(&self, at: &TopicPartition) -> anyhow::Result<Judge> {
        let range = self.log.offsets(at).await?;
        let committed = self.log.committed(GROUP, at).await?.unwrap_or(range.first);
        let (mut judge, mut next) = (Judge::default(), range.first);
        while next < committed {
            let records = self.log.read(at, next, READ_BYTES_MAX).await?;
            let Some(last) = records.last() else { break };
            next = last.offset + 1;
            for record in records.iter().filter(|record| record.offset < committed) {
                drop(read(&mut judge, record));
            }
        }
        Ok(judge)
    }

    async fn tell(&self, alert: &Alert) -> anyhow::Result<()> {
        let record = |of| NewRecord::event(TopicPartition::new(topic::ALERTS, of), alert.encode());
        let records = (0..self.alerts_partitions).map(record).collect();
        tell(&*self.log, records, self.retry_delay_max).await?;
        self.metrics.told(alert);
        match alert {
            Alert::IncidentOpened(_) => tracing::warn!(id = alert.id(), "an incident of ours"),
            _ => tracing::info!("the incident is over"),
        }
        Ok(())
    }
}

fn read(judge: &mut Judge, record: &Record) -> Option<Alert> {
    records::read_report(judge, record).unwrap_or_else(|error| {
        tracing::error!(at = %record.at, offset = record.offset, %error, "no report: passed over");
        None
    })
}
