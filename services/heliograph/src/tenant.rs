//! `heliograph tenant`: the customers of the platform.

use crate::{
    access::{Access, AccessArgs, explain},
    say,
    views::table,
};
use clap::{Args, Subcommand};
use heliograph_contract::v1::{
    ListTenantsRequest, PutMode, PutTenantRequest, RemoveTenantRequest, Tenant, TenantSummary,
};
use serde_json::json;
use std::process::ExitCode;
use tonic::Code;

/// Tenants: customers, each with sites and API tokens of its own.
#[derive(Debug, Args)]
pub struct TenantArgs {
    #[command(subcommand)]
    command: TenantCommand,
}

#[derive(Debug, Subcommand)]
enum TenantCommand {
    Add(AddArgs),
    Set(SetArgs),
    List(ListArgs),
    Remove(RemoveArgs),
}

/// Register a new tenant
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph tenant add acme\n  \
                        heliograph tenant add acme --name Acme")]
struct AddArgs {
    /// Tenant id: letters, digits, . _ -
    id: String,
    /// Name shown to people; the id without it.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    access: AccessArgs,
}

/// Change a tenant's name
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph tenant set acme --name Acme")]
struct SetArgs {
    /// Tenant id.
    id: String,
    /// Name shown to people.
    #[arg(long)]
    name: String,
    #[command(flatten)]
    access: AccessArgs,
}

/// List the tenants, with how many sites and API tokens each has
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph tenant list\n  heliograph tenant list --json")]
struct ListArgs {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// Remove a tenant that has neither sites nor API tokens
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph tenant remove acme")]
struct RemoveArgs {
    /// Tenant id.
    id: String,
    #[command(flatten)]
    access: AccessArgs,
}

/// # Errors
/// When the registry refuses; names the field.
pub async fn run(args: TenantArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        TenantCommand::Add(args) => add(args).await,
        TenantCommand::Set(args) => set(args).await,
        TenantCommand::List(args) => list(args).await,
        TenantCommand::Remove(args) => remove(args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn add(args: AddArgs) -> anyhow::Result<()> {
    let AddArgs { id, name, access } = args;
    let tenant = Tenant { id: id.clone(), name: name.unwrap_or_default() };
    put(&access, tenant, PutMode::Add).await?;
    say::line("added")
}

async fn set(args: SetArgs) -> anyhow::Result<()> {
    let SetArgs { id, name, access } = args;
    put(&access, Tenant { id, name }, PutMode::Change).await?;
    say::line("changed")
}

async fn put(access: &AccessArgs, tenant: Tenant, mode: PutMode) -> anyhow::Result<()> {
    let id = tenant.id.clone();
    let request = PutTenantRequest { tenant: Some(tenant), mode: mode.into() };
    Access::within(access, async |access| {
        access.admin().put_tenant(request).await.map_err(|status| match status.code() {
            Code::AlreadyExists => anyhow::anyhow!(
                "{}; `heliograph tenant set {id} --name NAME` changes it",
                status.message()
            ),
            Code::NotFound => {
                anyhow::anyhow!("{}; `heliograph tenant add {id}` adds it", status.message())
            }
            _ => explain(&status),
        })
    })
    .await?;
    Ok(())
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let tenants = Access::within(&args.access, async |access| all(access).await).await?;
    let mut rows = table(&["tenant", "name", "sites", "API tokens"]);
    for t in tenants {
        match args.json {
            true => say::line(json!({ "tenant": t.tenant_id, "name": t.name, "sites": t.sites,
                                      "api_tokens": t.api_tokens }))?,
            false => drop(rows.add_row([
                t.tenant_id,
                t.name,
                t.sites.to_string(),
                t.api_tokens.to_string(),
            ])),
        }
    }
    match args.json {
        true => Ok(()),
        false => say::line(rows),
    }
}

/// All tenants, in the order of their ids.
pub async fn all(access: &Access) -> anyhow::Result<Vec<TenantSummary>> {
    let mut admin = access.admin();
    let (mut tenants, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListTenantsRequest { page_size: 0, page_token };
        let page = admin.list_tenants(request).await.map_err(|s| explain(&s))?.into_inner();
        tenants.extend(page.tenants);
        if page.next_page_token.is_empty() {
            return Ok(tenants);
        }
        page_token = page.next_page_token;
    }
}

async fn remove(args: RemoveArgs) -> anyhow::Result<()> {
    let request = RemoveTenantRequest { tenant_id: args.id };
    Access::within(&args.access, async |access| {
        access.admin().remove_tenant(request).await.map_err(|s| explain(&s))
    })
    .await?;
    say::line("removed")
}
