//! API tokens: made, listed without their secrets, made void.

use super::{Admin, check};
use crate::{
    access::Principal,
    error::violation,
    page,
    token::{self, Kind},
    viewer::now,
};
use heliograph_contract::{error::ErrorClass, registry as wire, v1};
use heliograph_domain::{
    TenantId, Timestamp, Violation,
    registry::{ApiToken, Entry, Registry, Role, TOKEN_ID_CHARS},
};
use tonic::Status;

/// Hex digits of a whole hash.
const HASH_CHARS: usize = 64;

pub async fn create(
    admin: &Admin,
    request: v1::CreateApiTokenRequest,
) -> Result<v1::CreateApiTokenResponse, Status> {
    let api_token = check::given("api_token", request.api_token)?;
    check::name("api_token.name", &api_token.name)?;
    let new = token::new(Kind::Api);
    let created_at_ms = Some(now().as_ms());
    let entry = wire::api_token(v1::ApiToken { hash: new.hash, created_at_ms, ..api_token })
        .map_err(|v| violation(check::within("api_token", v)))?;
    let _changing = admin.changing.lock().await;
    check::tenant("api_token.tenant_id", &admin.registry.current(), entry.tenant.as_str())
        .map_err(violation)?;
    let token_id = entry.id().to_owned();
    admin.put(&Entry::ApiToken(entry)).await?;
    Ok(v1::CreateApiTokenResponse { token: new.token, token_id })
}

pub fn list(
    registry: &Registry,
    request: &v1::ListApiTokensRequest,
) -> Result<v1::ListApiTokensResponse, Status> {
    let v1::ListApiTokensRequest { tenant_id, page_size, page_token } = request;
    let size = page::size(*page_size)?;
    page::check_token(page_token, is_id)?;
    if !tenant_id.is_empty() {
        let wrong = |v| violation(Violation { field: "tenant_id".into(), ..v });
        TenantId::parse(tenant_id).map_err(wrong)?;
    }
    let mut tokens: Vec<&ApiToken> = registry
        .api_tokens()
        .filter(|t| tenant_id.is_empty() || t.tenant.as_str() == tenant_id)
        .filter(|t| t.id() > page_token.as_str())
        .collect();
    tokens.sort_by(|a, b| a.hash.cmp(&b.hash));
    let summaries = tokens.into_iter().map(|t| v1::ApiTokenSummary {
        token_id: t.id().to_owned(),
        tenant_id: t.tenant.to_string(),
        role: wire::role_to_wire(t.role).into(),
        name: t.name.clone(),
        created_at_ms: t.created_at.map(Timestamp::as_ms),
    });
    let (api_tokens, next_page_token) = page::cut(summaries, size, |t| &t.token_id);
    Ok(v1::ListApiTokensResponse { api_tokens, next_page_token })
}

pub async fn revoke(
    admin: &Admin,
    caller: Option<Principal>,
    request: &v1::RevokeApiTokenRequest,
) -> Result<v1::RevokeApiTokenResponse, Status> {
    let id = &request.token_id;
    if !is_id(id) {
        let want = format!("{TOKEN_ID_CHARS} or more lower-case hex digits, as ListApiTokens says");
        return Err(violation(Violation::new("token_id", format_args!("{id:?}"), want)));
    }
    let _changing = admin.changing.lock().await;
    let registry = admin.registry.current();
    let token = found(&registry, id)?;
    let is_operator = |t: &&ApiToken| t.role == Role::Operator;
    let refused = |words: &str| Err(ErrorClass::FailedPrecondition.status(words));
    if token.role == Role::Operator && registry.api_tokens().filter(is_operator).count() == 1 {
        return refused(
            "this is the last operator's token: without it nobody could change anything; make \
             another one first, and revoke this one with that",
        );
    }
    if caller.is_some_and(|caller| caller.token_hash == token.hash) {
        return refused(
            "this is the token of this very call; revoke it with another operator's token",
        );
    }
    admin.bury(&Entry::ApiToken(token.clone())).await?;
    Ok(v1::RevokeApiTokenResponse {})
}

fn is_id(id: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (TOKEN_ID_CHARS..=HASH_CHARS).contains(&id.len()) && id.bytes().all(hex)
}

fn found<'a>(registry: &'a Registry, id: &str) -> Result<&'a ApiToken, Status> {
    let mut found = registry.api_tokens().filter(|t| t.hash.starts_with(id));
    match (found.next(), found.next()) {
        (Some(token), None) => Ok(token),
        (None, _) => Err(check::unknown("API token", id)),
        (Some(_), Some(_)) => {
            let words = format!("several API tokens begin with {id:?}; give more of the hash");
            Err(ErrorClass::FailedPrecondition.status(words))
        }
    }
}
