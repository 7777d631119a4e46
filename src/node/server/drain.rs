//! Giving every client away: to its alternate, which becomes primary in the next term.
//!
//! An offer (HAND_OVER) goes over the link that carried the mirror, behind it: the alternate takes
//! over with exactly what is here. Until it answers, this server stays primary; after that it has
//! let go. Few offers are open at a time, so that requests go on being served between them. An
//! alternate that does not answer is replaced, and the next one is asked: whatever was lost, the
//! higher epoch decides.

use super::{ClientRole, Link, Server};
use crate::cluster::Count;
use crate::node::Fault;
use crate::wire::backplane::{Forward, Message};
use crate::wire::{Assignment, ClientId, Epoch, Name, Time};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Offers that are open at one time, at the most.
const MAX_OFFERS: usize = 256;
/// An alternate that has not answered for so long is given up. So long are clients of an alternate
/// that cannot be asked refused at a time, and then served again: no router might reach it.
const OFFER_PATIENCE: Duration = Duration::from_secs(1);
/// How often is looked for clients that could not be offered before.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The first protocol version with HAND_OVER.
const HAND_OVER_SINCE: u64 = 2;

/// The state of giving clients away.
#[derive(Debug, Default)]
pub(super) struct Draining {
    /// Clients that may be offered; some may be gone or offered.
    queue: VecDeque<ClientId>,
    /// Those whose alternates were asked, and when.
    offers: BTreeMap<ClientId, Time>,
    /// Those whose alternates cannot be asked: routers are to have them take over.
    left_to_routers: BTreeMap<ClientId, Time>,
    look_at: Time,
}

/// How far a worker is with giving its clients away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainView {
    /// Whether it drains.
    pub draining: bool,
    /// Clients it still lists as primary.
    pub primary_clients: u64,
    /// Clients it still lists as alternate.
    pub alternate_clients: u64,
    /// Releases that it owes to servers that can be reached.
    pub debts: u64,
    /// Calls that its source executes now.
    pub open_calls: u64,
    /// Other servers that take clients now.
    pub ready_servers: u64,
}

impl DrainView {
    /// Adds the numbers of another worker of the same server.
    pub fn add(&mut self, other: &Self) {
        self.draining &= other.draining;
        self.primary_clients += other.primary_clients;
        self.alternate_clients += other.alternate_clients;
        self.debts += other.debts;
        self.open_calls += other.open_calls;
        self.ready_servers = self.ready_servers.min(other.ready_servers);
    }

    /// Whether the server lists nobody, in either role.
    pub fn lists_nobody(&self) -> bool {
        self.primary_clients == 0 && self.alternate_clients == 0
    }

    /// Whether a server that drains has nothing more to do.
    pub fn is_done(&self) -> bool {
        self.draining && self.lists_nobody() && self.debts == 0 && self.open_calls == 0
    }
}

impl Server {
    /// Gives all clients away from now on, and takes no new ones.
    pub fn handle_drain(&mut self, now: Time) {
        self.turn(now);
        if self.draining.is_none() {
            self.tally.increase(Count::Draining);
            self.draining = Some(Draining::default());
            // Ahead of every offer, so that whoever takes a client does not choose us.
            self.push_status(now);
        }
    }

    /// Takes clients again. Offers that are open may still be accepted.
    pub fn handle_undrain(&mut self, now: Time) {
        self.turn(now);
        if self.draining.take().is_some() {
            self.tally.correct(Count::Draining, 1, 0);
            self.push_status(now);
        }
    }

