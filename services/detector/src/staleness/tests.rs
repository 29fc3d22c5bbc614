use super::*;
use crate::snapshot::Snapshot;
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;
const MIN: i64 = 60;

/// A partition, what comes to it, and what it says.
struct Story {
    partition: Partition,
    offset: u64,
    alerts: Vec<Alert>,
}

impl Story {
    fn new() -> Self {
        Self { partition: Partition::new(3), offset: 100, alerts: Vec::new() }
    }

    fn at(&mut self, secs: i64) -> At {
        self.offset += 1;
        At { offset: self.offset, append_time: Timestamp::from_ms(NOW + secs * 1_000) }
    }

    fn watch(&mut self, secs: i64, site_id: &str, version: u64) -> &mut Self {
        self.said(secs, watched(site_id, version))
    }

    fn said(&mut self, secs: i64, said: SiteWatched) -> &mut Self {
        let at = self.at(secs);
        self.alerts.extend(self.partition.watched(at, &said));
        self
    }

    fn upload(&mut self, secs: i64, site_id: &str) -> &mut Self {
        let at = self.at(secs);
        self.alerts.extend(self.partition.upload(at, site_id.as_bytes()));
        self
    }

    fn tick(&mut self, secs: i64, since_last_ms: u64) -> &mut Self {
        let at = self.at(secs);
        let tick = DoorTick {
            instance: "a".into(),
            incarnation_ms: 1,
            sequence: 1,
            accepted: 1,
            self_upload_ok: true,
            since_last_ms: Some(since_last_ms),
            retry_after_max_s: 30,
            ..DoorTick::default()
        };
        self.partition.tick(at, &tick);
        while !self.partition.judge(2, &mut self.alerts) {}
        self
    }

    /// The door is open from one second to the other.
    fn open(&mut self, secs: std::ops::RangeInclusive<i64>) -> &mut Self {
        for s in secs {
            self.tick(s, 1_000);
        }
        self
    }

    /// Kind, site and second of each alert.
    fn told(&self) -> Vec<(&'static str, &str, i64)> {
        let one = |alert: &Alert| {
            let kind = match alert {
                Alert::WentStale(_) => "stale",
                Alert::Recovered(_) => "recovered",
                other => panic!("{other:?}"),
            };
            (kind, alert.site_id().unwrap().to_owned(), (alert.decided_at().as_ms() - NOW) / 1_000)
        };
        let told: Vec<_> = self.alerts.iter().map(one).collect();
        told.into_iter().map(|(kind, site, at)| (kind, &*site.leak(), at)).collect()
    }
}

fn watched(site_id: &str, version: u64) -> SiteWatched {
    SiteWatched {
        site_id: site_id.into(),
        version,
        tenant_id: "t1".into(),
        upload_interval_s: 60,
        stale_after_s: 300,
        removed: false,
    }
}

#[test]
fn a_site_that_falls_silent_is_told_once_and_its_return_too() {
    let mut story = Story::new();
    story.open(0..=9).watch(10, "s1", 1).watch(10, "s2", 1).upload(10, "s1");
    for minute in 1..=20 {
        story.open(minute * MIN + 1..=minute * MIN + 60).upload(minute * MIN + 60, "s2");
        if (12..20).contains(&minute) {
            story.upload(minute * MIN + 60, "s1");
        }
    }
    let told = story.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(matches!(told[0], ("stale", "s1", 300..=400)), "{told:?}");
    assert_eq!(told[1], ("recovered", "s1", 780));
    let [Alert::WentStale(stale), Alert::Recovered(recovered)] = &story.alerts[..] else {
        panic!("{told:?}")
    };
    assert_eq!(recovered.stale_id, story.alerts[0].id());
    assert_eq!(recovered.stale_since_ms, stale.decided_at_ms);
    assert_eq!((stale.reason(), stale.limit_ms), (StaleReason::Silent, 300_000));
    assert_eq!(stale.last_upload_at_ms, Some(NOW + 10_000));
    assert_eq!((stale.partition, stale.silent_ms), (3, 300_000));
}

#[test]
fn a_site_that_never_uploads_is_silent_since_it_was_registered() {
    let mut story = Story::new();
    story.open(0..=100).watch(100, "s1", 1).open(101..=500);
    let [Alert::WentStale(stale)] = &story.alerts[..] else { panic!("{:?}", story.alerts) };
    assert_eq!((stale.reason(), stale.last_upload_at_ms), (StaleReason::NeverReported, None));
    assert!(stale.decided_at_ms >= NOW + 400_000, "{stale:?}");
}

#[test]
fn while_the_door_is_closed_nobody_falls_silent_and_then_there_is_time_to_return() {
    let mut story = Story::new();
    story.open(0..=10).watch(10, "s1", 1).upload(10, "s1").open(11..=100);
    // Ten hours of nothing, and of a gateway that was cut off from the log.
    story.tick(36_100, 36_000_000).open(36_101..=36_390);
    assert_eq!(story.told(), []);
    // 90 s were open before, and of what came then 90 s (Retry-After and interval) were grace.
    story.open(36_391..=36_420);
    assert!(matches!(story.told()[..], [("stale", "s1", 36_391..=36_420)]), "{:?}", story.told());
    let Alert::WentStale(stale) = &story.alerts[0] else { panic!("{:?}", story.alerts) };
    assert_eq!((stale.silent_ms, stale.grace_ms), (300_000, 90_000));
    assert!(stale.closed_ms > 35_900_000, "{stale:?}");
}

