//! `heliograph token`: API tokens, with which people and programs read and operate.

use crate::{
    access::{Access, AccessArgs, explain},
    say::{self, hint},
    views::table,
};
use clap::{Args, Subcommand, ValueEnum};
use heliograph_contract::v1::{
    ApiToken, ApiTokenSummary, CreateApiTokenRequest, ListApiTokensRequest, RevokeApiTokenRequest,
    Role as WireRole,
};
use heliograph_domain::Timestamp;
use serde_json::json;
use std::process::ExitCode;
use tonic_types::StatusExt;

/// API tokens: each names a tenant and a role.
#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    Add(AddArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Reads the sites of its own tenant.
    Viewer,
    /// Reads and changes everything.
    Operator,
}

/// Make an API token and print it, once
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph token add --tenant acme --role viewer \
                        --name wall-screen\n  \
                        TOKEN=$(heliograph token add --tenant acme --role viewer --name script)")]
struct AddArgs {
    /// Tenant whose token it is.
    #[arg(long)]
    tenant: String,
    /// What it may do.
    #[arg(long)]
    role: Role,
    /// What it is for, shown in lists.
    #[arg(long)]
    name: String,
    /// Print one JSON object with the token and its id.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: AccessArgs,
}

/// List the API tokens, without their secrets
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  heliograph token list\n  heliograph token list --tenant acme \
                        --json"
)]
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

/// Make an API token void
///
/// The last operator's is refused, and so is the one that this command itself uses.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  heliograph token revoke 3f2a90c1b7de")]
struct RevokeArgs {
    /// The token's id, as `heliograph token list` shows it.
    id: String,
    #[command(flatten)]
    access: AccessArgs,
}

/// # Errors
/// When the registry refuses; names the field.
pub async fn run(args: TokenArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        TokenCommand::Add(args) => add(args).await,
        TokenCommand::List(args) => list(args).await,
        TokenCommand::Revoke(args) => revoke(args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn add(args: AddArgs) -> anyhow::Result<()> {
    let role = match args.role {
        Role::Viewer => WireRole::Viewer,
        Role::Operator => WireRole::Operator,
    };
    let tenant = args.tenant;
    let api_token = ApiToken {
        tenant_id: tenant.clone(),
        role: role.into(),
        name: args.name,
        ..Default::default()
    };
    let request = CreateApiTokenRequest { api_token: Some(api_token) };
    let answer = Access::within(&args.access, async |access| {
        access.admin().create_api_token(request).await.map_err(|status| {
            let details = status.get_details_bad_request();
            let of_tenant = |bad: &tonic_types::BadRequest| {
                bad.field_violations.iter().any(|v| v.field == "api_token.tenant_id")
            };
            match details.is_some_and(|bad| of_tenant(&bad)) {
                true => explain(&status)
                    .context(format!("`heliograph tenant list` shows the tenants, not {tenant:?}")),
                false => explain(&status),
            }
        })
    })
    .await?
    .into_inner();
    let (id, token) = (answer.token_id, answer.token);
    hint(format_args!(
        "token {id} of tenant {tenant} is shown only now; `heliograph token revoke {id}` makes it \
         void"
    ));
    say::either(args.json, &json!({ "id": id, "tenant": tenant, "token": token }), &token)
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let tenant = args.tenant.unwrap_or_default();
    let tokens = Access::within(&args.access, async |access| all(access, &tenant).await).await?;
    let mut rows = table(&["token", "tenant", "role", "name", "made"]);
    for t in tokens {
        let role = match t.role() {
            WireRole::Viewer => "viewer",
            WireRole::Operator => "operator",
            WireRole::Unspecified => "none",
        };
        let made = t.created_at_ms.map(|ms| Timestamp::from_ms(ms).to_string());
        match args.json {
            true => say::line(json!({ "id": t.token_id, "tenant": t.tenant_id, "role": role,
                                      "name": t.name, "created_at": made }))?,
            false => drop(rows.add_row([
                &*t.token_id,
                &t.tenant_id,
                role,
                &t.name,
                &made.unwrap_or_default(),
            ])),
        }
    }
    match args.json {
        true => Ok(()),
        false => say::line(rows),
    }
}

async fn all(access: &Access, tenant: &str) -> anyhow::Result<Vec<ApiTokenSummary>> {
    let mut admin = access.admin();
    let (mut tokens, mut page_token) = (Vec::new(), String::new());
    loop {
        let tenant_id = tenant.to_owned();
        let request = ListApiTokensRequest { tenant_id, page_size: 0, page_token };
        let page = admin.list_api_tokens(request).await.map_err(|s| explain(&s))?.into_inner();
        tokens.extend(page.api_tokens);
        if page.next_page_token.is_empty() {
            return Ok(tokens);
        }
        page_token = page.next_page_token;
    }
}

async fn revoke(args: RevokeArgs) -> anyhow::Result<()> {
    let request = RevokeApiTokenRequest { token_id: args.id };
    Access::within(&args.access, async |access| {
        access.admin().revoke_api_token(request).await.map_err(|s| explain(&s))
    })
    .await?;
    say::line("revoked; it no longer works")
}
