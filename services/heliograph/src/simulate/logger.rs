//! One logger: store and forward. Time in, steps out; no clock, no network, no randomness.
//!
//! Invariants, checked by `logger_tests.rs`:
//! - An upload leaves the queue only by a 2xx, or by a 4xx that sending again cannot change.
//! - One request at a time, in the order of the queue; nothing overtakes an upload that has no
//!   answer yet, so two values of one reading are never under way at once.
//! - Nothing is sent before the `Retry-After` of the last refusal is over.
//! - A reading of an upload that was ever left without an answer is not corrected: that request
//!   might still arrive, behind the correction.

use super::{batch::Sent, ledger::SiteLedger};
use std::collections::VecDeque;

/// What shall be done with an upload on purpose, besides sending it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Held back until this many later uploads were offered.
    pub late: Option<u32>,
    /// After its 2xx sent again, this many offered uploads later.
    pub resend: Option<u32>,
    /// After its 2xx (and after that of its resend) sent with other values.
    pub correct: Option<Correction>,
}

/// Changed values for some readings of an upload.
#[derive(Debug, Clone, PartialEq)]
pub struct Correction {
    /// This many offered uploads later.
    pub after: u32,
    /// (index of the reading, new value in the unit as sent)
    pub changes: Vec<(usize, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Fresh,
    /// The same upload again, on purpose.
    Resend,
    Correction,
}

/// An upload on its way.
#[derive(Debug, Clone, PartialEq)]
pub struct Upload {
    /// Number of the upload within its site and run; its id.
    pub seq: u64,
    pub kind: Kind,
    pub readings: Vec<Sent>,
    plan: Plan,
    /// Requests of this kind so far.
    attempts: u32,
    /// Some request of it, of whatever kind, was left without an answer.
    unanswered: bool,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 2xx; the indexes of the readings that were rejected.
    Accepted { rejected: Vec<usize> },
    /// Another status.
    Refused { status: u16, retry_after_ms: Option<u64>, reason: String },
    /// No answer. `body_sent`: the server may have all of it.
    Unanswered { body_sent: bool },
}

/// What the logger wants to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Send the upload that [`Logger::in_flight`] shows.
    Send,
    /// Nothing may be sent before this time.
    WaitUntil(i64),
    /// The queue is empty; more is to come.
    NeedMore,
    /// Everything is sent and answered.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    InFlight,
    WaitingUntil(i64),
}

#[derive(Debug)]
pub struct Logger {
    queue: VecDeque<Upload>,
    queue_max: usize,
    /// (number of offered uploads at which it is released, upload)
    held: Vec<(u64, Upload)>,
    state: State,
    offered: u64,
    next_seq: u64,
    ended: bool,
    pub ledger: SiteLedger,
}

