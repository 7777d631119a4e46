//! Whole mirrors on their way to new alternates, a batch in a turn; and how far alternates are
//! behind.

use super::{ClientRole, Server, clients};
use crate::wire::backplane::Message;
use crate::wire::{ClientId, Epoch, Name, Time};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// A batch of a rebuild goes out so often.
const REBUILD_INTERVAL: Duration = Duration::from_millis(1);
/// What came of a mirror is acknowledged so long after it came, with all that came meanwhile.
const ACK_DELAY: Duration = Duration::from_millis(10);
/// The first protocol version with MIRROR_ACK.
pub(super) const ACKED_SINCE: u64 = 2;

/// How far alternates are behind their primaries, as a primary knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MirrorLag {
    /// Entries that are still to be sent, or were not acknowledged.
    pub entries: u64,
    /// Since when the one that is furthest behind has acknowledged nothing.
    pub time: Duration,
}

impl MirrorLag {
    /// Adds the lag of another worker's clients.
    pub(super) fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.time = self.time.max(other.time);
    }
}

/// Clients for which room is kept.
const ROOM: usize = 1024;

/// What is under way between this worker and other servers.
#[derive(Debug, Default)]
pub(super) struct Rebuilds {
    /// Clients whose mirrors are still to be sent; some may not need that any more.
    queue: VecDeque<ClientId>,
    /// Entries that may be sent before the next batch is due.
    credit: usize,
    due: Time,
    /// Clients whose alternate is behind, and since when it has made no progress.
    behind: clients::ById<Time>,
    /// Clients of whose mirrors something came that is to be acknowledged.
    unacknowledged: BTreeSet<ClientId>,
    acks_due: Time,
}

impl Rebuilds {
    /// The client has no alternate here any more.
    pub(super) fn forget(&mut self, client: &ClientId) {
        self.behind.remove(client);
        // After a failover all clients were behind; not for long.
        if self.behind.capacity() > 2 * ROOM && self.behind.len() < self.behind.capacity() / 8 {
            self.behind.shrink_to(ROOM);
        }
    }

    /// Something was sent to the client's alternate.
    pub(super) fn note_behind(&mut self, client: ClientId, now: Option<Time>) {
        self.behind.entry(client).or_insert(now.unwrap_or_default());
    }
}

impl Server {
    /// Starts to send a client's mirror to its new alternate.
    pub(super) fn begin_rebuild(&mut self, client: ClientId, alternate: &Name) {
        self.rebuilds.forget(&client);
        let Some(record) = self.clients.get_mut(&client) else {
            return;
        };
        record.set_rebuild((!record.mirror.is_empty()).then_some(0));
        let epoch = record.epoch(&self.names);
        let former = record.former(&self.names).cloned().collect();
        let complete = record.rebuild().is_none();
        self.send_to_owner(alternate, &client, Message::MirrorBegin { client, epoch, former });
        if complete {
            return self.may_be_handed_over(client);
        }
        self.rebuilds.note_behind(client, self.last_turn);
        self.rebuilds.queue.push_back(client);
        self.continue_rebuilds();
    }

    pub(super) fn turn_rebuilds(&mut self, now: Time) {
        if now >= self.rebuilds.due {
            self.rebuilds.due = now + REBUILD_INTERVAL;
            self.rebuilds.credit = self.config.rebuild_batch;
            self.continue_rebuilds();
        }
        if now >= self.rebuilds.acks_due {
            self.acknowledge();
        }
    }

    /// When [`turn_rebuilds`](Self::turn_rebuilds) has something to do.
    pub(super) fn rebuilds_due(&self) -> Time {
        let never = Time::from_micros(u64::MAX);
        let batch = if self.rebuilds.queue.is_empty() { never } else { self.rebuilds.due };
        let idle = self.rebuilds.unacknowledged.is_empty();
        batch.min(if idle { never } else { self.rebuilds.acks_due })
    }

