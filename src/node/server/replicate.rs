//! The alternate of each client that this server is primary of, and what it must know.
//!
//! A mirror is sent whole when an alternate is chosen (MIRROR_BEGIN, then every entry, as many in a
//! turn as do not hold up requests: `rebuild`), and entry by entry from then on, over one ordered
//! link. An entry that changes meanwhile is sent at once, and once more in its turn. When the link
//! breaks, or the alternate goes away, another alternate is chosen in the next change of the epoch,
//! and gets the mirror whole again: so there is never a mirror with a hole in it.

use super::names::NameIndex;
use super::rebuild::ACKED_SINCE;
use super::{ClientRole, Record, Server};
use crate::node::Fault;
use crate::wire::backplane::Message;
use crate::wire::{Assignment, ClientId, Epoch, Fingerprint, Key, Name, Time};

impl Server {
    /// Picks an alternate by status, in the next change of the epoch, and starts to mirror to it.
    pub(super) fn choose_alternate(&mut self, client: ClientId) {
        let zone = self.config.zone.as_ref();
        let Some(record) = self.clients.get_mut(&client) else {
            return;
        };
        let former: Vec<_> = record.former(&self.names).cloned().collect();
        let choice = self.board.choose_alternate(&self.config.name, zone, &former);
        let new = choice.as_ref().and_then(|choice| self.names.add(choice.chosen()));
        let old = record.alternate;
        if new.is_none() && old.is_none() {
            self.some_alone = true;
            return;
        }
        let Some(next) = record.epoch(&self.names).next_change() else {
            // There is no epoch in which another alternate could be announced: all stays as it is.
            self.some_alone |= old.is_none();
            return;
        };
        record.set_epoch(&next);
        record.restart_sequence();
        record.alternate = new;
        if let Some(choice) = choice {
            record.choice = self.choices.remember(client, choice);
        }
        if let Some(old) = old.filter(|_| old != new) {
            // It may be out of reach now, and must not believe for ever that it is the alternate.
            record.add_former(old);
            let old = self.names.name(old).clone();
            self.owe(&old, client, &next);
        }
        match new.map(|new| self.names.name(new).clone()) {
            Some(new) => {
                self.board.count_sent(&new);
                // MIRROR_BEGIN takes the place of whatever it had.
                self.strike_debt(&client, &new);
                self.begin_rebuild(client, &new);
            }
            None => {
                self.rebuilds.forget(&client);
                self.some_alone = true;
            }
        }
    }

    /// The same, and tells the router that the client came by.
    pub(super) fn replace_alternate(&mut self, client: ClientId) {
        self.choose_alternate(client);
        let Some(record) = self.clients.get(&client) else {
            return;
        };
        let assignment = record.assignment(&self.config.name, &self.names);
        if let Some(router) = record.router() {
            self.send(&router, Message::AssignmentChanged { client, assignment });
        }
    }

    /// Picks new alternates for all clients that had `gone`.
    pub(super) fn replace_alternates_at(&mut self, gone: &Name) {
        if let Some(gone) = self.names.find(gone) {
            self.replace_alternates_that_are(Some(gone));
        }
    }

    /// The same for all clients whose alternate is this one, or that have none.
    fn replace_alternates_that_are(&mut self, alternate: Option<NameIndex>) {
        let theirs =
            |record: &Record| record.role == ClientRole::Primary && record.alternate == alternate;
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
        if std::mem::take(&mut self.some_alone) {
            self.replace_alternates_that_are(None);
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
        let Some(alternate) = record.alternate(&self.names).cloned() else {
            return;
        };
        record.count_sent(1);
        if self.peers.get(&alternate).is_some_and(|peer| peer.version >= ACKED_SINCE) {
            self.rebuilds.note_behind(*client, self.last_turn);
        }
        let message = Message::Mirror {
            client: *client,
            epoch: record.epoch(&self.names),
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
        let place = self.clients.place(&client);
        if let Some(record) = self.clients.get(&client) {
            let known = record.epoch(&self.names);
            let again = record.role == ClientRole::Alternate && known == epoch;
            let unchecked = self.config.planted.is(Fault::NoEpochCheck);
            if epoch <= known && !again && !unchecked {
                let assignment = record.assignment(&self.config.name, &self.names);
                return self.refuse_mirror(from, client, assignment);
            }
            self.drop_as_released(now, &client, Some(&epoch));
        } else if let Some(released) = self.released.epoch(&client).filter(|it| **it > epoch) {
            let assignment = Assignment { epoch: released.clone(), alternate: None };
            return self.refuse_mirror(from, client, assignment);
        }
        let Some(primary) = self.names.add(&epoch.primary) else {
            return;
        };
        let mut record = Record::new(ClientRole::Alternate, &epoch, primary, now);
        record.set_former(former.iter().filter_map(|name| self.names.add(name)));
        let status = self.board.member(from).and_then(|member| member.status.as_ref());
        record.set_run(status.map(|status| status.incarnation));
        self.clients.insert(client, record);
        self.refile(now, client, place, filed);
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
            && record.is_in(&epoch, &self.names)
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
        let ended = |record: &&Record| {
            record.role == ClientRole::Alternate && record.epoch(&self.names) <= *epoch
        };
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
