//! What happens next: events by their time, those of one moment in the order in which they were set.

use crate::{logger::Answer, spans::Ms};
use std::{cmp::Reverse, collections::BinaryHeap};

/// An upload on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub site: usize,
    /// Which of the logger's calls.
    pub number: u32,
    pub gateway: usize,
    /// The life of the gateway that took it.
    pub life: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// A gateway starts, dies, or begins to leave.
    Starts(usize),
    Dies(usize),
    Leaves(usize),
    Closes {
        gateway: usize,
        life: u32,
    },
    Ticks {
        gateway: usize,
        life: u32,
    },
    TickFails {
        gateway: usize,
        life: u32,
        partition: u32,
    },
    /// The balancer looks at all gateways.
    Checks,
    /// A fault's stranger calls.
    Knocks {
        fault: usize,
    },
    /// A logger starts again.
    Boots {
        site: usize,
    },
    /// A logger has something new to send, for the n-th time.
    Due {
        site: usize,
        n: u64,
    },
    /// A logger tries again.
    Retries {
        site: usize,
        call: u32,
    },
    /// A call reaches its gateway.
    Arrives(Call),
    /// The log did not take it.
    NotAppended(Call),
    /// The logger waited long enough.
    GivesUp(Call),
    Hears(Call, Answer),
    /// The registry says something of a site; the gateways know at once.
    Registers {
        site: usize,
        entry: usize,
    },
    /// It is appended to the site's partition; a repeat says what was said before.
    Watches {
        site: usize,
        entry: usize,
        is_repeat: bool,
    },
    Polls {
        reader: usize,
    },
    /// A detector that died for this fault starts again.
    Restores {
        fault: usize,
    },
    /// A second detector begins to read.
    Haunts {
        fault: usize,
    },
}

#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<(Ms, u64, Event)>>,
    set: u64,
}

impl Queue {
    pub fn at(&mut self, at: Ms, event: Event) {
        self.set += 1;
        self.heap.push(Reverse((at, self.set, event)));
    }

    pub fn pop(&mut self) -> Option<(Ms, Event)> {
        self.heap.pop().map(|Reverse((at, _, event))| (at, event))
    }
}
