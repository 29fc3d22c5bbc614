//! `heliograph site`: sites in the registry.

use crate::{
    access::{Access, AccessArgs, explain},
    simulate::sample_sites,
};
use anyhow::Context;
use clap::{Args, Subcommand};
use heliograph_contract::v1::{PutSiteRequest, PutTenantRequest, Site, Tenant};
use std::{
    collections::BTreeMap, fs, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf,
    process::ExitCode,
};
use tonic_types::StatusExt;

/// Sites in the registry.
#[derive(Debug, Args)]
pub struct SiteArgs {
    #[command(subcommand)]
    command: SiteCommand,
}

#[derive(Debug, Subcommand)]
enum SiteCommand {
    Add(AddArgs),
    Samples(SamplesArgs),
}

/// Register a site, or change one; prints a new site's upload token, once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heliograph site add roof-7 --tenant acme --zone Asia/Tokyo \
                        --upload-interval-s 60")]
struct AddArgs {
    /// Site id: letters, digits, . _ -
    id: String,
    /// Tenant that the site belongs to; made if it is new.
    #[arg(long)]
    tenant: String,
    /// Name shown to people; the id without it.
    #[arg(long)]
    name: Option<String>,
    /// IANA time zone; the site's days are cut by it.
    #[arg(long)]
    zone: String,
    /// How often the logger uploads, in seconds.
    #[arg(long, default_value_t = 60)]
    upload_interval_s: u32,
    /// How often the logger measures, in seconds; the upload interval without it.
    #[arg(long)]
    reading_interval_s: Option<u32>,
    /// Rated power (DC, STC) in W.
    #[arg(long, default_value_t = 0.0)]
    rated_power_w: f64,
    /// Give an existing site a new token.
    #[arg(long)]
    rotate_token: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// Register the sample plants for `heliograph simulate` and write their upload tokens to a file.
///
/// Sites whose token is in the file keep it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  heliograph site samples --sites 5 --tokens data/tokens.json")]
struct SamplesArgs {
    /// How many; the five sample plants, then copies of them.
    #[arg(long, default_value_t = 5)]
    sites: usize,
    /// JSON object, site → token; made readable by its owner only.
    #[arg(long)]
    tokens: PathBuf,
    #[command(flatten)]
    access: AccessArgs,
}

/// # Errors
/// When the registry refuses; names the field.
pub async fn run(args: SiteArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        SiteCommand::Add(args) => add(args).await,
        SiteCommand::Samples(args) => samples(args).await,
    }
}

async fn add(args: AddArgs) -> anyhow::Result<ExitCode> {
    let access = Access::open(&args.access).await?;
    let site = Site {
        name: args.name.unwrap_or_else(|| args.id.clone()),
        id: args.id,
        tenant_id: args.tenant,
        zone: args.zone,
        upload_interval_s: args.upload_interval_s,
        reading_interval_s: args.reading_interval_s.unwrap_or(args.upload_interval_s),
        rated_power_w: args.rated_power_w,
        ..Default::default()
    };
    let token = put(&access, site, args.rotate_token).await;
    access.close().await?;
    let mut out = std::io::stdout().lock();
    match token?.as_str() {
        "" => writeln!(out, "changed; the site keeps its token")?,
        token => writeln!(out, "{token}")?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn samples(args: SamplesArgs) -> anyhow::Result<ExitCode> {
    let mut tokens: BTreeMap<String, String> = match fs::read(&args.tokens) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{}: want a JSON object", args.tokens.display()))?,
        Err(_) => BTreeMap::new(),
    };
    let access = Access::open(&args.access).await?;
    for site in sample_sites(args.sites) {
        let id = site.id.clone();
        // A site that was registered elsewhere has a token that we cannot know.
        let token = put(&access, site, !tokens.contains_key(&id)).await?;
        if !token.is_empty() {
            tokens.insert(id, token);
        }
    }
    access.close().await?;
    let mut options = fs::OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(&args.tokens)?;
    file.write_all(&serde_json::to_vec_pretty(&tokens)?)?;
    writeln!(std::io::stdout().lock(), "{} sites registered", args.sites)?;
    Ok(ExitCode::SUCCESS)
}

/// Puts a site; a tenant that is not registered yet is added and named by its id.
async fn put(access: &Access, site: Site, rotate_token: bool) -> anyhow::Result<String> {
    let request = PutSiteRequest { site: Some(site.clone()), rotate_token, ..Default::default() };
    let refused = match access.admin().put_site(request.clone()).await {
        Ok(answer) => return Ok(answer.into_inner().token),
        Err(status) => status,
    };
    let is_tenant = |v: &tonic_types::FieldViolation| v.field == "site.tenant_id";
    let details = refused.get_details_bad_request();
    if !details.is_some_and(|bad| bad.field_violations.iter().any(is_tenant)) {
        return Err(explain(&refused));
    }
    let tenant = Tenant { id: site.tenant_id.clone(), name: site.tenant_id };
    let request_tenant = PutTenantRequest { tenant: Some(tenant), ..Default::default() };
    access.admin().put_tenant(request_tenant).await.map_err(|s| explain(&s))?;
    let answer = access.admin().put_site(request).await.map_err(|s| explain(&s))?;
    Ok(answer.into_inner().token)
}
