//! The pipeline's clock on one partition: how long its door was open. Pure.
//!
//! ```text
//! ticks of a ─┬──┬──┬──┬──────────(gone)
//! ticks of b ──┬──┬──┬──┬──┬──┬──┬──
//!              ──────────▶│        │
//!                      settled     at      open time is counted up to where all have spoken
//! ```
//!
//! The clock stands still unless a tick is read, and then moves by the append time since the tick
//! before, at most [`TICK_MAX`]. Between two ticks of a gateway its door was open when both are of
//! one incarnation and close enough to each other, it refused less than 1 % of what it got, and its
//! upload to itself went through; where it refuses again and again, the seconds between in which
//! nobody happened to be refused are not open either. The door of the partition was open when those
//! of all present gateways were; so time is settled only up to the tick of the gateway that was
//! silent longest, a low watermark. One that vanishes without `leaving` holds it until it returns or
//! is lost after [`LOST_AFTER`]: either way what it held back was closed. Closed times with less
//! than [`STEADY_AFTER`] of open time in between are one where grace is concerned.
//!
//! Invariant: open time never runs back, and never grows by more than the clock does. What it is
//! not: it knows no sites, and reads no time but that of the records it is given.

use crate::{
    grace::Graces,
    planted::{Bug, is_planted},
    refusals::Refusals,
};
use heliograph_contract::v1::DoorTick;
use heliograph_domain::Timestamp;
use std::fmt;

mod kept;

/// A tick moves the clock by no more than this, in ms; a gateway that ticks less often is closed.
pub const TICK_MAX: u64 = 3_000;
/// A gateway that vanished counts no more after so long on the clock, in ms.
pub const LOST_AFTER: u64 = 120_000;

/// What a tick showed beside the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A gateway first seen, or again after it had left or was lost.
    Joined { instance: String },
    /// It left on purpose.
    Left { instance: String },
    /// It vanished [`LOST_AFTER`] ago and counts no more.
    Lost { instance: String },
    /// Its door was open, and was not in the interval that this tick ends.
    Closed { instance: String, why: Closing },
    /// Its door was open again.
    Opened { instance: String },
}

/// What closes the door of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// It started anew without having said that it leaves.
    Restarted,
    /// It did not tick for so long, in ms.
    Away { ms: u64 },
    /// It refused too many of what it got through its own fault.
    Refused { refused: u64, got: u64 },
    /// Its upload to itself did not go through.
    SelfUpload,
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restarted => f.write_str("it started anew without having left"),
            Self::Away { ms } => write!(f, "it did not tick for {} s", ms / 1_000),
            Self::Refused { refused, got } => write!(f, "it refused {refused} of {got} uploads"),
            Self::SelfUpload => f.write_str("its upload to itself failed"),
        }
    }
}

/// The door of one partition, and its clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Clock {
    last_append: Option<Timestamp>,
    /// How far the clock has come, in ms.
    at: u64,
    /// Up to here it is known whether the door was open.
    settled: u64,
    /// How much of that it was.
    open: u64,
    /// Time that passed at the door and that the clock did not count, since it moves by at most
    /// [`TICK_MAX`] a tick.
    unseen: u64,
    /// Present gateways, by name.
    gateways: Vec<Gateway>,
    /// When some door was closed, beyond `settled`.
    closed: Vec<Span>,
    /// Where time went by unseen, and how much, beyond `settled`.
    gaps: Vec<(u64, u64)>,
    /// How long the door has been closed at `settled`, unseen time included; none while it is open.
    shut: Option<u64>,
    /// How long it had been closed when it last opened, earlier times included between which it was
    /// not open for [`STEADY_AFTER`].
    flickered: u64,
    /// Open time when it last opened.
    opened: u64,
    graces: Graces,
}

#[derive(Debug, Clone, PartialEq)]
struct Gateway {
    instance: String,
    incarnation_ms: i64,
    /// Where its last tick was read.
    at: u64,
    /// What was unseen then.
    unseen: u64,
    /// Whether its door was closed at its last tick.
    is_closed: bool,
    refusals: Refusals,
}

