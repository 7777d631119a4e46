//! The alternate of each client that this server is primary of, and what it must know.
//!
//! A mirror is sent whole when an alternate is chosen (MIRROR_BEGIN, then every entry, as many in a
//! turn as do not hold up requests: `rebuild`), and entry by entry from then on, over one ordered
//! link. An entry that changes meanwhile is sent at once, and once more in its turn. When the link
//! breaks, or the alternate goes away, another alternate is chosen in the next change of the epoch,
//! and gets the mirror whole again: so there is never a mirror with a hole in it.

use super::rebuild::ACKED_SINCE;
use super::{ClientRole, Record, Server};
use crate::node::Fault;
use crate::wire::backplane::{MAX_FORMER, Message};
use crate::wire::{Assignment, ClientId, Epoch, Fingerprint, Key, Name, Time};

impl Server {
    /// Picks an alternate by status, in the next change of the epoch, and starts to mirror to it.
    pub(super) fn choose_alternate(&mut self, client: ClientId) {
        let zone = self.config.zone.as_ref();
        let Some(record) = self.clients.get_mut(&client) else {
            return;
        };
        let choice = self.board.choose_alternate(&self.config.name, zone, &record.former);
        let old = record.alternate.take();
        if choice.is_none() && old.is_none() {
            self.alone.insert(client);
            return;
        }
        let Some(next) = record.epoch.next_change() else {
            // There is no epoch in which another alternate could be announced: all stays as it is.
            if old.is_none() {
                self.alone.insert(client);
            }
            record.alternate = old;
            return;
        };
        record.epoch = next.clone();
        (record.sequence, record.acked, record.rebuild) = (0, 0, None);
        record.alternate = choice.as_ref().map(|choice| choice.chosen().clone());
        record.choice = choice;
        let new = record.alternate.clone();
        if let Some(old) = old.filter(|old| Some(old) != new.as_ref()) {
            // It may be out of reach now, and must not believe for ever that it is the alternate.
            record.former.retain(|name| *name != old);
            record.former.insert(0, old.clone());
            record.former.truncate(MAX_FORMER);
            self.owe(&old, client, &next);
        }
        match new {
            Some(new) => {
                self.alone.remove(&client);
                self.board.count_sent(&new);
                // MIRROR_BEGIN takes the place of whatever it had.
                self.strike_debt(&client, &new);
                self.begin_rebuild(client, &new);
            }
            None => {
                self.rebuilds.forget(&client);
                self.alone.insert(client);
            }
        }
    }

    /// The same, and tells the router that the client came by.
    pub(super) fn replace_alternate(&mut self, client: ClientId) {
        self.choose_alternate(client);
        let Some(record) = self.clients.get(&client) else {
            return;
        };
        let assignment = record.assignment(&self.config.name);
        if let Some(router) = record.router.clone() {
            self.send(&router, Message::AssignmentChanged { client, assignment });
        }
    }

