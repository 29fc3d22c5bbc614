//! `heliograph audit --alerts`: do the alerts that were told follow from the uploads?
//!
//! It reads each partition of the uploads in one pass from its beginning, with the detector's own
//! deciding code, however often detectors were killed, replaced or frozen meanwhile; and compares with
//! that the reports of doors, the alerts, and the detector's own snapshots, each byte for byte. Where
//! retention has cut the log, it begins with the oldest snapshot that stands for what is left. What it
//! is not: a check of the rules; tables and the simulation are.

use super::{
    source::LogSource,
    told::{Findings, Wanted, compare},
};
use anyhow::Context;
use heliograph_contract::{
    alert::{Alert, decode_report, encode_report},
    topic,
    v1::{DoorReport, PartitionOffsets},
};
use heliograph_detector::{
    config::GROUP, generations::snapshots, judge::Judge, judging, records, snapshot::Snapshot,
    staleness::Partition,
};
use heliograph_domain::Timestamp;
use heliograph_log::{LogRead, Record, TopicPartition};
use serde::Serialize;
use std::{collections::BTreeMap, ops::Range, time::Duration};
use tokio::time::Instant;

const READ_BYTES_MAX: usize = 4 << 20;
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const ALERTS_MAX: usize = 1_000;

/// The result. Alerts, incidents and reports of doors together.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    #[serde(flatten)]
    pub found: Findings,
    /// Records of `heliograph.uploads` that were decided on anew.
    pub records: u64,
    /// Snapshots that were compared with the state at their offset, and those that differ.
    pub snapshots: u64,
    pub snapshots_differing: u64,
    /// What could not be compared.
    pub notes: Vec<String>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.found.differences() + self.snapshots_differing == 0
    }

    pub fn to_text(&self) -> String {
        let Findings { missing, unexpected, differing, told, repeated, examples } = &self.found;
        let mut text = format!(
            "told             {told:>12}\nrepeated         {repeated:>12}\n\
             missing          {missing:>12}\nunexpected       {unexpected:>12}\n\
             differing        {differing:>12}\nsnapshots        {:>12}\n\
             that differ      {:>12}\n",
            self.snapshots, self.snapshots_differing
        );
        for line in examples.iter().chain(&self.notes) {
            text += &format!("note: {line}\n");
        }
        text += match self.is_clean() {
            true => "what was told follows from the uploads\n",
            false => "what was told and the uploads differ\n",
        };
        text
    }
}

/// Compares what was told with what follows from the log, up to where it ends now.
///
/// # Errors
/// When the log cannot be read.
pub async fn audit(
    offsets: &impl LogSource,
    log: &impl LogRead,
    patience: Duration,
) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let uploads = settled(offsets, topic::UPLOADS, GROUP, patience, &mut report).await?;
    let cohorts = settled(offsets, topic::COHORTS, judging::GROUP, patience, &mut report).await?;
    let (mut alerts, mut doors, mut judged) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (number, range, committed) in uploads {
        let Some(mut replay) = Replay::begin(log, number, range.start).await? else {
            report.notes.push(format!(
                "{}/{number} begins at offset {}, and no snapshot stands for what came before: it is \
                 not compared",
                topic::UPLOADS, range.start
            ));
            continue;
        };
        let start = replay.partition.next_offset();
        let tp = TopicPartition::new(topic::UPLOADS, number);
        each(log, &tp, start..range.end, |record| replay.read(record, committed)).await?;
        report.records += range.end.saturating_sub(start);
        replay.compare_snapshots(&mut report);
        alerts.append(&mut replay.alerts);
        doors.append(&mut replay.doors);
        judged.insert(number, start..range.end);
    }
    let reports = told(log, topic::COHORTS).await?;
    let is_judged = |partition: u32, offset: u64| {
        judged.get(&partition).is_some_and(|range: &Range<u64>| range.contains(&offset))
    };
    report.found.add(compare(&doors, &reports, |record| {
        match decode_report(&record.headers, record.value.as_ref()) {
            Ok(Some(DoorReport { partition, offset, .. })) => is_judged(partition, offset),
            Ok(None) => false,
            Err(_) => true,
        }
    }));
    let all = told(log, topic::ALERTS).await?;
    report.found.add(compare(&alerts, &all, |record| {
        match Alert::decode(&record.headers, record.value.as_ref()) {
            Ok(Some(Alert::WentStale(a))) => is_judged(a.partition, a.offset),
            Ok(Some(Alert::Recovered(a))) => is_judged(a.partition, a.offset),
            // Compared by partition, below.
            Ok(Some(Alert::IncidentOpened(_) | Alert::IncidentClosed(_)) | None) => false,
            Err(_) => true,
        }
    }));
    for (_, range, committed) in cohorts {
        if range.start > 0 {
            report.notes.push(format!(
                "{} begins at offset {}: incidents are not compared",
                topic::COHORTS,
                range.start
            ));
            continue;
        }
        incidents(&reports, &range, committed, &all, &mut report.found);
    }
    Ok(report)
}

/// Each partition of the alerts has every incident.
fn incidents(
    reports: &[Record],
    range: &Range<u64>,
    committed: u64,
    all: &[Record],
    found: &mut Findings,
) {
    let mut judge = Judge::default();
    let mut wanted = Vec::new();
    for record in reports.iter().filter(|record| range.contains(&record.offset)) {
        if let Ok(Some(alert)) = records::read_report(&mut judge, record) {
            let (lane, is_due) = ("incidents".to_owned(), record.offset < committed);
            wanted.push(Wanted { lane, record: alert.encode(), is_due });
        }
    }
    let mut partitions: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
    for record in all {
        partitions.entry(record.at.partition).or_default().push(record.clone());
    }
    for records in partitions.values() {
        found.add(compare(&wanted, records, |record| {
            match Alert::decode(&record.headers, record.value.as_ref()) {
                Ok(Some(Alert::IncidentOpened(a))) => a.offset < range.end,
                Ok(Some(Alert::IncidentClosed(a))) => a.offset < range.end,
                _ => false,
            }
        }));
    }
}

