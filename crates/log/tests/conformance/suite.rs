//! Topics, appends and reads.

use crate::support::*;
use bytes::Bytes;
use futures::future::join_all;
use heliograph_log::{Log, LogError, NewRecord, OffsetRange, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub async fn a_record_comes_back_as_it_went(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 2).await, 1);
    let header = |name: &'static str, value: &'static [u8]| (name.into(), Bytes::from(value));
    let sent = [
        NewRecord {
            to: tp.clone(),
            key: Some(bytes("site")),
            headers: vec![header("ce_id", b"7"), header("bin", &[0, 255]), header("ce_id", b"")],
            value: Some(Bytes::from_static(&[0, 1, 2, 255])),
        },
        NewRecord { to: tp.clone(), key: None, headers: vec![], value: Some(Bytes::new()) },
        NewRecord { to: tp.clone(), key: Some(bytes("gone")), headers: vec![], value: None },
    ];
    let mut appended = vec![];
    for record in sent.clone() {
        appended.push(log.append(record).await.unwrap());
    }
    let got = read_all(&*log, &tp).await;
    assert_eq!(got.len(), sent.len());
    for ((got, sent), appended) in got.iter().zip(&sent).zip(&appended) {
        assert_eq!(got.at, tp);
        assert_eq!((got.offset, got.append_time), (appended.offset, appended.append_time));
        assert_eq!((&got.key, &got.headers, &got.value), (&sent.key, &sent.headers, &sent.value));
    }
}

pub async fn a_partition_keeps_the_order_of_first_polls(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 1).await, 0);
    let appends = (0..500).map(|n| log.append(record(&tp, n.to_string())));
    let offsets: Vec<u64> =
        join_all(appends).await.into_iter().map(|a| a.unwrap().offset).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
    let want: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    assert_eq!(values(&read_all(&*log, &tp).await), want);
}

pub async fn concurrent_appends_get_different_offsets(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 1).await, 0);
    let tasks = (0..8).map(|task| {
        let (log, tp) = (log.clone(), tp.clone());
        tokio::spawn(async move {
            let mut offsets = vec![];
            for n in 0..50 {
                let appended = log.append(record(&tp, format!("{task}-{n}"))).await.unwrap();
                offsets.push((appended.offset, format!("{task}-{n}")));
            }
            assert!(offsets.is_sorted(), "one after the other, so in order");
            offsets
        })
    });
    let told: BTreeMap<u64, String> =
        join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(told.len(), 400, "no offset is given twice");
    let got = read_all(&*log, &tp).await;
    let got: BTreeMap<u64, String> = got.iter().map(|r| (r.offset, value(r))).collect();
    assert_eq!(got, told, "what was acknowledged is there, under its offset");
}

pub async fn append_time_never_goes_back(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 1).await, 0);
    append_numbers(&*log, &tp, 100).await;
    let times: Vec<_> = read_all(&*log, &tp).await.iter().map(|r| r.append_time).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(times[0].as_ms() > 1_500_000_000_000, "a time of our days, in milliseconds");
}

pub async fn a_new_partition_is_empty(log: Arc<dyn Log>) {
    let topic = topic(&*log, 3).await;
    assert_eq!(log.partitions(&topic).await.unwrap(), 3);
    let tp = TopicPartition::new(topic, 2);
    assert_eq!(log.offsets(&tp).await.unwrap(), OffsetRange { first: 0, end: 0 });
    log.append(record(&tp, "x")).await.unwrap();
    assert_eq!(log.offsets(&tp).await.unwrap(), OffsetRange { first: 0, end: 1 });
}

pub async fn reading_begins_where_it_is_told(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 1).await, 0);
    append_numbers(&*log, &tp, 10).await;
    let got = log.read(&tp, 7, 1_000_000).await.unwrap();
    assert_eq!(values(&got), ["7", "8", "9"]);
}

pub async fn reading_at_the_end_is_empty(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 1).await, 0);
    assert_eq!(log.read(&tp, 0, 1_000).await.unwrap(), vec![]);
    append_numbers(&*log, &tp, 2).await;
    assert_eq!(log.read(&tp, 2, 1_000).await.unwrap(), vec![]);
    assert_eq!(log.read(&tp, 99, 1_000).await.unwrap(), vec![]);
}

pub async fn a_read_is_bounded_and_never_stuck(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 1).await, 0);
    for _ in 0..20 {
        log.append(record(&tp, "x".repeat(1_000))).await.unwrap();
    }
    assert_eq!(log.read(&tp, 3, 1).await.unwrap()[0].offset, 3, "one record, whatever its size");
    let got = log.read(&tp, 0, 5_000).await.unwrap();
    assert!((1..=6).contains(&got.len()), "{} records for 5,000 bytes", got.len());
}

pub async fn a_read_may_begin_below_the_first_offset(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 1).await, 0);
    append_numbers(&*log, &tp, 3).await;
    let first = log.offsets(&tp).await.unwrap().first;
    let got = log.read(&tp, first.saturating_sub(1), 1_000).await.unwrap();
    assert_eq!(got[0].offset, first);
}