    /// Picks new alternates for all clients that had `gone`.
    pub(super) fn replace_alternates_at(&mut self, gone: &Name) {
        let theirs = |record: &Record| {
            record.role == ClientRole::Primary && record.alternate.as_ref() == Some(gone)
        };
        let clients: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, record)| theirs(record))
            .map(|(client, _)| *client)
            .collect();
        clients.into_iter().for_each(|client| self.replace_alternate(client));
    }

    /// Picks alternates for all clients that have none.
    pub(super) fn find_company(&mut self) {
        for client in std::mem::take(&mut self.alone) {
            self.replace_alternate(client);
        }
    }

    /// Tells the alternate of one changed entry.
    pub(super) fn replicate(
        &mut self,
        client: &ClientId,
        slot: u64,
        key: &Key,
        version: Option<&Fingerprint>,
    ) {
        let Some(record) = self.clients.get_mut(client) else {
            return;
        };
        let Some(alternate) = record.alternate.clone() else {
            return;
        };
        record.sequence += 1;
        if self.peers.get(&alternate).is_some_and(|peer| peer.version >= ACKED_SINCE) {
            self.rebuilds.note_behind(*client, self.last_turn);
        }
        let message = Message::Mirror {
            client: *client,
            epoch: record.epoch.clone(),
            sequence: record.sequence,
            slot,
            key: key.clone(),
            version: version.copied(),
        };
        self.send_to_owner(&alternate, client, message);
    }

    /// Another server makes this one the alternate of a client.
    pub(super) fn handle_mirror_begin(
        &mut self,
        now: Time,
        from: &Name,
        client: ClientId,
        epoch: Epoch,
        former: Vec<Name>,
    ) {
        let filed = self.clients.get(&client).map_or(0, |record| record.filed);
        if let Some(record) = self.clients.get(&client) {
            let again = record.role == ClientRole::Alternate && record.epoch == epoch;
            let unchecked = self.config.planted.is(Fault::NoEpochCheck);
            if epoch <= record.epoch && !again && !unchecked {
                let assignment = record.assignment(&self.config.name);
                return self.refuse_mirror(from, client, assignment);
            }
            self.drop_as_released(now, &client, Some(&epoch));
        } else if let Some(released) = self.released.epoch(&client).filter(|it| **it > epoch) {
            let assignment = Assignment { epoch: released.clone(), alternate: None };
            return self.refuse_mirror(from, client, assignment);
        }
        let record = Record::new(ClientRole::Alternate, epoch.clone(), former.clone(), now);
        let status = self.board.member(from).and_then(|member| member.status.as_ref());
        let run = status.map(|status| status.incarnation);
        self.clients.insert(client, Record { filed, run, ..record });
        self.file(now, client);
        if !self.config.planted.is(Fault::LostRelease) {
            // The primary pays too, but may be lost before it has.
            former.iter().for_each(|name| self.owe(name, client, &epoch));
            self.pay_debts(Some(&client));
        }
        self.status_changed(now);
    }

    /// The primary of a lower epoch is to let go of the client. Our own link to it may be down now,
    /// so that it is owed a release as well, which is repeated until it is acknowledged.
    pub(super) fn refuse_mirror(&mut self, from: &Name, client: ClientId, assignment: Assignment) {
        self.owe(from, client, &assignment.epoch);
        self.send_to_owner(from, &client, Message::MirrorRefused { client, assignment });
    }

    /// One entry of a mirror that is kept here for another server.
    pub(super) fn handle_mirror(
        &mut self,
        (client, epoch, sequence): (ClientId, Epoch, u64),
        slot: u64,
        key: &Key,
        version: Option<&Fingerprint>,
    ) {
        let Some(record) = self.clients.get_mut(&client) else {
            return;
        };
        // Links are ordered and whole, so a gap means a link that broke: a new MIRROR_BEGIN
        // follows.
        let next = record.role == ClientRole::Alternate
            && record.epoch == epoch
            && sequence == record.sequence + 1
            && slot < self.config.slots;
        if next {
            record.sequence = sequence;
            self.store.set(&mut record.mirror, slot, key, version);
            self.acknowledge_soon(client);
            if let Some(version) = version {
                self.want_payload(client, key, version);
            }
        }
    }

    /// This server is no longer a client's alternate.
    pub(super) fn handle_mirror_end(&mut self, now: Time, client: ClientId, epoch: &Epoch) {
        let ended =
            |record: &&Record| record.role == ClientRole::Alternate && record.epoch <= *epoch;
        if self.clients.get(&client).filter(ended).is_some() {
            self.drop_as_released(now, &client, None);
        }
    }

    /// The alternate knows of a higher epoch: the client was taken from us.
    pub(super) fn handle_mirror_refused(
        &mut self,
        now: Time,
        client: ClientId,
        assignment: &Assignment,
    ) {
        self.yield_to(now, client, &assignment.epoch);
    }
}
