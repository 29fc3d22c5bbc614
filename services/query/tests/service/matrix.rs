//! Method × role × tenant, made from the compiled descriptors: every method of every service is
//! called by everybody, and the outcome is held against the method's row in the table of access.
//!
//! A method that is new in the descriptors is called here without a line of this file changing; one
//! without a row fails.

use crate::support::{OPERATOR, Stage};
use bytes::Bytes;
use heliograph_contract::{
    access::{Access, access},
    alert::Alert,
    topic, v1,
};
use heliograph_domain::registry::Role;
use heliograph_log::{Log, NewRecord, TopicPartition};
use heliograph_testkit::grpc::RawBytes;
use prost::{
    Message,
    encoding::{bool, encode_varint, int64, string},
};
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};
use std::collections::HashMap;
use tonic::{Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery};

/// Words of tenant B, none of which may be in an answer to tenant A, and the other way round.
const A: Names = Names { tenant: "tenant-aaa", site: "site-aaa" };
const B: Names = Names { tenant: "tenant-bbb", site: "site-bbb" };

#[derive(Clone, Copy, PartialEq)]
struct Names {
    tenant: &'static str,
    site: &'static str,
}

/// The compiled descriptors of our own package.
struct Described {
    messages: HashMap<String, DescriptorProto>,
    /// Path and the name of the request's message.
    methods: Vec<(String, String)>,
}

fn described() -> Described {
    let set = FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).unwrap();
    let ours = || set.file.iter().filter(|file| file.package() == "heliograph.v1");
    let name = |m: &DescriptorProto| format!(".heliograph.v1.{}", m.name());
    let messages = ours().flat_map(|file| &file.message_type).map(|m| (name(m), m.clone()));
    let mut methods = Vec::new();
    for service in ours().flat_map(|file| &file.service) {
        for method in &service.method {
            let path = format!("/heliograph.v1.{}/{}", service.name(), method.name());
            methods.push((path, method.input_type().to_owned()));
        }
    }
    Described { messages: messages.collect(), methods }
}

impl Described {
    /// A request that names the site and the tenant wherever it can name one, and is sound as far
    /// as the names of its fields say how.
    fn request(&self, message: &str, names: Names) -> Bytes {
        let mut out = Vec::new();
        for field in &self.messages[message].field {
            let (tag, kind) = (field.number() as u32, field.r#type());
            match (kind, field.name()) {
                (Type::String, "site_id") => string::encode(tag, &names.site.into(), &mut out),
                (Type::String, "tenant_id") => string::encode(tag, &names.tenant.into(), &mut out),
                (Type::String, "id") if message.ends_with(".Site") => {
                    string::encode(tag, &names.site.into(), &mut out);
                }
                (Type::String, "id") if message.ends_with(".Tenant") => {
                    string::encode(tag, &names.tenant.into(), &mut out);
                }
                // A stream that would not end.
                (Type::Bool, "until_now") => bool::encode(tag, &true, &mut out),
                (Type::Int64, "end_ms") => int64::encode(tag, &1, &mut out),
                (Type::Message, _) if self.messages.contains_key(field.type_name()) => {
                    let inner = self.request(field.type_name(), names);
                    encode_varint(u64::from(tag << 3 | 2), &mut out);
                    encode_varint(inner.len() as u64, &mut out);
                    out.extend_from_slice(&inner);
                }
                _ => {}
            }
        }
        out.into()
    }

    /// Whether the request asks for one site.
    fn names_a_site(&self, message: &str) -> bool {
        self.messages[message].field.iter().any(|field| field.name() == "site_id")
    }
}

/// All answers of a call, or why there are none.
async fn call(
    stage: &Stage,
    token: Option<&str>,
    path: &str,
    body: Bytes,
) -> Result<Bytes, Status> {
    let mut grpc = Grpc::new(stage.channel().await);
    grpc.ready().await.unwrap();
    let mut request = Request::new(body);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let path: PathAndQuery = path.parse().unwrap();
    let mut answers = grpc.server_streaming(request, path, RawBytes).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.extend_from_slice(&answer);
    }
    Ok(all.into())
}

/// Who calls, with which token, and what that is.
struct Caller {
    name: &'static str,
    token: Option<String>,
    is: Is,
}

#[derive(Clone, Copy, PartialEq)]
enum Is {
    Nobody,
    Viewer(Names),
    Operator,
}

async fn callers(stage: &Stage) -> Vec<Caller> {
    let upload_token = stage.put_site(A.tenant, A.site, "UTC").await;
    stage.put_site(B.tenant, B.site, "UTC").await;
    for names in [A, B] {
        let stale = v1::SiteWentStale {
            site_id: names.site.into(),
            tenant_id: names.tenant.into(),
            ..Default::default()
        };
        let to = TopicPartition::new(topic::ALERTS, 0);
        let record = NewRecord::event(to, Alert::WentStale(stale).encode());
        stage.log.append(record).await.unwrap();
    }
    let viewers = [stage.viewer_of(A.tenant).await, stage.viewer_of(B.tenant).await];
    let [viewer_a, viewer_b] = viewers.map(Some);
    let caller = |name, token, is| Caller { name, token, is };
    vec![
        caller("nobody", None, Is::Nobody),
        caller("an unknown token", Some("hg_api_unknown".into()), Is::Nobody),
        caller("a site's upload token", Some(upload_token), Is::Nobody),
        caller("a viewer of tenant A", viewer_a, Is::Viewer(A)),
        caller("a viewer of tenant B", viewer_b, Is::Viewer(B)),
        caller("an operator", Some(OPERATOR.into()), Is::Operator),
    ]
}

