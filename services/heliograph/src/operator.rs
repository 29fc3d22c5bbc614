//! The first operator: somebody must be able to register the first site.

use heliograph_contract::{registry, topic};
use heliograph_domain::{
    TenantId, Timestamp,
    registry::{ApiToken, Entry, Role, Tenant},
};
use heliograph_log::{Log, NewRecord, TopicPartition, registry::Projection};
use heliograph_query::token::{self, Kind, NewToken};
use heliograph_service::Shutdown;
use std::sync::Arc;

/// The tenant that the operators are.
const TENANT: &str = "operators";

/// The operator's token of this installation: `known` if the registry still has it, else a new one.
///
/// # Errors
/// When the registry cannot be read or written.
pub async fn token(log: Arc<dyn Log>, known: Option<String>) -> anyhow::Result<String> {
    let following = Shutdown::new();
    let registry = Projection::load(log.clone(), following.clone()).await?.current();
    following.cancel();
    match known.filter(|token| registry.api_token(token).is_some()) {
        Some(token) => Ok(token),
        None => create(&*log).await,
    }
}

/// A first operator's token, or `None` where there is an operator already.
///
/// # Errors
/// When the registry cannot be read or written.
pub async fn first_token(log: Arc<dyn Log>) -> anyhow::Result<Option<String>> {
    let following = Shutdown::new();
    let registry = Projection::load(log.clone(), following.clone()).await?.current();
    following.cancel();
    if registry.api_tokens().any(|t| t.role == Role::Operator) {
        return Ok(None);
    }
    create(&*log).await.map(Some)
}

async fn create(log: &dyn Log) -> anyhow::Result<String> {
    let tenant = TenantId::parse(TENANT)?;
    let NewToken { token, hash } = token::new(Kind::Api);
    let entries = [
        Entry::Tenant(Tenant { id: tenant.clone(), name: "Operators".to_owned() }),
        Entry::ApiToken(ApiToken {
            hash,
            tenant,
            role: Role::Operator,
            name: "the first operator".to_owned(),
            created_at: Some(Timestamp::from_ms(jiff::Timestamp::now().as_millisecond())),
        }),
    ];
    for entry in entries {
        let to = TopicPartition::new(topic::REGISTRY, 0);
        log.append(NewRecord::event(to, registry::encode(&entry))).await?;
    }
    Ok(token)
}