    /// How far it is.
    pub fn drain_view(&self) -> DrainView {
        let alternate_clients = self.clients.len() as u64 - self.primary_clients;
        let debts = self.debts.values().flat_map(BTreeMap::keys);
        let debts = debts.filter(|name| self.is_reachable(name)).count();
        let others = self.board.members().filter(|(name, _)| **name != self.config.name);
        // Of an HTTP origin: what may not be asked twice.
        let exchanges = self.exchanges.iter().flat_map(|(_, exchange)| &exchange.waiters);
        let changes = exchanges.filter_map(|it| it.http.as_ref()).filter(|it| !it.idempotent);
        DrainView {
            draining: self.draining.is_some(),
            primary_clients: self.primary_clients,
            alternate_clients,
            debts: debts as u64,
            open_calls: (self.calls.len() + changes.count()) as u64,
            ready_servers: others.filter(|(_, member)| member.is_ready()).count() as u64,
        }
    }

    /// Alternates that were asked and have not answered.
    #[cfg(test)]
    pub(super) fn open_offers(&self) -> usize {
        self.draining.as_ref().map_or(0, |draining| draining.offers.len())
    }

    /// A client's alternate has its whole mirror.
    pub(super) fn may_be_handed_over(&mut self, client: ClientId) {
        if let Some(draining) = &mut self.draining {
            draining.offers.remove(&client);
            draining.left_to_routers.remove(&client);
            draining.queue.push_back(client);
        }
    }

    pub(super) fn turn_drain(&mut self, now: Time) {
        let Some(draining) = &mut self.draining else {
            return;
        };
        if now >= draining.look_at {
            draining.look_at = now + LOOK_INTERVAL;
            let late = draining.offers.extract_if(.., |_, at| now.since(*at) >= OFFER_PATIENCE);
            let late: Vec<_> = late.map(|(client, _)| client).collect();
            let clients = &self.clients;
            draining.left_to_routers.retain(|client, _| clients.contains_key(client));
            if draining.queue.is_empty() && draining.offers.is_empty() && late.is_empty() {
                let open = |client: &&ClientId| !draining.left_to_routers.contains_key(*client);
                draining.queue = clients.keys().filter(open).copied().collect();
            }
            late.into_iter().for_each(|client| self.replace_alternate(client));
        }
        self.offer_more(now);
    }

    /// When [`turn_drain`](Self::turn_drain) has something to do.
    pub(super) fn drain_due(&self) -> Time {
        match &self.draining {
            None => Time::from_micros(u64::MAX),
            Some(draining) if self.can_offer(draining) => Time::default(),
            Some(draining) => draining.look_at,
        }
    }

    fn can_offer(&self, draining: &Draining) -> bool {
        let room = draining.offers.len() < MAX_OFFERS && !draining.queue.is_empty();
        room && self.returning.is_none()
    }

    fn offer_more(&mut self, now: Time) {
        while self.draining.as_ref().is_some_and(|draining| self.can_offer(draining)) {
            let next = self.draining.as_mut().and_then(|draining| draining.queue.pop_front());
            if let Some(client) = next {
                self.offer(now, client);
            }
        }
    }

    /// Asks a client's alternate to become primary, if it has the whole mirror.
    fn offer(&mut self, now: Time, client: ClientId) {
        let Some(record) = self.clients.get(&client) else {
            return;
        };
        let ours = record.role == ClientRole::Primary && record.rebuild().is_none();
        let Some(alternate) = record.alternate(&self.names).cloned().filter(|_| ours) else {
            return;
        };
        let epoch = record.epoch(&self.names);
        let former = self.passed_on(&client);
        let asks = self.version_with(&alternate) >= HAND_OVER_SINCE;
        if self.config.planted.is(Fault::DrainForgetsClient) {
            self.remove(&client);
            return self.status_changed(now);
        }
        if let Some(draining) = &mut self.draining {
            let open = if asks { &mut draining.offers } else { &mut draining.left_to_routers };
            open.insert(client, now);
        }
        if asks {
            self.send_to_owner(&alternate, &client, Message::HandOver { client, epoch, former });
        }
    }

    /// Servers to which the next primary of a client owes what is owed now.
    fn passed_on(&self, client: &ClientId) -> Vec<Name> {
        let record = self.clients.get(client);
        let former = record.into_iter().flat_map(|record| record.former(&self.names));
        let creditors = self.debts.get(client).into_iter().flat_map(BTreeMap::keys);
        self.distinct_others(former.chain(creditors).cloned().collect())
    }