#[derive(Debug, Clone, PartialEq)]
struct Span {
    from: u64,
    to: u64,
}

/// A closed span that is longer than this, in ms, is followed by grace.
pub const GRACE_AFTER: u64 = 10_000;
/// A door that flickers is closed in one span until it has been open for so long, in ms: a logger that
/// tries once a minute may have met it closed each time.
const STEADY_AFTER: u64 = 120_000;

impl Clock {
    /// How far the clock has come, in ms.
    pub fn at_ms(&self) -> u64 {
        self.at
    }

    /// How long the door was open, as far as that is known, in ms.
    pub fn open_ms(&self) -> u64 {
        self.open
    }

    /// The most that open time may have come to by now: the position of an upload that is read now.
    pub fn open_at_most_ms(&self) -> u64 {
        self.open + (self.at - self.settled)
    }

    pub fn graces(&self) -> &Graces {
        &self.graces
    }

    /// How long the door has not been known to be open, in ms; up to a second or two while all is
    /// well.
    pub fn shut_ms(&self) -> u64 {
        self.shut.unwrap_or(0) + (self.at - self.settled)
    }

    /// Reads a tick that the log took at `append`.
    pub fn tick(&mut self, append: Timestamp, tick: &DoorTick) -> Vec<Change> {
        let mut changes = Vec::new();
        let since_last = self.last_append.map_or(0, |last| append.as_ms() - last.as_ms());
        self.last_append = Some(append);
        let before = self.at;
        let most = if is_planted(Bug::WallClock) { u64::MAX } else { TICK_MAX };
        self.at += u64::try_from(since_last).unwrap_or(0).min(most);
        match self.gateways.iter().position(|g| g.instance == tick.instance) {
            Some(index) => self.ticked(index, since_last, tick, &mut changes),
            // A `leaving` whose acknowledgement failed is said twice.
            None if tick.leaving => {}
            None => {
                if self.gateways.is_empty() {
                    self.unwatched(before, since_last);
                }
                self.join(tick, &mut changes);
            }
        }
        self.lose(&mut changes);
        let watermark = self.gateways.iter().map(|g| g.at).min().unwrap_or(self.at);
        self.settle(if is_planted(Bug::WatermarkNewest) { self.at } else { watermark });
        changes
    }

    /// From `before` on there was no gateway.
    fn unwatched(&mut self, before: u64, since_last: i64) {
        self.closed.push(Span { from: before, to: self.at });
        self.gap(beyond(since_last, self.at - before));
    }

    /// Time that went by unseen ends here.
    fn gap(&mut self, ms: u64) {
        if ms > 0 {
            self.unseen += ms;
            self.gaps.push((self.at, ms));
        }
    }

    fn join(&mut self, tick: &DoorTick, changes: &mut Vec<Change>) {
        let instance = tick.instance.clone();
        changes.push(Change::Joined { instance: instance.clone() });
        let incarnation_ms = tick.incarnation_ms;
        let (at, unseen) = (self.at, self.unseen);
        let (is_closed, refusals) = (false, Refusals::begin(at, tick));
        self.gateways.push(Gateway { instance, incarnation_ms, at, unseen, is_closed, refusals });
    }

