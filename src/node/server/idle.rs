//! Forgetting clients that have asked for nothing for long.
//!
//! A request only notes when it came. Each client is filed under the second in which it would be
//! forgotten if it asked for nothing more; when that second comes, it is forgotten, or filed anew.
//! So nobody looks through all clients, and a client is looked at once in its idle time.
//!
//! An alternate hears nothing of requests that change nothing. It keeps a client for as long as the
//! primary lives that made it the alternate, and gives it up when that has been gone, or has been
//! another run of its server, for twice the idle time.

use super::clients::Place;
use super::{ClientRole, Server};
use crate::cluster::Count;
use crate::wire::{ClientId, Time};
use std::collections::BTreeMap;

/// Clients that are looked at in one turn.
const LOOKS_IN_A_TURN: usize = 1024;
/// An alternate waits so many times the idle timeout for its primary.
const ALTERNATE_PATIENCE: u32 = 2;

/// Places in one piece of a list: pieces do not double, nor move.
const PIECE: usize = 1024;

/// Places of clients by the second in which they are looked at. Who is filed under that second no
/// more, or came to the place later, is passed over.
#[derive(Debug, Default)]
pub(super) struct Wheel(BTreeMap<u32, Vec<Vec<Place>>>);

impl Wheel {
    fn push(&mut self, second: u32, place: Place) {
        let pieces = self.0.entry(second).or_default();
        match pieces.last_mut().filter(|piece| piece.len() < PIECE) {
            Some(piece) => piece.push(place),
            None => pieces.push(vec![place]),
        }
    }

    /// The next place whose second has come, with that second.
    fn pop(&mut self, now: Time) -> Option<(u32, Place)> {
        let mut first = self.0.first_entry().filter(|it| u64::from(*it.key()) <= now.as_secs())?;
        let (second, pieces) = (*first.key(), first.get_mut());
        let place = pieces.last_mut().and_then(Vec::pop);
        if pieces.last().is_some_and(Vec::is_empty) {
            pieces.pop();
        }
        if pieces.is_empty() {
            first.remove();
        }
        Some((second, place?))
    }
}

/// Seconds since 1970, until 2106.
fn second_after(due: Time) -> u32 {
    u32::try_from(due.as_secs() + 1).unwrap_or(u32::MAX)
}

impl Server {
    /// Files a client, unless it is filed already.
    pub(super) fn file(&mut self, now: Time, client: ClientId) {
        let second = second_after(now + self.config.client_idle_timeout);
        let Some(place) = self.clients.place(&client) else {
            return;
        };
        if let Some(record) = self.clients.get_mut(&client).filter(|record| record.filed == 0) {
            record.filed = second;
            self.idle.push(second, place);
        }
    }

    /// Files a client that came back, unless it stands where it stood and is filed already.
    pub(super) fn refile(
        &mut self,
        now: Time,
        client: ClientId,
        was_at: Option<Place>,
        second: u32,
    ) {
        let same = self.clients.place(&client) == was_at;
        if let Some(record) = self.clients.get_mut(&client).filter(|_| same) {
            record.filed = second;
        }
        self.file(now, client);
    }

    /// Looks at the clients whose time has come.
    pub(super) fn forget_idle(&mut self, now: Time) {
        for _ in 0..LOOKS_IN_A_TURN {
            let Some((second, place)) = self.idle.pop(now) else {
                return;
            };
            let Some((client, record)) = self.clients.at_mut(place) else {
                continue;
            };
            if record.filed != second {
                continue;
            }
            record.filed = 0;
            match record.role {
                ClientRole::Primary => self.look_at_primary(now, client),
                ClientRole::Alternate => self.look_at_alternate(now, client),
            }
        }
    }

    fn look_at_primary(&mut self, now: Time, client: ClientId) {
        let Some(record) = self.clients.get(&client) else {
            return;
        };
        let asked = record.asked(now);
        if now.since(asked) < self.config.client_idle_timeout {
            return self.file(asked, client);
        }
        let epoch = record.epoch(&self.names);
        let alternate = record.alternate(&self.names).cloned();
        // Nothing up to here is true any more; above it the client may be assigned afresh.
        let end = epoch.next_change().unwrap_or(epoch);
        self.remove(&client);
        self.tally.increase(Count::Forgotten);
        self.remember_release(now, client, &end);
        if let Some(alternate) = alternate {
            self.owe(&alternate, client, &end);
            self.pay_debts(Some(&client));
        }
        self.status_changed(now);
    }

    fn look_at_alternate(&mut self, now: Time, client: ClientId) {
        let timeout = self.config.client_idle_timeout;
        let Some(record) = self.clients.get_mut(&client) else {
            return;
        };
        let primary = self.board.member(self.names.name(record.primary()));
        let primary = primary.filter(|member| member.reachable);
        let run = primary.and_then(|member| member.status.as_ref()).map(|it| it.incarnation);
        if run.is_some() && run == record.run() {
            record.set_asked(now);
        } else if now.since(record.asked(now)) >= timeout * ALTERNATE_PATIENCE {
            self.remove(&client);
            self.tally.increase(Count::Forgotten);
            return self.status_changed(now);
        }
        self.file(now, client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::server::clients::Clients;
    use std::time::Duration;

    impl Wheel {
        /// Places that are filed, also those that will be passed over.
        pub(in crate::node::server) fn len(&self) -> usize {
            self.0.values().flatten().map(Vec::len).sum()
        }
    }

    #[test]
    fn places_come_when_their_second_has_and_leave_no_memory() {
        let count = 3 * PIECE as u64 + 7;
        let id = |number: u64| ClientId(u128::from(number).to_be_bytes());
        let (mut wheel, mut clients) = (Wheel::default(), Clients::default());
        let at = |second: u64| Time::default() + Duration::from_secs(second);
        for number in 0..count {
            clients.insert(id(number), ());
            wheel.push(second_after(at(number % 2)), clients.place(&id(number)).unwrap());
        }
        assert_eq!(wheel.pop(at(0)), None);
        let mut popped = Vec::new();
        for second in [1, 2] {
            while let Some((filed, place)) = wheel.pop(at(second)) {
                assert_eq!(u64::from(filed), second);
                popped.push(clients.at_mut(place).unwrap().0);
            }
        }
        popped.sort();
        assert_eq!(popped, (0..count).map(id).collect::<Vec<_>>());
        assert!(wheel.0.is_empty());
    }
}
