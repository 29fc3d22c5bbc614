//! Consumer groups inside one process, for the logs that have no broker: `memory` and `local`.
//!
//! Guarantees the group part of `port`: one owner per partition; a partition that is asked back
//! goes to its new owner only after the old one released it, closed or was dropped. The decision
//! who gets what is `assignment`; a member's reading is `member`; this file carries messages
//! between them. What it is not: it keeps no clock. A member of the same process dies by being
//! dropped, so `session_timeout` means nothing here.

mod assignment;
mod member;
pub(crate) mod rules;

use crate::port::{GroupConsumer, GroupSpec, LogError, LogRead, TopicPartition};
use assignment::{Assignment, Change, MemberId};
use async_trait::async_trait;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// What groups need of a log besides reading.
#[async_trait]
pub(crate) trait Storage: LogRead + 'static {
    async fn commit(&self, group: &str, offsets: &[(TopicPartition, u64)]) -> Result<(), LogError>;

    async fn committed(&self, group: &str, tp: &TopicPartition) -> Result<Option<u64>, LogError>;

    /// Changes after each append to the topic, and when the log closes.
    fn appended(&self, topic: &str) -> Result<watch::Receiver<u64>, LogError>;
}

/// All groups of one log.
pub(crate) struct Coordinator<S> {
    storage: Arc<S>,
    groups: Arc<Mutex<Groups>>,
}

#[derive(Default)]
struct Groups {
    by_key: HashMap<GroupKey, Group>,
    last_member: MemberId,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct GroupKey {
    group: String,
    topic: Arc<str>,
}

struct Group {
    assignment: Assignment,
    members: BTreeMap<MemberId, Registered>,
}

struct Registered {
    instance: Option<String>,
    mailbox: Arc<Mailbox>,
}

/// What a member is told, in order.
#[derive(Debug, Clone)]
enum Notice {
    Assigned(Vec<u32>),
    Revoked(Vec<u32>),
    Lost(Vec<u32>),
    /// Another member has come under the same instance name.
    Replaced,
}

#[derive(Default)]
struct Mailbox {
    notices: Mutex<VecDeque<Notice>>,
    wake: Notify,
}

impl Mailbox {
    fn put(&self, notice: Notice) {
        locked(&self.notices).push_back(notice);
        self.wake.notify_one();
    }

    fn peek(&self) -> Option<Notice> {
        locked(&self.notices).front().cloned()
    }

    fn pop(&self) {
        locked(&self.notices).pop_front();
    }
}

/// The state behind these locks is whole after every statement, so a panic elsewhere does not
/// make it wrong.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    fn deliver(&self, changes: &[Change]) {
        for (id, member) in &self.members {
            let revoked: Vec<u32> = changes
                .iter()
                .filter_map(|c| match c {
                    Change::Revoke { from, partition } if from == id => Some(*partition),
                    _ => None,
                })
                .collect();
            let assigned: Vec<u32> = changes
                .iter()
                .filter_map(|c| match c {
                    Change::Assign { to, partition } if to == id => Some(*partition),
                    _ => None,
                })
                .collect();
            if !revoked.is_empty() {
                member.mailbox.put(Notice::Revoked(revoked));
            }
            if !assigned.is_empty() {
                member.mailbox.put(Notice::Assigned(assigned));
            }
        }
    }

    fn remove(&mut self, id: MemberId) -> Option<Registered> {
        let gone = self.members.remove(&id)?;
        let changes = self.assignment.leave(id);
        self.deliver(&changes);
        Some(gone)
    }

    /// A restarted member must not wait for its own ghost.
    fn replace_instance(&mut self, instance: &str) {
        let ghost = self.members.iter().find(|(_, m)| m.instance.as_deref() == Some(instance));
        let Some(id) = ghost.map(|(id, _)| *id) else { return };
        let held = self.assignment.held(id);
        if let Some(gone) = self.remove(id) {
            if !held.is_empty() {
                gone.mailbox.put(Notice::Lost(held));
            }
            gone.mailbox.put(Notice::Replaced);
        }
    }
}

impl<S: Storage> Coordinator<S> {
    pub(crate) fn new(storage: Arc<S>) -> Self {
        Self { storage, groups: Arc::default() }
    }

    pub(crate) async fn subscribe(
        &self,
        spec: GroupSpec,
    ) -> Result<Box<dyn GroupConsumer>, LogError> {
        let partitions = self.storage.partitions(&spec.topic).await?;
        let appended = self.storage.appended(&spec.topic)?;
        let key = GroupKey { group: spec.group, topic: spec.topic };
        let mailbox = Arc::<Mailbox>::default();
        let seat = {
            let mut groups = locked(&self.groups);
            groups.last_member += 1;
            let id = groups.last_member;
            let group = groups.by_key.entry(key.clone()).or_insert_with(|| Group {
                assignment: Assignment::new(partitions),
                members: BTreeMap::new(),
            });
            if let Some(instance) = &spec.instance {
                group.replace_instance(instance);
            }
            let registered = Registered { instance: spec.instance, mailbox: mailbox.clone() };
            group.members.insert(id, registered);
            let changes = group.assignment.join(id);
            group.deliver(&changes);
            Seat { groups: self.groups.clone(), key, id }
        };
        Ok(Box::new(member::Member::new(self.storage.clone(), seat, mailbox, appended)))
    }
}

/// A member's place in its group; dropping it leaves the group.
struct Seat {
    groups: Arc<Mutex<Groups>>,
    key: GroupKey,
    id: MemberId,
}

impl Seat {
    fn is_owner(&self, partition: u32) -> bool {
        locked(&self.groups)
            .by_key
            .get(&self.key)
            .is_some_and(|g| g.assignment.is_owner(self.id, partition))
    }

    /// Whether the partition was ours to give back.
    fn release(&self, partition: u32) -> bool {
        let mut groups = locked(&self.groups);
        let Some(group) = groups.by_key.get_mut(&self.key) else { return false };
        let Some(changes) = group.assignment.release(self.id, partition) else { return false };
        group.deliver(&changes);
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut groups = locked(&self.groups);
        let Some(group) = groups.by_key.get_mut(&self.key) else { return };
        group.remove(self.id);
        if group.assignment.is_empty() {
            groups.by_key.remove(&self.key);
        }
    }
}
