//! What the gateway says about its door, and how it leaves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::*;
use heliograph_contract::{event::UploadsEvent, topic, v1::DoorTick};
use reqwest::StatusCode;
use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

fn in_order(ticks: &[DoorTick]) {
    for (i, tick) in ticks.iter().enumerate() {
        assert_eq!(tick.sequence, i as u64 + 1);
        assert_eq!(tick.instance, INSTANCE);
        assert_eq!(tick.incarnation_ms, ticks[0].incarnation_ms);
    }
}

#[tokio::test]
async fn every_partition_is_told_that_the_door_is_open() {
    let gateway = start(config()).await;
    for partition in 0..PARTITIONS {
        let ticks = gateway.ticks_until(partition, |t| t.len() > 2 && t[2].self_upload_ok).await;
        in_order(&ticks);
        assert_eq!((accepted(&ticks), refused(&ticks)), (0, 0), "own uploads are not counted");
        assert!(ticks.iter().all(|t| !t.leaving));
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_tick_lies_behind_the_uploads_that_it_counts() {
    let gateway = start(config()).await;
    for i in 0..50 {
        let status = gateway.upload("s1", &format!("u{i}")).await.status();
        assert_eq!(status, StatusCode::OK);
    }
    let at = partition_of("s1");
    gateway.ticks_until(at, |t| accepted(t) == 50).await;
    let (mut before, mut told) = (0, 0);
    for record in gateway.records(topic::UPLOADS, at).await {
        match event(&record) {
            UploadsEvent::Upload(u) if u.site.as_str() == "s1" => before += 1,
            UploadsEvent::Tick(tick) => {
                told += tick.accepted;
                assert!(told <= before, "told {told}, before it {before}");
            }
            _ => {}
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn counts_outlive_ticks_that_fail() {
    for (name, fault, told) in
        [("not stored", Fault::Fail, 3), ("stored all the same", Fault::StoreAndFail, 3)]
    {
        let gateway = start(config()).await;
        let at = partition_of("s1");
        let tries = std::sync::Arc::new(AtomicUsize::new(0));
        let seen = tries.clone();
        gateway.log.faults(move |r| {
            let ours = is_tick(r) && r.to.partition == at;
            let fails = ours && seen.fetch_add(1, Relaxed) < 4;
            if fails { fault } else { Fault::None }
        });
        for i in 0..told {
            gateway.upload("s1", &format!("u{i}")).await;
        }
        let total = |ticks: &[DoorTick]| -> u64 {
            let last = |i: usize| ticks.get(i + 1).is_none_or(|n| n.sequence != ticks[i].sequence);
            ticks.iter().enumerate().filter(|(i, _)| last(*i)).map(|(_, t)| t.accepted).sum()
        };
        let ticks = gateway.ticks_until(at, |t| t.last().is_some_and(|t| t.sequence >= 3)).await;
        assert_eq!(total(&ticks), told, "{name}: {ticks:?}");
        assert!(tries.load(Relaxed) > 4, "{name}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn never_more_than_one_tick_is_unacknowledged() {
    let gateway = start(config()).await;
    let at = partition_of("s1");
    gateway.log.faults(
        move |r| {
            if is_tick(r) && r.to.partition == at { Fault::Hang } else { Fault::None }
        },
    );
    gateway.log.hangs(1).await;
    let other = (at + 1) % PARTITIONS;
    gateway.ticks_until(other, |t| t.len() > 4).await;
    assert_eq!(*gateway.log.hanging.borrow(), 1, "four ticks later it still waits for the first");
    gateway.log.release();
    gateway.ticks_until(at, |t| t.len() > 1).await;
    in_order(&gateway.ticks(at).await);
    gateway.stop().await;
}

#[tokio::test]
async fn an_own_upload_that_does_not_go_through_is_told() {
    let mut limits = config();
    limits.self_upload_timeout = Duration::from_millis(100);
    let gateway = start(limits).await;
    gateway.ticks_until(0, |t| t.last().is_some_and(|t| t.self_upload_ok)).await;
    let own = format!("_gateway.{INSTANCE}");
    gateway.log.faults(move |r| if is_upload_of(r, &own) { Fault::Hang } else { Fault::None });
    gateway.ticks_until(0, |t| t.last().is_some_and(|t| !t.self_upload_ok)).await;
    gateway.log.faults(|_| Fault::None);
    let ticks = gateway.ticks_until(0, |t| t.last().is_some_and(|t| t.self_upload_ok)).await;
    assert_eq!(refused(&ticks), 0, "its own uploads are no site's");
    gateway.stop().await;
}

#[tokio::test]
async fn at_shutdown_open_uploads_finish_and_leaving_is_the_last_word() {
    let mut gateway = start(config()).await;
    gateway.log.faults(|r| if is_upload_of(r, "s1") { Fault::Hang } else { Fault::None });
    let url = format!("http://{}/v1/uploads", gateway.addr);
    let upload = gateway.post("token-s1", body("s1", "u1", &[reading("inv1", "1")])).send();
    let upload = tokio::spawn(upload);
    gateway.log.hangs(1).await;
    gateway.shutdown.cancel();
    gateway.log.release();
    assert_eq!(upload.await.unwrap().unwrap().status(), StatusCode::OK);
    gateway.left().await;
    assert!(gateway.client.post(url).send().await.is_err(), "the listener is closed");
    assert_eq!(gateway.stored_ids().await, ["u1"]);
    for partition in 0..PARTITIONS {
        let records = gateway.records(topic::UPLOADS, partition).await;
        let UploadsEvent::Tick(last) = event(records.last().unwrap()) else {
            panic!("partition {partition}: an upload behind the last tick")
        };
        assert!(last.leaving, "partition {partition}");
        let ticks = gateway.ticks(partition).await;
        in_order(&ticks);
        assert_eq!(ticks.iter().filter(|t| t.leaving).count(), 1);
        let mine = u64::from(partition == partition_of("s1"));
        assert_eq!((accepted(&ticks), refused(&ticks)), (mine, 0), "nothing counted is lost");
    }
}

#[tokio::test]
async fn leaving_is_tried_again_and_given_up_at_the_deadline() {
    let gateway = start(config()).await;
    let at = partition_of("s1");
    let tries = std::sync::Arc::new(AtomicUsize::new(0));
    let seen = tries.clone();
    gateway.log.faults(move |r| match is_tick(r) && r.to.partition == at {
        true if seen.fetch_add(1, Relaxed) < 3 => Fault::Fail,
        _ => Fault::None,
    });
    let mut gateway = gateway;
    gateway.shutdown.cancel();
    gateway.left().await;
    assert!(gateway.ticks(at).await.last().unwrap().leaving);

    let mut limits = config();
    limits.leave_timeout = Duration::from_millis(100);
    let mut gateway = start(limits).await;
    gateway.log.faults(move |r| if is_tick(r) { Fault::Hang } else { Fault::None });
    gateway.shutdown.cancel();
    gateway.left().await;
}
