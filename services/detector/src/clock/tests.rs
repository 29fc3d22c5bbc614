use super::*;
use proptest::prelude::*;

const NOW: i64 = 1_700_000_000_000;

/// What happened at the door, in ms since the start, and how it reads.
struct Doors {
    clock: Clock,
    changes: Vec<Change>,
}

fn good(instance: &str) -> DoorTick {
    DoorTick {
        instance: instance.into(),
        incarnation_ms: 1,
        sequence: 1,
        accepted: 10,
        self_upload_ok: true,
        since_last_ms: Some(1_000),
        ..DoorTick::default()
    }
}

impl Doors {
    fn new() -> Self {
        Self { clock: Clock::default(), changes: Vec::new() }
    }

    fn tick(&mut self, ms: i64, tick: DoorTick) {
        self.changes.extend(self.clock.tick(Timestamp::from_ms(NOW + ms), &tick));
    }

    /// Each of `who` ticks once a second.
    fn run(&mut self, secs: std::ops::Range<i64>, who: &[&str]) {
        for s in secs {
            for (i, instance) in who.iter().enumerate() {
                self.tick(s * 1_000 + 100 * i as i64, good(instance));
            }
        }
    }

    fn reads(&self) -> (u64, u64, usize) {
        (self.clock.at, self.clock.open, self.clock.graces.len())
    }
}

#[test]
fn doors_that_tick_are_open_up_to_the_one_that_spoke_longest_ago() {
    let mut doors = Doors::new();
    doors.run(0..61, &["a", "b"]);
    assert_eq!(doors.reads(), (60_100, 60_000, 0));
    assert_eq!(doors.clock.open_at_most_ms(), 60_100);
}

#[test]
fn one_that_vanishes_closes_the_door_until_it_returns() {
    let mut doors = Doors::new();
    doors.run(0..11, &["a", "b"]);
    doors.run(11..41, &["a"]);
    assert_eq!(doors.reads(), (40_000, 10_100, 0), "held where b was heard last");
    let back = DoorTick { since_last_ms: Some(31_000), ..good("b") };
    doors.tick(41_100, back);
    doors.run(42..52, &["a", "b"]);
    let (_, open, graces) = doors.reads();
    assert_eq!((open, graces), (10_100 + 9_900, 1));
    let instance = || "b".to_owned();
    let [.., closed, opened] = &doors.changes[..] else { panic!("{:?}", doors.changes) };
    let why = Closing::Away { ms: 31_000 };
    assert_eq!(*closed, Change::Closed { instance: instance(), why });
    assert_eq!(*opened, Change::Opened { instance: instance() });
    assert_eq!(doors.changes.len(), 4, "{:?}", doors.changes);
}

#[test]
fn one_that_stays_away_is_lost_and_counts_no_more() {
    let mut doors = Doors::new();
    doors.run(0..11, &["a", "b"]);
    doors.run(11..200, &["a"]);
    let lost = doors.changes.iter().filter(|c| **c == Change::Lost { instance: "b".into() });
    assert_eq!(lost.count(), 1);
    // Lost at 131 s, and open from there.
    assert_eq!(doors.reads(), (199_000, 10_100 + 68_000, 1));
}

#[test]
fn who_leaves_closes_nothing() {
    let mut doors = Doors::new();
    doors.run(0..11, &["a", "b"]);
    doors.tick(11_050, DoorTick { leaving: true, ..good("b") });
    // Its acknowledgement was lost, so it says it again.
    doors.tick(11_060, DoorTick { leaving: true, ..good("b") });
    doors.run(12..61, &["a"]);
    assert_eq!(doors.reads(), (60_000, 60_000, 0));
}