impl Logger {
    pub fn new(site: String, queue_max: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            queue_max,
            held: Vec::new(),
            state: State::Ready,
            offered: 0,
            next_seq: 0,
            ended: false,
            ledger: SiteLedger::new(site),
        }
    }

    /// Whether another upload may be offered. What is not yet offered waits with its source, as
    /// measurements wait in a real logger's memory.
    pub fn has_room(&self) -> bool {
        self.queue.len() < self.queue_max
    }

    /// Takes new readings to be uploaded.
    pub fn offer(&mut self, readings: Vec<Sent>, plan: Plan) {
        let late = plan.late;
        let upload = self.upload(Kind::Fresh, readings, plan);
        match late {
            Some(after) => {
                self.ledger.counts.uploads_late += 1;
                self.hold(after, upload);
            }
            None => self.queue.push_back(upload),
        }
        self.offered += 1;
        self.release();
    }

    fn upload(&mut self, kind: Kind, readings: Vec<Sent>, plan: Plan) -> Upload {
        let seq = self.next_seq;
        self.next_seq += 1;
        Upload { seq, kind, readings, plan, attempts: 0, unanswered: false }
    }

    fn hold(&mut self, after: u32, upload: Upload) {
        self.held.push((self.offered + u64::from(after), upload));
    }

    /// Queues what was held back long enough; at the end, everything.
    fn release(&mut self) {
        let (ended, offered) = (self.ended, self.offered);
        for (_, upload) in self.held.extract_if(.., |(at, _)| ended || *at <= offered) {
            self.queue.push_back(upload);
        }
    }

    /// Nothing more will be offered.
    pub fn end(&mut self) {
        self.ended = true;
        self.release();
    }

    /// What to do at `now_ms`.
    pub fn next(&mut self, now_ms: i64) -> Step {
        match self.state {
            State::WaitingUntil(until_ms) if now_ms < until_ms => Step::WaitUntil(until_ms),
            State::InFlight => Step::WaitUntil(i64::MAX),
            _ => {
                let Some(front) = self.queue.front_mut() else {
                    return if self.ended { Step::Done } else { Step::NeedMore };
                };
                let again = front.attempts > 0 || front.kind == Kind::Resend;
                front.attempts += 1;
                self.state = State::InFlight;
                self.ledger.counts.uploads_sent += 1;
                self.ledger.counts.uploads_resent += u64::from(again);
                Step::Send
            }
        }
    }

    /// The upload that [`Step::Send`] means.
    pub fn in_flight(&self) -> Option<&Upload> {
        self.queue.front().filter(|_| self.state == State::InFlight)
    }

    /// The request ended. `backoff_ms` is how long to wait where the server did not say.
    pub fn answered(&mut self, now_ms: i64, answer: &Answer, backoff_ms: u64) {
        if self.state != State::InFlight {
            return;
        }
        let wait = |ms: u64| {
            State::WaitingUntil(now_ms.saturating_add(i64::try_from(ms).unwrap_or(i64::MAX)))
        };
        self.state = State::Ready;
        match answer {
            Answer::Accepted { rejected } => self.accepted(rejected),
            Answer::Refused { status, retry_after_ms, reason } => {
                self.ledger.counts.refused(*status);
                if is_final(*status) {
                    self.drop_front(&format!("{status}: {reason}"));
                } else {
                    self.state = wait(retry_after_ms.unwrap_or(backoff_ms));
                }
            }
            Answer::Unanswered { body_sent } => {
                match body_sent {
                    true => self.ledger.counts.uploads_unanswered += 1,
                    false => self.ledger.counts.uploads_not_sent += 1,
                }
                if let Some(front) = self.queue.front_mut() {
                    // Also where the body seems not to be out: better one correction too few.
                    front.unanswered = true;
                }
                self.state = wait(backoff_ms);
            }
        }
    }

    fn accepted(&mut self, rejected: &[usize]) {
        let Some(upload) = self.queue.pop_front() else { return };
        self.ledger.counts.uploads_accepted += 1;
        self.ledger.counts.readings_rejected += rejected.len() as u64;
        self.ledger.acked(upload.seq);
        let taken = |index: &usize| !rejected.contains(index);
        let changes = upload.plan.correct.iter().flat_map(|c| &c.changes);
        let open: Vec<usize> = changes.map(|(index, _)| *index).collect();
        for index in (0..upload.readings.len()).filter(taken) {
            let reading = &upload.readings[index];
            match upload.kind {
                Kind::Fresh => self.ledger.add(reading, open.contains(&index)),
                Kind::Resend => {}
                Kind::Correction => self.ledger.correct(reading),
            }
        }
        if upload.kind == Kind::Correction {
            self.ledger.counts.corrections_accepted += 1;
        }
        self.then(upload, rejected);
    }

    /// What the plan has after this 2xx: a resend, else a correction.
    fn then(&mut self, mut upload: Upload, rejected: &[usize]) {
        if let Some(after) = upload.plan.resend.take() {
            self.hold(after, Upload { kind: Kind::Resend, attempts: 0, ..upload });
        } else if let Some(correction) = upload.plan.correct.take() {
            self.correct(&upload, correction, rejected);
        }
        self.release();
    }

    fn correct(&mut self, upload: &Upload, correction: Correction, rejected: &[usize]) {
        let mut readings = Vec::with_capacity(correction.changes.len());
        for (index, value) in correction.changes {
            match upload.readings.get(index) {
                Some(reading) if upload.unanswered => self.ledger.close(reading),
                Some(reading) if !rejected.contains(&index) => {
                    readings.push(Sent { value, ..*reading });
                }
                _ => {}
            }
        }
        if !readings.is_empty() {
            let upload = self.upload(Kind::Correction, readings, Plan::default());
            self.hold(correction.after, upload);
        }
    }

    fn drop_front(&mut self, reason: &str) {
        let Some(upload) = self.queue.pop_front() else { return };
        self.ledger.counts.dropped(reason);
        // Whatever was to change them will not come: what was acknowledged before stays.
        let changes = upload.plan.correct.iter().flat_map(|c| &c.changes).map(|(i, _)| *i);
        let all = 0..upload.readings.len();
        let closed: Vec<usize> = match upload.kind {
            Kind::Fresh => Vec::new(),
            Kind::Resend => changes.collect(),
            Kind::Correction => all.collect(),
        };
        for reading in closed.iter().filter_map(|i| upload.readings.get(*i)) {
            self.ledger.close(reading);
        }
    }
}

/// Whether sending the same again cannot help: a 4xx that is neither "too many" nor "too slow".
fn is_final(status: u16) -> bool {
    (400..500).contains(&status) && status != 429 && status != 408
}

#[cfg(test)]
#[path = "logger_tests.rs"]
mod tests;
