//! One worker of a server: owns clients, their mirrors and the items it has at hand.
//!
//! A server has as many workers as it likes; each owns the clients that [`ClientId::owner`] gives
//! it, and what they count together is in a [`Tally`].
//!
//! - [`ownership`](self): who may be served here, and what a client's arrival changes;
//! - `serve`: a request and its way to the source; `answer`: the reply, and the mirror;
//! - `differences`: replies that bring a difference; `batch`: many slots in one request;
//! - `inventory`: what a client says it holds;
//! - `http`: the same for HTTP clients; `exchanges`, `exchanged`: what an HTTP origin is
//!   asked, and what came of it;
//! - `codings`: items that go out compressed;
//! - `calls`: a call, which passes by mirror and items;
//! - `replicate`: the alternate, and what it must know; `rebuild`: sending it a whole mirror;
//! - `prefetch`: payloads that an alternate lacks;
//! - `drain`: giving every client away;
//! - `idle`: forgetting those that have asked for nothing for long;
//! - `release`: what is owed to other servers, and what was released here;
//! - `peers`: statuses, releases, and coming back after a pause;
//! - `memory`: one budget for all of it;
//! - `record`: what is known of a client, and of another server; `clients` and `places`: finding it
//!   by the client's id; `names`: servers by number; `choices`: why this alternate.

mod answer;
mod batch;
mod calls;
mod choices;
mod clients;
mod codings;
mod counters;
mod differences;
mod drain;
mod exchanged;
mod exchanges;
mod habits;
mod http;
mod idle;
mod inventory;
mod kept;
mod links;
mod memory;
mod names;
mod ownership;
mod peers;
mod pending;
mod places;
mod prefetch;
mod rebuild;
mod record;
mod release;
mod replicate;
mod retrieved;
mod serve;
mod types;
mod view;

#[cfg(test)]
mod tests;

use crate::cluster::{Board, Count, Tally};
use crate::mirror::{Coding, Codings, Deltas, Items, Pair, Store};
use crate::wire::backplane::{Message, SelfState};
use crate::wire::{ClientId, Epoch, Key, Name, Time};
use bytes::Bytes;
use hashbrown::HashMap;
use slab::Slab;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pending::{Pending, Retrieval};
use record::{Peer, Record, Return};

pub use counters::Counters;
pub use drain::DrainView;
pub use rebuild::MirrorLag;
pub use types::{
    CallRequest, CallResponse, Called, ClientRole, Exchanged, Link, Output, PassedBody, Retrieved,
    ServerConfig,
};
pub use view::{ClientView, MemoryView, ServerView};

/// A status goes out so long after a change, with all that changed meanwhile.
pub const STATUS_DELAY: Duration = Duration::from_millis(20);
/// A status goes out so often even when nothing changed.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// The loop turns at least so often.
pub const TURN_INTERVAL: Duration = Duration::from_millis(100);
/// A server whose loop stood still for so long was paused: frozen, or its machine was.
pub const PAUSE: Duration = Duration::from_secs(1);
/// How long a returned server waits for others that do not answer.
pub const RETURN_GRACE: Duration = Duration::from_secs(2);
/// How often a question to a peer, or a release, is repeated until it is answered.
pub const REPEAT_INTERVAL: Duration = Duration::from_millis(200);
/// Requests that a returned server holds back until it knows which clients are still its own.
pub const MAX_HELD_BACK: usize = 4096;
const _: () = assert!(TURN_INTERVAL.as_millis() * 4 < PAUSE.as_millis(), "a busy turn is no pause");

/// One worker of a server.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    tally: Arc<Tally>,
    /// What the tally was last told of this worker's clients, as primary and as alternate.
    told: (u64, u64),
    board: Board,
    /// The other servers, as they were when they were last linked.
    peers: BTreeMap<Name, Peer>,
    store: Store,
    items: Items,
    deltas: Deltas,
    codings: Codings,
    balance: memory::Balance,
    /// Requests that wait for a difference to be made.
    awaiting: HashMap<Pair, Vec<(Pending, answer::Fresh)>>,
    /// Requests that wait for a version to be coded.
    awaiting_coded: HashMap<Coding, Vec<(Pending, answer::Fresh)>>,
    /// How long these versions are together, before they are coded.
    bytes_in_coding: u64,
    batches: HashMap<u64, batch::PendingBatch>,
    last_batch: u64,
    /// Slots of batches that wait for their items.
    open_slots: usize,
    clients: clients::Clients<Record>,
    /// The servers that records name.
    names: names::Names,
    choices: choices::Choices,
    primary_clients: u64,
    counters: Counters,
    retrievals: Slab<Retrieval>,
    calls: Slab<calls::PendingCall>,
    exchanges: Slab<exchanges::Exchange>,
    joinable_exchanges: HashMap<Key, usize>,
    habits: habits::Habits,
    /// Retrievals that have not started yet: requests for the same key may join them.
    joinable: HashMap<Key, usize>,
    /// Routers that are linked, with the protocol version that each of them speaks.
    routers: BTreeMap<Link, u64>,
    /// Releases owed: of which client, to whom, in which epoch.
    debts: BTreeMap<ClientId, BTreeMap<Name, Epoch>>,
    /// Some client as primary may have no alternate, because there was no other server.
    some_alone: bool,
    /// Clients handed on a moment ago, to whom, and until when that is remembered.
    handed_on: BTreeMap<ClientId, (Name, Time)>,
    released: release::Released,
    returning: Option<Return>,
    draining: Option<drain::Draining>,
    rebuilds: rebuild::Rebuilds,
    prefetches: prefetch::Prefetches,
    idle: idle::Wheel,
    rounds: u64,
    status_due: Time,
    debts_due: Time,
    last_turn: Option<Time>,
    outputs: VecDeque<Output>,
}

