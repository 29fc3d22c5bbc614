//! `heliograph upload`: a CSV file into a site, as a logger would send it.
//!
//! Two passes over the file: the first learns what its dates and columns mean, the second sends. An
//! empty cell is no reading; a cell that is no number is named and left out, its neighbours are
//! sent. Sending the file again is harmless: a reading is stored once.

mod columns;
mod file;
mod header;
mod listing;
mod overview;
mod plan;
mod readable;
mod report;
mod send;
mod times;
mod units;

use crate::{endpoint::Endpoint, say};
use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use heliograph_domain::DeviceId;
use plan::Plan;
use readable::is_readable;
use report::{Report, counted};
use send::{Checked, Sender};
use std::{
    io::{IsTerminal, Write, stdin},
    path::PathBuf,
    process::ExitCode,
};

/// Upload a CSV file: one row a time, one column a series
///
/// The first row names the columns, with their units: `INV1 AC Power [kW]`, `Module Temp (°C)`. What
/// each is taken for is shown first. --dry-run ends there, and on a terminal you are asked: a wrong
/// name is best seen before, because what was uploaded is kept. Wrong values are mended by uploading
/// the right ones, of the same times, under the same names. A series of a wrong name stays; nobody
/// need look at it: --device and --metric of `readings` choose.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  export HELIOGRAPH_SITE_TOKEN=$(heliograph site add roof-7 --tenant acme --zone Asia/Tokyo)
  heliograph upload roof-7.csv --site roof-7 --zone Asia/Tokyo --dry-run
  heliograph upload roof-7.csv --site roof-7 --zone +09:00 --column P=inv1/ac_power[kW] \\
    --skip Remarks")]
pub struct UploadArgs {
    /// The file: comma-separated, UTF-8, with a header.
    file: PathBuf,
    /// Upload token of the site, as site add printed it; in the environment nobody else sees it
    #[arg(long, env = "HELIOGRAPH_SITE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The site to upload into; the token must be of it.
    #[arg(long, value_name = "ID")]
    site: String,
    /// Column with the times [default: the first]
    #[arg(long, value_name = "HEADER")]
    time: Option<String>,
    /// Zone of the file's times, where they have no offset: such as -07:00, or an IANA name.
    #[arg(long, allow_hyphen_values = true)]
    zone: Option<String>,
    /// Order of day and month where the file's own dates do not tell.
    #[arg(long, value_name = "ORDER")]
    date_order: Option<DateOrder>,
    /// Device of columns that name none.
    #[arg(long, default_value = "plant")]
    device: DeviceId,
    /// This column is this series, whatever its header says; may be repeated.
    #[arg(long = "column", value_name = "HEADER=DEVICE/METRIC[UNIT]")]
    columns: Vec<String>,
    /// Leave this column out; may be repeated.
    #[arg(long = "skip", value_name = "HEADER")]
    skipped: Vec<String>,
    /// Take the columns that --column names, and no others.
    #[arg(long)]
    only: bool,
    /// Readings in one upload.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    batch: usize,
    /// Only show what columns and times are taken for, and check the token if there is one.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask on a terminal.
    #[arg(long, short)]
    yes: bool,
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
    if args.dry_run {
        let checked = check_token(&args).await?;
        write!(out, "{plan}")?;
        writeln!(out, "nothing was sent; {checked}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let token = token(&args).context(
        "--token: got nothing, want the site's upload token, here or in HELIOGRAPH_SITE_TOKEN; \
         `heliograph site rotate-token SITE` makes a new one",
    )?;
    let sender = Sender::new(&gateway(&args)?, token, args.site.clone())?;
    // Before a person reads what the columns are.
    sender.check_site().await?;
    write!(out, "{plan}")?;
    out.flush()?;
    let asks = !args.yes && stdin().is_terminal();
    let readings = counted(plan.overview.readings, "reading");
    if asks && !say::is_agreed(false, &format!("upload {readings} into {}?", args.site))? {
        say::hint("no reading was sent");
        return Ok(ExitCode::FAILURE);
    }
    let mut report = Report::default();
    let outcome = send(&args, &plan, &sender, &mut report).await;
    report.print(&mut out)?;
    outcome?;
    if report.accepted > 0 {
        where_to_look(&args, &report, &mut out).await?;
    }
    let clean = report.mistakes == 0;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn token(args: &UploadArgs) -> Option<String> {
    args.token.clone().filter(|token| !token.is_empty())
}

/// What a dry run can say about the token.
async fn check_token(args: &UploadArgs) -> anyhow::Result<String> {
    let Some(token) = token(args) else {
        return Ok("the token was not checked: none is given".to_owned());
    };
    let gateway = match gateway(args) {
        Ok(gateway) => gateway,
        Err(error) => return Ok(format!("the token was not checked: {error:#}")),
    };
    match Sender::new(&gateway, token, args.site.clone())?.check_token().await? {
        Checked::Yes => {
            Ok(format!("the token is a site's, the upload will check that it is {}'s", args.site))
        }
        Checked::No(why) => Ok(format!("the token was not checked: {why}")),
    }
}

/// The command that shows what was sent, once it does.
async fn where_to_look(
    args: &UploadArgs,
    report: &Report,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Some((first, last)) = report.span else { return Ok(()) };
    let when = match is_readable(args).await {
        Some(true) => "see them",
        Some(false) => "they are safe on the log, the store is behind (`heliograph lag`); later",
        None => "see them in a second or two",
    };
    let (site, end) = (&args.site, last.plus_ms(1_000));
    writeln!(out, "{when}: heliograph readings {site} --from {first} --to {end}")?;
    Ok(())
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

async fn send(
    args: &UploadArgs,
    plan: &Plan,
    sender: &Sender,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut csv = file::open(&args.file)?;
    let (mut batch, mut row) = (Vec::new(), csv::StringRecord::new());
    while file::next(&mut csv, &mut row)? {
        match plan.readings(&row) {
            Ok((readings, mistakes)) => {
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
