//! From CSV text to rows of (column, value).

use super::{Column, ZONE};
use anyhow::{Context, bail};
use jiff::{civil, tz::TimeZone};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// One line of a file: a time, and the cells that are not missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub ts_ms: i64,
    /// (index into the file's columns, value in the unit of the file)
    pub cells: Vec<(usize, f64)>,
}

/// The rows of a file in the order of time.
#[derive(Debug)]
pub struct SampleSeries {
    pub columns: &'static [Column],
    pub rows: Vec<Row>,
    /// Local midnight at or before the first row, in ms UTC.
    pub first_midnight_ms: i64,
    /// Local days that the rows touch: after so many the replay begins anew.
    pub cycle_days: i64,
}

impl SampleSeries {
    pub fn cycle_ms(&self) -> i64 {
        self.cycle_days * DAY_MS
    }

    /// Readings in one pass through the file.
    pub fn readings_count(&self) -> usize {
        self.rows.iter().map(|r| r.cells.len()).sum()
    }
}

/// Reads a file's text by its table of columns. The time is the first column.
///
/// # Errors
/// A missing column, a time or a number that is none, times that do not ascend, no rows at all.
pub(super) fn series(text: &str, columns: &'static [Column]) -> anyhow::Result<SampleSeries> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers()?.clone();
    let places: Vec<usize> = columns
        .iter()
        .map(|c| {
            let at = header.iter().position(|h| h.trim() == c.header);
            at.with_context(|| format!("no column {:?}", c.header))
        })
        .collect::<Result<_, _>>()?;
    let mut rows: Vec<Row> = Vec::new();
    for (line, record) in reader.records().enumerate() {
        let row = row(&record?, &places).with_context(|| format!("line {}", line + 2))?;
        if rows.last().is_some_and(|last| last.ts_ms >= row.ts_ms) {
            bail!("line {}: its time is not after the one before", line + 2);
        }
        rows.push(row);
    }
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { bail!("no rows") };
    let midnight = |ts_ms: i64| {
        let local = ts_ms + super::ZONE_OFFSET_MS;
        local - local.rem_euclid(DAY_MS) - super::ZONE_OFFSET_MS
    };
    let first_midnight_ms = midnight(first.ts_ms);
    let cycle_days = (midnight(last.ts_ms) - first_midnight_ms) / DAY_MS + 1;
    Ok(SampleSeries { columns, rows, first_midnight_ms, cycle_days })
}

fn row(record: &csv::StringRecord, places: &[usize]) -> anyhow::Result<Row> {
    let time = record.get(0).unwrap_or_default();
    let ts_ms = time_ms(time).with_context(|| format!("time {time:?}"))?;
    let mut cells = Vec::with_capacity(places.len());
    for (column, place) in places.iter().enumerate() {
        let text = record.get(*place).unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        let value: f64 = text.parse().with_context(|| format!("value {text:?}"))?;
        if !value.is_finite() {
            bail!("value {text:?}: want a finite number or nothing");
        }
        cells.push((column, value));
    }
    Ok(Row { ts_ms, cells })
}

/// Reads the three ways in which the files write a time: `1/2/2022 0:15`,
/// `2022-01-02 00:15:00` (both local, UTC−7) and `2022-03-18 04:33:00-07:00`.
fn time_ms(text: &str) -> anyhow::Result<i64> {
    if let Ok(with_offset) = text.parse::<jiff::Timestamp>() {
        return Ok(with_offset.as_millisecond());
    }
    let local = match civil::DateTime::strptime("%m/%d/%Y %H:%M", text) {
        Ok(local) => local,
        Err(_) => text.parse::<civil::DateTime>()?,
    };
    Ok(local.to_zoned(TimeZone::get(ZONE)?)?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    static COLUMNS: &[Column] =
        &[Column { header: "p", device: "d", metric: "ac_power", unit: None }];

    #[test]
    fn the_three_ways_to_write_a_time_are_one_time() {
        // 2022-01-02T00:15:00Z − (−7 h)
        for text in ["1/2/2022 0:15", "2022-01-02 00:15:00", "2022-01-02 00:15:00-07:00"] {
            assert_eq!(time_ms(text).unwrap(), 1_641_107_700_000, "{text}");
        }
        assert!(time_ms("yesterday").is_err());
    }

    #[test]
    fn a_file_that_is_not_as_the_table_says_is_refused() {
        let rows = [
            ("a column is missing", "t,q\n1/2/2022 0:15,1\n", "no column \"p\""),
            ("a cell is no number", "t,p\n1/2/2022 0:15,x\n", "line 2"),
            ("not a number is no value", "t,p\n1/2/2022 0:15,NaN\n", "line 2"),
            ("times ascend", "t,p\n1/2/2022 0:15,1\n1/2/2022 0:15,1\n", "line 3"),
            ("there are rows", "t,p\n", "no rows"),
        ];
        for (name, text, want) in rows {
            let got = format!("{:#}", series(text, COLUMNS).unwrap_err());
            assert!(got.contains(want), "{name}: {got}");
        }
    }

    #[test]
    fn a_cycle_is_the_days_that_the_file_touches() {
        let text = "t,p\n1/2/2022 23:59,1\n1/3/2022 0:00,\n1/5/2022 0:00,2\n";
        let got = series(text, COLUMNS).unwrap();
        assert_eq!((got.cycle_days, got.rows.len(), got.readings_count()), (4, 3, 2));
        assert_eq!(got.first_midnight_ms, time_ms("1/2/2022 0:00").unwrap());
    }
}
