//! Letting go of clients: what is owed to other servers, and what was released here.
//!
//! Whoever makes a server's record of a client out of date owes it a release, and repeats that
//! until it is acknowledged. Who was released remembers in which epoch, for a while: a request or a
//! mirror that was on its way all the time must not bring the lower epoch back.

use super::{ClientRole, Record, Server};
use crate::cluster::Count;
use crate::node::Fault;
use crate::wire::backplane::Message;
use crate::wire::{Assignment, ClientId, Epoch, Name, Time};
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
        let listed = self.clients.contains_key(&client);
        if !listed && !self.config.planted.is(Fault::NoEpochCheck) {
            self.released.insert(now + RELEASE_MEMORY, client, epoch);
        }
    }

    /// Forgets a client that another server has taken `by` a higher epoch, if that is known.
    /// Whoever may still believe in the lower one is to learn of it: not all are known to the
    /// taker.
    pub(super) fn drop_as_released(&mut self, now: Time, client: &ClientId, by: Option<&Epoch>) {
        let Some(record) = self.remove(client) else {
            return;
        };
        // A release says the same as the answer to an offer, and may be faster.
        let handed_over = self.close_offer(client);
        if record.role == ClientRole::Primary {
            self.tally.increase(if handed_over { Count::HandedOver } else { Count::Released });
        }
        if let (Some(router), Some(by), true) = (record.router(), by, handed_over) {
            let epoch = Epoch { change: 0, ..by.clone() };
            let assignment = Assignment { epoch, alternate: None };
            self.send(&router, Message::AssignmentChanged { client: *client, assignment });
        }
        if let Some(by) = by {
            self.remember_release(now, *client, by);
            let believers: Vec<_> = record.names_used().collect();
            for index in believers {
                let name = self.names.name(index).clone();
                if name != by.primary {
                    self.owe(&name, *client, by);
                }
            }
            self.pay_debts(Some(client));
        }
        self.status_changed(now);
    }

    /// Takes a client off the lists. Whoever calls says [`status_changed`](Self::status_changed).
    pub(super) fn remove(&mut self, client: &ClientId) -> Option<Record> {
        let mut record = self.clients.remove(client)?;
        self.store.clear(&mut record.mirror);
        self.rebuilds.forget(client);
        if record.role == ClientRole::Primary {
            self.primary_clients -= 1;
        }
        Some(record)
    }

    /// A client was taken from us in `epoch`: drops only what is lower, and always acknowledges, so
    /// that the debt is paid even where there is nothing to drop. Where two servers believe that
    /// they have taken the same client, whoever hears of both tells the lower one.
    pub(super) fn handle_release(
        &mut self,
        now: Time,
        from: &Name,
        client: ClientId,
        epoch: Epoch,
    ) {
        let listed = self.clients.get(&client).map(|record| record.epoch(&self.names));
        let known = listed.clone().or_else(|| self.released.epoch(&client).cloned());
        if self.is_disowned_by(from, &client, &epoch) {
            self.drop_as_released(now, &client, None);
        } else if listed.is_some() {
            self.yield_to(now, client, &epoch);
        } else {
            self.remember_release(now, client, &epoch);
        }
        match known {
            Some(known) if known > epoch => {
                self.owe(from, client, &known);
                self.pay_debts(Some(&client));
            }
            Some(known) if known < epoch && known.primary != epoch.primary => {
                self.owe(&known.primary, client, &epoch);
                self.pay_debts(Some(&client));
            }
            _ => {}
        }
        self.send_to_owner(from, &client, Message::Released { client, epoch });
    }

    /// A primary sends no release to its own alternate. One in the same epoch is from a later run
    /// of it, that knows nothing of us.
    fn is_disowned_by(&self, from: &Name, client: &ClientId, epoch: &Epoch) -> bool {
        self.clients.get(client).is_some_and(|record| {
            record.role == ClientRole::Alternate
                && record.is_in(epoch, &self.names)
                && epoch.primary == *from
        })
    }

    /// Another server says that `epoch` is true of a client that is listed here.
    pub(super) fn yield_to(&mut self, now: Time, client: ClientId, epoch: &Epoch) {
        let Some(record) = self.clients.get(&client) else {
            return;
        };
        let lower = record.epoch(&self.names) < *epoch;
        if lower && record.role == ClientRole::Primary && epoch.primary == self.config.name {
            // An earlier run of ours was primary in that epoch; this run has to come after it.
            self.outrank(now, client, epoch);
        } else if lower || self.config.planted.is(Fault::NoEpochCheck) {
            self.drop_as_released(now, &client, Some(epoch));
        }
    }

    /// Goes on as primary of a client in a term above `epoch`.
    fn outrank(&mut self, now: Time, client: ClientId, epoch: &Epoch) {
        let Some(next) = epoch.next_term(self.config.name.clone()) else {
            return self.drop_as_released(now, &client, Some(epoch));
        };
        if let Some(record) = self.clients.get_mut(&client) {
            record.set_epoch(&next);
            self.replace_alternate(client);
            self.owe_believers(client);
            self.pay_debts(Some(&client));
        }
    }

    /// A release was acknowledged.
    pub(super) fn handle_released(&mut self, from: &Name, client: ClientId, epoch: &Epoch) {
        let owed = self.debts.get(&client).and_then(|owed| owed.get(from));
        if owed.is_some_and(|owed| owed <= epoch) {
            self.strike_debt(&client, from);
            let from = self.names.find(from);
            if let (Some(record), Some(from)) = (self.clients.get_mut(&client), from) {
                record.forget_former(from);
            }
        }
    }

    /// Notes that a server is to drop what it has of a client from lower epochs. Our own alternate
    /// learns of the epoch with its mirror.
    pub(super) fn owe(&mut self, name: &Name, client: ClientId, epoch: &Epoch) {
        let record = self.clients.get(&client);
        let alternate = record.and_then(|record| record.alternate(&self.names));
        if *name == self.config.name || Some(name) == alternate {
            return;
        }
        let owed = self
            .debts
            .entry(client)
            .or_default()
            .entry(name.clone())
            .or_insert_with(|| epoch.clone());
        if *owed < *epoch {
            *owed = epoch.clone();
        }
    }

    /// The same for all servers, of a client as primary: those that listed it in
    /// lower epochs, and all others too. Another router may have decided otherwise at the same
    /// moment, of which neither that router nor ours knows.
    pub(super) fn owe_believers(&mut self, client: ClientId) {
        let Some(record) = self.clients.get(&client) else {
            return;
        };
        let epoch = record.epoch(&self.names);
        let mut names: Vec<_> = self.board.members().map(|(name, _)| name.clone()).collect();
        names.extend(record.former(&self.names).cloned());
        names.iter().for_each(|name| self.owe(name, client, &epoch));
    }

    /// A server was heard of for the first time, or for the first time since it was gone: what was
    /// taken over before, and which alternates were replaced, is without its knowledge.
    pub(super) fn owe_newcomer(&mut self, name: &Name) {
        let first = |(term, change): (u64, u64)| term == 1 && change <= 1;
        let taken =
            |record: &&Record| record.role == ClientRole::Primary && !first(record.counters());
        let clients: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, record)| taken(record))
            .map(|(client, record)| (*client, record.epoch(&self.names)))
            .collect();
        if !self.config.planted.is(Fault::LostRelease) {
            clients.iter().for_each(|(client, epoch)| self.owe(name, *client, epoch));
        }
    }

    /// A server is gone, and what it believed with it.
    pub(super) fn forget_debts_to(&mut self, name: &Name) {
        self.debts.retain(|_, owed| {
            owed.remove(name);
            !owed.is_empty()
        });
        if let Some(gone) = self.names.find(name) {
            self.clients.values_mut().for_each(|record| record.forget_former(gone));
        }
    }

    pub(super) fn owed_to(&self, name: &Name) -> Vec<(ClientId, Epoch)> {
        let owed = self.debts.iter().filter_map(|(client, owed)| Some((*client, owed.get(name)?)));
        owed.map(|(client, epoch)| (client, epoch.clone())).collect()
    }

    /// Sends the releases that are owed, of one client or of all, to servers that can be reached.
    pub(super) fn pay_debts(&mut self, only: Option<&ClientId>) {
        let due = |(client, owed): (&ClientId, &BTreeMap<Name, Epoch>)| {
            let client = *client;
            let reachable = owed.iter().filter(|(name, _)| self.is_reachable(name));
            let due = reachable.map(|(name, epoch)| (name.clone(), client, epoch.clone()));
            due.collect::<Vec<_>>()
        };
        let due: Vec<_> = match only {
            Some(only) => self.debts.get_key_value(only).into_iter().flat_map(due).collect(),
            None => self.debts.iter().flat_map(due).collect(),
        };
        for (name, client, epoch) in due {
            self.send_to_owner(&name, &client, Message::Release { client, epoch });
        }
    }

    /// Nothing is owed to a server any more, of one client.
    pub(super) fn strike_debt(&mut self, client: &ClientId, name: &Name) {
        if let Some(owed) = self.debts.get_mut(client) {
            owed.remove(name);
            if owed.is_empty() {
                self.debts.remove(client);
            }
        }
    }

    pub(super) fn is_reachable(&self, name: &Name) -> bool {
        self.board.member(name).is_some_and(|member| member.reachable)
    }
}
