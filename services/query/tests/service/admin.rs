//! `AdminService`: the registry is changed by what stands on its topic.

use crate::support::{OPERATOR, Stage, site, violated};
use heliograph_contract::{registry, topic, v1};
use heliograph_domain::{event_id::token_hash, registry::Entry};
use heliograph_log::{Log, LogRead, NewRecord, TopicPartition};
use tonic::Code;

async fn stage() -> Stage {
    Stage::start_with(Default::default(), Default::default()).await
}

fn put(site: v1::Site) -> v1::PutSiteRequest {
    v1::PutSiteRequest { site: Some(site), ..Default::default() }
}

/// What stands on the registry's topic, the newest last.
async fn entries(stage: &Stage) -> Vec<Entry> {
    let at = TopicPartition::new(topic::REGISTRY, 0);
    let records = stage.log.read(&at, 0, 1 << 20).await.unwrap();
    records.into_iter().map(|r| registry::decode(&r.value.unwrap()).unwrap()).collect()
}

#[tokio::test]
async fn a_sites_token_is_shown_once_and_kept_as_a_hash() {
    let stage = stage().await;
    let first = stage.put_site("t1", "s1", "UTC").await;
    assert!(first.starts_with("hg_site_"), "a site's token says that it is one");
    let Some(Entry::Site(stored)) = entries(&stage).await.pop() else { panic!("no site") };
    assert_eq!(stored.token_hash, token_hash(&first));

    let mut admin = stage.admin(OPERATOR).await;
    let renamed = v1::Site { name: "Roof".into(), ..site("t1", "s1", "UTC") };
    let kept = admin.put_site(put(renamed.clone())).await.unwrap().into_inner().token;
    assert_eq!(kept, "", "a known site keeps its token");
    let rotate =
        v1::PutSiteRequest { site: Some(renamed), rotate_token: true, ..Default::default() };
    let second = admin.put_site(rotate).await.unwrap().into_inner().token;
    assert_ne!(second, first);
    let hashes: Vec<String> = entries(&stage)
        .await
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Site(site) => Some(site.token_hash),
            _ => None,
        })
        .collect();
    assert_eq!(hashes, [token_hash(&first), token_hash(&first), token_hash(&second)]);
    // A hash that the caller brings is not taken.
    let forged = v1::Site { token_hash: token_hash("mine"), ..site("t1", "s1", "UTC") };
    admin.put_site(put(forged)).await.unwrap();
    let Some(Entry::Site(stored)) = entries(&stage).await.pop() else { panic!("no site") };
    assert_eq!(stored.token_hash, token_hash(&second));
}

#[tokio::test]
async fn what_breaks_a_rule_changes_nothing() {
    let stage = stage().await;
    stage.put_site("t1", "s1", "Asia/Tokyo").await;
    let before = entries(&stage).await.len();
    let mut admin = stage.admin(OPERATOR).await;
    let good = site("t1", "s2", "UTC");
    let rows = [
        (
            "an unknown tenant",
            v1::Site { tenant_id: "t9".into(), ..good.clone() },
            "site.tenant_id",
        ),
        (
            "a tenant of no form",
            v1::Site { tenant_id: "t 9".into(), ..good.clone() },
            "site.tenant_id",
        ),
        ("an id of no form", v1::Site { id: "_gateway".into(), ..good.clone() }, "site.id"),
        (
            "a zone nobody knows",
            v1::Site { zone: "Mars/Olympus".into(), ..good.clone() },
            "site.zone",
        ),
        ("another zone for a site", site("t1", "s1", "UTC"), "site.zone"),
        (
            "no interval",
            v1::Site { reading_interval_s: 0, ..good.clone() },
            "site.reading_interval_s",
        ),
        ("a name with a line end", v1::Site { name: "a\nb".into(), ..good.clone() }, "site.name"),
        ("a name without end", v1::Site { name: "a".repeat(201), ..good.clone() }, "site.name"),
    ];
    for (name, site, field) in rows {
        let status = admin.put_site(put(site)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}");
        assert_eq!(violated(&status), [field], "{name}");
    }
    let no_site = v1::PutSiteRequest::default();
    assert_eq!(violated(&admin.put_site(no_site).await.unwrap_err()), ["site"]);
    let no_id = v1::PutTenantRequest { tenant: Some(v1::Tenant::default()), ..Default::default() };
    assert_eq!(violated(&admin.put_tenant(no_id).await.unwrap_err()), ["tenant.id"]);
    let token = |tenant_id: &str, role: v1::Role| v1::CreateApiTokenRequest {
        api_token: Some(v1::ApiToken {
            tenant_id: tenant_id.into(),
            role: role.into(),
            ..Default::default()
        }),
    };
    for (request, field) in [
        (token("t9", v1::Role::Viewer), "api_token.tenant_id"),
        (token("t1", v1::Role::Unspecified), "api_token.role"),
    ] {
        assert_eq!(violated(&admin.create_api_token(request).await.unwrap_err()), [field]);
    }
    assert_eq!(entries(&stage).await.len(), before);
}

