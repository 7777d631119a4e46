//! Letting go of clients: what is owed to other servers, and what was released here.
//!
//! Whoever makes a server's record of a client out of date owes it a release, and repeats that
//! until it is acknowledged. Who was released remembers in which epoch, for a while: a request or a
//! mirror that was on its way all the time must not bring the lower epoch back.

use super::{ClientRole, Server};
use crate::node::Fault;
use crate::wire::backplane::Message;
use crate::wire::{ClientId, Epoch, Name, Time};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long a release is remembered: longer than anything stays on its way before its link is given
/// up.
const RELEASE_MEMORY: Duration = Duration::from_secs(60);
/// Releases that are remembered at the most; the oldest ones are forgotten first.
const MAX_REMEMBERED: usize = 65_536;

/// Clients that were released here, and in which epoch.
#[derive(Debug, Default)]
pub(super) struct Released {
    epochs: BTreeMap<ClientId, Epoch>,
    /// When each of them is forgotten.
    order: VecDeque<(Time, ClientId, Epoch)>,
}

impl Released {
    fn insert(&mut self, until: Time, client: ClientId, epoch: &Epoch) {
        if self.epochs.get(&client).is_some_and(|known| known >= epoch) {
            return;
        }
        self.epochs.insert(client, epoch.clone());
        self.order.push_back((until, client, epoch.clone()));
        if self.order.len() > MAX_REMEMBERED {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, client, epoch)) = self.order.pop_front()
            && self.epochs.get(&client) == Some(&epoch)
        {
            self.epochs.remove(&client);
        }
    }

    /// Forgets what is old.
    pub(super) fn forget(&mut self, now: Time) {
        while self.order.front().is_some_and(|(until, ..)| *until <= now) {
            self.pop();
        }
    }

    /// Time stood still: what was on its way is still on its way.
    pub(super) fn renew(&mut self, now: Time) {
        self.order.iter_mut().for_each(|(until, ..)| *until = now + RELEASE_MEMORY);
    }

    /// The epoch in which the client was released, if that is remembered.
    pub(super) fn epoch(&self, client: &ClientId) -> Option<&Epoch> {
        self.epochs.get(client)
    }
}

impl Server {
    /// Remembers that nothing lower than `epoch` is true of a client any more.
    pub(super) fn remember_release(&mut self, now: Time, client: ClientId, epoch: &Epoch) {
        if !self.config.planted.is(Fault::NoEpochCheck) {
            self.released.insert(now + RELEASE_MEMORY, client, epoch);
        }
    }

    /// Forgets a client that another server has taken `by` a higher epoch, if that is known. Our
    /// alternate, if the client has another one now, is to forget it too.
    pub(super) fn drop_as_released(&mut self, now: Time, client: &ClientId, by: Option<&Epoch>) {
        let Some(mut record) = self.clients.remove(client) else {
            return;
        };
        self.store.clear(&mut record.mirror);
        if let Some(by) = by {
            self.remember_release(now, *client, by);
        }
        if record.role == ClientRole::Primary {
            self.primary_clients -= 1;
            self.counters.released_clients += 1;
            self.alone.remove(client);
        }
        if let Some((alternate, by)) = record.alternate.zip(by)
            && alternate != by.primary
        {
            self.owe(&alternate, *client, by);
            self.pay_debts(Some(client));
        }
        self.status_changed(now);
    }

    /// A client was taken from us in `epoch`: drops only what is lower, and always acknowledges, so
    /// that the debt is paid even where there is nothing to drop. A sender that is itself out of
    /// date learns so: the higher epoch wins.
    pub(super) fn handle_release(
        &mut self,
        now: Time,
        from: &Name,
        client: ClientId,
        epoch: Epoch,
    ) {
        let known = self.clients.get(&client).map(|record| record.epoch.clone());
        let lower = known.as_ref().is_some_and(|known| *known < epoch);
        if lower || self.config.planted.is(Fault::NoEpochCheck) {
            self.drop_as_released(now, &client, Some(&epoch));
        } else if known.is_none() {
            self.remember_release(now, client, &epoch);
        }
        if let Some(known) = known.filter(|known| *known > epoch && known.primary != *from) {
            self.owe(from, client, &known);
            self.pay_debts(Some(&client));
        }
        self.send_to_server(from, Message::Released { client, epoch });
    }

    /// Notes that a server is to drop what it has of a client from lower epochs.
    pub(super) fn owe(&mut self, name: &Name, client: ClientId, epoch: &Epoch) {
        if *name == self.config.name {
            return;
        }
        let owed = self.debts.entry((name.clone(), client)).or_insert_with(|| epoch.clone());
        if *owed < *epoch {
            *owed = epoch.clone();
        }
    }

    /// The same for all servers that were ever heard of.
    pub(super) fn owe_everyone(&mut self, client: ClientId, epoch: &Epoch) {
        let names: Vec<_> = self.board.members().map(|(name, _)| name.clone()).collect();
        names.iter().for_each(|name| self.owe(name, client, epoch));
    }

    pub(super) fn owed_to(&self, name: &Name) -> Vec<(ClientId, Epoch)> {
        let all = (name.clone(), ClientId([0; 16]))..=(name.clone(), ClientId([0xff; 16]));
        self.debts.range(all).map(|((_, client), epoch)| (*client, epoch.clone())).collect()
    }

    /// Sends the releases that are owed, of one client or of all, to servers that can be reached.
    pub(super) fn pay_debts(&mut self, only: Option<&ClientId>) {
        let due: Vec<_> = self
            .debts
            .iter()
            .filter(|((name, client), _)| {
                let reachable = self.board.member(name).is_some_and(|member| member.reachable);
                reachable && only.is_none_or(|only| only == client)
            })
            .map(|((name, client), epoch)| (name.clone(), *client, epoch.clone()))
            .collect();
        for (name, client, epoch) in due {
            self.send_to_server(&name, Message::Release { client, epoch });
        }
    }
}
