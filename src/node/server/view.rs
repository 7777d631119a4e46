//! What a server shows of itself.

use super::{ClientRole, Counters, MirrorLag, Server};
use crate::cluster::{Choice, Count};
use crate::wire::backplane::SelfState;
use crate::wire::{Assignment, ClientId, Fingerprint, Key, Name};
use std::collections::BTreeMap;
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
    /// What was weighed when its alternate was chosen; only at its primary, and as long as that is
    /// among the newest choices of the worker.
    pub choice: Option<Arc<Choice>>,
}

/// Bytes of memory that the budget is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryView {
    /// For what is known of items, and the pages that their payloads lie on.
    pub items: usize,
    /// Of these, the payloads themselves.
    pub payloads: usize,
    /// For differences between versions.
    pub deltas: usize,
    /// For what is compressed for HTTP clients.
    pub codings: usize,
    /// For mirrors, and the records that they share.
    pub mirrors: usize,
}

impl MemoryView {
    fn add(&mut self, other: &Self) {
        self.items += other.items;
        self.payloads += other.payloads;
        self.deltas += other.deltas;
        self.codings += other.codings;
        self.mirrors += other.mirrors;
    }
}

/// A server's numbers: what its workers count together, and the rest of one of them.
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
    /// Clients handed on to a second server.
    pub handed_on_clients: u64,
    /// Clients taken because they must be served.
    pub must_served_clients: u64,
    /// Clients dropped because they had been taken over.
    pub released_clients: u64,
    /// Clients taken over from other servers.
    pub taken_over_clients: u64,
    /// Clients given to their alternates while the server drained.
    pub handed_over_clients: u64,
    /// Clients forgotten because they had asked for nothing for long.
    pub forgotten_clients: u64,
    /// How far alternates are behind.
    pub lag: MirrorLag,
    /// What the worker did.
    pub counters: Counters,
    /// Calls that its source executes now. What stops with them under way leaves their callers
    /// without an answer.
    pub open_calls: usize,
    /// Questions to its source that it has not answered yet.
    pub open_retrievals: usize,
    /// The same to its HTTP origin.
    pub open_exchanges: usize,
    /// Releases that it still owes.
    pub debts: usize,
    /// Memory that it takes, of its budget.
    pub memory: MemoryView,
    /// Distinct keys and fingerprints in its mirrors.
    pub shared_records: (usize, usize),
}

impl ServerView {
    /// Adds the numbers of another worker of the same server.
    pub fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.open_calls += other.open_calls;
        self.open_retrievals += other.open_retrievals;
        self.open_exchanges += other.open_exchanges;
        self.lag.add(&other.lag);
        self.debts += other.debts;
        self.memory.add(&other.memory);
        self.shared_records.0 += other.shared_records.0;
        self.shared_records.1 += other.shared_records.1;
    }
}

impl Server {
    fn memory(&self) -> MemoryView {
        MemoryView {
            items: self.items.bytes(),
            payloads: self.items.payload_bytes(),
            deltas: self.deltas.bytes(),
            codings: self.codings.bytes(),
            mirrors: self.store.bytes(),
        }
    }

    /// The numbers now.
    pub fn view(&self) -> ServerView {
        ServerView {
            name: self.config.name.clone(),
            state: self.state(),
            primary_clients: self.tally.read(Count::Primary),
            alternate_clients: self.tally.read(Count::Alternate),
            threshold: self.config.threshold,
            capacity: self.config.capacity,
            handed_on_clients: self.tally.read(Count::HandedOn),
            must_served_clients: self.tally.read(Count::MustServed),
            released_clients: self.tally.read(Count::Released),
            taken_over_clients: self.tally.read(Count::TakenOver),
            handed_over_clients: self.tally.read(Count::HandedOver),
            forgotten_clients: self.tally.read(Count::Forgotten),
            lag: self.mirror_lag(),
            counters: self.counters,
            open_calls: self.calls.len(),
            open_retrievals: self.retrievals.len(),
            open_exchanges: self.exchanges.len(),
            debts: self.debts.values().map(BTreeMap::len).sum(),
            memory: self.memory(),
            shared_records: self.store.shared_records(),
        }
    }

    /// What this worker has of a count that all workers have together; zero for counts of what
    /// happened, which nobody has.
    pub fn share(&self, count: Count) -> u64 {
        match count {
            Count::Primary => self.told.0,
            Count::Alternate => self.told.1,
            Count::Returning => u64::from(self.returning.is_some()),
            Count::Draining => u64::from(self.draining.is_some()),
            _ => 0,
        }
    }

    /// At most `limit` of the clients it lists, in the order of their ids, from the one after
    /// `after` on.
    pub fn client_views(&self, after: Option<ClientId>, limit: usize) -> Vec<ClientView> {
        let view = |client: ClientId| {
            let record = self.clients.get(&client)?;
            let choice = |number| self.choices.find(&client, number);
            Some(ClientView {
                client,
                role: record.role,
                assignment: record.assignment(&self.config.name, &self.names),
                entries: record.mirror.len(),
                choice: record.alternate.and_then(|_| choice(record.choice)).cloned(),
            })
        };
        self.clients.ids_after(after, limit).into_iter().filter_map(view).collect()
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
