//! How a file is read: which column is which series, and what its times mean.
//!
//! The file is read once before anything is sent: its own dates tell their order, and values far
//! above 1 tell that a share is in per cent.

use super::{
    DateOrder, UploadArgs,
    columns::{Column, How, Wanted, columns, no_column},
    file,
    overview::Overview,
    report::counted,
    send::ReadingJson,
    times::{Order, Times, parse_zone},
};
use anyhow::{Context, ensure};
use heliograph_domain::{Timestamp, Violation, unit};

/// No share is larger, whatever the sensor's error.
const SHARE_MAX: f64 = 2.0;

/// How the file is read.
#[derive(Debug)]
pub struct Plan {
    /// Cells of the header.
    headers: usize,
    time_at: usize,
    pub times: Times,
    /// The order of day and month is an argument's, not the file's.
    pub order_is_told: bool,
    pub columns: Vec<Column>,
    pub overview: Overview,
}

/// What a row holds.
struct Cells {
    ts: Timestamp,
    /// Position in `columns`, and the value as the file has it.
    values: Vec<(usize, f64)>,
    mistakes: Vec<Violation>,
}

impl Plan {
    /// # Errors
    /// When the file cannot be read, or an argument does not fit it.
    pub fn of(args: &UploadArgs) -> anyhow::Result<Self> {
        let mut csv = file::open(&args.file)?;
        let headers = file::headers(&mut csv)?;
        let time_at = match &args.time {
            None => 0,
            Some(name) => headers
                .iter()
                .position(|h| h == name)
                .ok_or_else(|| no_column("--time", name, &headers))?,
        };
        let wanted = Wanted {
            device: &args.device,
            named: &args.columns,
            skipped: &args.skipped,
            only_named: args.only,
        };
        let mut columns = columns(&headers, time_at, &wanted)?;
        let zone = args.zone.as_deref().map(parse_zone).transpose()?;
        let told = args.date_order.map(|order| match order {
            DateOrder::MonthFirst => Order::MonthFirst,
            DateOrder::DayFirst => Order::DayFirst,
        });
        let mut times = Times { order: told.unwrap_or_default(), zone };
        let (mut row, mut before) = (csv::StringRecord::new(), String::new());
        while file::next(&mut csv, &mut row)? {
            if told.is_none() {
                let time = row.get(time_at).unwrap_or_default();
                times.order = times.order.learn(&before, time).with_context(|| at_line(&row))?;
                before.replace_range(.., time);
            }
            columns.iter_mut().for_each(|column| column.learn(&row));
        }
        let overview = Overview::new(columns.len());
        let (headers, order_is_told) = (headers.len(), told.is_some());
        let plan = Self { headers, time_at, times, order_is_told, columns, overview };
        let overview = plan.look_through(args)?;
        Ok(Self { overview, ..plan })
    }

    /// What is in the whole file. A row without a time before any reading is an argument that is
    /// missing, rather than a bad row.
    fn look_through(&self, args: &UploadArgs) -> anyhow::Result<Overview> {
        let mut overview = Overview::new(self.columns.len());
        let (mut csv, mut row) = (file::open(&args.file)?, csv::StringRecord::new());
        while file::next(&mut csv, &mut row)? {
            match self.cells(&row) {
                Ok(Cells { ts, values, mistakes }) => {
                    let time = row.get(self.time_at).unwrap_or_default();
                    overview.add(ts, time, &values);
                    overview.mistakes += mistakes.len();
                }
                Err(_) if overview.rows > 0 => overview.mistakes += 1,
                Err(error) => return Err(error),
            }
        }
        ensure!(overview.readings > 0, "no row has a reading");
        Ok(overview)
    }

    /// The readings of a row, and the cells that are no numbers.
    ///
    /// # Errors
    /// When the row has no time.
    pub fn readings(
        &self,
        row: &csv::StringRecord,
    ) -> anyhow::Result<(Vec<ReadingJson>, Vec<Violation>)> {
        let Cells { ts, values, mistakes } = self.cells(row)?;
        let column = |at: usize| self.columns.get(at);
        let readings = values.into_iter().filter_map(|(at, v)| Some(column(at)?.reading(ts, v)));
        Ok((readings.collect(), mistakes))
    }

    fn cells(&self, row: &csv::StringRecord) -> anyhow::Result<Cells> {
        check_width(row, self.headers)?;
        let time = row.get(self.time_at).unwrap_or_default();
        let ts = self.times.read(time).with_context(|| at_line(row))?;
        let (mut values, mut mistakes) = (Vec::new(), Vec::new());
        for (at, column) in self.columns.iter().enumerate() {
            let cell = row.get(column.at).unwrap_or_default().trim();
            // A logger's usual words for "nothing measured".
            if cell.is_empty() || cell.eq_ignore_ascii_case("nan") || cell == "-" {
                continue;
            }
            match cell.parse::<f64>() {
                Ok(value) if value.is_finite() => values.push((at, value)),
                _ => mistakes.push(Violation::new(
                    format!("{}, column {:?}", at_line(row), column.header),
                    format_args!("{cell:?}"),
                    "a number, or nothing",
                )),
            }
        }
        Ok(Cells { ts, values, mistakes })
    }
}

impl Column {
    /// A share whose values are far above 1 is in per cent.
    fn learn(&mut self, row: &csv::StringRecord) {
        let is_share = unit::stored_unit(self.metric.as_str()) == Some("1");
        let cell = row.get(self.at).and_then(|cell| cell.trim().parse::<f64>().ok());
        let is_above = cell.is_some_and(|value| value.is_finite() && value > SHARE_MAX);
        if self.how == How::Header && self.unit.is_none() && is_share && is_above {
            (self.unit, self.how) = (Some("%".to_owned()), How::ByValues);
        }
    }

    fn reading(&self, ts: Timestamp, value: f64) -> ReadingJson {
        ReadingJson {
            device: self.device.to_string(),
            metric: self.metric.to_string(),
            ts: ts.to_string(),
            value,
            unit: self.unit.clone(),
        }
    }
}

/// A row that is cut off, or a file that is not separated by commas.
fn check_width(row: &csv::StringRecord, headers: usize) -> Result<(), Violation> {
    let want = format!("{} between commas, as the header has", counted(headers, "cell"));
    match row.len() == headers {
        true => Ok(()),
        false => Err(Violation::new(at_line(row), counted(row.len(), "cell"), want)),
    }
}

fn at_line(row: &csv::StringRecord) -> String {
    row.position().map_or_else(String::new, |at| format!("line {}", at.line()))
}
