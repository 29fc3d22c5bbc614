use super::*;
use heliograph_domain::{checksum::ReadingsChecksum, unit};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn readings(n: usize, at: i64) -> Vec<Sent> {
    (0..n)
        .map(|i| Sent {
            device: "inv1",
            metric: "ac_power",
            ts_ms: at * 1_000 + i as i64,
            value: at as f64,
            unit: Some("kW"),
            quality: None,
        })
        .collect()
}

fn logger() -> Logger {
    Logger::new("s".into(), 10)
}

fn accepted() -> Answer {
    Answer::Accepted { rejected: Vec::new() }
}

fn refused(status: u16, retry_after_ms: Option<u64>) -> Answer {
    Answer::Refused { status, retry_after_ms, reason: "because".into() }
}

const LOST: Answer = Answer::Unanswered { body_sent: true };

#[test]
fn an_answer_decides_what_comes_next() {
    let rows: &[(&str, Answer, Step, usize)] = &[
        ("a 2xx makes room", accepted(), Step::Done, 0),
        ("503 waits as long as it says", refused(503, Some(700)), Step::WaitUntil(1_700), 1),
        ("429 waits as long as it says", refused(429, Some(5)), Step::WaitUntil(1_005), 1),
        ("503 without a word backs off", refused(503, None), Step::WaitUntil(1_040), 1),
        ("500 is tried again", refused(500, None), Step::WaitUntil(1_040), 1),
        ("408 is tried again", refused(408, None), Step::WaitUntil(1_040), 1),
        ("no answer backs off", LOST, Step::WaitUntil(1_040), 1),
        ("400 will not get better: dropped", refused(400, None), Step::Done, 0),
        ("413 will not get better: dropped", refused(413, Some(9)), Step::Done, 0),
    ];
    for (name, answer, want, left) in rows {
        let mut l = logger();
        l.offer(readings(1, 1), Plan::default());
        l.end();
        assert_eq!(l.next(1_000), Step::Send, "{name}");
        l.answered(1_000, answer, 40);
        assert_eq!(l.next(1_001), *want, "{name}");
        assert_eq!(l.queue.len(), *left, "{name}");
    }
}

#[test]
fn a_refused_upload_is_sent_again_under_its_own_number() {
    let mut l = logger();
    l.offer(readings(1, 1), Plan::default());
    l.offer(readings(1, 2), Plan::default());
    l.next(0);
    l.answered(0, &LOST, 10);
    assert_eq!(l.next(10), Step::Send);
    assert_eq!(l.in_flight().map(|u| u.seq), Some(0));
    l.answered(10, &accepted(), 10);
    assert_eq!(l.next(10), Step::Send);
    assert_eq!(l.in_flight().map(|u| u.seq), Some(1));
    let counts = &l.ledger.counts;
    assert_eq!((counts.uploads_sent, counts.uploads_resent, counts.uploads_unanswered), (3, 1, 1));
}

#[test]
fn a_reason_for_dropping_is_counted() {
    let mut l = logger();
    l.offer(readings(1, 1), Plan::default());
    l.next(0);
    l.answered(0, &refused(401, None), 0);
    assert_eq!(l.ledger.counts.drop_reasons["401: because"], 1);
    assert_eq!(l.ledger.summary().readings, 0);
}

#[test]
fn a_late_upload_comes_behind_later_ones() {
    let mut l = logger();
    l.offer(readings(1, 1), Plan { late: Some(2), ..Plan::default() });
    l.offer(readings(1, 2), Plan::default());
    l.offer(readings(1, 3), Plan::default());
    l.end();
    let mut order = Vec::new();
    while l.next(0) == Step::Send {
        order.push(l.in_flight().unwrap().seq);
        l.answered(0, &accepted(), 0);
    }
    assert_eq!(order, [1, 0, 2]);
}

fn correction(after: u32) -> Plan {
    let correct = Some(Correction { after, changes: vec![(0, 9.0)] });
    Plan { resend: Some(0), correct, ..Plan::default() }
}

#[test]
fn a_correction_comes_after_the_resend_and_counts_once() {
    let mut l = logger();
    l.offer(readings(2, 1), correction(0));
    l.end();
    let mut kinds = Vec::new();
    while l.next(0) == Step::Send {
        kinds.push(l.in_flight().unwrap().kind);
        l.answered(0, &accepted(), 0);
    }
    assert_eq!(kinds, [Kind::Fresh, Kind::Resend, Kind::Correction]);
    let mut want = ReadingsChecksum::default();
    want.add("s", "inv1", "ac_power", 1_000, 9_000.0);
    want.add("s", "inv1", "ac_power", 1_001, 1_000.0);
    assert_eq!(l.ledger.checksum(), want);
}