    fn continue_rebuilds(&mut self) {
        while self.rebuilds.credit > 0
            && let Some(client) = self.rebuilds.queue.front().copied()
        {
            if self.rebuild_some(client) {
                self.rebuilds.queue.pop_front();
            }
        }
        if self.rebuilds.queue.is_empty() {
            self.rebuilds.queue.shrink_to(ROOM);
        }
    }

    /// Sends as many entries of one mirror as may be sent now; `true` when none is left.
    fn rebuild_some(&mut self, client: ClientId) -> bool {
        let Some(record) = self.clients.get_mut(&client) else {
            return true;
        };
        let alternate = record.alternate(&self.names).cloned();
        let (Some(first), Some(alternate)) = (record.rebuild(), alternate) else {
            return true;
        };
        let epoch = record.epoch(&self.names);
        let mut entries = self.store.entries_from(&record.mirror, first);
        let mut messages = Vec::new();
        for (slot, held) in entries.by_ref().take(self.rebuilds.credit) {
            messages.push(Message::Mirror {
                client,
                epoch: epoch.clone(),
                sequence: record.sequence + messages.len() as u64 + 1,
                slot,
                key: held.key.clone(),
                version: held.version.copied(),
            });
        }
        let rest = entries.next().map(|(slot, _)| slot);
        drop(entries);
        record.count_sent(messages.len());
        record.set_rebuild(rest);
        let complete = record.rebuild().is_none();
        self.rebuilds.credit -= messages.len().max(1);
        for message in messages {
            self.send_to_owner(&alternate, &client, message);
        }
        if complete {
            if self.version_with(&alternate) < ACKED_SINCE {
                self.rebuilds.forget(&client);
            }
            self.may_be_handed_over(client);
        }
        complete
    }

    /// An entry of a mirror that is kept here came.
    pub(super) fn acknowledge_soon(&mut self, client: ClientId) {
        if self.rebuilds.unacknowledged.is_empty() {
            self.rebuilds.acks_due = self.last_turn.unwrap_or_default() + ACK_DELAY;
        }
        self.rebuilds.unacknowledged.insert(client);
    }

    fn acknowledge(&mut self) {
        for client in std::mem::take(&mut self.rebuilds.unacknowledged) {
            let record = self.clients.get(&client);
            let Some(record) = record.filter(|record| record.role == ClientRole::Alternate) else {
                continue;
            };
            let (epoch, sequence) = (record.epoch(&self.names), record.sequence);
            let primary = epoch.primary.clone();
            if self.version_with(&primary) >= ACKED_SINCE {
                let message = Message::MirrorAck { client, epoch, sequence };
                self.send_to_owner(&primary, &client, message);
            }
        }
    }

    /// The alternate has so much of a mirror.
    pub(super) fn handle_mirror_ack(
        &mut self,
        now: Time,
        client: ClientId,
        epoch: &Epoch,
        sequence: u64,
    ) {
        let Some(record) = self.clients.get_mut(&client) else {
            return;
        };
        if record.role != ClientRole::Primary || !record.is_in(epoch, &self.names) {
            return;
        }
        record.acknowledge(sequence);
        if record.unacked() == 0 && record.rebuild().is_none() {
            self.rebuilds.forget(&client);
        } else {
            self.rebuilds.behind.insert(client, now);
        }
    }

    /// How far the alternates of this worker's clients are behind.
    pub(super) fn mirror_lag(&self) -> MirrorLag {
        let now = self.last_turn.unwrap_or_default();
        let mut lag = MirrorLag::default();
        for (client, since) in &self.rebuilds.behind {
            let Some(record) = self.clients.get(client) else {
                continue;
            };
            let rest = record.rebuild().map(|from| self.store.entries_from(&record.mirror, from));
            let unsent = rest.map_or(0, |rest| rest.count() as u64);
            let entries = record.unacked() + unsent;
            lag.add(&MirrorLag { entries, time: now.since(*since) });
        }
        lag
    }
}
