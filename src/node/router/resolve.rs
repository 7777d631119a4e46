//! Asking all servers of its pool who holds a client, before it is assigned afresh.

use super::{PoolIndex, Router};
use crate::assign::{Entry, ServerIndex, Title};
use crate::wire::backplane::{Holding, Holds, Message};
use crate::wire::{Assignment, ClientId, Epoch, Time};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long servers may take to say what they hold.
const RESOLVE_TIMEOUT: Duration = Duration::from_millis(500);

/// How long after its links were lost a server is not taken for gone for good.
const REDIAL_GRACE: Duration = Duration::from_millis(500);

/// A question to all servers of a pool about one client.
#[derive(Debug)]
pub(super) struct Resolution {
    query: u64,
    /// The client's: nobody else is asked.
    pool: PoolIndex,
    until: Time,
    awaited: BTreeSet<ServerIndex>,
    best: Option<(ServerIndex, Holding)>,
    /// The highest epoch in which a server has let go of the client.
    released: Option<Epoch>,
    /// Whether any server has said anything.
    heard: bool,
}

impl Router {
    /// Asks who holds the client. `false`: whatever waits for it has to wait.
    pub(super) fn resolve(&mut self, now: Time, client: ClientId, pool: PoolIndex) -> bool {
        let usable: BTreeSet<_> = self.usable_servers(pool).collect();
        if self.resolutions.contains_key(&client) || usable.is_empty() {
            return false;
        }
        let query = self.number();
        for server in &usable {
            self.send_to_owner(*server, &client, Message::WhoHolds { query, client }.encode());
        }
        let until = now + RESOLVE_TIMEOUT;
        let (awaited, best, released, heard) = (usable, None, None, false);
        let resolution = Resolution { query, pool, until, awaited, best, released, heard };
        self.resolutions.insert(client, resolution);
        false
    }

    pub(super) fn handle_holds(
        &mut self,
        now: Time,
        from: ServerIndex,
        query: u64,
        client: ClientId,
        holds: Holds,
    ) {
        let Some(resolution) = self.resolutions.get_mut(&client) else {
            return;
        };
        if resolution.query != query || !resolution.awaited.remove(&from) {
            return;
        }
        resolution.heard = true;
        match holds {
            Holds::Mirror(holding) => {
                let rank = (&holding.assignment.epoch, holding.as_primary);
                let best = resolution.best.as_ref();
                if best.is_none_or(|(_, best)| (&best.assignment.epoch, best.as_primary) < rank) {
                    resolution.best = Some((from, holding));
                }
            }
            Holds::Released(epoch) => {
                resolution.released = resolution.released.take().max(Some(epoch));
            }
            Holds::Nothing => {}
        }
        if resolution.awaited.is_empty() {
            self.conclude(now, client);
        }
    }

    /// Servers that went down will not answer.
    pub(super) fn stop_awaiting(&mut self, now: Time, lost: ServerIndex) {
        let mut complete = Vec::new();
        for (client, resolution) in &mut self.resolutions {
            resolution.awaited.remove(&lost);
            if resolution.awaited.is_empty() {
                complete.push(*client);
            }
        }
        complete.into_iter().for_each(|client| self.conclude(now, client));
    }

    pub(super) fn expire_resolutions(&mut self, now: Time) {
        let late = |resolution: &Resolution| now >= resolution.until;
        let late: Vec<_> = self
            .resolutions
            .iter()
            .filter(|(_, resolution)| late(resolution))
            .map(|(client, _)| *client)
            .collect();
        late.into_iter().for_each(|client| self.conclude(now, client));
    }

    /// The highest epoch wins; a mirror without its primary takes over; and only when nobody holds
    /// the client is it assigned afresh.
    fn conclude(&mut self, now: Time, client: ClientId) {
        let Some(resolution) = self.resolutions.remove(&client) else {
            return;
        };
        if !resolution.heard {
            // Nobody said anything: that is our own network, and proves nothing of the client.
            return self.dispatch_waiting(now, Some(client));
        }
        let Some(current) = self.assignments.find(&client) else {
            return;
        };
        let pool = resolution.pool;
        let held = resolution.best.and_then(|(holder, holding)| {
            let entry = self.assignments.pack(&holding.assignment, Title::Known)?;
            Some((holder, holding.as_primary, entry))
        });
        let compare = |one, other| self.assignments.shared().names.compare(one, other);
        let higher = |one, other| if compare(one, other).is_gt() { one } else { other };
        let released = resolution.released.and_then(|epoch| self.pack_released(epoch));
        let known = released.map_or(current, |released| higher(released, current));
        match held {
            Some((_, true, held)) if compare(held, known).is_ge() => {
                self.assignments.set(client, held);
                self.announce(now, client, None);
            }
            Some((holder, _, held)) if self.can_serve(pool, holder) => {
                let newest = higher(held, known);
                self.note_former(client, held.primary());
                self.note_former(client, current.primary());
                self.take_over(client, holder, newest);
            }
            // It is asked again when a server is linked, or in a moment.
            _ if self.may_come_back(now, current) => return,
            _ => {
                if let Some(to) = self.choose_primary(pool) {
                    self.note_former(client, current.primary());
                    self.reassign(client, to, known, Title::Assign);
                }
            }
        }
        self.dispatch_waiting(now, Some(client));
    }

    /// Whether one of the servers that should hold a client was lost so lately that it may only be
    /// our links to it: a cold assignment can wait for them to be dialled again.
    fn may_come_back(&self, now: Time, entry: Entry) -> bool {
        let holders = [Some(entry.primary()), entry.alternate()].into_iter().flatten();
        let mut known = holders.filter_map(|server| self.servers.get(server));
        known.any(|known| !known.linked && now.since(known.lost_at) < REDIAL_GRACE)
    }

    /// An epoch in which a server let go of a client, as an entry: without its alternate, which is
    /// not known.
    fn pack_released(&self, epoch: Epoch) -> Option<Entry> {
        self.assignments.pack(&Assignment { epoch, alternate: None }, Title::Known)
    }

    /// A server may list the client from a lower epoch.
    fn note_former(&mut self, client: ClientId, server: ServerIndex) {
        let former = self.assignments.name(server).clone();
        self.assignments.add_former(client, &former);
    }
}
