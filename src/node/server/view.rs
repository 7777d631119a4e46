//! What a server shows of itself.

use super::{ClientRole, Counters, Server};
use crate::cluster::Choice;
use crate::wire::backplane::SelfState;
use crate::wire::{Assignment, ClientId, Fingerprint, Key, Name};
use std::sync::Arc;

/// One client, as a server lists it.
#[derive(Clone, Debug)]
pub struct ClientView {
    /// Who.
    pub client: ClientId,
    /// What the server is to it.
    pub role: ClientRole,
    /// The assignment that the server knows.
    pub assignment: Assignment,
    /// Entries in its mirror.
    pub entries: usize,
    /// What was weighed when its alternate was chosen; only at its primary.
    pub choice: Option<Arc<Choice>>,
}

/// A server's numbers.
#[derive(Clone, Debug)]
pub struct ServerView {
    /// Its name.
    pub name: Name,
    /// What it says of its own state.
    pub state: SelfState,
    /// Clients it services.
    pub primary_clients: u64,
    /// Clients it would take over.
    pub alternate_clients: u64,
    /// Its threshold.
    pub threshold: u64,
    /// Its capacity.
    pub capacity: u64,
    /// What it did.
    pub counters: Counters,
    /// Releases that it still owes.
    pub debts: usize,
    /// Bytes of the versions it has at hand.
    pub item_bytes: usize,
    /// Distinct keys and fingerprints in its mirrors.
    pub shared_records: (usize, usize),
}

impl Server {
    /// Its numbers now.
    pub fn view(&self) -> ServerView {
        ServerView {
            name: self.config.name.clone(),
            state: self.state(),
            primary_clients: self.primary_clients,
            alternate_clients: self.alternate_clients(),
            threshold: self.config.threshold,
            capacity: self.config.capacity,
            counters: self.counters,
            debts: self.debts.len(),
            item_bytes: self.items.bytes(),
            shared_records: self.store.shared_records(),
        }
    }

    /// The clients it lists, in the order of their ids, from the one after `after` on.
    pub fn client_views(&self, after: Option<ClientId>) -> impl Iterator<Item = ClientView> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.clients.range((from, Bound::Unbounded)).map(|(client, record)| ClientView {
            client: *client,
            role: record.role,
            assignment: record.assignment(&self.config.name),
            entries: record.mirror.len(),
            choice: record.choice.clone(),
        })
    }

    /// The mirror of one client, slot by slot.
    pub fn mirror_entries(
        &self,
        client: &ClientId,
    ) -> impl Iterator<Item = (u64, Key, Option<Fingerprint>)> {
        let record = self.clients.get(client).into_iter();
        record.flat_map(|record| {
            let entries = self.store.entries(&record.mirror);
            entries.map(|(slot, held)| (slot, held.key.clone(), held.version.copied()))
        })
    }
}