#[test]
fn what_closes_a_door() {
    let rows: &[(&str, DoorTick, u64)] = &[
        ("all is well", good("a"), 1_000),
        (
            "less than one in a hundred refused",
            DoorTick { accepted: 199, refused: 1, ..good("a") },
            1_000,
        ),
        ("one in a hundred refused", DoorTick { accepted: 99, refused: 1, ..good("a") }, 0),
        ("all refused", DoorTick { accepted: 0, refused: 1, ..good("a") }, 0),
        ("the upload to itself fails", DoorTick { self_upload_ok: false, ..good("a") }, 0),
        ("another incarnation, without a word", DoorTick { incarnation_ms: 2, ..good("a") }, 0),
        ("it says that it was away", DoorTick { since_last_ms: Some(3_001), ..good("a") }, 0),
    ];
    for (name, tick, want) in rows {
        let mut doors = Doors::new();
        doors.run(0..11, &["a"]);
        doors.tick(11_000, tick.clone());
        assert_eq!(doors.clock.open, 10_000 + want, "{name}");
    }
}

#[test]
fn a_step_of_the_logs_clock_is_no_silence_of_a_gateway() {
    for step in [-3_600_000, 3_600_000] {
        let mut doors = Doors::new();
        doors.run(0..11, &["a", "b"]);
        for s in 11..61 {
            doors.tick(s * 1_000 + step, good("a"));
            doors.tick(s * 1_000 + 100 + step, good("b"));
        }
        let (at, open, graces) = doors.reads();
        assert!(graces == 0 && at.abs_diff(60_000) <= TICK_MAX, "{at} {graces}");
        assert!(at - open <= 1_000, "{at} {open}");
    }
}

#[test]
fn a_long_silence_of_all_counts_for_the_grace_and_not_for_the_clock() {
    let away: &[(&str, DoorTick)] = &[
        ("cut off from the log", DoorTick { since_last_ms: Some(600_000), ..good("a") }),
        ("restarted", DoorTick { incarnation_ms: 2, since_last_ms: None, ..good("a") }),
    ];
    for (name, tick) in away {
        let mut doors = Doors::new();
        doors.run(0..11, &["a"]);
        doors.tick(610_000, tick.clone());
        assert_eq!(doors.clock.at, 10_000 + TICK_MAX, "{name}");
        assert!(doors.clock.shut_ms() >= 599_000, "{name}: {}", doors.clock.shut_ms());
        for s in 611..621 {
            let back = DoorTick { incarnation_ms: tick.incarnation_ms, ..good("a") };
            doors.tick(s * 1_000, back);
        }
        assert_eq!(doors.reads(), (10_000 + TICK_MAX + 10_000, 20_000, 1), "{name}");
    }
}

#[test]
fn appends_that_take_unequally_long_are_no_silence() {
    let mut doors = Doors::new();
    doors.run(0..11, &["a"]);
    doors.tick(610_000, DoorTick { since_last_ms: Some(600_000), ..good("a") });
    for s in 611..900 {
        doors.tick(s * 1_000 + 40 * (s % 2), good("a"));
    }
    assert_eq!(doors.clock.graces.len(), 1, "one closed span, one grace");
}

#[test]
fn a_door_that_flickers_is_followed_by_grace() {
    // So many seconds of so many are bad, for five minutes.
    let rows = [(1, 2, true), (1, 20, true), (8, 60, true), (1, 60, false), (8, 150, false)];
    for (bad, of, is_followed) in rows {
        let mut doors = Doors::new();
        doors.run(0..150, &["a"]);
        for s in 150..450 {
            let self_upload_ok = s % of >= bad;
            doors.tick(s * 1_000, DoorTick { self_upload_ok, ..good("a") });
        }
        doors.run(450..600, &["a"]);
        assert_eq!(!doors.clock.graces.is_empty(), is_followed, "{bad} of {of}");
    }
}