#[test]
fn what_the_registry_says_counts_in_its_order() {
    let mut story = Story::new();
    story.open(0..=10).watch(10, "s1", 5);
    // Older than what is known: a detector that did not know better.
    story.said(11, SiteWatched { stale_after_s: 10, ..watched("s1", 4) }).open(12..=100);
    assert_eq!(story.told(), []);
    story.said(100, SiteWatched { removed: true, ..watched("s1", 6) }).open(101..=900);
    assert_eq!(story.told(), [], "nobody waits for a site that was removed");
    story.watch(900, "s1", 7).open(901..=1_300);
    assert!(matches!(story.told()[..], [("stale", "s1", 1_200..=1_210)]), "{:?}", story.told());
    story.said(1_300, SiteWatched { removed: true, ..watched("s1", 8) });
    let Some(Alert::Recovered(over)) = story.alerts.last() else { panic!("{:?}", story.alerts) };
    assert!(over.removed);
}

#[test]
fn a_site_that_changes_its_tenant_ends_the_alert_of_the_old_one() {
    let mut story = Story::new();
    story.open(0..=10).watch(10, "s1", 1).open(11..=400);
    story.said(401, SiteWatched { tenant_id: "t2".into(), ..watched("s1", 2) });
    let tenants: Vec<&str> = story.alerts.iter().filter_map(Alert::tenant_id).collect();
    assert_eq!(tenants, ["t1", "t1"]);
    story.open(402..=800);
    assert_eq!(story.alerts[2].tenant_id(), Some("t2"));
}

#[test]
fn what_uploads_before_it_is_known_is_judged_by_its_last_upload() {
    let mut story = Story::new();
    story.open(0..=10).upload(10, "s1").open(11..=600);
    assert_eq!(story.told(), []);
    story.watch(600, "s1", 1).open(601..=602);
    let [Alert::WentStale(stale)] = &story.alerts[..] else { panic!("{:?}", story.alerts) };
    assert_eq!(stale.last_upload_at_ms, Some(NOW + 10_000));
}

#[derive(Debug, Clone)]
enum Event {
    Upload(u8),
    Watched(u8, u64, u32, bool),
    Open(u8),
    Away(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let one = prop_oneof![
        4 => (0..8u8).prop_map(Event::Upload),
        2 => (0..8u8, 0..9u64, 5..60u32, prop::bool::weighted(0.2))
            .prop_map(|(site, version, limit, removed)| Event::Watched(site, version, limit, removed)),
        8 => (1..40u8).prop_map(Event::Open),
        1 => (4_000..900_000u32).prop_map(Event::Away),
    ];
    prop::collection::vec(one, 1..120)
}

/// Plays events, and kills and restores the partition before those of `restarts`.
fn play(events: &[Event], restarts: &[usize]) -> Story {
    let (mut story, mut now) = (Story::new(), 0);
    for (i, event) in events.iter().enumerate() {
        if restarts.contains(&i) {
            let kept = Snapshot::of(&story.partition, Timestamp::from_ms(NOW));
            story.partition = kept.restore(3).unwrap();
        }
        match *event {
            Event::Upload(site) => drop(story.upload(now, &format!("s{site}"))),
            Event::Watched(site, version, stale_after_s, removed) => {
                let said = watched(&format!("s{site}"), version);
                story.said(now, SiteWatched { stale_after_s, removed, ..said });
            }
            Event::Open(secs) => {
                story.open(now + 1..=now + i64::from(secs));
                now += i64::from(secs);
            }
            Event::Away(ms) => {
                now += i64::from(ms / 1_000);
                story.tick(now, ms.into());
            }
        }
    }
    story
}

proptest! {
    #[test]
    fn a_restored_partition_decides_as_if_it_had_never_stopped(
        events in events(), restarts in prop::collection::vec(0..120usize, 0..6),
    ) {
        let (whole, restarted) = (play(&events, &[]), play(&events, &restarts));
        prop_assert_eq!(&whole.alerts, &restarted.alerts);
        let state = |s: &Story| Snapshot::of(&s.partition, Timestamp::from_ms(NOW));
        prop_assert_eq!(state(&whole), state(&restarted));
    }

    #[test]
    fn a_site_is_stale_and_recovers_in_turn_and_only_after_its_limit(events in events()) {
        let story = play(&events, &[]);
        let mut stale = std::collections::BTreeSet::new();
        for alert in &story.alerts {
            match alert {
                Alert::WentStale(a) => {
                    prop_assert!(stale.insert(a.site_id.clone()), "twice: {:?}", a);
                    prop_assert!(a.silent_ms >= a.limit_ms, "{:?}", a);
                }
                Alert::Recovered(a) => prop_assert!(stale.remove(&a.site_id), "never stale: {:?}", a),
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(stale.len(), story.partition.stale_sites());
    }
}