    /// Whether a client's requests are refused, so that its router has the alternate take over.
    pub(super) fn leaves_to_routers(&self, now: Time, client: &ClientId) -> bool {
        let left = self.draining.as_ref().and_then(|it| it.left_to_routers.get(client));
        let passed = |at: &Time| now.since(*at).as_millis() / OFFER_PATIENCE.as_millis();
        left.is_some_and(|at| passed(at).is_multiple_of(2))
    }

    /// Has the router make the alternate take over, of which it may not have heard.
    pub(super) fn leave_to_router(&mut self, link: &Link, forward: &Forward) {
        let client = forward.client;
        if let Some(assignment) = self.known_assignment(&client) {
            self.send(link, Message::AssignmentChanged { client, assignment });
        }
        self.send(link, Message::NotOwner { request_id: forward.request_id, known: None });
    }

    /// A primary that drains asks us, its client's alternate, to become primary.
    pub(super) fn handle_hand_over(
        &mut self,
        now: Time,
        from: &Name,
        client: ClientId,
        epoch: &Epoch,
        former: Vec<Name>,
    ) {
        // Who is back from a pause takes nobody; the other one asks again, or somebody else.
        if self.returning.is_some() {
            return;
        }
        let Some(known) = self.known_assignment(&client) else {
            return;
        };
        let record = self.clients.get(&client);
        let role = record.map(|record| record.role);
        if known.epoch > *epoch {
            return match role {
                Some(ClientRole::Primary) => self.answer_hand_over(from, client),
                _ => self.refuse_mirror(from, client, known),
            };
        }
        let ours = role == Some(ClientRole::Alternate) && known.epoch == *epoch;
        let next = epoch.next_term(self.config.name.clone());
        if let Some(next) = next.filter(|_| ours && epoch.primary == *from) {
            self.become_primary(now, client, next, former, Some(from));
            // Ahead of the release that says less.
            self.answer_hand_over(from, client);
            self.settle_as_primary(now, client, false);
        }
    }

    fn answer_hand_over(&mut self, to: &Name, client: ClientId) {
        if let Some(assignment) = self.known_assignment(&client) {
            self.send_to_owner(to, &client, Message::HandedOver { client, assignment });
        }
    }

    /// The alternate has become primary: lets go of the client.
    pub(super) fn handle_handed_over(
        &mut self,
        now: Time,
        from: &Name,
        client: ClientId,
        assignment: Assignment,
    ) {
        let epoch = assignment.epoch.clone();
        let lower = self.clients.get(&client).filter(|record| {
            let lower = record.epoch(&self.names) < epoch;
            record.role == ClientRole::Primary && lower && epoch.primary == *from
        });
        let Some(record) = lower else {
            return;
        };
        if record.alternate(&self.names) != Some(from) {
            // Another alternate was chosen meanwhile, which must hear of it too.
            return self.yield_to(now, client, &epoch);
        }
        let router = record.router();
        self.give_away(now, client, &epoch);
        if let Some(router) = router {
            self.send(&router, Message::AssignmentChanged { client, assignment });
        }
        self.close_offer(&client);
        self.offer_more(now);
    }

    /// Whether an offer for the client was open. It is not any more.
    pub(super) fn close_offer(&mut self, client: &ClientId) -> bool {
        self.draining.as_mut().is_some_and(|draining| draining.offers.remove(client).is_some())
    }

    /// The new primary owes what was owed here.
    fn give_away(&mut self, now: Time, client: ClientId, epoch: &Epoch) {
        for name in self.passed_on(&client) {
            self.strike_debt(&client, &name);
        }
        self.remove(&client);
        self.tally.increase(Count::HandedOver);
        self.remember_release(now, client, epoch);
        self.status_changed(now);
    }
}