#[tokio::test]
async fn a_token_works_as_soon_as_it_is_shown() {
    let stage = stage().await;
    stage.put_site("t1", "s1", "UTC").await;
    for _ in 0..20 {
        let token = stage.viewer_of("t1").await;
        assert!(token.starts_with("hg_api_"));
        let listed = stage.query(&token).await.list_sites(v1::ListSitesRequest::default()).await;
        assert_eq!(listed.unwrap().into_inner().sites.len(), 1);
    }
}

#[tokio::test]
async fn changes_at_the_same_time_do_not_lose_a_token() {
    let stage = stage().await;
    stage.put_tenant("t1").await;
    let admin = stage.admin(OPERATOR).await;
    let puts = (0..8).map(|_| {
        let mut admin = admin.clone();
        async move { admin.put_site(put(site("t1", "s1", "UTC"))).await.unwrap().into_inner() }
    });
    let tokens: Vec<String> =
        futures::future::join_all(puts).await.into_iter().map(|r| r.token).collect();
    let given: Vec<&String> = tokens.iter().filter(|t| !t.is_empty()).collect();
    assert_eq!(given.len(), 1, "one made the site, the others found it");
    let Some(Entry::Site(stored)) = entries(&stage).await.pop() else { panic!("no site") };
    assert_eq!(stored.token_hash, token_hash(given[0]));
}

#[tokio::test]
async fn the_log_is_read_up_to_the_end_it_had() {
    let stage = stage().await;
    let at = TopicPartition::new(topic::UPLOADS, 3);
    let append = |n: u64| {
        let (log, to) = (stage.log.clone(), at.clone());
        let value = vec![n as u8; 400_000];
        let headers = vec![("ce_type".into(), "frobs".into())];
        let record = NewRecord { to, key: Some("k".into()), headers, value: Some(value.into()) };
        async move { log.append(record).await.unwrap() }
    };
    for n in 0..7 {
        append(n).await;
    }
    let mut admin = stage.admin(OPERATOR).await;
    let request = v1::ReadLogRequest {
        topic: topic::UPLOADS.into(),
        partition: 3,
        from_offset: 1,
        end_offset: None,
    };
    let mut stream = admin.read_log(request.clone()).await.unwrap().into_inner();
    append(7).await;
    let mut offsets = Vec::new();
    while let Some(batch) = stream.message().await.unwrap() {
        use prost::Message;
        assert!(batch.encoded_len() <= 1 << 20, "{}", batch.encoded_len());
        for record in batch.records {
            assert_eq!(record.value.unwrap().first(), Some(&(record.offset as u8)));
            assert_eq!(record.headers[0].name, "ce_type");
            offsets.push(record.offset);
        }
    }
    assert_eq!(offsets, [1, 2, 3, 4, 5, 6], "what came after the call is not read");

    let bounded = v1::ReadLogRequest { end_offset: Some(3), ..request.clone() };
    let mut stream = admin.read_log(bounded).await.unwrap().into_inner();
    let batch = stream.message().await.unwrap().unwrap();
    assert_eq!(batch.records.iter().map(|r| r.offset).collect::<Vec<_>>(), [1, 2]);
    assert!(stream.message().await.unwrap().is_none());

    for nowhere in [
        v1::ReadLogRequest { topic: "frobs".into(), ..request.clone() },
        v1::ReadLogRequest { partition: 99, ..request },
    ] {
        assert_eq!(admin.read_log(nowhere).await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test]
async fn offsets_are_listed_per_partition() {
    let stage = stage().await;
    let to = TopicPartition::new(topic::UPLOADS, 2);
    let record = NewRecord { to, key: None, headers: vec![], value: Some("v".into()) };
    stage.log.append(record).await.unwrap();
    let mut admin = stage.admin(OPERATOR).await;
    for group in ["", "writer"] {
        let request = v1::ListOffsetsRequest { topic: topic::UPLOADS.into(), group: group.into() };
        let got = admin.list_offsets(request).await.unwrap().into_inner().partitions;
        assert_eq!(got.len(), 12);
        let ends: Vec<u64> = got.iter().map(|p| p.end_offset).collect();
        assert_eq!(ends.iter().sum::<u64>(), 1);
        assert_eq!((ends[2], got[2].first_offset, got[2].committed_offset), (1, 0, None));
    }
    let unknown = v1::ListOffsetsRequest { topic: "frobs".into(), ..Default::default() };
    assert_eq!(admin.list_offsets(unknown).await.unwrap_err().code(), Code::NotFound);
}