/// What a call must come to, as the method's rule says.
#[derive(Debug, PartialEq)]
enum Want {
    Refused(Code),
    /// As a site that does not exist.
    UnknownSite,
    /// Done; what it answers is the caller's own.
    Done,
    /// Not refused for who calls.
    Passes,
}

fn want(rule: Access, is: Is, names_a_site: bool) -> Want {
    match (rule, is) {
        // Anybody's, or at another service's door.
        (Access::Open, _) => Want::Passes,
        (Access::UploadToken(_), _) => Want::Refused(Code::Unimplemented),
        (Access::AtLeast(..), Is::Nobody) => Want::Refused(Code::Unauthenticated),
        (Access::AtLeast(Role::Operator, _), Is::Viewer(_)) => {
            Want::Refused(Code::PermissionDenied)
        }
        // The requests are about tenant A's site.
        (Access::AtLeast(Role::Viewer, _), Is::Viewer(names))
            if names_a_site && names.tenant != A.tenant =>
        {
            Want::UnknownSite
        }
        (Access::AtLeast(Role::Viewer, _), _) => Want::Done,
        (Access::AtLeast(Role::Operator, _), Is::Operator) => Want::Passes,
    }
}

#[tokio::test]
async fn every_method_does_for_everybody_what_its_row_says() {
    let stage = Stage::start("matrix").await;
    let described = described();
    let callers = callers(&stage).await;
    let mut calls = 0;
    for (path, message) in &described.methods {
        let rule = access(path).unwrap_or_else(|| panic!("{path} has no row in the table"));
        for caller in &callers {
            let what = format!("{path} by {}", caller.name);
            // Put back what an operator's call before this one took away.
            stage.put_site(A.tenant, A.site, "UTC").await;
            let token = caller.token.as_deref();
            let body = described.request(message, A);
            let got = call(&stage, token, path, body).await;
            let code = got.as_ref().err().map(Status::code);
            calls += 1;
            match want(rule, caller.is, described.names_a_site(message)) {
                Want::Refused(want) => assert_eq!(code, Some(want), "{what}: {got:?}"),
                Want::UnknownSite => {
                    let nobodys = Names { tenant: A.tenant, site: "site-zzz" };
                    let body = described.request(message, nobodys);
                    let unknown = call(&stage, token, path, body).await.unwrap_err();
                    let status = got.expect_err(&what);
                    assert_eq!(status.code(), Code::NotFound, "{what}: {status}");
                    assert_eq!(unknown.code(), Code::NotFound, "{what}: {unknown}");
                    let same = status.message().replace(A.site, nobodys.site);
                    assert_eq!(same, unknown.message(), "{what}");
                    assert_eq!(status.details().len(), unknown.details().len(), "{what}");
                }
                Want::Done => {
                    let answer = got.unwrap_or_else(|status| panic!("{what}: {status}"));
                    is_its_own(&what, caller.is, &answer);
                }
                Want::Passes => {
                    let refused =
                        [Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented];
                    assert!(!code.is_some_and(|code| refused.contains(&code)), "{what}: {got:?}");
                }
            }
        }
    }
    assert_eq!(calls, described.methods.len() * callers.len());
    assert!(described.methods.len() >= 17, "{:?}", described.methods);
}

/// No viewer's answer speaks of the other tenant.
fn is_its_own(what: &str, is: Is, answer: &[u8]) {
    let Is::Viewer(own) = is else { return };
    let other = if own.tenant == A.tenant { B } else { A };
    let text = String::from_utf8_lossy(answer);
    for word in [other.tenant, other.site] {
        assert!(!text.contains(word), "{what} tells of {word}: {text:?}");
    }
}

#[tokio::test]
async fn a_list_holds_all_of_the_callers_own_and_nothing_else() {
    let stage = Stage::start_with(Default::default(), Default::default()).await;
    let callers = callers(&stage).await;
    let path = "/heliograph.v1.QueryService/ListSites";
    let mut seen = Vec::new();
    for caller in callers.iter().filter(|caller| caller.is != Is::Nobody) {
        let answer = call(&stage, caller.token.as_deref(), path, Bytes::new()).await.unwrap();
        let sites = v1::ListSitesResponse::decode(answer).unwrap().sites;
        seen.push(sites.into_iter().map(|site| site.site_id).collect::<Vec<_>>());
    }
    assert_eq!(seen, [vec![A.site], vec![B.site], vec![A.site, B.site]]);
}

#[test]
fn requests_are_made_from_the_descriptors() {
    let described = described();
    let body = described.request(".heliograph.v1.PutSiteRequest", A);
    let site = v1::PutSiteRequest::decode(body).unwrap().site.unwrap();
    assert_eq!((site.id.as_str(), site.tenant_id.as_str()), (A.site, A.tenant));
    let body = described.request(".heliograph.v1.QueryReadingsRequest", A);
    let asked = v1::QueryReadingsRequest::decode(body).unwrap();
    assert_eq!((asked.site_id.as_str(), asked.end_ms), (A.site, 1));
    assert!(described.names_a_site(".heliograph.v1.GetSiteRequest"));
    assert!(!described.names_a_site(".heliograph.v1.ListSitesRequest"));
}