pub async fn waiting_ends_with_an_append(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 1).await, 0);
    log.append(record(&tp, "a")).await.unwrap();
    let waiting = {
        let (log, tp) = (log.clone(), tp.clone());
        tokio::spawn(async move {
            log.wait_past(&tp, 1, PATIENCE).await.unwrap();
            log.offsets(&tp).await.unwrap().end
        })
    };
    log.append(record(&tp, "b")).await.unwrap();
    let end = tokio::time::timeout(PATIENCE / 2, waiting).await.expect("it was not woken").unwrap();
    assert_eq!(end, 2);
}

pub async fn waiting_ends_with_the_time_out(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 1).await, 0);
    log.wait_past(&tp, 0, Duration::from_millis(20)).await.unwrap();
    assert_eq!(log.offsets(&tp).await.unwrap().end, 0);
}

pub async fn waiting_for_what_is_there_ends_at_once(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 1).await, 0);
    append_numbers(&*log, &tp, 3).await;
    let wait = log.wait_past(&tp, 1, PATIENCE);
    tokio::time::timeout(PATIENCE / 2, wait).await.expect("it waited for more").unwrap();
}

pub async fn too_large_a_record_is_refused(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(topic(&*log, 1).await, 0);
    let refused = log.append(record(&tp, "x".repeat(100_001))).await.unwrap_err();
    assert!(matches!(refused, LogError::TooLarge { .. }), "{refused}");
    assert!(!refused.is_transient());
    log.append(record(&tp, "x".repeat(90_000))).await.unwrap();
    assert_eq!(log.offsets(&tp).await.unwrap().end, 1, "the refused one left nothing behind");
}

pub async fn an_unknown_topic_is_refused(log: Arc<dyn Log>) {
    let known = topic(&*log, 2).await;
    let absent: Arc<str> = unique("absent").into();
    let is_unknown = |e: LogError| assert!(matches!(e, LogError::UnknownTopic(_)), "{e}");
    is_unknown(log.partitions(&absent).await.unwrap_err());
    for tp in [TopicPartition::new(absent, 0), TopicPartition::new(known, 2)] {
        is_unknown(log.append(record(&tp, "x")).await.unwrap_err());
        is_unknown(log.offsets(&tp).await.unwrap_err());
        is_unknown(log.read(&tp, 0, 1).await.unwrap_err());
    }
}

pub async fn topics_are_created_once(log: Arc<dyn Log>) {
    let (one, two) = (unique("t"), unique("t"));
    log.ensure_topics(&[spec(&one, 2)]).await.unwrap();
    let tp = TopicPartition::new(one.as_str(), 1);
    log.append(record(&tp, "kept")).await.unwrap();
    log.ensure_topics(&[spec(&one, 2), spec(&two, 5)]).await.unwrap();
    assert_eq!(log.partitions(&two).await.unwrap(), 5);
    assert_eq!(values(&read_all(&*log, &tp).await), ["kept"]);
}

pub async fn a_changed_number_of_partitions_is_refused(log: Arc<dyn Log>) {
    let name = unique("t");
    log.ensure_topics(&[spec(&name, 2)]).await.unwrap();
    let refused = log.ensure_topics(&[spec(&name, 3)]).await.unwrap_err();
    assert!(matches!(&refused, LogError::Config(why) if why.contains(&name)), "{refused}");
    assert_eq!(log.partitions(&name).await.unwrap(), 2);
}

pub async fn a_compacted_topic_ends_at_the_last_value_of_each_key(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(compacted_topic(&*log).await, 0);
    let put = |key: &str, value: Option<&str>| {
        let (key, value) = (Some(bytes(key)), value.map(bytes));
        log.append(NewRecord { to: tp.clone(), key, headers: vec![], value })
    };
    // Sent together and one by one, since an adapter may treat what it writes together apart.
    join_all([put("a", Some("1")), put("b", Some("1")), put("a", Some("2")), put("c", Some("1"))])
        .await
        .into_iter()
        .for_each(|done| assert!(done.is_ok(), "{done:?}"));
    put("b", None).await.unwrap();
    put("c", None).await.unwrap();
    let last = put("c", Some("3")).await.unwrap();
    let got = read_all(&*log, &tp).await;
    assert!(got.iter().map(|r| r.offset).is_sorted());
    assert_eq!(log.offsets(&tp).await.unwrap().end, last.offset + 1);
    let mut state = BTreeMap::new();
    let mut removed = BTreeSet::new();
    for r in got {
        let key = String::from_utf8(r.key.as_ref().unwrap().to_vec()).unwrap();
        match &r.value {
            Some(_) => drop(state.insert(key, value(&r))),
            None => {
                state.remove(&key);
                removed.insert(key);
            }
        }
    }
    let want = [("a", "2"), ("c", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(state, BTreeMap::from(want));
    assert!(removed.contains("b"), "a reader from the start learns what was removed");
}

pub async fn a_compacted_topic_takes_no_record_without_a_key(log: Arc<dyn Log>) {
    let tp = TopicPartition::new(compacted_topic(&*log).await, 0);
    let refused = log.append(record(&tp, "x")).await.unwrap_err();
    assert!(!refused.is_transient(), "{refused}");
    assert_eq!(log.offsets(&tp).await.unwrap().end, 0);
}
