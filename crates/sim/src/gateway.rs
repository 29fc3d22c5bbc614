//! A simulated gateway: its lives, its door and its ticks. What it counts and what its ticks say is
//! the product's own (`Door`, `PartitionTicks`).

use crate::spans::{Ms, SEC};
use heliograph_contract::v1::DoorTick;
use heliograph_domain::partition::partition_for;
use heliograph_gateway::{door::Door, ticks::PartitionTicks};
use std::time::Duration;

pub const TICK_EVERY: Ms = SEC;
/// How long it waits for an upload to itself.
const SELF_UPLOAD_TIMEOUT: Ms = 2 * SEC;

/// Whether it runs, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Down,
    Up,
    /// It takes uploads, and says to the balancer that it will not for long.
    Leaving,
    /// It takes none any more and says `leaving` until then.
    Closed {
        until: Ms,
    },
}

/// What becomes of a gateway's upload to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfUpload {
    Stored,
    Refused,
    /// Nothing is known before its time is over.
    Hangs,
}

/// Where the site of a gateway's uploads to itself belongs.
pub fn own_partition(gateway: usize, partitions: u32) -> u32 {
    partition_for(format!("self-gateway-{gateway}").as_bytes(), partitions)
}

#[derive(Debug)]
pub struct Gateway {
    pub name: String,
    /// Which of its lives this is. What was begun in an earlier one comes to nothing.
    pub life: u32,
    pub phase: Phase,
    pub door: Door,
    /// See [`own_partition`].
    pub own_partition: u32,
    started: Ms,
    ticks: Vec<PartitionTicks>,
    self_upload_ok: bool,
    hanging_since: Option<Ms>,
}

impl Gateway {
    pub fn new(number: usize, partitions: u32) -> Self {
        Self {
            life: 0,
            phase: Phase::Down,
            door: Door::new(partitions),
            own_partition: own_partition(number, partitions),
            name: format!("gateway-{number}"),
            started: 0,
            ticks: Vec::new(),
            self_upload_ok: false,
            hanging_since: None,
        }
    }

    /// A new incarnation.
    pub fn start(&mut self, now: Ms, incarnation_ms: i64, retry_after_max: Ms, partitions: u32) {
        let fresh =
            || PartitionTicks::new(&self.name, incarnation_ms, (retry_after_max / SEC) as u32);
        self.ticks = (0..partitions).map(|_| fresh()).collect();
        self.door = Door::new(partitions);
        (self.phase, self.started) = (Phase::Up, now);
        (self.self_upload_ok, self.hanging_since) = (true, None);
        self.life += 1;
    }

    pub fn die(&mut self) {
        self.phase = Phase::Down;
        self.life += 1;
    }

    pub fn takes_uploads(&self) -> bool {
        matches!(self.phase, Phase::Up | Phase::Leaving)
    }

    /// Its upload to itself, once a tick.
    pub fn upload_to_itself(&mut self, now: Ms, outcome: SelfUpload) {
        if outcome == SelfUpload::Hangs {
            let since = *self.hanging_since.get_or_insert(now);
            self.self_upload_ok &= now < since + SELF_UPLOAD_TIMEOUT;
        } else {
            self.hanging_since = None;
            self.self_upload_ok = outcome == SelfUpload::Stored;
        }
    }

    /// The tick that is due on a partition, unless one is still under way.
    pub fn tick(&mut self, now: Ms, partition: u32) -> Option<DoorTick> {
        let fresh = self.door.take(partition);
        let leaving = matches!(self.phase, Phase::Closed { .. });
        let running = Duration::from_millis(now - self.started);
        let ticks = self.ticks.get_mut(partition as usize)?;
        ticks.due(running, fresh, self.self_upload_ok, leaving)
    }

    pub fn ticked(&mut self, partition: u32, acknowledged: bool) {
        let Some(ticks) = self.ticks.get_mut(partition as usize) else { return };
        match acknowledged {
            true => ticks.acknowledged(),
            false => ticks.failed(),
        }
    }

    pub fn has_left(&self) -> bool {
        self.ticks.iter().all(PartitionTicks::has_left)
    }
}
