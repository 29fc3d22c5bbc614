//! `heliograph site`: sites in the registry.
//!
//! A token stands alone on stdout, so that `TOKEN=$(heliograph site add …)` works; what is said
//! about it goes to stderr.

mod import;
mod put;
mod rows;
mod samples;
mod tokens;

use crate::{
    access::{Access, AccessArgs, explain},
    say::{self, hint},
    views::{number, table},
};
use anyhow::Context;
use clap::{Args, Subcommand};
use heliograph_contract::v1::{
    ChangeSiteRequest, PutMode, RemoveSiteRequest, RotateSiteTokenRequest, Site,
};
use serde_json::json;
use std::process::ExitCode;
use tonic::Code;

/// Sites in the registry: who may upload, and how their days are cut.
#[derive(Debug, Args)]
pub struct SiteArgs {
    #[command(subcommand)]
    command: SiteCommand,
}

#[derive(Debug, Subcommand)]
enum SiteCommand {
    Add(AddArgs),
    Set(SetArgs),
    Import(import::ImportArgs),
    List(ListArgs),
    RotateToken(RotateArgs),
    Remove(RemoveArgs),
    Samples(samples::SamplesArgs),
}

/// Register a new site; prints its upload token, once
///
/// A site that is there already is left as it is: `site set` changes it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  heliograph site add roof-7 --tenant acme --zone Asia/Tokyo\n  \
                        TOKEN=$(heliograph site add roof-8 --tenant acme --zone Asia/Tokyo \
                        --upload-interval-s 300)"
)]
struct AddArgs {
    /// Site id: letters, digits, . _ -
    id: String,
    /// Tenant that the site belongs to; made if it is new.
    #[arg(long)]
    tenant: String,
    /// Name shown to people; the id without it.
    #[arg(long)]
    name: Option<String>,
    /// IANA time zone; the site's days are cut by it, for ever. Etc/GMT+7 is UTC-7 all year.
    #[arg(long, allow_hyphen_values = true)]
    zone: String,
    /// How often the logger uploads, in seconds.
    #[arg(long, default_value_t = 60)]
    upload_interval_s: u32,
    /// How often the logger measures, in seconds; the upload interval without it.
    #[arg(long)]
    reading_interval_s: Option<u32>,
    /// Rated power (DC, STC) in W; 0 when unknown.
    #[arg(long, default_value_t = 0.0)]
    rated_power_w: f64,
    /// Stale after so long without an upload, in seconds in which our door was open; 0: three upload
    /// intervals, and no less than 300.
    #[arg(long, default_value_t = 0)]
    stale_after_s: u32,
    /// Print one JSON object with the site and its token.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// Change a site: only what is named; its time zone is fixed
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph site set roof-7 --name School\n  \
                        heliograph site set roof-7 --upload-interval-s 300 --rated-power-w 49500")]
struct SetArgs {
    /// Site id.
    id: String,
    /// Another tenant; from then on its viewers see the site, and what it sent.
    #[arg(long)]
    tenant: Option<String>,
    /// Name shown to people.
    #[arg(long)]
    name: Option<String>,
    /// How often the logger uploads, in seconds.
    #[arg(long)]
    upload_interval_s: Option<u32>,
    /// How often the logger measures, in seconds.
    #[arg(long)]
    reading_interval_s: Option<u32>,
    /// Rated power (DC, STC) in W; 0 when unknown.
    #[arg(long)]
    rated_power_w: Option<f64>,
    /// Stale after so long without an upload, in seconds in which our door was open; 0: by the upload
    /// interval.
    #[arg(long)]
    stale_after_s: Option<u32>,
    #[command(flatten)]
    access: AccessArgs,
}

/// List the sites as they are registered
///
/// `heliograph sites` says what arrived from them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph site list\n  heliograph site list --tenant acme \
                        --json")]
struct ListArgs {
    /// Only this tenant's.
    #[arg(long)]
    tenant: Option<String>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// Give a site a new upload token and print it, once; the old one stops working
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph site rotate-token roof-7\n  \
                        TOKEN=$(heliograph site rotate-token roof-7)")]
struct RotateArgs {
    /// Site id.
    id: String,
    /// Print one JSON object with the site and its token.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// Remove a site; its token stops working, its readings stay
///
/// Viewers no longer see the site. Added again for the same tenant, it has its readings back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph site remove roof-7\n  \
                        heliograph site remove roof-7 --yes")]
struct RemoveArgs {
    /// Site id.
    id: String,
    /// Do not ask; wanted where nobody can answer.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// # Errors
/// When the registry refuses; names the field.
pub async fn run(args: SiteArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        SiteCommand::Add(args) => add(args).await,
        SiteCommand::Set(args) => set(args).await,
        SiteCommand::Import(args) => return import::run(args).await,
        SiteCommand::List(args) => list(args).await,
        SiteCommand::RotateToken(args) => rotate_token(args).await,
        SiteCommand::Remove(args) => remove(args).await,
        SiteCommand::Samples(args) => samples::run(args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn add(args: AddArgs) -> anyhow::Result<()> {
    let site = Site {
        name: args.name.unwrap_or_else(|| args.id.clone()),
        id: args.id,
        tenant_id: args.tenant,
        zone: args.zone,
        upload_interval_s: args.upload_interval_s,
        reading_interval_s: args.reading_interval_s.unwrap_or(args.upload_interval_s),
        rated_power_w: args.rated_power_w,
        stale_after_s: args.stale_after_s,
        ..Default::default()
    };
    let (id, tenant) = (site.id.clone(), site.tenant_id.clone());
    let put = Access::within(&args.access, async |access| {
        put::site(access, site, PutMode::Add, false).await.map_err(|status| match status.code() {
            Code::AlreadyExists => anyhow::anyhow!(
                "{}; `heliograph site set {id}` changes it, `heliograph site rotate-token {id}` \
                 gives it a new token",
                status.message()
            ),
            _ => explain(&status),
        })
    })
    .await?;
    if put.tenant_is_new {
        hint(format_args!("tenant {tenant} is new"));
    }
    hint(format_args!("site {id} is registered; its upload token is shown only now"));
    let object = json!({ "site": id, "tenant": tenant, "tenant_is_new": put.tenant_is_new,
                         "token": put.token });
    say::either(args.json, &object, &put.token)
}

async fn set(args: SetArgs) -> anyhow::Result<()> {
    let request = ChangeSiteRequest {
        site_id: args.id.clone(),
        tenant_id: args.tenant.clone(),
        name: args.name,
        upload_interval_s: args.upload_interval_s,
        reading_interval_s: args.reading_interval_s,
        rated_power_w: args.rated_power_w,
        stale_after_s: args.stale_after_s,
    };
    let nothing = ChangeSiteRequest { site_id: args.id.clone(), ..Default::default() };
    anyhow::ensure!(
        request != nothing,
        "nothing to change: name at least one of --tenant, --name, --upload-interval-s, \
         --reading-interval-s, --rated-power-w, --stale-after-s"
    );
    Access::within(&args.access, async |access| {
        access.admin().change_site(request).await.map_err(|status| {
            let refused = explain(&status);
            match (put::is_unknown_tenant(&status), &args.tenant) {
                (true, Some(id)) => {
                    refused.context(format!("`heliograph tenant add {id}` adds it"))
                }
                _ => refused,
            }
        })
    })
    .await?;
    say::line("changed")
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let sites = Access::within(&args.access, async |access| put::all_sites(access).await).await?;
    let wanted = |tenant: &str| args.tenant.as_deref().is_none_or(|only| only == tenant);
    let mut rows = table(&[
        "site",
        "name",
        "tenant",
        "zone",
        "uploads every",
        "measures every",
        "rated",
        "stale after",
    ]);
    let mut count = 0;
    for site in sites.into_iter().filter(|site| wanted(&site.tenant_id)) {
        count += 1;
        if args.json {
            say::line(json!({
                "site": site.site_id, "tenant": site.tenant_id, "name": site.name,
                "zone": site.zone, "upload_interval_s": site.upload_interval_s,
                "reading_interval_s": site.reading_interval_s,
                "rated_power_w": site.rated_power_w, "stale_after_s": site.stale_after_s,
            }))?;
            continue;
        }
        let rated = match site.rated_power_w {
            w if w > 0.0 => format!("{} kW", number(w / 1_000.0)),
            _ => String::new(),
        };
        rows.add_row([
            site.site_id,
            site.name,
            site.tenant_id,
            site.zone,
            format!("{} s", site.upload_interval_s),
            format!("{} s", site.reading_interval_s),
            rated,
            format!("{} s", site.stale_after_s),
        ]);
    }
    match args.json {
        true => Ok(()),
        false => say::line(format_args!(
            "{rows}\n{count} sites; `heliograph sites` says what arrived from them"
        )),
    }
}

async fn rotate_token(args: RotateArgs) -> anyhow::Result<()> {
    let request = RotateSiteTokenRequest { site_id: args.id.clone() };
    let answer = Access::within(&args.access, async |access| {
        access.admin().rotate_site_token(request).await.map_err(|s| explain(&s))
    })
    .await?;
    let token = answer.into_inner().token;
    hint(format_args!(
        "the old token of {} no longer works; the new one is shown only now",
        args.id
    ));
    say::either(args.json, &json!({ "site": args.id, "token": token }), &token)
}

async fn remove(args: RemoveArgs) -> anyhow::Result<()> {
    let id = &args.id;
    let question = format!("Remove site {id}? Its logger is refused from then on.");
    if !say::is_agreed(args.yes, &question).context("site remove")? {
        return say::line("left as it is");
    }
    let request = RemoveSiteRequest { site_id: id.clone() };
    Access::within(&args.access, async |access| {
        access.admin().remove_site(request).await.map_err(|s| explain(&s))
    })
    .await?;
    say::line(format_args!(
        "removed; its readings and its time zone stay, and are there again when the same tenant \
         adds {id} again"
    ))
}
