//! Points as they stream in, block by block, into one pair of columns per series.
//!
//! Invariant: points come in the order (device, metric, time), so a series is whole when the next
//! one begins; nothing is sorted here.

use crate::error::{internal, store_status};
use clickhouse::native::{Block, decode::Decode};
use heliograph_contract::v1;
use heliograph_domain::{Timestamp, unit::stored_unit};
use tonic::Status;

/// What stands in the column `quality`.
const SUSPECT: i8 = 2;
const BAD: i8 = 3;

/// The series of one answer under way.
#[derive(Debug, Default)]
pub struct Points {
    series: Vec<v1::Series>,
    points: usize,
}

impl Points {
    pub fn len(&self) -> usize {
        self.points
    }

    pub fn series_len(&self) -> usize {
        self.series.len()
    }

    pub fn into_series(self) -> Vec<v1::Series> {
        self.series
    }

    /// Takes a block of `sql::raw`.
    pub fn take_raw(&mut self, block: &Block) -> Result<(), Status> {
        let qualities = column::<i8>(block, "quality")?;
        self.take(
            block,
            |at| Some(Timestamp::from_ms(at)),
            |series, row| {
                let quality = match qualities.get(row) {
                    Some(&SUSPECT) => v1::Quality::Suspect,
                    Some(&BAD) => v1::Quality::Bad,
                    _ => v1::Quality::Good,
                };
                series.qualities.push(quality.into());
            },
        )
    }

    /// Takes a block of `sql::points`; `start_of` knows when a bucket starts.
    pub fn take_buckets(
        &mut self,
        block: &Block,
        start_of: impl Fn(i64) -> Option<Timestamp>,
    ) -> Result<(), Status> {
        self.take(block, start_of, |_, _| {})
    }

    fn take(
        &mut self,
        block: &Block,
        start_of: impl Fn(i64) -> Option<Timestamp>,
        extra: impl Fn(&mut v1::Series, usize),
    ) -> Result<(), Status> {
        let devices = column::<&str>(block, "device")?;
        let metrics = column::<&str>(block, "metric")?;
        let starts = column::<i64>(block, "at")?;
        let values = column::<f64>(block, "value")?;
        for row in 0..block.num_rows() {
            let (device, metric) = (devices[row], metrics[row]);
            let ts = start_of(starts[row])
                .ok_or_else(|| internal("the store answered a bucket nobody asked for", device))?;
            let series = self.series_of(device, metric);
            series.ts_ms.push(ts.as_ms());
            series.values.push(values[row]);
            extra(series, row);
        }
        self.points += block.num_rows();
        Ok(())
    }

    fn series_of(&mut self, device: &str, metric: &str) -> &mut v1::Series {
        let same = |s: &v1::Series| s.device == device && s.metric == metric;
        if !self.series.last().is_some_and(same) {
            self.series.push(v1::Series {
                device: device.to_owned(),
                metric: metric.to_owned(),
                unit: stored_unit(metric).unwrap_or_default().to_owned(),
                ..Default::default()
            });
        }
        let last = self.series.len() - 1;
        &mut self.series[last]
    }
}

/// A column, decoded; as long as the block.
fn column<'a, T: Decode<'a> + 'a>(block: &'a Block, name: &str) -> Result<Vec<T>, Status> {
    let Some(column) = block.column_by_name(name) else {
        return Err(internal("the store left out a column", name));
    };
    let values = column.iter::<T>().map_err(|e| store_status(&e))?;
    let values: Vec<T> = values.collect::<Result<_, _>>().map_err(|e| store_status(&e))?;
    if values.len() != block.num_rows() {
        return Err(internal("the store answered a column of another length", name));
    }
    Ok(values)
}