#[test]
fn a_long_silence_of_several_counts_for_the_grace_even_if_all_return_as_others() {
    let mut doors = Doors::new();
    doors.run(0..11, &["a", "b"]);
    for s in 610..620 {
        for (i, instance) in ["a", "b"].into_iter().enumerate() {
            let tick = DoorTick { incarnation_ms: 2, ..good(instance) };
            let since_last_ms = (s > 610).then_some(1_000);
            doors.tick(s * 1_000 + 100 * i as i64, DoorTick { since_last_ms, ..tick });
        }
    }
    assert_eq!(doors.clock.graces.len(), 1);
}

fn any_tick() -> impl Strategy<Value = (i64, DoorTick)> {
    let since = prop_oneof![8 => 0..1_500i64, 1 => 0..600_000i64, 1 => -3_600_000..0i64];
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    let ok = proptest::bool::weighted(0.95);
    let leaving = proptest::bool::weighted(0.03);
    let took = proptest::option::weighted(0.9, prop_oneof![9 => 900..1_100u64, 1 => 0..600_000u64]);
    (since, name, 1..3i64, 0..3u64, ok, leaving, took).prop_map(
        |(since, instance, incarnation_ms, refused, self_upload_ok, leaving, since_last_ms)| {
            let refused = refused.saturating_sub(1);
            let tick = DoorTick {
                incarnation_ms,
                refused,
                self_upload_ok,
                leaving,
                since_last_ms,
                ..good(instance)
            };
            (since, tick)
        },
    )
}

proptest! {
    #[test]
    fn open_time_never_runs_back_and_never_beyond_the_clock(
        ticks in proptest::collection::vec(any_tick(), 1..200)
    ) {
        let (mut clock, mut append) = (Clock::default(), NOW);
        for (since, tick) in ticks {
            append += since;
            let before = clock.clone();
            clock.tick(Timestamp::from_ms(append), &tick);
            let (moved, opened) = (clock.at - before.at, clock.open - before.open);
            prop_assert!(moved <= TICK_MAX && moved as i64 <= since.max(0));
            prop_assert!(opened <= clock.settled - before.settled);
            prop_assert!(clock.settled <= clock.at);
            prop_assert!(before.open_at_most_ms() + moved >= clock.open);
            // What is away holds the clock for two minutes at most.
            prop_assert!(clock.at - clock.settled < LOST_AFTER);
            prop_assert!(clock.closed.len() <= 3 * 200 && clock.gaps.len() <= 200);
        }
    }

    /// In whatever order the ticks of several gateways come, and whenever within the second.
    #[test]
    fn doors_that_are_always_open_lose_no_time(
        offsets in proptest::collection::vec(0..900i64, 1..5), secs in 5..300i64,
    ) {
        let names = ["a", "b", "c", "d"];
        let mut clock = Clock::default();
        let mut order: Vec<(i64, &str)> = offsets.iter().copied().zip(names).collect();
        order.sort_unstable();
        for s in 0..secs {
            for (offset, instance) in &order {
                clock.tick(Timestamp::from_ms(NOW + s * 1_000 + offset), &good(instance));
            }
        }
        prop_assert_eq!(clock.graces.len(), 0);
        prop_assert_eq!(clock.open, clock.settled);
        prop_assert!(clock.at - clock.open < 1_000);
    }

    /// While one of the gateways is not well, no time is open, whatever the others say.
    #[test]
    fn no_time_is_open_beside_a_closed_door(others in 0..4usize, secs in 1..100i64) {
        let names = ["b", "c", "d", "e"];
        let mut doors = Doors::new();
        doors.run(0..10, &["a"]);
        let mut clock = doors.clock;
        let bad = DoorTick { self_upload_ok: false, ..good("a") };
        clock.tick(Timestamp::from_ms(NOW + 10_000), &bad);
        let open = clock.open;
        for s in 11..11 + secs {
            clock.tick(Timestamp::from_ms(NOW + s * 1_000), &bad);
            for instance in &names[..others] {
                clock.tick(Timestamp::from_ms(NOW + s * 1_000 + 500), &good(instance));
            }
        }
        prop_assert_eq!(clock.open, open);
    }
}
