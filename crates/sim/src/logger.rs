//! A simulated logger: keeps what was not stored, and tries again. Pure.

use crate::{
    scenario::{Patience, Rng},
    spans::{Ms, SEC},
};
use rand::RngExt;

/// What it heard of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    Stored,
    /// 503 with `Retry-After`.
    Refused {
        retry_after: Ms,
    },
    /// 4xx: its own fault.
    Rejected,
    /// Nothing, or a broken connection.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// A call is under way, with so many batches.
    Calling(u32),
    /// It tries again later.
    Waiting,
}

/// What it does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Call,
    /// Call in so long.
    CallIn(Ms),
    /// Nothing until the next batch is due.
    Rest,
}

#[derive(Debug)]
pub struct Logger {
    patience: Patience,
    state: State,
    /// Batches that are not stored yet.
    kept: u32,
    /// Which of its calls this is; answers to earlier ones come too late.
    pub call: u32,
}

impl Logger {
    pub fn new(patience: Patience) -> Self {
        Self { patience, state: State::Idle, kept: 0, call: 0 }
    }

    /// It starts (again); what it kept is still there.
    pub fn boots(&mut self) {
        self.state = State::Idle;
        self.call += 1;
    }

    /// An upload is due.
    pub fn due(&mut self) -> Step {
        self.kept += 1;
        match self.state {
            State::Idle => Step::Call,
            State::Calling(_) | State::Waiting => Step::Rest,
        }
    }

    /// It calls now, with all that it has.
    pub fn calls(&mut self) {
        self.state = State::Calling(self.kept);
        self.call += 1;
    }

    pub fn answered(&mut self, answer: Answer, rng: &mut Rng) -> Step {
        let State::Calling(sent) = self.state else { return Step::Rest };
        self.state = State::Idle;
        let wait = match answer {
            Answer::Stored => {
                self.kept -= sent;
                if self.kept == 0 {
                    return Step::Rest;
                }
                SEC
            }
            Answer::Refused { retry_after } => retry_after,
            Answer::Nothing => rng.random_range(SEC..=30 * SEC),
            Answer::Rejected => return Step::Rest,
        };
        if self.patience == Patience::NextTime && answer != Answer::Stored {
            return Step::Rest;
        }
        self.state = State::Waiting;
        Step::CallIn(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn what_is_refused_is_kept_and_goes_in_one_when_the_door_is_back() {
        let (mut logger, mut rng) = (Logger::new(Patience::Retries), Rng::seed_from_u64(1));
        assert_eq!(logger.due(), Step::Call);
        logger.calls();
        assert_eq!(logger.due(), Step::Rest, "one call at a time");
        let refused = Answer::Refused { retry_after: 7 };
        assert_eq!(logger.answered(refused, &mut rng), Step::CallIn(7));
        assert_eq!(logger.due(), Step::Rest, "it waits for as long as it was told");
        logger.calls();
        assert_eq!(logger.answered(Answer::Stored, &mut rng), Step::Rest);
        assert_eq!((logger.kept, logger.due()), (0, Step::Call));
    }

    #[test]
    fn a_simple_one_waits_for_its_next_turn() {
        let (mut logger, mut rng) = (Logger::new(Patience::NextTime), Rng::seed_from_u64(1));
        for kept in 1..4 {
            assert_eq!((logger.due(), logger.kept), (Step::Call, kept));
            logger.calls();
            assert_eq!(logger.answered(Answer::Nothing, &mut rng), Step::Rest);
        }
    }
}
