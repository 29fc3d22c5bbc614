//! `AdminService`: sites, tenants and tokens are added, changed, listed and taken away.

use crate::support::{Admin, OPERATOR, Stage, build, site, violated};
use heliograph_contract::{
    topic,
    v1::{self, PutMode, Role},
};
use heliograph_domain::event_id::token_hash;
use heliograph_log::{LogRead, TopicPartition, registry::Projection};
use heliograph_query::QueryConfig;
use heliograph_service::Shutdown;
use tonic::{Code, Status};

async fn stage() -> Stage {
    Stage::start_with(Default::default(), Default::default()).await
}

fn put(site: v1::Site, mode: PutMode) -> v1::PutSiteRequest {
    v1::PutSiteRequest { site: Some(site), mode: mode.into(), ..Default::default() }
}

async fn listed(admin: &mut Admin, tenant: &str) -> Vec<v1::ApiTokenSummary> {
    let request = v1::ListApiTokensRequest { tenant_id: tenant.into(), ..Default::default() };
    admin.list_api_tokens(request).await.unwrap().into_inner().api_tokens
}

async fn revoke(admin: &mut Admin, id: &str) -> Result<(), Status> {
    let request = v1::RevokeApiTokenRequest { token_id: id.into() };
    admin.revoke_api_token(request).await.map(drop)
}

