//! `heliograph site import`: a file of sites into the registry, all or none.
//!
//! Every row is checked before the first is put, by itself and against the registry. It can be run
//! again: a site that is as the file says is left alone.

use super::{
    put,
    rows::{self, Format, Mistake, Row},
    tokens::TokensFile,
};
use crate::{
    access::{Access, AccessArgs, explain},
    say::{self, hint},
    tenant,
};
use anyhow::Context;
use clap::Args;
use heliograph_contract::v1::{PutMode, PutSiteRequest, Site, SiteSummary};
use heliograph_domain::Violation;
use serde_json::json;
use std::{
    collections::{BTreeSet, HashMap},
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Tokens that a crash may lose: so many are made before the file is written again.
const SAVE_EVERY: usize = 100;
/// Mistakes that are shown.
const SHOWN_MAX: usize = 100;

/// Register many sites from a file, or change them; all rows or none
///
/// Columns: id, tenant and zone; also name, upload_interval_s (60 without it), reading_interval_s
/// (the upload interval without it), rated_power_w and stale_after_s. Sites that are there are changed to what the
/// file says and keep their tokens. Tenants that are new are added.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph site import sites.csv --dry-run\n  \
                        heliograph site import sites.csv --tokens tokens.json\n  \
                        heliograph site import sites.jsonl > new-tokens.csv")]
pub struct ImportArgs {
    /// CSV with a header, or JSON lines; - reads stdin.
    file: PathBuf,
    /// What the file is; without it its name's end says so.
    #[arg(long)]
    format: Option<Format>,
    /// Write new tokens there (JSON object, site → token, readable by its owner only); without it
    /// they are printed.
    #[arg(long)]
    tokens: Option<PathBuf>,
    /// Check everything and say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON: an object for each new token, and one that sums up.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// What is to be done, as far as the registry was when it was asked.
struct Plan {
    rows: Vec<(Row, Deed)>,
    new_tenants: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Add,
    Change,
    Leave,
}

impl Deed {
    fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Change => "change",
            Self::Leave => "leave",
        }
    }
}

/// # Errors
/// When a row is wrong, the registry refuses, or tokens cannot be written.
pub async fn run(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let format = match args.format {
        Some(format) => format,
        None => format_of(&args.file)?,
    };
    let (rows, mistakes) = rows::parse(&read(&args.file)?, format);
    if !mistakes.is_empty() {
        return refuse(&args.file, &mistakes);
    }
    Access::within(&args.access, async |access| {
        let plan = match plan(access, rows).await? {
            Ok(plan) => plan,
            Err(mistakes) => return refuse(&args.file, &mistakes),
        };
        if args.dry_run {
            return show(&plan, args.json).map(|()| ExitCode::SUCCESS);
        }
        carry_out(access, &args, &plan).await.map(|()| ExitCode::SUCCESS)
    })
    .await
}