#[test]
fn what_was_once_unanswered_is_never_corrected() {
    let mut l = logger();
    l.offer(readings(1, 1), correction(0));
    l.end();
    l.next(0);
    l.answered(0, &LOST, 0);
    let mut kinds = Vec::new();
    while l.next(0) == Step::Send {
        kinds.push(l.in_flight().unwrap().kind);
        l.answered(0, &accepted(), 0);
    }
    assert_eq!(kinds, [Kind::Fresh, Kind::Resend]);
    assert_eq!(l.ledger.counts.corrections_accepted, 0);
    assert_eq!(l.ledger.summary().readings, 1);
}

#[test]
fn a_rejected_reading_was_not_promised() {
    let mut l = logger();
    l.offer(readings(3, 1), Plan::default());
    l.next(0);
    l.answered(0, &Answer::Accepted { rejected: vec![1] }, 0);
    assert_eq!(l.ledger.summary().readings, 2);
    assert_eq!(l.ledger.counts.readings_rejected, 1);
}

/// A server that keeps every upload it was sent, in the order of arrival; what was left without
/// an answer may arrive at any later moment.
#[derive(Default)]
struct Server {
    log: Vec<(u64, Vec<Sent>)>,
    under_way: Vec<(u64, Vec<Sent>)>,
    acked: BTreeSet<u64>,
}

impl Server {
    fn arrive(&mut self, pick: usize) {
        if !self.under_way.is_empty() {
            let late = self.under_way.remove(pick % self.under_way.len());
            self.log.push(late);
        }
    }

    /// The last value of each reading among the uploads that got a 2xx.
    fn promised(&self) -> ReadingsChecksum {
        let mut last = BTreeMap::new();
        for (_, readings) in self.log.iter().filter(|(seq, _)| self.acked.contains(seq)) {
            for r in readings {
                last.insert((r.device, r.metric, r.ts_ms), (r.value, r.unit));
            }
        }
        let mut sum = ReadingsChecksum::default();
        for ((device, metric, ts_ms), (value, unit)) in last {
            sum.add("s", device, metric, ts_ms, unit::to_stored(metric, value, unit).unwrap());
        }
        sum
    }
}

/// What the server does with one request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Accept,
    RetryAfter(u64),
    Lost,
    /// The server has it, the logger does not learn it.
    Unheard,
    Drop,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Accept),
        2 => (0u64..5_000).prop_map(Fate::RetryAfter),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Unheard),
        1 => Just(Fate::Drop),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let some = |max: u32| prop_oneof![2 => Just(None), 1 => (0..max).prop_map(Some)];
    (some(4), some(4), some(4), 0usize..3).prop_map(|(late, resend, correct, index)| Plan {
        late,
        resend,
        correct: correct.map(|after| Correction { after, changes: vec![(index, -7.5)] }),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn nothing_is_forgotten_and_no_wait_is_cut_short(
        plans in proptest::collection::vec(plan(), 1..12),
        fates in proptest::collection::vec((fate(), 0usize..4), 0..60),
    ) {
        let (mut l, mut server) = (logger(), Server::default());
        let (mut plans, mut fates) = (plans.into_iter().enumerate(), fates.into_iter());
        let (mut now, mut not_before, mut dropped) = (0i64, 0i64, BTreeSet::new());
        loop {
            match l.next(now) {
                Step::NeedMore => match plans.next() {
                    Some((n, plan)) => l.offer(readings(3, n as i64 + 1), plan),
                    None => l.end(),
                },
                Step::WaitUntil(until) => now = until,
                Step::Done => break,
                Step::Send => {
                    prop_assert!(now >= not_before, "sent before Retry-After was over");
                    prop_assert_eq!(l.next(now), Step::WaitUntil(i64::MAX), "one at a time");
                    let upload = l.in_flight().unwrap().clone();
                    let content = (upload.seq, upload.readings.clone());
                    // When the script is over the server is well.
                    let (fate, arriving) = fates.next().unwrap_or((Fate::Accept, 1));
                    (0..arriving).for_each(|n| server.arrive(n));
                    let answer = match fate {
                        Fate::Accept => {
                            server.log.push(content);
                            server.acked.insert(upload.seq);
                            accepted()
                        }
                        Fate::RetryAfter(ms) => {
                            not_before = now + ms as i64;
                            refused(503, Some(ms))
                        }
                        Fate::Lost => Answer::Unanswered { body_sent: false },
                        Fate::Unheard => { server.under_way.push(content); LOST }
                        Fate::Drop => { dropped.insert(upload.seq); refused(400, None) }
                    };
                    l.answered(now, &answer, 10);
                    // At any moment: what may still be under way does not change what was promised.
                    prop_assert_eq!(l.ledger.checksum(), server.promised());
                }
            }
        }
        while !server.under_way.is_empty() { server.arrive(0); }
        prop_assert_eq!(l.ledger.checksum(), server.promised());
        for seq in 0..l.next_seq {
            let settled = server.acked.contains(&seq) || dropped.contains(&seq);
            prop_assert!(settled, "upload {} is neither acknowledged nor dropped", seq);
        }
    }
}
