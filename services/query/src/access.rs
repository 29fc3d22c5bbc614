//! Who calls. What each method demands stands in `heliograph_contract::access`.

use heliograph_contract::error::ErrorClass;
use heliograph_domain::{
    TenantId,
    registry::{
        Registry,
        Role::{self, Operator},
        Site,
    },
};
use http::{HeaderMap, header::AUTHORIZATION};
use tonic::Status;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub tenant: TenantId,
    pub role: Role,
    /// SHA-256 of the token, hex: which token it is.
    pub token_hash: String,
}

impl Principal {
    /// Whether the caller may know of this site.
    pub fn sees(&self, site: &Site) -> bool {
        self.role == Operator || site.tenant == self.tenant
    }
}

/// The caller behind a request's token, if its role is enough.
///
/// # Errors
/// UNAUTHENTICATED without a known token, PERMISSION_DENIED with one that may not do this.
pub fn authenticate(
    headers: &HeaderMap,
    registry: &Registry,
    least: Role,
) -> Result<Principal, Status> {
    let unauthenticated = |words: &str| ErrorClass::Unauthenticated.status(words);
    let header = headers
        .get(AUTHORIZATION)
        .ok_or_else(|| unauthenticated("authorization: got none, want Bearer TOKEN"))?;
    let token = header
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| unauthenticated("authorization: got another form, want Bearer TOKEN"))?;
    let known =
        registry.api_token(token).ok_or_else(|| unauthenticated("the token is not known"))?;
    if least == Operator && known.role != Operator {
        return Err(ErrorClass::PermissionDenied.status("this call wants an operator's token"));
    }
    Ok(Principal { tenant: known.tenant.clone(), role: known.role, token_hash: known.hash.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_domain::{
        event_id::token_hash,
        registry::{ApiToken, Entry, Role::Viewer},
    };
    use tonic::Code;

    #[test]
    fn a_token_says_who_calls() {
        let mut registry = Registry::default();
        for (token, role) in [("view", Viewer), ("operate", Operator)] {
            registry.put(Entry::ApiToken(ApiToken {
                hash: token_hash(token),
                tenant: TenantId::parse("t1").unwrap(),
                role,
                name: token.into(),
                created_at: None,
            }));
        }
        type Row<'a> = (&'a str, Option<&'a str>, Role, Result<Role, Code>);
        let rows: &[Row<'_>] = &[
            ("no header", None, Viewer, Err(Code::Unauthenticated)),
            ("another scheme", Some("Basic view"), Viewer, Err(Code::Unauthenticated)),
            ("a bare token", Some("view"), Viewer, Err(Code::Unauthenticated)),
            ("an unknown token", Some("Bearer frobs"), Viewer, Err(Code::Unauthenticated)),
            ("an empty token", Some("Bearer "), Viewer, Err(Code::Unauthenticated)),
            ("a viewer views", Some("Bearer view"), Viewer, Ok(Viewer)),
            ("the scheme has no case", Some("bearer view"), Viewer, Ok(Viewer)),
            (
                "a viewer does not operate",
                Some("Bearer view"),
                Operator,
                Err(Code::PermissionDenied),
            ),
            ("an operator views", Some("Bearer operate"), Viewer, Ok(Operator)),
            ("an operator operates", Some("Bearer operate"), Operator, Ok(Operator)),
        ];
        for (name, header, least, want) in rows {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(AUTHORIZATION, header.parse().unwrap());
            }
            let got = authenticate(&headers, &registry, *least);
            assert_eq!(got.map(|p| p.role).map_err(|s| s.code()), *want, "{name}");
        }
    }
}
