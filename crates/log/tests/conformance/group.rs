//! Consumer groups.

use crate::support::*;
use heliograph_log::{GroupEvent, Log, LogError, TopicPartition};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Long enough for a fault to show; a test that passes has waited in vain for this long.
const QUIET: Duration = Duration::from_millis(300);

pub async fn a_lone_member_gets_every_partition_and_record(log: Arc<dyn Log>) {
    let topic = topic(&*log, 3).await;
    for p in 0..3 {
        append_numbers(&*log, &TopicPartition::new(topic.clone(), p), 10).await;
    }
    let mut members = [Member::join(&*log, &topic, &unique("g")).await];
    drive(&mut members, |m| owned(m) == 3 && seen(m) >= 30).await;
    for p in 0..3 {
        let records: Vec<_> =
            members[0].records.iter().filter(|r| r.at.partition == p).cloned().collect();
        assert_eq!(values(&records), (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

pub async fn members_share_the_partitions(log: Arc<dyn Log>) {
    let topic = topic(&*log, 5).await;
    let group = unique("g");
    let mut members =
        [Member::join(&*log, &topic, &group).await, Member::join(&*log, &topic, &group).await];
    let shared = |m: &[Member]| owned(m) == 5 && m.iter().all(|m| m.owned.len() >= 2);
    drive(&mut members, shared).await;
    for p in 0..5 {
        append_numbers(&*log, &TopicPartition::new(topic.clone(), p), 4).await;
    }
    // `Member` itself asserts that records come from partitions it owns.
    drive(&mut members, |m| seen(m) >= 20).await;
    let offsets: BTreeSet<_> =
        members.iter().flat_map(|m| &m.records).map(|r| (r.at.clone(), r.offset)).collect();
    assert_eq!((offsets.len(), seen(&members)), (20, 20), "each record to one member, once");
}

pub async fn a_partition_is_handed_over_only_after_release(log: Arc<dyn Log>) {
    let topic = topic(&*log, 2).await;
    let group = unique("g");
    for p in 0..2 {
        append_numbers(&*log, &TopicPartition::new(topic.clone(), p), 3).await;
    }
    let mut members = vec![Member::join(&*log, &topic, &group).await];
    members[0].yields_at_once = false;
    drive(&mut members, |m| owned(m) == 2 && seen(m) == 6).await;
    members.push(Member::join(&*log, &topic, &group).await);
    drive(&mut members, |m| !m[0].revoked.is_empty()).await;
    drive_for(&mut members, QUIET).await;
    assert!(members[1].owned.is_empty(), "it got {:?} before release", members[1].owned);
    let moving = members[0].revoked.first().unwrap().clone();
    members[0].consumer.commit(&[(moving.clone(), 2)]).await.unwrap();
    members[0].release();
    drive(&mut members, |m| m[1].owned.contains(&moving) && !m[1].records.is_empty()).await;
    assert_eq!(members[1].values(), ["2"], "it goes on from the commit");
}

/// A member that owned both partitions and is asked for one, and the one that waits for it.
async fn handing_over(log: &dyn Log) -> (Arc<str>, Vec<Member>) {
    let topic = topic(log, 2).await;
    let group = unique("g");
    let mut members = vec![Member::join(log, &topic, &group).await];
    members[0].yields_at_once = false;
    drive(&mut members, |m| owned(m) == 2).await;
    members.push(Member::join(log, &topic, &group).await);
    drive(&mut members, |m| !m[0].revoked.is_empty()).await;
    (topic, members)
}

pub async fn what_is_not_ours_keeps_nothing_else_from_its_release(log: Arc<dyn Log>) {
    let (topic, mut members) = handing_over(&*log).await;
    let moving = members[0].revoked.first().unwrap().clone();
    let absent = TopicPartition::new(topic.clone(), 9);
    let refused = members[0].consumer.release(&[absent, moving.clone()]).unwrap_err();
    assert!(matches!(refused, LogError::NotOwner(_)), "{refused}");
    drive(&mut members, |m| m[1].owned.contains(&moving)).await;
}

pub async fn a_new_member_goes_on_from_the_commit(log: Arc<dyn Log>) {
    let topic = topic(&*log, 1).await;
    let tp = TopicPartition::new(topic.clone(), 0);
    let group = unique("g");
    append_numbers(&*log, &tp, 10).await;
    let mut members = [Member::join(&*log, &topic, &group).await];
    drive(&mut members, |m| seen(m) == 10).await;
    members[0].consumer.commit(&[(tp.clone(), 7)]).await.unwrap();
    let [first] = members;
    first.consumer.close().await.unwrap();
    let mut members = [Member::join(&*log, &topic, &group).await];
    drive(&mut members, |m| seen(m) >= 3).await;
    assert_eq!(members[0].values(), ["7", "8", "9"]);
}

pub async fn a_commit_can_be_read_back(log: Arc<dyn Log>) {
    let topic = topic(&*log, 2).await;
    let (one, other) =
        (TopicPartition::new(topic.clone(), 0), TopicPartition::new(topic.clone(), 1));
    let group = unique("g");
    append_numbers(&*log, &one, 5).await;
    let mut members = [Member::join(&*log, &topic, &group).await];
    drive(&mut members, |m| owned(m) == 2).await;
    for offset in [3, 5] {
        members[0].consumer.commit(&[(one.clone(), offset)]).await.unwrap();
        assert_eq!(log.committed(&group, &one).await.unwrap(), Some(offset));
    }
    assert_eq!(log.committed(&group, &other).await.unwrap(), None);
    assert_eq!(log.committed(&unique("g"), &one).await.unwrap(), None);
}

pub async fn groups_do_not_disturb_each_other(log: Arc<dyn Log>) {
    let topic = topic(&*log, 1).await;
    let tp = TopicPartition::new(topic.clone(), 0);
    append_numbers(&*log, &tp, 5).await;
    let (one, two) = (unique("g"), unique("g"));
    let mut members =
        [Member::join(&*log, &topic, &one).await, Member::join(&*log, &topic, &two).await];
    drive(&mut members, |m| m.iter().all(|m| m.records.len() == 5)).await;
    members[0].consumer.commit(&[(tp.clone(), 5)]).await.unwrap();
    assert_eq!(log.committed(&two, &tp).await.unwrap(), None);
}

pub async fn a_former_owner_may_not_commit(log: Arc<dyn Log>) {
    let topic = topic(&*log, 2).await;
    let group = unique("g");
    let mut members = vec![Member::join(&*log, &topic, &group).await];
    drive(&mut members, |m| owned(m) == 2).await;
    members.push(Member::join(&*log, &topic, &group).await);
    drive(&mut members, |m| m.iter().all(|m| m.owned.len() == 1)).await;
    let lost = members[1].owned.first().unwrap().clone();
    let refused = members[0].consumer.commit(&[(lost.clone(), 1)]).await.unwrap_err();
    assert!(matches!(refused, LogError::NotOwner(_)), "{refused}");
    assert_eq!(log.committed(&group, &lost).await.unwrap(), None);
    members[1].consumer.commit(&[(lost.clone(), 2)]).await.unwrap();
    assert_eq!(log.committed(&group, &lost).await.unwrap(), Some(2));
}

pub async fn a_paused_partition_is_silent(log: Arc<dyn Log>) {
    let topic = topic(&*log, 2).await;
    let (quiet, loud) =
        (TopicPartition::new(topic.clone(), 0), TopicPartition::new(topic.clone(), 1));
    let mut members = [Member::join(&*log, &topic, &unique("g")).await];
    drive(&mut members, |m| owned(m) == 2).await;
    members[0].consumer.pause(std::slice::from_ref(&quiet)).unwrap();
    append_numbers(&*log, &quiet, 5).await;
    append_numbers(&*log, &loud, 5).await;
    drive(&mut members, |m| seen(m) >= 5).await;
    drive_for(&mut members, QUIET).await;
    assert!(members[0].records.iter().all(|r| r.at == loud), "{:?}", members[0].records);
    members[0].consumer.resume(std::slice::from_ref(&quiet)).unwrap();
    drive(&mut members, |m| seen(m) >= 10).await;
    assert_eq!(values(&members[0].records[5..]), ["0", "1", "2", "3", "4"]);
}

/// Who stops reading at a limit, and loses partitions there, begins without a limit.
pub async fn what_was_paused_when_it_went_is_read_when_it_comes_back(log: Arc<dyn Log>) {
    let topic = topic(&*log, 2).await;
    let group = unique("g");
    let mut members = vec![Member::join(&*log, &topic, &group).await];
    drive(&mut members, |m| owned(m) == 2).await;
    let both: Vec<TopicPartition> = members[0].owned.iter().cloned().collect();
    members[0].consumer.pause(&both).unwrap();
    members.push(Member::join(&*log, &topic, &group).await);
    drive(&mut members, |m| m.iter().all(|m| m.owned.len() == 1)).await;
    let (kept, moved) =
        (members[0].owned.first().unwrap().clone(), members[1].owned.first().unwrap().clone());
    members.remove(1).consumer.close().await.unwrap();
    drive(&mut members, |m| owned(m) == 2).await;
    append_numbers(&*log, &kept, 3).await;
    append_numbers(&*log, &moved, 3).await;
    drive(&mut members, |m| seen(m) >= 3).await;
    drive_for(&mut members, QUIET).await;
    assert!(members[0].records.iter().all(|r| r.at == moved), "what it kept is still paused");
    members[0].consumer.resume(std::slice::from_ref(&kept)).unwrap();
    drive(&mut members, |m| seen(m) >= 6).await;
    assert_eq!(members[0].values(), ["0", "1", "2", "0", "1", "2"]);
}

pub async fn a_dropped_next_loses_nothing(log: Arc<dyn Log>) {
    let topic = topic(&*log, 2).await;
    let mut members = [Member::join(&*log, &topic, &unique("g")).await];
    drive(&mut members, |m| owned(m) == 2).await;
    let appending = {
        let (log, topic) = (log.clone(), topic.clone());
        tokio::spawn(async move {
            for n in 0..400 {
                let tp = TopicPartition::new(topic.clone(), n % 2);
                log.append(record(&tp, n.to_string())).await.unwrap();
            }
        })
    };
    let mut patience = 0;
    let member = &mut members[0];
    let work = async {
        while member.records.len() < 400 {
            // Dropped after so many polls: now before, now in the midst of what it awaits.
            patience = (patience + 1) % 5;
            if let Some(event) = poll_times(member.consumer.next(), patience).await {
                let GroupEvent::Records(records) = event.unwrap() else { panic!("no records") };
                member.records.extend(records);
            }
        }
    };
    tokio::time::timeout(PATIENCE, work).await.expect("records are missing");
    appending.await.unwrap();
    for p in 0..2 {
        let offsets: Vec<u64> =
            member.records.iter().filter(|r| r.at.partition == p).map(|r| r.offset).collect();
        assert_eq!(offsets.len(), 200, "none lost, none twice");
        assert!(offsets.windows(2).all(|w| w[0] < w[1]), "{offsets:?}");
    }
}

/// A caller who waits for several things at once drops `next` whenever another comes first; were
/// the work begun anew each time, he would never see a record.
pub async fn who_drops_every_next_gets_on(log: Arc<dyn Log>) {
    let topic = topic(&*log, 1).await;
    let tp = TopicPartition::new(topic.clone(), 0);
    for _ in 0..100 {
        log.append(record(&tp, "x".repeat(20_000))).await.unwrap();
    }
    let mut consumer = Member::join(&*log, &topic, &unique("g")).await.consumer;
    let work = async {
        let mut seen = 0;
        while seen < 100 {
            if let Some(event) = poll_times(consumer.next(), 0).await
                && let GroupEvent::Records(records) = event.unwrap()
            {
                seen += records.len();
            }
        }
    };
    tokio::time::timeout(PATIENCE, work).await.expect("it saw too little");
}

/// Polls the future a few times, then drops it.
async fn poll_times<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    for _ in 0..=times {
        if let std::task::Poll::Ready(done) = futures::poll!(&mut future) {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}

pub async fn closing_hands_over(log: Arc<dyn Log>) {
    let topic = topic(&*log, 3).await;
    let group = unique("g");
    let mut members =
        vec![Member::join(&*log, &topic, &group).await, Member::join(&*log, &topic, &group).await];
    drive(&mut members, |m| owned(m) == 3 && m.iter().all(|m| !m.owned.is_empty())).await;
    members.remove(0).consumer.close().await.unwrap();
    drive(&mut members, |m| owned(m) == 3).await;
}

pub async fn dropping_hands_over(log: Arc<dyn Log>) {
    let (_, mut members) = handing_over(&*log).await;
    drop(members.remove(0));
    drive(&mut members, |m| owned(m) == 2).await;
}

pub async fn a_waiting_member_wakes_with_an_append(log: Arc<dyn Log>) {
    let topic = topic(&*log, 2).await;
    let tp = TopicPartition::new(topic.clone(), 1);
    let mut members = [Member::join(&*log, &topic, &unique("g")).await];
    drive(&mut members, |m| owned(m) == 2).await;
    for n in 0..20 {
        let (appended, ()) = tokio::join!(
            log.append(record(&tp, n.to_string())),
            drive(&mut members, |m| seen(m) == n + 1)
        );
        appended.unwrap();
    }
}

pub async fn no_partition_waits_for_a_busy_one(log: Arc<dyn Log>) {
    let topic = topic(&*log, 3).await;
    for p in [0, 2] {
        let tp = TopicPartition::new(topic.clone(), p);
        for _ in 0..120 {
            log.append(record(&tp, "x".repeat(50_000))).await.unwrap();
        }
    }
    log.append(record(&TopicPartition::new(topic.clone(), 1), "small")).await.unwrap();
    let mut members = [Member::join(&*log, &topic, &unique("g")).await];
    drive(&mut members, |m| m[0].records.iter().any(|r| r.at.partition == 1)).await;
    assert!(seen(&members) < 240, "it came before the others were read to their end");
}
