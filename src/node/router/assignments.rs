//! The assignments of all clients: names outside, packed entries in the shared table inside.

use crate::wire::{Assignment, ClientId, Name};
use hashbrown::HashMap;

/// Under what title the primary is asked, until it has confirmed that it lists the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Title {
    /// It has confirmed.
    Known,
    /// The client is fresh, and the primary may hand it on.
    Assign,
    /// The client was handed on, and the primary must serve it.
    HandedOn,
    /// The primary is to take the client over.
    Takeover,
}

/// What a router knows of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    pub(super) assignment: Assignment,
    pub(super) title: Title,
}

/// Who services whom.
#[derive(Debug, Default)]
pub(super) struct Assignments {
    table: HashMap<ClientId, Assigned>,
    /// Servers that may list a client from lower epochs, while a new primary has not confirmed.
    former: HashMap<ClientId, Vec<Name>>,
}

impl Assignments {
    pub(super) fn find(&self, client: &ClientId) -> Option<Assigned> {
        self.table.get(client).cloned()
    }

    /// Takes an assignment if it is higher than the one that is known; `false` if it is not.
    pub(super) fn raise(&mut self, client: ClientId, new: Assignment, title: Title) -> bool {
        if self.table.get(&client).is_some_and(|known| known.assignment.epoch >= new.epoch) {
            return false;
        }
        self.set(client, new, title);
        true
    }

    /// Takes an assignment whatever is known.
    pub(super) fn set(&mut self, client: ClientId, new: Assignment, title: Title) {
        if title == Title::Known {
            self.former.remove(&client);
        }
        self.table.insert(client, Assigned { assignment: new, title });
    }

    /// The primary has answered: it lists the client.
    pub(super) fn confirm(&mut self, client: &ClientId) {
        if let Some(known) = self.table.get_mut(client) {
            known.title = Title::Known;
            self.former.remove(client);
        }
    }

    /// A client that was to be given to a server as a fresh one has to be looked for first.
    pub(super) fn forget_fresh(&mut self, client: &ClientId) {
        if let Some(known) = self.table.get_mut(client)
            && matches!(known.title, Title::Assign | Title::HandedOn)
        {
            known.title = Title::Known;
        }
    }

    /// Notes a server that may still list the client from a lower epoch.
    pub(super) fn add_former(&mut self, client: ClientId, name: &Name) {
        let former = self.former.entry(client).or_default();
        if !former.contains(name) && former.len() < crate::wire::backplane::MAX_FORMER {
            former.push(name.clone());
        }
    }

    pub(super) fn former(&self, client: &ClientId) -> Vec<Name> {
        self.former.get(client).cloned().unwrap_or_default()
    }

    pub(super) fn remove(&mut self, client: &ClientId) {
        self.table.remove(client);
        self.former.remove(client);
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}
