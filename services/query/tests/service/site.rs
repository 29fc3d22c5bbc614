//! `ListSites` and `GetSite`.

use crate::model::{self, DAY_MS, HOUR_MS, QUARTER_MS, Row, row};
use crate::support::{OPERATOR, Stage};
use heliograph_contract::v1;
use std::time::{SystemTime, UNIX_EPOCH};

const SITE: &str = "s1";

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

async fn get(stage: &Stage) -> v1::GetSiteResponse {
    let request = v1::GetSiteRequest { site_id: SITE.into() };
    stage.query(OPERATOR).await.get_site(request).await.unwrap().into_inner()
}

/// Stores rows as the writer does, up to the rollups.
async fn write(stage: &Stage, rows: &[Row]) {
    model::mark(&stage.store, SITE, rows, true).await;
    model::store(&stage.store, SITE, rows).await;
}

async fn roll(stage: &Stage, rows: &[Row]) {
    model::roll_up(&stage.store, SITE, rows, |ts| ts - ts.rem_euclid(DAY_MS), 0).await;
    model::mark(&stage.store, SITE, rows, false).await;
}

#[tokio::test]
async fn a_new_site_has_nothing_and_says_so_by_absence() {
    let stage = Stage::start("site_new").await;
    stage.put_site("t1", SITE, "Asia/Tokyo").await;
    let got = get(&stage).await;
    let site = got.site.unwrap();
    assert_eq!((site.site_id.as_str(), site.zone.as_str()), (SITE, "Asia/Tokyo"));
    assert_eq!(site.rated_power_w, 49_500.0);
    assert_eq!(got.last_reading, None);
    assert_eq!(got.last_received_at_ms, None);
    assert_eq!((got.today, got.last_24h), (vec![], vec![]));
}

#[tokio::test]
async fn the_newest_reading_and_the_newest_arrival_are_not_the_same() {
    let stage = Stage::start("site_newest").await;
    stage.put_site("t1", SITE, "UTC").await;
    let base = 1_767_225_600_000;
    let live: Vec<Row> =
        (0..60).map(|n| row("inv1", base + n * 60_000, n as f64, 10 + n as u64)).collect();
    write(&stage, &live).await;
    let newest = |got: v1::GetSiteResponse| {
        let last = got.last_reading.unwrap();
        let reading = last.reading.unwrap();
        (reading.ts_ms, reading.value, last.received_at_ms, got.last_received_at_ms.unwrap())
    };
    let last_ms = base + 59 * 60_000;
    let want = (last_ms, 59.0, last_ms + 5_000, last_ms + 5_000);
    assert_eq!(newest(get(&stage).await), want, "all is dirty");
    roll(&stage, &live).await;
    assert_eq!(newest(get(&stage).await), want, "all is clean");

    // A backlog from a week before arrives later.
    let arrived_ms = base + DAY_MS;
    let late: Vec<Row> = (0..3)
        .map(|n| Row {
            received_at_ms: arrived_ms + n,
            ..row("inv1", base - 7 * DAY_MS + n * QUARTER_MS, 1.0, 100 + n as u64)
        })
        .collect();
    let want = (last_ms, 59.0, last_ms + 5_000, arrived_ms + 2);
    write(&stage, &late).await;
    assert_eq!(newest(get(&stage).await), want, "the backlog is dirty");
    roll(&stage, &late).await;
    assert_eq!(newest(get(&stage).await), want, "the backlog is clean");

    // A crash between the mark and the rows: the mark alone is no reading.
    let lost = [row("inv1", base + DAY_MS, 1.0, 200)];
    model::mark(&stage.store, SITE, &lost, true).await;
    assert_eq!(newest(get(&stage).await), want, "a mark without rows");

    // The newest reading is corrected, as bad: it is still the newest.
    let corrected = [Row { value: 7.5, quality: "bad", offset: 300, ..live[59].clone() }];
    write(&stage, &corrected).await;
    let got = get(&stage).await.last_reading.unwrap().reading.unwrap();
    assert_eq!((got.value, got.quality()), (7.5, v1::Quality::Bad));
}