fn format_of(file: &Path) -> anyhow::Result<Format> {
    match file.extension().and_then(|end| end.to_str()) {
        Some("csv") => Ok(Format::Csv),
        Some("jsonl" | "ndjson" | "json") => Ok(Format::Jsonl),
        _ => anyhow::bail!(
            "--format: got none, and {} ends neither in .csv nor in .jsonl; want csv or jsonl",
            file.display()
        ),
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().lock().read_to_string(&mut text).context("read stdin")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

fn refuse(file: &Path, mistakes: &[Mistake]) -> anyhow::Result<ExitCode> {
    let file = file.display();
    for mistake in mistakes.iter().take(SHOWN_MAX) {
        hint(format_args!("{file}: {mistake}"));
    }
    if mistakes.len() > SHOWN_MAX {
        hint(format_args!("{file}: and {} more", mistakes.len() - SHOWN_MAX));
    }
    anyhow::bail!("{file}: {} mistakes; nothing was imported", mistakes.len())
}

/// Holds every row against the registry.
async fn plan(access: &Access, rows: Vec<Row>) -> anyhow::Result<Result<Plan, Vec<Mistake>>> {
    let tenants: BTreeSet<String> =
        tenant::all(access).await?.into_iter().map(|tenant| tenant.tenant_id).collect();
    let known: HashMap<String, SiteSummary> = put::all_sites(access)
        .await?
        .into_iter()
        .map(|site| (site.site_id.clone(), site))
        .collect();
    let mut plan = Plan { rows: Vec::new(), new_tenants: BTreeSet::new() };
    let mut mistakes = Vec::new();
    for row in rows {
        let tenant_is_new = !tenants.contains(&row.site.tenant_id);
        if tenant_is_new {
            plan.new_tenants.insert(row.site.tenant_id.clone());
        }
        for violation in refusals(access, &row.site).await? {
            // It will be there by then.
            if !(tenant_is_new && violation.field == "tenant") {
                mistakes.push(Mistake { line: row.line, violation });
            }
        }
        let deed = match known.get(&row.site.id) {
            None => Deed::Add,
            Some(known) if is_equal(known, &row.site) => Deed::Leave,
            Some(_) => Deed::Change,
        };
        plan.rows.push((row, deed));
    }
    Ok(match mistakes.is_empty() {
        true => Ok(plan),
        false => Err(mistakes),
    })
}

/// What the registry has against a site, under the names of the columns.
async fn refusals(access: &Access, site: &Site) -> anyhow::Result<Vec<Violation>> {
    let request =
        PutSiteRequest { site: Some(site.clone()), validate_only: true, ..Default::default() };
    match access.admin().put_site(request).await {
        Ok(_) => Ok(Vec::new()),
        Err(status) if status.code() == Code::InvalidArgument => Ok(violations(&status)),
        Err(status) => Err(explain(&status)),
    }
}

fn violations(status: &Status) -> Vec<Violation> {
    let details = status.get_details_bad_request().map(|bad| bad.field_violations);
    let column = |field: &str| match field.strip_prefix("site.").unwrap_or(field) {
        "tenant_id" => "tenant".to_owned(),
        other => other.to_owned(),
    };
    let named: Vec<Violation> = details
        .into_iter()
        .flatten()
        .map(|v| {
            let text = v.description.strip_prefix("got ").unwrap_or(&v.description);
            let (got, want) = text.split_once(", want ").unwrap_or((text, "another"));
            Violation::new(column(&v.field), got, want)
        })
        .collect();
    match named.is_empty() {
        true => vec![Violation::new("", "a refusal", status.message())],
        false => named,
    }
}

fn is_equal(known: &SiteSummary, site: &Site) -> bool {
    known.tenant_id == site.tenant_id
        && known.name == site.name
        && known.zone == site.zone
        && known.upload_interval_s == site.upload_interval_s
        && known.reading_interval_s == site.reading_interval_s
        && known.rated_power_w == site.rated_power_w
        && has_limit(known, site)
}

/// What is asked for as "by the upload interval" is shown as what comes of it.
fn has_limit(known: &SiteSummary, site: &Site) -> bool {
    heliograph_contract::registry::site(Site { id: known.site_id.clone(), ..site.clone() })
        .is_ok_and(|site| site.stale_limit_s() == known.stale_after_s)
}

fn show(plan: &Plan, json: bool) -> anyhow::Result<()> {
    for tenant in &plan.new_tenants {
        let object = json!({ "tenant": tenant, "deed": "add" });
        say::either(json, &object, &format!("add    tenant {tenant}"))?;
    }
    for (row, deed) in &plan.rows {
        let (line, id, deed) = (row.line, &row.site.id, deed.word());
        let object = json!({ "line": line, "site": id, "deed": deed });
        say::either(json, &object, &format!("{deed:<6} site {id}"))?;
    }
    hint("nothing was changed: --dry-run");
    Ok(())
}

/// Where new tokens go.
enum Tokens {
    File(TokensFile, usize),
    Json,
    Csv,
}

impl Tokens {
    fn open(args: &ImportArgs) -> anyhow::Result<Self> {
        match (&args.tokens, args.json) {
            (Some(path), _) => Ok(Self::File(TokensFile::open(path)?, 0)),
            (None, true) => Ok(Self::Json),
            (None, false) => Ok(Self::Csv),
        }
    }

    fn take(&mut self, site: &str, token: String) -> anyhow::Result<()> {
        match self {
            Self::File(file, unsaved) => {
                file.tokens.insert(site.to_owned(), token);
                *unsaved += 1;
                if *unsaved >= SAVE_EVERY {
                    file.save()?;
                    *unsaved = 0;
                }
                Ok(())
            }
            Self::Json => say::line(json!({ "site": site, "token": token })),
            // Neither can hold a comma or a quote.
            Self::Csv => say::line(format_args!("{site},{token}")),
        }
    }

    fn finish(&self) -> anyhow::Result<()> {
        match self {
            Self::File(file, _) => file.save(),
            Self::Json | Self::Csv => Ok(()),
        }
    }
}

async fn carry_out(access: &Access, args: &ImportArgs, plan: &Plan) -> anyhow::Result<()> {
    let mut tokens = Tokens::open(args)?;
    let put = put_all(access, plan, &mut tokens).await;
    // Also the tokens of what was put before a failure: they are shown only once.
    tokens.finish()?;
    put?;
    let count = |deed| plan.rows.iter().filter(|(_, d)| *d == deed).count();
    let (added, changed, left) = (count(Deed::Add), count(Deed::Change), count(Deed::Leave));
    let tenants: Vec<&str> = plan.new_tenants.iter().map(String::as_str).collect();
    let summed = match args.json {
        true => json!({ "added": added, "changed": changed, "left": left,
                        "tenants_added": tenants })
        .to_string(),
        false => {
            let news = match tenants.is_empty() {
                true => String::new(),
                false => format!("; new tenants: {}", tenants.join(", ")),
            };
            format!("{added} sites added, {changed} changed, {left} left as they were{news}")
        }
    };
    match (&args.tokens, args.json) {
        // The tokens alone stand on stdout.
        (None, false) => hint(summed),
        _ => say::line(summed)?,
    }
    Ok(())
}

async fn put_all(access: &Access, plan: &Plan, tokens: &mut Tokens) -> anyhow::Result<()> {
    for tenant in &plan.new_tenants {
        put::tenant(access, tenant).await.map_err(|s| explain(&s))?;
    }
    if matches!(tokens, Tokens::Csv) && plan.rows.iter().any(|(_, deed)| *deed == Deed::Add) {
        say::line("site,token")?;
    }
    for (row, deed) in &plan.rows {
        if *deed == Deed::Leave {
            continue;
        }
        let id = &row.site.id;
        let mode = match deed {
            Deed::Add => PutMode::Add,
            _ => PutMode::Change,
        };
        let site = Some(row.site.clone());
        let request = PutSiteRequest { site, mode: mode.into(), ..Default::default() };
        let answer = access.admin().put_site(request).await.map_err(|status| {
            explain(&status).context(format!("site {id}; the rows before it are imported"))
        })?;
        let token = answer.into_inner().token;
        if !token.is_empty() {
            tokens.take(id, token)?;
        }
    }
    Ok(())
}