impl Server {
    /// A worker that lists no clients, of the server that counts in `tally`.
    pub fn new(config: ServerConfig, tally: Arc<Tally>) -> Self {
        let shares = memory::shares(config.memory);
        Self {
            tally,
            told: (0, 0),
            board: Board::default(),
            peers: BTreeMap::new(),
            store: Store::default(),
            items: Items::new(shares.items),
            deltas: Deltas::new(shares.deltas),
            codings: Codings::new(shares.codings),
            balance: memory::Balance::default(),
            awaiting: HashMap::new(),
            awaiting_coded: HashMap::new(),
            bytes_in_coding: 0,
            batches: HashMap::new(),
            last_batch: 0,
            open_slots: 0,
            clients: clients::Clients::default(),
            names: names::Names::new(&config.name),
            choices: choices::Choices::default(),
            primary_clients: 0,
            counters: Counters::default(),
            retrievals: Slab::new(),
            calls: Slab::new(),
            exchanges: Slab::new(),
            joinable_exchanges: HashMap::new(),
            habits: habits::Habits::default(),
            joinable: HashMap::new(),
            routers: BTreeMap::new(),
            debts: BTreeMap::new(),
            some_alone: false,
            handed_on: BTreeMap::new(),
            released: release::Released::default(),
            returning: None,
            draining: None,
            rebuilds: rebuild::Rebuilds::default(),
            prefetches: prefetch::Prefetches::default(),
            idle: idle::Wheel::default(),
            rounds: 0,
            status_due: Time::default(),
            debts_due: Time::default(),
            last_turn: None,
            outputs: VecDeque::new(),
            config,
        }
    }

    /// The server's stable name.
    pub fn name(&self) -> &Name {
        &self.config.name
    }

    /// What the server says of its own state.
    pub fn state(&self) -> SelfState {
        if self.tally.read(Count::Draining) > 0 {
            SelfState::Draining
        } else if self.tally.read(Count::Returning) > 0 {
            SelfState::Returned
        } else {
            SelfState::Ready
        }
    }

    /// A message came in over a link.
    pub fn handle_message(&mut self, now: Time, from: &Link, message: Message) {
        self.turn(now);
        if let (Message::Forward(forward), Link::Router(_)) = (&message, from) {
            return self.handle_forward(now, from, forward);
        }
        match (message, from) {
            (Message::Ping { number }, _) => self.send(from, Message::Pong { number }),
            (Message::WhoHolds { query, client }, _) => self.answer_who_holds(from, query, client),
            (message, Link::Server(name, worker)) => {
                self.handle_peer_message(now, name, *worker, message);
            }
            (Message::Cancel { request_id }, Link::Router(_)) => {
                self.cancel_exchange(now, from, request_id);
            }
            // A router has nothing else to say; its certificate vouches for its manners.
            (_, Link::Router(_)) => {}
        }
    }

    /// Time passed: call at the moment of [`Server::poll_timeout`] at the latest.
    pub fn handle_timeout(&mut self, now: Time) {
        self.turn(now);
        self.settle_if_waited_enough(now);
        self.forget_handed_on(now);
        self.released.forget(now);
        self.forget_idle(now);
        self.balance_memory();
        self.forget_names();
        self.turn_rebuilds(now);
        self.turn_prefetches(now);
        self.turn_drain(now);
        if now >= self.debts_due {
            self.debts_due = now + REPEAT_INTERVAL;
            self.pay_debts(None);
        }
        if now >= self.status_due {
            self.board.expire(now);
            self.push_status(now);
        }
    }

    /// When [`Server::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Time {
        let turn = self.last_turn.map_or(Time::default(), |last| last + TURN_INTERVAL);
        let debts = if self.debts.is_empty() { turn } else { self.debts_due };
        let background = [self.rebuilds_due(), self.prefetches_due(), self.drain_due()];
        background.into_iter().chain([self.status_due, debts]).fold(turn, Time::min)
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        if let Output::Retrieve { key, ticket, .. } = &output
            && self.joinable.get(key) == Some(&(*ticket as usize))
        {
            // From here on the source may already have looked: later requests ask anew.
            self.joinable.remove(key);
        }
        if let Output::Exchange { ticket, .. } = &output {
            self.close_exchange(*ticket);
        }
        Some(output)
    }

    /// Every input passes here: the loop turned, and perhaps had stood still before.
    fn turn(&mut self, now: Time) {
        let stood_still = self.last_turn.map_or(Duration::ZERO, |last| now.since(last));
        self.last_turn = Some(now);
        if self.mirrors_are_large() {
            self.balance_memory();
        }
        if stood_still >= PAUSE {
            self.board.excuse(stood_still);
            self.released.renew(now);
            self.begin_return(now);
        }
    }

    /// Clients came or went.
    fn status_changed(&mut self, now: Time) {
        let alternate = self.clients.len() as u64 - self.primary_clients;
        self.tally.correct(Count::Primary, self.told.0, self.primary_clients);
        self.tally.correct(Count::Alternate, self.told.1, alternate);
        self.told = (self.primary_clients, alternate);
        self.status_due = self.status_due.min(now + STATUS_DELAY);
    }
}

/// Bytes that end an unmirrored body: the tag, once it is known.
pub fn unmirrored_trailer(key: &Key, digest: &crate::wire::Digest) -> Bytes {
    Bytes::copy_from_slice(&key.tag(digest).0)
}
