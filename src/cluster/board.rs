//! The statuses that servers push, as one member sees them.

use crate::wire::backplane::{SelfState, Status};
use crate::wire::{Name, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// A status is pushed every second: after so long without one, what was last said is not true any
/// more.
const STATUS_LIFETIME: Duration = Duration::from_millis(3_500);

/// A server, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Its newest status.
    pub status: Option<Status>,
    /// When that came.
    heard: Time,
    /// Whether that was too long ago.
    expired: bool,
    /// Whether it can be reached from here now.
    pub reachable: bool,
    /// Clients that were sent its way since its newest status, as primary and as alternate.
    pub sent_since: u64,
}

impl Member {
    /// Whether clients may be sent its way.
    pub fn is_ready(&self) -> bool {
        let ready = |status: &Status| status.state == SelfState::Ready;
        self.reachable && !self.expired && self.status.as_ref().is_some_and(ready)
    }

    /// Its clients as primary, those on their way included. Zero while nothing is known.
    pub fn primary_clients(&self) -> u64 {
        self.status.as_ref().map_or(0, |status| status.primary_clients) + self.sent_since
    }
}

/// The newest status of every server that was ever heard of.
#[derive(Clone, Debug, Default)]
pub struct Board {
    members: BTreeMap<Name, Member>,
}

impl Board {
    /// Notes that a server can, or cannot, be reached.
    pub fn set_reachable(&mut self, name: &Name, reachable: bool) {
        self.members.entry(name.clone()).or_default().reachable = reachable;
    }

    /// Takes a pushed status; `false` if a newer one is known already.
    pub fn take(&mut self, now: Time, status: Status) -> bool {
        let member = self.members.entry(status.name.clone()).or_default();
        let age = |status: &Status| (status.incarnation, status.sequence);
        if member.status.as_ref().is_some_and(|known| age(known) >= age(&status)) {
            return false;
        }
        member.status = Some(status);
        (member.heard, member.expired) = (now, false);
        member.sent_since = 0;
        true
    }

    /// Time passed: notes whose status is too old to go by.
    pub fn expire(&mut self, now: Time) {
        for member in self.members.values_mut() {
            member.expired = now.since(member.heard) >= STATUS_LIFETIME;
        }
    }

    /// The owner of this board stood still for so long, and may not have read what came meanwhile.
    pub fn excuse(&mut self, stood_still: Duration) {
        self.members.values_mut().for_each(|member| member.heard += stood_still);
    }

    /// Counts a client that was sent to a server, until the server's next status counts it.
    pub fn count_sent(&mut self, name: &Name) {
        if let Some(member) = self.members.get_mut(name) {
            member.sent_since += 1;
        }
    }

    /// A server is gone: whatever was known of it.
    pub fn forget(&mut self, name: &Name) {
        self.members.remove(name);
    }

    /// What is known of one server.
    pub fn member(&self, name: &Name) -> Option<&Member> {
        self.members.get(name)
    }

    /// All servers, in the order of their names.
    pub fn members(&self) -> impl Iterator<Item = (&Name, &Member)> {
        self.members.iter()
    }
}