#[tokio::test]
async fn a_put_that_adds_never_overwrites_and_one_that_changes_never_adds() {
    let stage = stage().await;
    let token = stage.put_site("t1", "s1", "UTC").await;
    let mut admin = stage.admin(OPERATOR).await;
    let again = v1::Site { name: "other".into(), ..site("t1", "s1", "UTC") };
    let status = admin.put_site(put(again, PutMode::Add)).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    let status = admin.put_site(put(site("t1", "s9", "UTC"), PutMode::Change)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    let tenant = |id: &str, mode: PutMode| v1::PutTenantRequest {
        tenant: Some(v1::Tenant { id: id.into(), name: String::new() }),
        mode: mode.into(),
    };
    let status = admin.put_tenant(tenant("t1", PutMode::Add)).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    let status = admin.put_tenant(tenant("t9", PutMode::Change)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let unknown = v1::PutTenantRequest { mode: 7, ..tenant("t9", PutMode::Add) };
    assert_eq!(violated(&admin.put_tenant(unknown).await.unwrap_err()), ["mode"]);

    let registry = registry(&stage).await;
    assert_eq!(registry.site("s1").unwrap().name, "Site s1");
    assert_eq!(registry.uploader(&token).unwrap().id.as_str(), "s1");
    assert!(registry.site("s9").is_none() && registry.tenant("t9").is_none());
    admin.put_tenant(tenant("t9", PutMode::Add)).await.unwrap();
}

async fn registry(stage: &Stage) -> heliograph_domain::registry::Registry {
    let stop = Shutdown::new();
    let registry = Projection::load(stage.log.clone(), stop.clone()).await.unwrap();
    stop.cancel();
    (*registry.current()).clone()
}

async fn end(stage: &Stage) -> u64 {
    stage.log.offsets(&TopicPartition::new(topic::REGISTRY, 0)).await.unwrap().end
}

#[tokio::test]
async fn a_check_alone_says_the_same_and_changes_nothing() {
    let stage = stage().await;
    stage.put_site("t1", "s1", "Asia/Tokyo").await;
    let before = end(&stage).await;
    let mut admin = stage.admin(OPERATOR).await;
    let check = |site: v1::Site| v1::PutSiteRequest {
        validate_only: true,
        ..put(site, PutMode::Unspecified)
    };
    let good = admin.put_site(check(site("t1", "s2", "UTC"))).await.unwrap().into_inner();
    assert_eq!(good.token, "", "no token is made");
    let wrong = admin.put_site(check(site("t9", "s1", "UTC"))).await.unwrap_err();
    assert_eq!(violated(&wrong), ["site.tenant_id", "site.zone"], "all that is wrong");
    let removed = v1::Site { removed_at_ms: Some(1), ..site("t1", "s2", "UTC") };
    let wrong = admin.put_site(check(removed)).await.unwrap_err();
    assert_eq!(violated(&wrong), ["site.removed_at_ms"]);
    assert_eq!(end(&stage).await, before);
}

#[tokio::test]
async fn only_what_is_named_is_changed() {
    let stage = stage().await;
    let token = stage.put_site("t1", "s1", "Asia/Tokyo").await;
    stage.put_tenant("t2").await;
    let mut admin = stage.admin(OPERATOR).await;
    let change = |id: &str| v1::ChangeSiteRequest { site_id: id.into(), ..Default::default() };
    let renamed = v1::ChangeSiteRequest {
        name: Some("Roof".into()),
        rated_power_w: Some(0.0),
        ..change("s1")
    };
    admin.change_site(renamed).await.unwrap();
    let moved = v1::ChangeSiteRequest {
        tenant_id: Some("t2".into()),
        upload_interval_s: Some(600),
        ..change("s1")
    };
    admin.change_site(moved).await.unwrap();
    let known = registry(&stage).await;
    let s1 = known.site("s1").unwrap();
    assert_eq!((&*s1.name, s1.tenant.as_str(), &*s1.zone), ("Roof", "t2", "Asia/Tokyo"));
    assert_eq!((s1.upload_interval_s, s1.reading_interval_s, s1.rated_power_w), (600, 60, 0.0));
    assert_eq!(s1.token_hash, token_hash(&token), "it keeps its token");

    let before = end(&stage).await;
    admin.change_site(change("s1")).await.unwrap();
    let rows = [
        (v1::ChangeSiteRequest { tenant_id: Some("t9".into()), ..change("s1") }, "site.tenant_id"),
        (
            v1::ChangeSiteRequest { upload_interval_s: Some(0), ..change("s1") },
            "site.upload_interval_s",
        ),
        (v1::ChangeSiteRequest { name: Some("a".repeat(201)), ..change("s1") }, "site.name"),
        (change(&"s".repeat(70)), "site_id"),
    ];
    for (request, field) in rows {
        assert_eq!(violated(&admin.change_site(request).await.unwrap_err()), [field]);
    }
    let status = admin.change_site(change("s9")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(end(&stage).await, before, "what changes nothing is not written");
}

#[tokio::test]
async fn a_rotated_token_takes_the_place_of_the_old_one() {
    let stage = stage().await;
    let old = stage.put_site("t1", "s1", "UTC").await;
    let mut admin = stage.admin(OPERATOR).await;
    let rotate = |id: &str| v1::RotateSiteTokenRequest { site_id: id.into() };
    let new = admin.rotate_site_token(rotate("s1")).await.unwrap().into_inner().token;
    let known = registry(&stage).await;
    assert!(known.uploader(&old).is_none() && known.uploader(&new).is_some());
    assert_eq!(admin.rotate_site_token(rotate("s9")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(violated(&admin.rotate_site_token(rotate("")).await.unwrap_err()), ["site_id"]);
}

#[tokio::test]
async fn a_removed_site_is_unknown_and_comes_back_as_it_was_cut() {
    let stage = stage().await;
    let token = stage.put_site("t1", "s1", "Asia/Tokyo").await;
    stage.put_tenant("t2").await;
    let mut admin = stage.admin(OPERATOR).await;
    let remove = v1::RemoveSiteRequest { site_id: "s1".into() };
    admin.remove_site(remove.clone()).await.unwrap();
    assert_eq!(admin.remove_site(remove).await.unwrap_err().code(), Code::NotFound);
    let asked = v1::GetSiteRequest { site_id: "s1".into() };
    let status = stage.query(OPERATOR).await.get_site(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let known = registry(&stage).await;
    assert!(known.uploader(&token).is_none());
    assert_eq!(known.zone("s1"), Some("Asia/Tokyo"), "its days are cut as before");

    let other_zone = put(site("t1", "s1", "UTC"), PutMode::Add);
    assert_eq!(violated(&admin.put_site(other_zone).await.unwrap_err()), ["site.zone"]);
    let other_tenant = put(site("t2", "s1", "Asia/Tokyo"), PutMode::Add);
    assert_eq!(violated(&admin.put_site(other_tenant).await.unwrap_err()), ["site.id"]);
    let same = put(site("t1", "s1", "Asia/Tokyo"), PutMode::Add);
    let new = admin.put_site(same).await.unwrap().into_inner().token;
    assert_ne!(new, token);
    let known = registry(&stage).await;
    assert!(known.uploader(&new).is_some() && known.removed_site("s1").is_none());
}

#[tokio::test]
async fn a_tenant_with_sites_or_tokens_stays() {
    let stage = stage().await;
    stage.put_site("t1", "s1", "UTC").await;
    stage.viewer_of("t1").await;
    let mut admin = stage.admin(OPERATOR).await;
    let remove = |id: &str| v1::RemoveTenantRequest { tenant_id: id.into() };
    let status = admin.remove_tenant(remove("t1")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let token_id = listed(&mut admin, "t1").await[0].token_id.clone();
    assert!(status.message().contains("1 site (s1) and 1 API token ("), "{status}");
    assert!(status.message().contains(&token_id), "{status}");

    let tenants = admin.list_tenants(v1::ListTenantsRequest::default()).await.unwrap();
    let tenants = tenants.into_inner().tenants;
    let shown: Vec<_> =
        tenants.iter().map(|t| (&*t.tenant_id, &*t.name, t.sites, t.api_tokens)).collect();
    assert_eq!(shown, [("ops", "Operators", 0, 1), ("t1", "t1", 1, 1)]);

    revoke(&mut admin, &token_id).await.unwrap();
    admin.remove_site(v1::RemoveSiteRequest { site_id: "s1".into() }).await.unwrap();
    // Another customer by that name would see what the site sent.
    let status = admin.remove_tenant(remove("t1")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("1 removed site (s1) whose readings are kept"), "{status}");

    stage.put_tenant("t2").await;
    admin.remove_tenant(remove("t2")).await.unwrap();
    assert_eq!(admin.remove_tenant(remove("t2")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(violated(&admin.remove_tenant(remove("a b")).await.unwrap_err()), ["tenant_id"]);
    assert!(registry(&stage).await.tenant("t2").is_none());
}

#[tokio::test]
async fn lists_come_in_pages_without_secrets() {
    let stage = stage().await;
    for n in 0..3 {
        stage.put_tenant(&format!("t{n}")).await;
    }
    let mut tokens = vec![OPERATOR.to_owned()];
    for _ in 0..4 {
        tokens.push(stage.viewer_of("t1").await);
    }
    let mut admin = stage.admin(OPERATOR).await;
    let mut page_token = String::new();
    let mut ids = Vec::new();
    loop {
        let request = v1::ListApiTokensRequest { page_size: 2, page_token, ..Default::default() };
        let page = admin.list_api_tokens(request).await.unwrap().into_inner();
        let text = format!("{page:?}");
        for secret in &tokens {
            assert!(!text.contains(secret) && !text.contains(&token_hash(secret)), "{text}");
        }
        ids.extend(page.api_tokens.into_iter().map(|t| t.token_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let mut want: Vec<String> = tokens.iter().map(|t| token_hash(t)[..12].to_owned()).collect();
    want.sort();
    assert_eq!(ids, want);
    let of_t1 = listed(&mut admin, "t1").await;
    assert_eq!(of_t1.len(), 4);
    assert!(of_t1.iter().all(|t| t.role() == Role::Viewer && t.created_at_ms.is_some()));

    let pages = |page_size, page_token: &str| v1::ListTenantsRequest {
        page_size,
        page_token: page_token.into(),
    };
    let first = admin.list_tenants(pages(2, "")).await.unwrap().into_inner();
    let rest = admin.list_tenants(pages(2, &first.next_page_token)).await.unwrap().into_inner();
    let all = first.tenants.iter().chain(&rest.tenants).map(|t| &*t.tenant_id);
    assert_eq!(all.collect::<Vec<_>>(), ["ops", "t0", "t1", "t2"]);
    assert_eq!(rest.next_page_token, "");
    for (request, field) in [(pages(10_001, ""), "page_size"), (pages(1, "a b"), "page_token")] {
        assert_eq!(violated(&admin.list_tenants(request).await.unwrap_err()), [field]);
    }
}

#[tokio::test]
async fn the_last_operators_token_and_the_callers_own_are_not_revoked() {
    let stage = stage().await;
    let mut admin = stage.admin(OPERATOR).await;
    let own = &token_hash(OPERATOR)[..12];
    let status = revoke(&mut admin, own).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("the last operator's token"), "{status}");
    let api_token =
        v1::ApiToken { tenant_id: "ops".into(), role: Role::Operator.into(), ..Default::default() };
    let request = v1::CreateApiTokenRequest { api_token: Some(api_token) };
    let second = admin.create_api_token(request).await.unwrap().into_inner();
    assert_eq!(second.token_id, token_hash(&second.token)[..12]);
    let status = revoke(&mut admin, own).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("of this very call"), "{status}");
    let mut other = stage.admin(&second.token).await;
    revoke(&mut other, own).await.unwrap();
    let status = listing(&stage, OPERATOR).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "it is void at once");

    for wrong in ["", "0123456789a", "0123456789AB", &"0".repeat(65), OPERATOR] {
        assert_eq!(violated(&revoke(&mut other, wrong).await.unwrap_err()), ["token_id"]);
    }
    let status = revoke(&mut other, "000000000000").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
}

async fn listing(stage: &Stage, token: &str) -> Result<usize, Status> {
    let request = v1::ListSitesRequest::default();
    Ok(stage.query(token).await.list_sites(request).await?.into_inner().sites.len())
}

#[tokio::test]
async fn what_one_service_changes_another_on_the_same_log_follows() {
    let stage = stage().await;
    let upload_token = stage.put_site("t1", "s1", "UTC").await;
    let viewer = stage.viewer_of("t1").await;
    // A second service, as another process would be: it knows the log alone.
    let config = QueryConfig { listen: ([127, 0, 0, 1], 0).into(), ..Default::default() };
    let app = build(config, Default::default(), stage.log.clone()).await;
    let (followed, addr, shutdown) = (app.registry(), app.addr(), Shutdown::new());
    let running = tokio::spawn(app.run(shutdown.clone()));
    let second =
        Stage { addr, log: stage.log.clone(), store: stage.store.clone(), shutdown, running };
    assert_eq!(listing(&second, &viewer).await.unwrap(), 1);
    assert!(followed.current().uploader(&upload_token).is_some());

    let mut admin = stage.admin(OPERATOR).await;
    let id = &token_hash(&viewer)[..12];
    revoke(&mut admin, id).await.unwrap();
    let rotate = v1::RotateSiteTokenRequest { site_id: "s1".into() };
    let rotated = admin.rotate_site_token(rotate).await.unwrap().into_inner().token;
    let newest = stage.viewer_of("t1").await;
    followed.reached(end(&stage).await - 1).await.unwrap();
    let status = listing(&second, &viewer).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    assert_eq!(listing(&second, &newest).await.unwrap(), 1);
    assert!(followed.current().uploader(&upload_token).is_none());
    assert!(followed.current().uploader(&rotated).is_some());
}
