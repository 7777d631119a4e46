//! What goes into a server, and what comes out.

use crate::mirror::{Known, Pair, Version};
use crate::node::Planted;
use crate::wire::backplane::{Message, UseCachedBy};
use crate::wire::lane::Reply;
use crate::wire::{Assignment, HeaderBlock, Key, Name, Tag};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// What one worker of a server is told about itself.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The server's stable name.
    pub name: Name,
    /// Which of the server's workers this is.
    pub worker: u64,
    /// How many workers the server has.
    pub workers: u64,
    /// Where it is.
    pub zone: Option<Name>,
    /// With so many clients as primary it hands the next new one on.
    pub threshold: u64,
    /// With so many clients as primary it answers BUSY.
    pub capacity: u64,
    /// Slots that a client may use.
    pub slots: u64,
    /// Bytes of payload it keeps.
    pub memory: usize,
    /// A client that has asked for nothing for so long is forgotten.
    pub client_idle_timeout: Duration,
    /// Entries of mirrors that are sent to new alternates in one turn.
    pub rebuild_batch: usize,
    /// Distinguishes its runs: a later one has a higher number.
    pub incarnation: u64,
    /// Its operating system process, for its status.
    pub pid: u64,
    /// Where its admin pages are, for its status.
    pub admin: String,
    /// A mistake to make, in tests of the simulator.
    pub planted: Planted,
}

/// The other end of a backplane connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// A connection that a router opened, by the shell's number for it.
    Router(u64),
    /// A worker of the other server of this name.
    Server(Name, u64),
}

/// What the server wants done.
#[derive(Debug)]
pub enum Output {
    /// Send a message. Messages to one link arrive in order, or the link goes down.
    Send {
        /// Where to.
        to: Link,
        /// What.
        message: Box<Message>,
    },
    /// Send a router USE_CACHED, which most replies are.
    UseCached {
        /// To which router.
        to: Link,
        /// The router's number for the request.
        request_id: u64,
        /// What proved the client's copy.
        by: UseCachedBy,
        /// The client's number for the request.
        inner_id: u64,
        /// The version that is meant.
        tag: Tag,
    },
    /// Send a router any other reply to a request.
    Reply {
        /// To which router.
        to: Link,
        /// The router's number for the request.
        request_id: u64,
        /// Where it differs from what the router asked under: seldom, so that it is kept apart.
        assignment: Option<Box<Assignment>>,
        /// With USE_CACHED.
        by: Option<UseCachedBy>,
        /// The reply for the client.
        reply: Box<Reply>,
    },
    /// Send bytes on a stream of their own.
    SendBody {
        /// To which router.
        to: Link,
        /// The router's number for the request.
        request_id: u64,
        /// The place of the first byte in what the reply announced.
        offset: u64,
        /// The bytes, in order.
        pieces: Vec<Bytes>,
    },
    /// Send the bytes of an unmirrored item, from where the retrieval left them.
    SendUnmirrored {
        /// To which router.
        to: Link,
        /// The router's number for the request.
        request_id: u64,
        /// The key, for the tag at the end.
        key: Key,
        /// The retrieval that found it.
        ticket: u64,
    },
    /// Make the difference between two versions, off the event loop, and hand it to
    /// [`Server::handle_difference`](super::Server::handle_difference).
    Differ {
        /// Repeated in the answer.
        pair: Pair,
        /// The bytes of the old version.
        old: Bytes,
        /// The bytes of the new one.
        new: Bytes,
    },
    /// Have the source execute a call, once, and hand what came of it to
    /// [`Server::handle_called`](super::Server::handle_called).
    Call {
        /// Repeated in the answer.
        ticket: u64,
        /// What is to be done.
        request: Box<CallRequest>,
    },
    /// Ask the source, and hand its answer to
    /// [`Server::handle_retrieved`](super::Server::handle_retrieved).
    Retrieve {
        /// Repeated in the answer.
        ticket: u64,
        /// What.
        key: Key,
        /// The version that is here already.
        known: Option<Arc<Known>>,
    },
}

/// What the source said.
#[derive(Clone, Debug)]
pub enum Retrieved {
    /// The known version is the current one.
    Unchanged,
    /// This is the current version.
    Version(Version),
    /// The item is too large to be kept; the shell has it open under the ticket.
    Unmirrored {
        /// Its headers.
        headers: HeaderBlock,
        /// How many bytes it has.
        length: u64,
    },
    /// There is no such item.
    NotFound,
    /// The client may not have it.
    Refused(String),
    /// The source failed.
    Failed(String),
}

/// What a client wants the source to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// What is called.
    pub key: Key,
    /// The headers of the body.
    pub headers: HeaderBlock,
    /// What goes along.
    pub body: Bytes,
    /// The client says that it does no harm to execute this call more than once. One that is not
    /// idempotent reaches sources at most once.
    pub idempotent: bool,
}

/// What a source answers to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallResponse {
    /// What came of it, as in HTTP: 200 to 999.
    pub status: u16,
    /// The headers of the body.
    pub headers: HeaderBlock,
    /// What goes back.
    pub body: Bytes,
}

impl CallResponse {
    /// A response without headers.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, headers: HeaderBlock::default(), body: body.into() }
    }
}

/// What came of a call at the source.
#[derive(Clone, Debug)]
pub enum Called {
    /// It was executed.
    Answered(CallResponse),
    /// The client may not call this. Nothing was executed.
    Refused(String),
    /// The source failed, and perhaps has done some of it.
    Failed(String),
}

/// What a server is to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientRole {
    /// Services it.
    Primary,
    /// Would take over.
    Alternate,
}

/// Counts what one worker of a server did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Mirror entries that a validator proved wrong.
    pub drifted_entries: u64,
    /// Requests answered by a difference.
    pub deltas: u64,
    /// Bytes of these differences.
    pub delta_bytes: u64,
    /// Bytes of what they stand for.
    pub delta_full_bytes: u64,
    /// Requests about many slots.
    pub batches: u64,
    /// Slots that they were told are unchanged.
    pub batched_unchanged: u64,
    /// Entries of mirrors that clients told of, because they were not known any more.
    pub listed_entries: u64,
    /// Mirrors that were emptied, because others needed the memory.
    pub emptied_mirrors: u64,
    /// Payloads of mirrored versions that this worker, as alternate, got from its source.
    pub prefetched: u64,
    /// The same from primaries.
    pub pulled: u64,
    /// Retrievals asked of the source.
    pub retrievals: u64,
    /// Calls that the source was given.
    pub calls: u64,
    /// Requests of clients that another worker owns.
    pub misdirected_requests: u64,
}

impl Counters {
    /// Adds the counts of another worker.
    pub fn add(&mut self, other: &Self) {
        self.drifted_entries += other.drifted_entries;
        self.deltas += other.deltas;
        self.delta_bytes += other.delta_bytes;
        self.delta_full_bytes += other.delta_full_bytes;
        self.batches += other.batches;
        self.batched_unchanged += other.batched_unchanged;
        self.listed_entries += other.listed_entries;
        self.emptied_mirrors += other.emptied_mirrors;
        self.prefetched += other.prefetched;
        self.pulled += other.pulled;
        self.retrievals += other.retrievals;
        self.calls += other.calls;
        self.misdirected_requests += other.misdirected_requests;
    }
}
