//! Asking all servers who holds a client, before it is assigned afresh.

use super::Router;
use crate::assign::{ServerIndex, Title};
use crate::wire::backplane::{Holding, Message};
use crate::wire::{ClientId, Time};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long servers may take to say what they hold.
const RESOLVE_TIMEOUT: Duration = Duration::from_millis(500);

/// A question to all servers about one client.
#[derive(Debug)]
pub(super) struct Resolution {
    query: u64,
    until: Time,
    awaited: BTreeSet<ServerIndex>,
    best: Option<(ServerIndex, Holding)>,
}

impl Router {
    /// Asks who holds the client. `false`: whatever waits for it has to wait.
    pub(super) fn resolve(&mut self, now: Time, client: ClientId) -> bool {
        let usable: BTreeSet<_> = self.usable_servers().collect();
        if self.resolutions.contains_key(&client) || usable.is_empty() {
            return false;
        }
        let query = self.number();
        for server in &usable {
            self.send_to_owner(*server, &client, Message::WhoHolds { query, client }.encode());
        }
        let until = now + RESOLVE_TIMEOUT;
        let resolution = Resolution { query, until, awaited: usable, best: None };
        self.resolutions.insert(client, resolution);
        false
    }

    pub(super) fn handle_holds(
        &mut self,
        now: Time,
        from: ServerIndex,
        query: u64,
        client: ClientId,
        holding: Option<Holding>,
    ) {
        let Some(resolution) = self.resolutions.get_mut(&client) else {
            return;
        };
        if resolution.query != query || !resolution.awaited.remove(&from) {
            return;
        }
        if let Some(holding) = holding {
            let epoch = &holding.assignment.epoch;
            let rank = (epoch, holding.as_primary);
            let best = resolution.best.as_ref();
            if best.is_none_or(|(_, best)| (&best.assignment.epoch, best.as_primary) < rank) {
                resolution.best = Some((from, holding));
            }
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
        let Some(current) = self.assignments.find(&client) else {
            return;
        };
        let held = resolution.best.and_then(|(holder, holding)| {
            let entry = self.assignments.pack(&holding.assignment, Title::Known)?;
            Some((holder, holding.as_primary, entry))
        });
        let compare = |one, other| self.assignments.shared().names.compare(one, other);
        match held {
            Some((_, true, held)) if compare(held, current).is_ge() => {
                self.assignments.set(client, held);
                self.announce(now, client, None);
            }
            Some((holder, _, held)) if self.servers.is_usable(holder) => {
                let newest = if compare(held, current).is_gt() { held } else { current };
                let former = self.assignments.name(held.primary()).clone();
                self.assignments.add_former(client, &former);
                self.take_over(client, holder, newest);
            }
            _ => {
                if let Some(to) = self.choose_primary() {
                    self.reassign(client, to, current, Title::Assign);
                }
            }
        }
        self.dispatch_waiting(now, Some(client));
    }
}