/// Deciding anew on one partition.
struct Replay {
    partition: Partition,
    last_append: Timestamp,
    alerts: Vec<Wanted>,
    doors: Vec<Wanted>,
    /// Snapshots of the log to come, the next one last.
    ahead: Vec<(String, Snapshot)>,
    compared: Vec<(String, bool)>,
}

impl Replay {
    /// Where the log begins, at `first`, or at the oldest snapshot that stands for what is left; none
    /// where none does.
    async fn begin(log: &impl LogRead, number: u32, first: u64) -> anyhow::Result<Option<Self>> {
        let mut ahead = snapshots(log, number).await?;
        ahead.reverse();
        let mut partition = Partition::new(number);
        while partition.next_offset() < first {
            let Some((_, oldest)) = ahead.pop() else { return Ok(None) };
            if let Ok(restored) = oldest.restore(number) {
                partition = restored;
            }
        }
        let last_append = Timestamp::from_ms(0);
        let (alerts, doors, compared) = Default::default();
        Ok(Some(Self { partition, last_append, alerts, doors, ahead, compared }))
    }

    fn read(&mut self, record: &Record, committed: u64) {
        self.meet_snapshots(record.offset);
        let (mut fresh, is_due) = (Vec::new(), record.offset < committed);
        // What cannot be understood, the detector passes over as well.
        let ticked = records::read(&mut self.partition, record, &mut fresh).unwrap_or_default();
        while !self.partition.judge(ALERTS_MAX, &mut fresh) {}
        self.last_append = record.append_time;
        self.alerts.extend(fresh.iter().map(|alert| {
            let lane = alert.site_id().unwrap_or_default().to_owned();
            Wanted { lane, record: alert.encode(), is_due }
        }));
        self.doors.extend(ticked.report.map(|door| {
            let lane = format!("the door of partition {}", door.partition);
            Wanted { lane, record: encode_report(&door), is_due }
        }));
    }

    /// Snapshots of before the record at `offset`.
    fn meet_snapshots(&mut self, offset: u64) {
        while let Some((name, kept)) = self.ahead.pop_if(|(_, s)| s.manifest.offset <= offset) {
            let state = Snapshot::of(&self.partition, self.last_append);
            let is_whole = kept.restore(self.partition.number()).is_ok();
            if is_whole && kept.manifest.offset == self.partition.next_offset() {
                self.compared.push((name, kept.manifest.sha256 == state.manifest.sha256));
            }
        }
    }

    fn compare_snapshots(&mut self, report: &mut Report) {
        self.meet_snapshots(self.partition.next_offset());
        for (name, is_equal) in self.compared.drain(..) {
            report.snapshots += 1;
            if !is_equal {
                report.snapshots_differing += 1;
                let number = self.partition.number();
                report.notes.push(format!("snapshot {number}/{name}: not the state at its offset"));
            }
        }
    }
}

/// The partitions of a topic: from where to where, and below which offset its group has done all.
/// Waits until that is the end of now, or comes no nearer for `patience`.
async fn settled(
    source: &impl LogSource,
    topic: &str,
    group: &str,
    patience: Duration,
    report: &mut Report,
) -> anyhow::Result<Vec<(u32, Range<u64>, u64)>> {
    let begun = source.offsets(topic, group).await?;
    let ends: BTreeMap<u32, u64> = begun.iter().map(|p| (p.partition, p.end_offset)).collect();
    let end = |p: &PartitionOffsets| ends.get(&p.partition).copied().unwrap_or(0);
    let (mut now, mut least, mut deadline) = (begun.clone(), u64::MAX, Instant::now() + patience);
    loop {
        let done = |p: &PartitionOffsets| p.committed_offset.unwrap_or(0).max(p.first_offset);
        let behind: u64 = now.iter().map(|p| end(p).saturating_sub(done(p))).sum();
        if behind < least {
            (least, deadline) = (behind, Instant::now() + patience);
        }
        if behind > 0 && Instant::now() < deadline {
            tokio::time::sleep(POLL_INTERVAL).await;
            now = source.offsets(topic, group).await?;
            continue;
        }
        if behind > 0 {
            report.notes.push(format!("{group} is behind by {behind} records of {topic}"));
        }
        return Ok(now.iter().map(|p| (p.partition, p.first_offset..end(p), done(p))).collect());
    }
}

async fn told(log: &impl LogRead, topic: &str) -> anyhow::Result<Vec<Record>> {
    let mut all = Vec::new();
    for number in 0..log.partitions(topic).await? {
        let tp = TopicPartition::new(topic, number);
        let range = log.offsets(&tp).await?;
        each(log, &tp, range.first..range.end, |record| all.push(record.clone())).await?;
    }
    Ok(all)
}

async fn each(
    log: &impl LogRead,
    tp: &TopicPartition,
    range: Range<u64>,
    mut take: impl FnMut(&Record),
) -> anyhow::Result<()> {
    let mut next = range.start;
    while next < range.end {
        let records = log.read(tp, next, READ_BYTES_MAX).await.context("read the log")?;
        let Some(last) = records.last() else { break };
        next = last.offset + 1;
        records.iter().filter(|record| record.offset < range.end).for_each(&mut take);
    }
    Ok(())
}
