//! The assignments of all clients, as one worker reads and changes them.

use super::Shared;
use crate::assign::{Entry, ServerIndex, Title};
use crate::wire::{Assignment, ClientId, Name};
use hashbrown::HashMap;
use std::cmp::Ordering;
use std::sync::Arc;

/// Who services whom.
#[derive(Debug)]
pub(super) struct Assignments {
    shared: Arc<Shared>,
    /// Servers that may list a client from lower epochs, while a new primary has not confirmed.
    former: HashMap<ClientId, Vec<Name>>,
}

impl Assignments {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, former: HashMap::new() }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn find(&self, client: &ClientId) -> Option<Entry> {
        self.shared.table.get(client)
    }

    /// The name of a server.
    pub(super) fn name(&self, server: ServerIndex) -> &Name {
        self.shared.names.name(server)
    }

    /// An entry with the names that it stands for.
    pub(super) fn spell(&self, entry: Entry) -> Assignment {
        self.shared.names.assignment(entry)
    }

    /// An assignment as an entry. `None` if there are more servers than can be told apart.
    pub(super) fn pack(&self, assignment: &Assignment, title: Title) -> Option<Entry> {
        self.shared.names.pack(assignment, title)
    }

    /// Takes an assignment if it is higher than the one that is known; `false` if it is not.
    pub(super) fn raise(&mut self, client: ClientId, new: Entry) -> bool {
        let names = &self.shared.names;
        let higher = |known: Option<Entry>| {
            let lower = |known| names.compare(known, new) == Ordering::Less;
            known.is_none_or(lower).then_some(new)
        };
        let (before, after) = self.shared.table.update(client, higher);
        if before == after {
            return false;
        }
        self.forget_former_of(&client, new.title());
        true
    }

    /// Takes an assignment whatever is known.
    pub(super) fn set(&mut self, client: ClientId, new: Entry) {
        self.forget_former_of(&client, new.title());
        self.shared.table.set(client, new);
    }

    /// Takes an assignment in place of one that was read before; `false` if it has changed since.
    pub(super) fn replace(&mut self, client: ClientId, old: Entry, new: Entry) -> bool {
        let same = |known: Option<Entry>| (known == Some(old)).then_some(new);
        let (before, _) = self.shared.table.update(client, same);
        before == Some(old)
    }

    /// The primary has answered: it lists the client.
    pub(super) fn confirm(&mut self, client: &ClientId, known: Entry) {
        if known.title() != Title::Known {
            self.replace(*client, known, known.with_title(Title::Known));
            self.former.remove(client);
        }
    }

    /// A client that was to be given to a server as a fresh one has to be looked for first.
    pub(super) fn forget_fresh(&mut self, client: &ClientId) {
        let fresh = |entry: &Entry| matches!(entry.title(), Title::Assign | Title::HandedOn);
        self.shared.table.update(*client, |known| {
            known.filter(fresh).map(|entry| entry.with_title(Title::Known))
        });
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
        self.shared.table.remove(client);
        self.former.remove(client);
    }

    pub(super) fn len(&self) -> usize {
        self.shared.table.len()
    }

    fn forget_former_of(&mut self, client: &ClientId, title: Title) {
        if title == Title::Known {
            self.former.remove(client);
        }
    }
}
