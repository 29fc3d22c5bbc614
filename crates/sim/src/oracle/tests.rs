use super::*;
use crate::{
    fault::{self, Fault},
    scenario::{Entry, Patience},
    spans::Spans,
};
use heliograph_contract::v1::{SiteRecovered, SiteWentStale};

/// One site with a limit of five minutes, whose offsets are its seconds, and what was told of it.
struct Trial {
    scenario: Scenario,
    seen: Vec<Seen>,
    told: Vec<Told>,
}

fn upload(secs: Ms) -> Seen {
    Seen { at: secs * SEC, offset: secs, what: What::Upload }
}

impl Trial {
    /// It uploads every minute until it dies, in the given minute.
    fn dies_at(minute: Ms, faults: Vec<Fault>) -> Self {
        let site = Site {
            id: "s1".into(),
            partition: 0,
            interval: MIN,
            limit: 5 * MIN,
            phase: 0,
            patience: Patience::Retries,
            alive: [(0, minute * MIN)].into_iter().collect(),
            entries: vec![Entry { at: 0, removed: false }],
        };
        let scenario = Scenario {
            seed: 0,
            ends: 60 * MIN,
            gateways: 1,
            partitions: 1,
            sites: vec![site],
            faults,
        };
        let shut = Door::of(&scenario, 0).barred;
        let mut seen = vec![Seen { at: SEC, offset: 1, what: What::Watched }];
        let minutes = (1..=minute.min(59)).map(|m| upload(m * 60));
        seen.extend(minutes.filter(|one| !shut.covers(one.at)));
        Self { scenario, seen, told: Vec::new() }
    }

    fn stale(mut self, secs: Ms) -> Self {
        let alert = stale_at(secs);
        self.tell(alert, secs, secs);
        self
    }

    fn recovered(mut self, secs: Ms, stale_secs: Ms) -> Self {
        let stale_id = stale_at(stale_secs).id();
        let recovered =
            SiteRecovered { site_id: "s1".into(), stale_id, offset: secs, ..Default::default() };
        self.tell(Alert::Recovered(recovered), secs, secs);
        self
    }

    fn uploads(mut self, secs: Ms) -> Self {
        self.seen.push(upload(secs));
        self.scenario.sites[0].alive =
            self.scenario.sites[0].alive.or(&[(secs * SEC, Ms::MAX)].into_iter().collect());
        self
    }

    fn tell(&mut self, alert: Alert, decided: Ms, emitted: Ms) {
        let (decided, emitted, offset) = (decided * SEC, emitted * SEC, decided);
        self.told.push(Told { alert, partition: 0, offset, decided, emitted });
    }

    fn verdict(&self) -> Vec<Kind> {
        let wrong = Oracle::new(&self.scenario).judge(std::slice::from_ref(&self.seen), &self.told);
        wrong.iter().map(|w| w.kind).collect()
    }
}

fn stale_at(secs: Ms) -> Alert {
    let site_id = "s1".into();
    Alert::WentStale(SiteWentStale { site_id, offset: secs, ..Default::default() })
}

fn log_down(from: Ms, to: Ms) -> Fault {
    Fault { kind: fault::Kind::LogDown, from: from * MIN, to: to * MIN }
}

#[test]
fn verdicts_by_rows() {
    let never = 1_000;
    let rows: Vec<(&str, Trial, &[Kind])> = vec![
        ("it lives, and nobody says otherwise", Trial::dies_at(never, vec![]), &[]),
        (
            "it lives, and is told stale",
            Trial::dies_at(never, vec![]).stale(630),
            &[Kind::False, Kind::Recovery],
        ),
        ("it dies, and is told in time", Trial::dies_at(10, vec![]).stale(905), &[]),
        ("it dies, and is told too soon", Trial::dies_at(10, vec![]).stale(880), &[Kind::False]),
        ("it dies, and nobody says so", Trial::dies_at(10, vec![]), &[Kind::Missed]),
        ("it dies, and is told late", Trial::dies_at(10, vec![]).stale(1_021), &[Kind::Late]),
        ("it is told twice", Trial::dies_at(10, vec![]).stale(905).stale(950), &[Kind::False]),
        (
            "it lives, and is told stale for what we could not hear",
            Trial::dies_at(never, vec![log_down(10, 30)]).stale(1_200),
            &[Kind::False, Kind::Recovery],
        ),
        (
            "it dies while we cannot hear it, and is told before it could have returned",
            Trial::dies_at(12, vec![log_down(10, 30)]).stale(1_810),
            &[Kind::False],
        ),
        (
            "the same, told when it is silent on an open door",
            Trial::dies_at(12, vec![log_down(10, 30)]).stale(30 * 60 + 270),
            &[],
        ),
        (
            "the same, with its grace",
            Trial::dies_at(12, vec![log_down(10, 30)]).stale(30 * 60 + 10 + 240 + 90 + 120),
            &[],
        ),
        (
            "the same, too late even for that",
            Trial::dies_at(12, vec![log_down(10, 30)]).stale(30 * 60 + 10 + 300 + 90 + 125),
            &[Kind::Late],
        ),
        (
            "what cannot be heard to the end is not missed",
            Trial::dies_at(12, vec![log_down(10, 60)]),
            &[],
        ),
        (
            "it returns, and that is told",
            Trial::dies_at(10, vec![]).stale(905).uploads(1_000).recovered(1_000, 905),
            &[Kind::Missed],
        ),
    ];
    for (name, trial, want) in rows {
        // Who returned above died again at once, and is missed for that.
        assert_eq!(trial.verdict(), want, "{name}");
    }
}

#[test]
fn a_recovery_is_told_once_at_the_upload_and_names_its_alert() {
    let stale = || Trial::dies_at(10, vec![]).stale(905).uploads(3_400);
    let rows: Vec<(&str, Trial, &[Kind])> = vec![
        ("told", stale().recovered(3_400, 905), &[]),
        ("not told", stale(), &[Kind::Recovery]),
        ("it names another", stale().recovered(3_400, 904), &[Kind::Recovery]),
        (
            "told at another record",
            stale().recovered(3_405, 905),
            &[Kind::Recovery, Kind::Recovery],
        ),
        ("told before", stale().recovered(3_300, 905), &[Kind::Recovery, Kind::Recovery]),
    ];
    for (name, trial, want) in rows {
        assert_eq!(trial.verdict(), want, "{name}");
    }
}

#[test]
fn what_a_deaf_detector_says_late_was_decided_in_time() {
    let pause = |from, to| Fault {
        kind: fault::Kind::Pauses { partition: 0 },
        from: from * MIN,
        to: to * MIN,
    };
    for (faults, want) in [(vec![pause(12, 40)], vec![]), (vec![], vec![Kind::Late])] {
        let mut trial = Trial::dies_at(10, faults);
        trial.tell(stale_at(905), 905, 40 * 60 + 5);
        assert_eq!(trial.verdict(), want);
    }
}

#[test]
fn who_was_never_heard_is_silent_since_it_was_watched() {
    let mut trial = Trial::dies_at(0, vec![]);
    trial.scenario.sites[0].alive = Spans::default();
    assert_eq!(trial.verdict(), [Kind::Missed]);
    assert_eq!(trial.stale(302).verdict(), []);
}