#[tokio::test]
async fn where_to_look_is_a_shortcut_and_not_a_condition() {
    let stage = Stage::start("site_unmarked").await;
    stage.put_site("t1", SITE, "UTC").await;
    let rows = [row("inv1", 1_767_225_600_000, 1.0, 1), row("inv2", 1_767_225_600_000, 2.0, 1)];
    model::store(&stage.store, SITE, &rows).await;
    let got = get(&stage).await;
    assert_eq!(got.last_received_at_ms, Some(1_767_225_605_000));
    let reading = got.last_reading.unwrap().reading.unwrap();
    assert_eq!((reading.device.as_str(), reading.value), ("inv1", 1.0), "ties have an order");
}

#[tokio::test]
async fn completeness_counts_what_is_there_against_what_was_declared() {
    let stage = Stage::start("site_complete").await;
    stage.put_site("t1", SITE, "UTC").await;
    let minute = now_ms() / 60_000;
    let series = |device: &'static str, minutes: std::ops::Range<i64>| {
        minutes.map(move |ago| row(device, (minute - ago) * 60_000, 1.0, 1)).collect::<Vec<_>>()
    };
    // inv1 is whole for 30 hours but for every tenth reading; inv2 ended three days ago.
    let mut rows = series("inv1", 1..30 * 60);
    rows.retain(|row| row.ts_ms / 60_000 % 10 != 0);
    let gone = series("inv2", 3 * 1_440..3 * 1_440 + 60);
    // Sent twice is there once; ahead of now is not due.
    let twice: Vec<Row> = rows[..50].iter().map(|r| Row { offset: 2, ..r.clone() }).collect();
    let ahead = series("inv1", -60..-30);
    for part in [&rows, &gone, &twice, &ahead] {
        write(&stage, part).await;
    }
    roll(&stage, &gone).await;

    let before = now_ms();
    let got = get(&stage).await;
    let after = now_ms();
    let count = |from: i64, now: i64| {
        rows.iter().filter(|row| (from..now).contains(&row.ts_ms)).count() as u64
    };
    let due = |from: i64, now: i64| ((now + 59_999) / 60_000 - (from + 59_999) / 60_000) as u64;
    let midnight = |now: i64| now - now.rem_euclid(DAY_MS);
    // The service's now lies between the two; a minute may have passed.
    let at = |now: i64| {
        [
            ("inv1", count(midnight(now), now), due(midnight(now), now)),
            ("inv2", 0, due(midnight(now), now)),
            ("inv1", count(now - DAY_MS, now), 1_440),
            ("inv2", 0, 1_440),
        ]
    };
    let read: Vec<(&str, u64, u64)> = got
        .today
        .iter()
        .chain(&got.last_24h)
        .map(|c| (c.device.as_str(), c.present, c.expected))
        .collect();
    let moments = (before..=after).map(at);
    assert!(moments.into_iter().any(|want| read == want), "{read:?}\n{:?}", at(before));
    assert!(read[2].1 > 1_200, "{read:?}");
    assert_eq!(got.last_reading.unwrap().reading.unwrap().ts_ms, (minute + 60) * 60_000);
    assert!(HOUR_MS > after - before, "the clock was not set meanwhile");
}

#[tokio::test]
async fn sites_are_listed_in_order_page_by_page() {
    let stage = Stage::start_with(Default::default(), Default::default()).await;
    for id in ["s3", "s1", "s2", "s10"] {
        stage.put_site("t1", id, "UTC").await;
    }
    stage.put_site("t2", "s0", "UTC").await;
    let viewer = stage.viewer_of("t1").await;
    for (token, want) in [
        (OPERATOR, vec!["s0", "s1", "s10", "s2", "s3"]),
        (viewer.as_str(), vec!["s1", "s10", "s2", "s3"]),
    ] {
        let mut client = stage.query(token).await;
        for page_size in [0, 1, 2, 4, 5] {
            let (mut ids, mut page_token) = (Vec::new(), String::new());
            loop {
                let request = v1::ListSitesRequest { page_size, page_token };
                let page = client.list_sites(request).await.unwrap().into_inner();
                assert!(page_size == 0 || page.sites.len() <= page_size as usize);
                ids.extend(page.sites.into_iter().map(|site| site.site_id));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(ids, want, "pages of {page_size}");
        }
    }
    let mut client = stage.query(OPERATOR).await;
    for (request, field) in [
        (v1::ListSitesRequest { page_size: 10_001, ..Default::default() }, "page_size"),
        (v1::ListSitesRequest { page_size: 0, page_token: "a b".into() }, "page_token"),
    ] {
        let status = client.list_sites(request).await.unwrap_err();
        assert_eq!(crate::support::violated(&status), [field]);
    }
}
