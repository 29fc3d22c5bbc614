//! Putting a dead letter back into the flow: the thin part. What becomes of it, `replay` plans.

use super::Admin;
use crate::{
    error::{log_status, violation},
    replay::{self, Replay},
    viewer::now,
};
use heliograph_contract::{
    error::ErrorClass,
    event::{trace_header, trace_of},
    topic, v1,
};
use heliograph_domain::{Violation, trace::TraceContext, upload::Rejected};
use heliograph_log::TopicPartition;
use prost::Message;
use tonic::Status;

pub async fn replay(
    admin: &Admin,
    request: &v1::ReplayDeadLetterRequest,
) -> Result<v1::ReplayDeadLetterResponse, Status> {
    let offset = request.offset;
    let (letter, trace) = read(admin, offset).await?;
    let partitions = admin.log.partitions(topic::UPLOADS).await.map_err(|e| log_status(&e))?;
    let Replay { record, accepted, rejected } =
        replay::plan(letter, offset, &admin.registry.current(), partitions, now())
            .map_err(violation)?;
    let mut answer = v1::ReplayDeadLetterResponse {
        accepted: accepted as u64,
        rejected: rejected.into_iter().map(to_wire).collect(),
        ..Default::default()
    };
    if let Some(mut record) = record {
        if trace_of(&record.headers).is_none() {
            record.headers.extend(trace.map(trace_header));
        }
        answer.topic = record.to.topic.to_string();
        answer.partition = record.to.partition;
        if !request.dry_run {
            let appended = admin.log.append(record).await.map_err(|e| log_status(&e))?;
            answer.offset = Some(appended.offset);
        }
    }
    Ok(answer)
}

/// The letter, and the trace that it belongs to.
async fn read(
    admin: &Admin,
    offset: u64,
) -> Result<(v1::DeadLetter, Option<TraceContext>), Status> {
    let at = TopicPartition::new(topic::DEAD_LETTERS, 0);
    let held = admin.log.offsets(&at).await.map_err(|e| log_status(&e))?;
    let records = match (held.first..held.end).contains(&offset) {
        true => admin.log.read(&at, offset, 1).await.map_err(|e| log_status(&e))?,
        false => Vec::new(),
    };
    let record = records.into_iter().find(|r| r.offset == offset).ok_or_else(|| {
        let want = format!("one of {} to before {}", held.first, held.end);
        ErrorClass::NotFound.status(Violation::new("offset", offset, want).to_string())
    })?;
    let trace = trace_of(&record.headers);
    let value = record.value.unwrap_or_default();
    let letter = v1::DeadLetter::decode(value).map_err(|error| {
        violation(Violation::new("offset", error, "a record that is a dead letter"))
    })?;
    Ok((letter, trace))
}

fn to_wire(r: Rejected) -> v1::RejectedReading {
    let Violation { field, got, want } = r.violation;
    v1::RejectedReading { index: r.index as u64, field, got, want }
}