    /// A present gateway's next tick.
    fn ticked(
        &mut self,
        index: usize,
        since_last: i64,
        tick: &DoorTick,
        changes: &mut Vec<Change>,
    ) {
        let Gateway { incarnation_ms, at: from, unseen, .. } = self.gateways[index];
        let counted = self.at - from;
        let same = incarnation_ms == tick.incarnation_ms || is_planted(Bug::IncarnationIgnored);
        // Its own measure where it gives one: a step of the log's clock is no silence of a gateway.
        let took = match tick.since_last_ms {
            Some(took) if same => took,
            _ => counted,
        };
        if same {
            // Less than that is no time unseen: no two appends take the log equally long.
            if took > TICK_MAX || is_planted(Bug::JitterUnseen) {
                let seen = counted + (self.unseen - unseen);
                self.gap(took.saturating_sub(seen));
            }
        } else {
            // It cannot say for how long nobody ticked, and the others may be new as well.
            self.gap(beyond(since_last, TICK_MAX));
        }
        let at = self.at;
        let refusals = &mut self.gateways[index].refusals;
        let why = match same {
            true => refusals.add(at, tick),
            false => {
                *refusals = Refusals::begin(at, tick);
                None
            }
        };
        let why = closing(tick, same, took).or(why);
        if why.is_some() && !is_planted(Bug::ClosedCounts) {
            self.closed.push(Span { from, to: self.at });
        }
        let gateway = &mut self.gateways[index];
        let instance = || tick.instance.clone();
        match why {
            Some(why) if !gateway.is_closed => {
                changes.push(Change::Closed { instance: instance(), why });
            }
            None if gateway.is_closed => changes.push(Change::Opened { instance: instance() }),
            _ => {}
        }
        gateway.is_closed = why.is_some();
        (gateway.at, gateway.unseen) = (self.at, self.unseen);
        gateway.incarnation_ms = tick.incarnation_ms;
        if tick.leaving && !is_planted(Bug::LeavingVanishes) {
            let Gateway { instance, .. } = self.gateways.remove(index);
            changes.push(Change::Left { instance });
        }
    }

    fn lose(&mut self, changes: &mut Vec<Change>) {
        let at = self.at;
        let after = match () {
            () if is_planted(Bug::NeverLost) => u64::MAX,
            () if is_planted(Bug::LostAtOnce) => 2_000,
            () => LOST_AFTER,
        };
        for gateway in self.gateways.extract_if(.., |g| at - g.at >= after) {
            self.closed.push(Span { from: gateway.at, to: at });
            changes.push(Change::Lost { instance: gateway.instance });
        }
    }

    /// All that is to be known about the time up to `watermark` is known.
    fn settle(&mut self, watermark: u64) {
        loop {
            self.pass_gaps();
            let at = self.settled;
            if at >= watermark {
                break;
            }
            let covering = self.closed.iter().filter(|s| s.from <= at && s.to > at);
            match covering.map(|s| s.to).max() {
                Some(end) => {
                    let end = end.min(watermark);
                    *self.shut.get_or_insert(0) += end - at;
                    self.settled = end;
                }
                None => {
                    let next = self.closed.iter().map(|s| s.from).filter(|from| *from > at).min();
                    let end = next.unwrap_or(watermark).min(watermark);
                    self.opens();
                    self.open += end - at;
                    self.settled = end;
                }
            }
        }
        let settled = self.settled;
        self.closed.retain(|s| s.to > settled);
    }

    /// It is open at `settled`, whatever it was before.
    fn opens(&mut self) {
        let Some(shut) = self.shut.take() else { return };
        if self.open >= self.opened + STEADY_AFTER {
            self.flickered = 0;
        }
        self.flickered += shut;
        self.opened = self.open;
        if self.flickered > GRACE_AFTER {
            self.graces.begin(if is_planted(Bug::GraceByClock) { self.at } else { self.open });
        }
    }

    fn pass_gaps(&mut self) {
        let settled = self.settled;
        for (_, ms) in self.gaps.extract_if(.., |(at, _)| *at <= settled) {
            *self.shut.get_or_insert(0) += ms;
        }
    }
}

/// Why the interval before this tick does not count, if it does not.
fn closing(tick: &DoorTick, is_same_incarnation: bool, took_ms: u64) -> Option<Closing> {
    if !is_same_incarnation {
        Some(Closing::Restarted)
    } else if took_ms > TICK_MAX {
        Some(Closing::Away { ms: took_ms })
    } else if !tick.self_upload_ok && !is_planted(Bug::SelfUploadIgnored) {
        Some(Closing::SelfUpload)
    } else {
        None
    }
}

/// What append times say about the time that the clock did not count. A clock that was set back
/// says nothing: long enough for a grace.
fn beyond(since_last: i64, counted: u64) -> u64 {
    match u64::try_from(since_last) {
        Ok(ms) => ms.saturating_sub(counted),
        Err(_) => GRACE_AFTER + 1,
    }
}

#[cfg(test)]
mod tests;
