//! Who may call what: one table for every gRPC method of every service, one row each.
//!
//! Invariant: what has no row reaches no handler; each service looks its calls up here before
//! anything else. A test holds the table against the compiled descriptors, so a new method has a
//! row before it has a caller. What it is not: it knows no tokens; who the caller is, the services
//! ask the registry.

use heliograph_domain::registry::Role;

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
    /// A site's upload token, for that site alone.
    UploadToken(Lane),
    /// An API token of this role or a higher one.
    AtLeast(Role, Lane),
}

use Access::{AtLeast, Open, UploadToken};
use Lane::{Stream, Unary};
use Role::{Operator, Viewer};

/// A method's path and what it demands. A path that ends with `/` stands for everything below it.
pub type Row = (&'static str, Access);

#[rustfmt::skip]
pub const METHODS: &[Row] = &[
    ("/heliograph.v1.UploadService/Upload",         UploadToken(Unary)),
    ("/heliograph.v1.UploadService/UploadStream",   UploadToken(Stream)),
    ("/heliograph.v1.QueryService/ListSites",       AtLeast(Viewer, Unary)),
    ("/heliograph.v1.QueryService/GetSite",         AtLeast(Viewer, Unary)),
    ("/heliograph.v1.QueryService/QueryReadings",   AtLeast(Viewer, Unary)),
    ("/heliograph.v1.QueryService/SubscribeAlerts", AtLeast(Viewer, Stream)),
    ("/heliograph.v1.QueryService/ListAlerts",      AtLeast(Viewer, Unary)),
    ("/heliograph.v1.QueryService/ListIncidents",   AtLeast(Viewer, Unary)),
    ("/heliograph.v1.QueryService/GetPlatformStatus", AtLeast(Viewer, Unary)),
    ("/heliograph.v1.AdminService/PutTenant",       AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/ListTenants",     AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/RemoveTenant",    AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/PutSite",         AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/ChangeSite",      AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/RotateSiteToken", AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/RemoveSite",      AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/CreateApiToken",  AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/ListApiTokens",   AtLeast(Operator, Unary)),
    ("/heliograph.v1.AdminService/RevokeApiToken",  AtLeast(Operator, Unary)),
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
    look_up(METHODS, path)
}

fn look_up(rows: &[Row], path: &str) -> Option<Access> {
    let holds = |row: &str| row == path || (row.ends_with('/') && path.starts_with(row));
    rows.iter().find(|(row, _)| holds(row)).map(|(_, access)| *access)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;
    use prost::Message;

    /// Path, whether it streams, of every method of ours.
    fn described_methods() -> Vec<(String, bool)> {
        let set = prost_types::FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).unwrap();
        let ours = set.file.iter().filter(|file| file.package() == "heliograph.v1");
        ours.flat_map(|file| &file.service)
            .flat_map(|service| {
                let path = |method: &str| format!("/heliograph.v1.{}/{}", service.name(), method);
                let streams = |m: &prost_types::MethodDescriptorProto| {
                    m.server_streaming() || m.client_streaming()
                };
                service.method.iter().map(move |m| (path(m.name()), streams(m)))
            })
            .collect()
    }

    /// The methods that have no row of their own.
    fn without_row(rows: &[Row], methods: &[(String, bool)]) -> Vec<String> {
        let has_none = |path: &&String| look_up(rows, path).is_none_or(|access| access == Open);
        methods.iter().map(|(path, _)| path).filter(has_none).cloned().collect()
    }

    #[test]
    fn every_method_has_a_row_and_every_row_a_method() {
        let methods = described_methods();
        assert!(methods.len() >= 17, "{methods:?}");
        assert_eq!(without_row(METHODS, &methods), [] as [String; 0]);
        for (row, _) in METHODS.iter().filter(|(row, _)| row.starts_with("/heliograph.")) {
            assert!(methods.iter().any(|(path, _)| path == row), "{row} is no method");
        }
        for (i, (row, _)) in METHODS.iter().enumerate() {
            assert!(!METHODS[..i].iter().any(|(other, _)| other == row), "{row} has two rows");
        }
    }

    #[test]
    fn a_method_without_a_row_is_found() {
        let methods = described_methods();
        for (path, _) in &methods {
            let rows: Vec<Row> = METHODS.iter().filter(|(row, _)| row != path).copied().collect();
            assert_eq!(without_row(&rows, &methods), [path.as_str()]);
        }
    }

    #[test]
    fn each_service_has_its_kind_of_token_and_a_stream_its_lane() {
        for (path, streams) in described_methods() {
            let service = path.split('/').nth(1).unwrap();
            let lane = match (service, access(&path).unwrap()) {
                ("heliograph.v1.UploadService", UploadToken(lane))
                | ("heliograph.v1.QueryService", AtLeast(Viewer, lane))
                | ("heliograph.v1.AdminService", AtLeast(Operator, lane)) => lane,
                (_, other) => panic!("{path} demands {other:?}"),
            };
            assert_eq!(lane == Stream, streams, "{path}");
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
}
