//! From records of the log to what a partition and the judge make of them. Pure.

use crate::{
    judge::Judge,
    staleness::{At, Partition, Ticked},
};
use heliograph_contract::{
    alert::{Alert, decode_report},
    event::{DecodeError, UploadsEvent, decode_uploads},
};
use heliograph_log::Record;

/// Reads one record of `heliograph.uploads`. Who is stale after a tick, [`Partition::judge`] says: it
/// is to be called until it is through.
///
/// # Errors
/// When the record cannot be understood; it has been passed over.
pub fn read(
    partition: &mut Partition,
    record: &Record,
    alerts: &mut Vec<Alert>,
) -> Result<Ticked, DecodeError> {
    let at = At { offset: record.offset, append_time: record.append_time };
    match decode_uploads(&record.headers, record.value.as_ref()) {
        // What an operator took from the dead letters is no sign of life, and the platform's own
        // uploads to itself are nobody's.
        Ok(UploadsEvent::Upload(upload)) if !upload.replayed && !upload.site.is_platform() => {
            alerts.extend(partition.upload(at, upload.site.as_str().as_bytes()));
        }
        Ok(UploadsEvent::Tick(tick)) => return Ok(partition.tick(at, &tick)),
        Ok(UploadsEvent::TicksMissing(_)) => {
            let report = partition.ticks_missing(at);
            return Ok(Ticked { report, ..Ticked::default() });
        }
        Ok(UploadsEvent::Watched(said)) => alerts.extend(partition.watched(at, &said)),
        Ok(UploadsEvent::Upload(_) | UploadsEvent::Unknown(_)) => partition.pass(at),
        Err(error) => {
            partition.pass(at);
            return Err(error);
        }
    }
    Ok(Ticked::default())
}

/// Reads one record of `heliograph.cohorts`.
///
/// # Errors
/// When the record cannot be understood; it is passed over.
pub fn read_report(judge: &mut Judge, record: &Record) -> Result<Option<Alert>, DecodeError> {
    let at = At { offset: record.offset, append_time: record.append_time };
    let report = decode_report(&record.headers, record.value.as_ref())?;
    Ok(report.and_then(|report| judge.read(at, report)))
}
