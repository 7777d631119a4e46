//! Forgetting clients that have asked for nothing for long.
//!
//! A request only notes when it came. Each client is filed under the second in which it would be
//! forgotten if it asked for nothing more; when that second comes, it is forgotten, or filed anew.
//! So nobody looks through all clients, and a client is looked at once in its idle time.
//!
//! An alternate hears nothing of requests that change nothing. It keeps a client for as long as the
//! primary lives that made it the alternate, and gives it up when that has been gone, or has been
//! another run of its server, for twice the idle time.

use super::{ClientRole, Server};
use crate::cluster::Count;
use crate::wire::{ClientId, Time};
use std::collections::BTreeMap;

/// Clients that are looked at in one turn.
const LOOKS_IN_A_TURN: usize = 1024;
/// An alternate waits so many times the idle timeout for its primary.
const ALTERNATE_PATIENCE: u32 = 2;

/// Clients by the second in which they are looked at.
#[derive(Debug, Default)]
pub(super) struct Wheel(BTreeMap<u64, Vec<ClientId>>);

impl Wheel {
    /// The next client whose second has come, with that second.
    fn pop(&mut self, now: Time) -> Option<(u64, ClientId)> {
        let mut first = self.0.first_entry().filter(|entry| *entry.key() <= now.as_secs())?;
        let (second, client) = (*first.key(), first.get_mut().pop());
        if first.get().is_empty() {
            first.remove();
        }
        Some((second, client?))
    }
}

impl Server {
    /// Files a client, unless it is filed already.
    pub(super) fn file(&mut self, now: Time, client: ClientId) {
        let due = now + self.config.client_idle_timeout;
        let second = due.as_secs() + 1;
        if let Some(record) = self.clients.get_mut(&client).filter(|record| record.filed == 0) {
            record.filed = second;
            self.idle.0.entry(second).or_default().push(client);
        }
    }

    /// Looks at the clients whose time has come.
    pub(super) fn forget_idle(&mut self, now: Time) {
        for _ in 0..LOOKS_IN_A_TURN {
            let Some((second, client)) = self.idle.pop(now) else {
                return;
            };
            let Some(record) = self.clients.get_mut(&client) else {
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
        let asked = record.asked;
        if now.since(asked) < self.config.client_idle_timeout {
            return self.file(asked, client);
        }
        let (epoch, alternate) = (record.epoch.clone(), record.alternate.clone());
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
        let primary = self.board.member(&record.epoch.primary).filter(|member| member.reachable);
        let run = primary.and_then(|member| member.status.as_ref()).map(|it| it.incarnation);
        if run.is_some() && run == record.run {
            record.asked = now;
        } else if now.since(record.asked) >= timeout * ALTERNATE_PATIENCE {
            self.remove(&client);
            self.tally.increase(Count::Forgotten);
            return self.status_changed(now);
        }
        self.file(now, client);
    }
}
