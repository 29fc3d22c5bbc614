//! What a gateway says about its door to one partition: the state of its ticks, pure.
//!
//! Invariants: at most one tick is unacknowledged; what was counted is in acknowledged ticks or
//! still owed, never lost, never twice. A tick that failed may be on the log all the same, so the
//! next one has its sequence and contains its counts: a reader for whom the later of two with one
//! sequence stands for both counts everything once. Nothing follows the acknowledged `leaving`.
//! Who says `leaving` says it for good, and after the last upload. What it is not: it has no clock
//! and appends nothing (`ticker` does).

use heliograph_contract::v1::DoorTick;
use std::time::Duration;

/// Uploads since the tick before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Acknowledged with a 2xx.
    pub accepted: u64,
    /// Refused through the gateway's own fault.
    pub refused: u64,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted.saturating_add(other.accepted),
            refused: self.refused.saturating_add(other.refused),
        }
    }
}

/// The ticks of one gateway on one partition.
#[derive(Debug)]
pub struct PartitionTicks {
    instance: String,
    incarnation_ms: i64,
    retry_after_max_s: u32,
    /// How many were acknowledged.
    acknowledged: u64,
    /// When the last of these was written, since the gateway's start.
    written: Option<Duration>,
    /// Counted, and on no tick that is under way or acknowledged.
    owed: Counts,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Unacknowledged { counts: Counts, leaving: bool, written: Duration },
    Left,
}

impl PartitionTicks {
    /// `retry_after_max_s`: what the gateway tells those whom it refuses, at most.
    pub fn new(instance: &str, incarnation_ms: i64, retry_after_max_s: u32) -> Self {
        Self {
            instance: instance.to_owned(),
            incarnation_ms,
            retry_after_max_s,
            acknowledged: 0,
            written: None,
            owed: Counts::default(),
            phase: Phase::Idle,
        }
    }

    /// Time for a tick: the one to be appended now, or none while one is unacknowledged. `now` is
    /// the time since the gateway's start, which no clock that is set can change; `fresh` is what was
    /// counted since the last call, and is kept in either case.
    pub fn due(
        &mut self,
        now: Duration,
        fresh: Counts,
        self_upload_ok: bool,
        leaving: bool,
    ) -> Option<DoorTick> {
        self.owed = self.owed.plus(fresh);
        if self.phase != Phase::Idle {
            return None;
        }
        let counts = std::mem::take(&mut self.owed);
        self.phase = Phase::Unacknowledged { counts, leaving, written: now };
        Some(DoorTick {
            instance: self.instance.clone(),
            incarnation_ms: self.incarnation_ms,
            sequence: self.acknowledged + 1,
            accepted: counts.accepted,
            refused: counts.refused,
            self_upload_ok,
            leaving,
            retry_after_max_s: self.retry_after_max_s,
            since_last_ms: self.written.map(|last| ms(now.saturating_sub(last))),
        })
    }

    /// The log has the tick.
    pub fn acknowledged(&mut self) {
        if let Phase::Unacknowledged { leaving, written, .. } = self.phase {
            self.acknowledged += 1;
            self.written = Some(written);
            self.phase = if leaving { Phase::Left } else { Phase::Idle };
        }
    }

    /// The log may or may not have the tick.
    pub fn failed(&mut self) {
        if let Phase::Unacknowledged { counts, .. } = self.phase {
            self.owed = self.owed.plus(counts);
            self.phase = Phase::Idle;
        }
    }

