//! Who may call what: one table, one row per method.
//!
//! Invariant: a method without a row reaches no handler. A test holds the table against the
//! compiled descriptors, so a new method has a row before it has a caller.

use heliograph_contract::error::ErrorClass;
use heliograph_domain::{
    TenantId,
    registry::{Registry, Role, Site},
};
use http::{HeaderMap, header::AUTHORIZATION};
use tonic::Status;

/// Which limit a call counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// One answer, within the call's deadline.
    Unary,
    /// A stream that may last; its places are few and its own.
    Stream,
}

/// What a method demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: health, reflection, probes.
    Open,
    AtLeast(Role, Lane),
}

use Access::{AtLeast, Open};
use Lane::{Stream, Unary};
use Role::{Operator, Viewer};

/// A path that ends with `/` stands for everything below it.
#[rustfmt::skip]
const METHODS: &[(&str, Access)] = &[
    ("/heliograph.v1.QueryService/ListSites",       AtLeast(Viewer, Unary)),
    ("/heliograph.v1.QueryService/GetSite",         AtLeast(Viewer, Unary)),
    ("/heliograph.v1.QueryService/QueryReadings",   AtLeast(Viewer, Unary)),
    ("/heliograph.v1.AdminService/PutTenant",       AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/PutSite",         AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/CreateApiToken",  AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/ListOffsets",     AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/ReadLog",         AtLeast(Operator, Stream)),
    ("/heliograph.v1.AdminService/ReplayDeadLetter", AtLeast(Operator, Unary)),
    ("/grpc.health.v1.Health/",                     Open),
    ("/grpc.reflection.v1.ServerReflection/",       Open),
    ("/grpc.reflection.v1alpha.ServerReflection/",  Open),
    ("/livez",                                      Open),
    ("/readyz",                                     Open),
];

/// What the method at `path` demands; `None`: there is no such method.
pub fn access(path: &str) -> Option<Access> {
    let holds = |row: &str| row == path || (row.ends_with('/') && path.starts_with(row));
    METHODS.iter().find(|(row, _)| holds(row)).map(|(_, access)| *access)
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    pub tenant: TenantId,
    pub role: Role,
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
    Ok(Principal { tenant: known.tenant.clone(), role: known.role })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heliograph_contract::v1;
    use heliograph_domain::{
        event_id::token_hash,
        registry::{ApiToken, Entry},
    };
    use prost::Message;
    use tonic::Code;

    fn described_methods() -> Vec<(String, bool)> {
        let set = prost_types::FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).unwrap();
        let ours = set.file.iter().filter(|file| file.package() == "heliograph.v1");
        ours.flat_map(|file| &file.service)
            // The gateway's, which takes upload tokens.
            .filter(|service| service.name() != "UploadService")
            .flat_map(|service| {
                let path = |method: &str| format!("/heliograph.v1.{}/{}", service.name(), method);
                service.method.iter().map(move |m| (path(m.name()), m.server_streaming()))
            })
            .collect()
    }

    #[test]
    fn every_method_of_ours_has_a_row_and_every_row_a_method() {
        let methods = described_methods();
        assert!(methods.len() >= 8, "{methods:?}");
        for (path, streams) in &methods {
            let Some(AtLeast(role, lane)) = access(path) else {
                panic!("{path} has no row that names a role");
            };
            assert_eq!(lane == Stream, *streams, "{path}");
            let admin = path.starts_with("/heliograph.v1.AdminService/");
            assert_eq!(role == Operator, admin, "{path}: the admin service is the operators'");
        }
        for (row, _) in METHODS.iter().filter(|(row, _)| row.starts_with("/heliograph.")) {
            assert!(methods.iter().any(|(path, _)| path == row), "{row} is no method");
        }
    }

    #[test]
    fn what_has_no_row_is_refused_and_health_and_reflection_are_open() {
        let rows = [
            ("an unknown method", "/heliograph.v1.QueryService/Frobs", None),
            ("an unknown service", "/frobs.v1.Frobs/Frob", None),
            ("a row is not a prefix", "/heliograph.v1.QueryService/GetSiteX", None),
            ("nothing", "/", None),
            ("health", "/grpc.health.v1.Health/Check", Some(Open)),
            ("reflection", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Some(Open)),
        ];
        for (name, path, want) in rows {
            assert_eq!(access(path), want, "{name}");
        }
    }

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
