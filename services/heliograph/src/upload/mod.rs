//! `heliograph upload`: a CSV file into a site, as a logger would send it.
//!
//! Two passes over the file: the first learns in which order its dates are written, the second sends.
//! An empty cell is no reading; a cell that is no number is named and left out, its neighbours are
//! sent. Sending the file again is harmless: a reading is stored once.

mod columns;
mod send;
mod times;

use crate::endpoint::Endpoint;
use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use columns::{Column, columns};
use heliograph_domain::{DeviceId, Timestamp, Violation, unit};
use send::{ReadingJson, Sender};
use std::{
    fmt,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};
use times::{Order, Times, parse_zone};

/// Mistakes that are shown one by one.
const MISTAKES_SHOWN_MAX: usize = 20;

/// Upload a CSV file: one row a time, one column a series
///
/// The first row names the columns. What each is taken for is shown first; --dry-run ends there.
/// Uploading a file again does no harm: a reading is stored once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  export HELIOGRAPH_SITE_TOKEN=$(heliograph site add roof-7 --tenant acme --zone Asia/Tokyo)
  heliograph upload roof-7.csv --zone Asia/Tokyo --dry-run
  heliograph upload roof-7.csv --zone Asia/Tokyo --column P=inv1/ac_power[kW]")]
pub struct UploadArgs {
    /// The file: comma-separated, UTF-8, with a header.
    file: PathBuf,
    /// Upload token of the site, as site add printed it; in the environment nobody else sees it
    #[arg(long, env = "HELIOGRAPH_SITE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The site that the token must be of; without it, whichever site's it is
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Column with the times [default: the first]
    #[arg(long, value_name = "HEADER")]
    time: Option<String>,
    /// Zone of times without an offset: an IANA name, or an offset such as -07:00.
    #[arg(long, allow_hyphen_values = true)]
    zone: Option<String>,
    /// Order of day and month where the file's own dates do not tell.
    #[arg(long, value_name = "ORDER")]
    date_order: Option<DateOrder>,
    /// Device of columns that name none.
    #[arg(long, default_value = "plant")]
    device: DeviceId,
    /// Upload this column as this series; may be repeated. Without it, all columns.
    #[arg(long = "column", value_name = "HEADER=DEVICE/METRIC[UNIT]")]
    columns: Vec<String>,
    /// Readings in one upload.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    batch: usize,
    /// Only show what each column and the first row are taken for.
    #[arg(long)]
    dry_run: bool,
    /// Address of the gateway [default: that of the `heliograph up` in --data-dir]
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// Directory of an installation on this machine.
    #[arg(long, default_value = "data", env = "HELIOGRAPH_DATA_DIR")]
    data_dir: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DateOrder {
    MonthFirst,
    DayFirst,
}

/// # Errors
/// When the file or an argument cannot be understood, or the gateway refuses an upload.
pub async fn run(args: UploadArgs) -> anyhow::Result<ExitCode> {
    ensure!(args.batch > 0, "--batch: got 0, want at least 1");
    let mut out = std::io::stdout().lock();
    let plan = Plan::of(&args).with_context(|| args.file.display().to_string())?;
    writeln!(out, "{plan}")?;
    if args.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    let token = args.token.clone().filter(|token| !token.is_empty()).context(
        "--token: got nothing, want the site's upload token, here or in HELIOGRAPH_SITE_TOKEN; \
         `heliograph site rotate-token SITE` makes a new one",
    )?;
    let sender = Sender::new(&gateway(&args)?, token, args.site.clone())?;
    let mut report = Report::default();
    let outcome = send(&args, &plan, &sender, &mut report).await;
    report.print(&mut out)?;
    outcome?;
    if let Some((first, last)) = report.span {
        let site = args.site.as_deref().unwrap_or("SITE");
        let end = last.plus_ms(1_000);
        writeln!(
            out,
            "see them a second later: heliograph readings {site} --from {first} --to {end}"
        )?;
    }
    let clean = report.mistakes == 0;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn gateway(args: &UploadArgs) -> anyhow::Result<String> {
    if let Some(gateway) = &args.gateway {
        return Ok(gateway.clone());
    }
    let dir = args.data_dir.display();
    let endpoint = Endpoint::read(&args.data_dir)?.with_context(|| {
        format!("no gateway: `heliograph up` never ran in {dir}; name one by --gateway")
    })?;
    Ok(endpoint.gateway)
}

/// How the file is read.
#[derive(Debug)]
struct Plan {
    /// Cells of the header.
    headers: usize,
    time_at: usize,
    times: Times,
    columns: Vec<Column>,
    /// The first row that has a reading.
    first: Vec<ReadingJson>,
}

impl Plan {
    fn of(args: &UploadArgs) -> anyhow::Result<Self> {
        let mut csv = open(&args.file)?;
        let headers: Vec<String> = csv.headers()?.iter().map(str::to_owned).collect();
        let time_at = match &args.time {
            None => 0,
            Some(name) => headers.iter().position(|h| h == name).ok_or_else(|| {
                let want = format!("a column of the file: {}", headers.join(", "));
                Violation::new("--time", format_args!("{name:?}"), want)
            })?,
        };
        let columns = columns(&headers, time_at, &args.device, &args.columns)?;
        let zone = args.zone.as_deref().map(parse_zone).transpose()?;
        let told = args.date_order.map(|order| match order {
            DateOrder::MonthFirst => Order::MonthFirst,
            DateOrder::DayFirst => Order::DayFirst,
        });
        let mut times = Times { order: told.unwrap_or_default(), zone };
        if told.is_none() {
            let (mut row, mut before) = (csv::StringRecord::new(), String::new());
            while csv.read_record(&mut row)? {
                let time = row.get(time_at).unwrap_or_default();
                times.order = times.order.learn(&before, time).with_context(|| at_line(&row))?;
                before.replace_range(.., time);
            }
        }
        let headers = headers.len();
        let mut plan = Self { headers, time_at, times, columns, first: Vec::new() };
        for row in open(&args.file)?.records() {
            plan.first = plan.readings(&row?)?.0;
            if !plan.first.is_empty() {
                return Ok(plan);
            }
        }
        anyhow::bail!("no row has a reading")
    }

    /// The readings of a row, and the cells that are no numbers.
    ///
    /// # Errors
    /// When the row has no time.
    fn readings(
        &self,
        row: &csv::StringRecord,
    ) -> anyhow::Result<(Vec<ReadingJson>, Vec<Violation>)> {
        check_width(row, self.headers)?;
        let time = row.get(self.time_at).unwrap_or_default();
        let ts = self.times.read(time).with_context(|| at_line(row))?;
        let (mut readings, mut mistakes) = (Vec::new(), Vec::new());
        for column in &self.columns {
            let cell = row.get(column.at).unwrap_or_default().trim();
            // A logger's usual words for "nothing measured".
            if cell.is_empty() || cell.eq_ignore_ascii_case("nan") || cell == "-" {
                continue;
            }
            match cell.parse::<f64>() {
                Ok(value) if value.is_finite() => readings.push(column.reading(ts, value)),
                _ => mistakes.push(Violation::new(
                    format!("{}, column {:?}", at_line(row), column.header),
                    format_args!("{cell:?}"),
                    "a number, or nothing",
                )),
            }
        }
        Ok((readings, mistakes))
    }
}

impl Column {
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

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Column { header, device, metric, unit, .. } in &self.columns {
            let how = match (unit, unit::stored_unit(metric.as_str())) {
                (Some(unit), _) => format!(" [{unit}]"),
                (None, Some(stored)) => format!(", taken as {stored}"),
                (None, None) => ", a metric without a known unit".to_owned(),
            };
            writeln!(f, "{header:?} is {device}/{metric}{how}")?;
        }
        if self.columns.iter().any(|c| c.unit.is_none()) {
            writeln!(
                f,
                "where that is not so: --column 'HEADER=DEVICE/METRIC[UNIT]' for each column to \
                 upload; `heliograph metrics` lists metrics and units"
            )?;
        }
        match self.first.first() {
            None => Ok(()),
            Some(ReadingJson { device, metric, ts, value, .. }) => {
                write!(f, "first reading: {device}/{metric} = {value} at {ts}")
            }
        }
    }
}

fn open(file: &Path) -> anyhow::Result<csv::Reader<std::fs::File>> {
    Ok(csv::ReaderBuilder::new().flexible(true).from_path(file)?)
}

/// A row that is cut off, or a file that is not separated by commas.
fn check_width(row: &csv::StringRecord, headers: usize) -> Result<(), Violation> {
    let want = format!("{headers} cells between commas, as the header has");
    match row.len() == headers {
        true => Ok(()),
        false => Err(Violation::new(at_line(row), format!("{} cells", row.len()), want)),
    }
}

fn at_line(row: &csv::StringRecord) -> String {
    row.position().map_or_else(String::new, |at| format!("line {}", at.line()))
}

async fn send(
    args: &UploadArgs,
    plan: &Plan,
    sender: &Sender,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut csv = open(&args.file)?;
    let (mut batch, mut row) = (Vec::new(), csv::StringRecord::new());
    while csv.read_record(&mut row)? {
        match plan.readings(&row) {
            Ok((readings, mistakes)) => {
                report.span(&readings);
                batch.extend(readings);
                mistakes.iter().for_each(|m| report.mistake(m.to_string()));
            }
            Err(error) => report.mistake(format!("{error:#}")),
        }
        while batch.len() >= args.batch {
            let rest = batch.split_off(args.batch);
            report.add(&batch, sender.send(&batch).await?);
            batch = rest;
        }
    }
    if !batch.is_empty() {
        report.add(&batch, sender.send(&batch).await?);
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Report {
    /// The first and the last time.
    span: Option<(Timestamp, Timestamp)>,
    uploads: usize,
    accepted: usize,
    mistakes: usize,
    shown: Vec<String>,
}

impl Report {
    fn mistake(&mut self, text: String) {
        self.mistakes += 1;
        if self.shown.len() < MISTAKES_SHOWN_MAX {
            self.shown.push(text);
        }
    }

    fn span(&mut self, readings: &[ReadingJson]) {
        for ts in readings.iter().filter_map(|r| Timestamp::parse_rfc3339("ts", &r.ts).ok()) {
            let (first, last) = self.span.unwrap_or((ts, ts));
            self.span = Some((first.min(ts), last.max(ts)));
        }
    }

    fn add(&mut self, batch: &[ReadingJson], taken: send::Taken) {
        self.uploads += 1;
        self.accepted += taken.accepted;
        for send::Rejected { index, field, got, want } in taken.rejected {
            let of = batch
                .get(index)
                .map_or_else(String::new, |r| format!("{}/{} at {}: ", r.device, r.metric, r.ts));
            self.mistake(format!("{of}{field}: got {got}, want {want}"));
        }
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        for text in &self.shown {
            writeln!(out, "left out: {text}")?;
        }
        if self.mistakes > self.shown.len() {
            writeln!(out, "left out: {} more", self.mistakes - self.shown.len())?;
        }
        let Self { uploads, accepted, mistakes, .. } = self;
        writeln!(out, "{accepted} readings taken in {uploads} uploads, {mistakes} left out")
    }
}