    /// Whether the last tick of this incarnation is on the log.
    pub fn has_left(&self) -> bool {
        self.phase == Phase::Left
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::ZERO;

    const NONE: Counts = Counts { accepted: 0, refused: 0 };

    fn counts(accepted: u64, refused: u64) -> Counts {
        Counts { accepted, refused }
    }

    fn told(tick: Option<DoorTick>) -> Option<(u64, Counts)> {
        tick.map(|t| (t.sequence, counts(t.accepted, t.refused)))
    }

    #[test]
    fn a_tick_says_who_what_and_how() {
        let mut ticks = PartitionTicks::new("g1", 7, 30);
        let want = DoorTick {
            instance: "g1".into(),
            incarnation_ms: 7,
            sequence: 1,
            accepted: 3,
            refused: 1,
            self_upload_ok: true,
            leaving: false,
            since_last_ms: None,
            retry_after_max_s: 30,
        };
        assert_eq!(ticks.due(NOW, counts(3, 1), true, false), Some(want));
    }

    #[test]
    fn never_more_than_one_is_unacknowledged_and_what_came_meanwhile_is_on_the_next() {
        let mut ticks = PartitionTicks::new("g1", 0, 30);
        assert_eq!(told(ticks.due(NOW, counts(1, 0), true, false)), Some((1, counts(1, 0))));
        assert_eq!(ticks.due(NOW, counts(2, 0), true, false), None);
        assert_eq!(ticks.due(NOW, counts(0, 4), true, false), None);
        ticks.acknowledged();
        assert_eq!(told(ticks.due(NOW, NONE, true, false)), Some((2, counts(2, 4))));
    }

    #[test]
    fn the_tick_after_a_failed_one_stands_for_both() {
        let mut ticks = PartitionTicks::new("g1", 0, 30);
        assert_eq!(told(ticks.due(NOW, counts(1, 0), true, false)), Some((1, counts(1, 0))));
        ticks.failed();
        assert_eq!(told(ticks.due(NOW, counts(0, 2), false, false)), Some((1, counts(1, 2))));
        ticks.acknowledged();
        assert_eq!(told(ticks.due(NOW, NONE, true, false)), Some((2, NONE)));
    }

    #[test]
    fn a_tick_says_how_long_ago_the_last_acknowledged_one_was_written() {
        let mut ticks = PartitionTicks::new("g1", 0, 30);
        let mut at = |secs: u64, is_taken: bool| {
            let tick = ticks.due(Duration::from_secs(secs), NONE, true, false);
            if is_taken {
                ticks.acknowledged()
            } else {
                ticks.failed()
            }
            tick.and_then(|tick| tick.since_last_ms)
        };
        assert_eq!([at(5, false), at(6, true)], [None, None]);
        assert_eq!(
            [at(7, true), at(10, false), at(40, true)].map(Option::unwrap),
            [1_000, 3_000, 33_000]
        );
    }

    #[test]
    fn leaving_is_the_last_tick_and_is_tried_again_until_it_is_there() {
        let mut ticks = PartitionTicks::new("g1", 0, 30);
        assert_eq!(ticks.due(NOW, NONE, true, true).map(|t| t.leaving), Some(true));
        ticks.failed();
        assert!(!ticks.has_left());
        assert_eq!(ticks.due(NOW, NONE, true, true).map(|t| t.leaving), Some(true));
        ticks.acknowledged();
        assert!(ticks.has_left());
        assert_eq!(ticks.due(NOW, NONE, true, true), None);
    }

    #[test]
    fn an_answer_to_nothing_changes_nothing() {
        let mut ticks = PartitionTicks::new("g1", 0, 30);
        ticks.acknowledged();
        ticks.failed();
        assert_eq!(told(ticks.due(NOW, NONE, true, false)), Some((1, NONE)));
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Due {
            fresh: Counts,
            leaving: bool,
        },
        Acknowledged,
        /// Failed, and whether the log has it all the same.
        Failed {
            stored: bool,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u64..5, 0u64..5, proptest::bool::weighted(0.05)).prop_map(|(a, r, leaving)| {
                Step::Due { fresh: counts(a, r), leaving }
            }),
            4 => Just(Step::Acknowledged),
            4 => any::<bool>().prop_map(|stored| Step::Failed { stored }),
        ]
    }

    /// What a reader makes of the log: the later of two ticks with one sequence stands for both.
    fn read(log: &[DoorTick]) -> Counts {
        let mut total = NONE;
        for (i, tick) in log.iter().enumerate() {
            if log.get(i + 1).is_none_or(|next| next.sequence != tick.sequence) {
                total = total.plus(counts(tick.accepted, tick.refused));
            }
        }
        total
    }

    proptest! {
        #[test]
        fn counts_are_never_lost_or_doubled_over_failing_ticks(
            steps in proptest::collection::vec(step(), 0..60)
        ) {
            let mut ticks = PartitionTicks::new("g1", 0, 30);
            let (mut log, mut open) = (Vec::<DoorTick>::new(), None::<DoorTick>);
            // The shell leaves when no upload is open any more, and then does not come back.
            let (mut counted, mut leaves) = (NONE, false);
            for step in steps {
                match step {
                    Step::Due { fresh, leaving } => {
                        let fresh = if leaves { NONE } else { fresh };
                        leaves |= leaving;
                        counted = counted.plus(fresh);
                        let due = ticks.due(NOW, fresh, true, leaves);
                        prop_assert_eq!(due.is_some(), open.is_none() && !ticks.has_left());
                        open = due.or(open);
                    }
                    Step::Acknowledged => {
                        log.extend(open.take());
                        ticks.acknowledged();
                    }
                    Step::Failed { stored } => {
                        log.extend(open.take().filter(|_| stored));
                        ticks.failed();
                    }
                }
            }
            if open.is_some() {
                log.extend(open);
                ticks.acknowledged();
            }
            if !ticks.has_left() {
                log.extend(ticks.due(NOW, NONE, true, true));
                ticks.acknowledged();
            }
            prop_assert!(ticks.has_left());
            prop_assert_eq!(read(&log), counted);
            for pair in log.windows(2) {
                let step = pair[1].sequence - pair[0].sequence;
                prop_assert!(step <= 1, "{:?}", pair);
            }
            // Only what repeats a `leaving` whose acknowledgement failed comes after one.
            let left = log.iter().position(|t| t.leaving);
            prop_assert!(left.is_some_and(|at| log[at..].iter().all(|t| t.leaving)));
        }
    }
}
