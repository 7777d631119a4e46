//! What goes into a server, and what comes out.

use crate::http::vary::VaryNames;
use crate::mirror::{Coding, Known, Pair, Response, Version};
use crate::node::Planted;
use crate::wire::backplane::{Message, UseCachedBy};
use crate::wire::http::{Fields, HttpRequest};
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
    /// The source is an HTTP origin: HTTP requests are passed to it.
    pub passes_http: bool,
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
    /// Code a version, off the event loop, and hand it to
    /// [`Server::handle_compressed`](super::Server::handle_compressed).
    Compress {
        /// Repeated in the answer.
        coding: Coding,
        /// The bytes of the version.
        bytes: Bytes,
    },
    /// Have the source execute a call, once, and hand what came of it to
    /// [`Server::handle_called`](super::Server::handle_called).
    Call {
        /// Repeated in the answer.
        ticket: u64,
        /// What is to be done.
        request: Box<CallRequest>,
    },
    /// Pass an HTTP request to the origin, and hand what came of it to
    /// [`Server::handle_exchanged`](super::Server::handle_exchanged).
    Exchange {
        /// Repeated in the answer.
        ticket: u64,
        /// What is asked.
        request: Box<HttpRequest>,
        /// The version that is here already.
        known: Option<Arc<Known>>,
        /// The answer may be kept and shared, if the origin lets it.
        shared: bool,
        /// Whose content it is that comes on a stream of its own: of which router's request.
        content: Option<(Link, u64)>,
        /// For how long an answer is of use, in milliseconds.
        deadline_ms: u64,
    },
    /// Nobody wants the answer of an exchange any more.
    CancelExchange {
        /// Which.
        ticket: u64,
    },
    /// Send the content of an answer that the shell has open.
    SendOpen {
        /// To which router.
        to: Link,
        /// The router's number for the request.
        request_id: u64,
        /// The exchange that opened it.
        ticket: u64,
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

/// The content of an answer that is passed on.
#[derive(Clone, Debug)]
pub enum PassedBody {
    /// There is none.
    None,
    /// This.
    Whole(Bytes),
    /// The shell has it open under the ticket.
    Open,
}

/// What came of an exchange with an HTTP origin.
#[derive(Clone, Debug)]
pub enum Exchanged {
    /// A version that may be kept and shared, by the fields of requests that are named.
    Kept {
        /// Its [`Response`] is there.
        version: Version,
        /// By what its variants differ.
        vary: VaryNames,
    },
    /// The known version is the current one.
    Unchanged {
        /// What the origin says of it now.
        response: Arc<Response>,
    },
    /// An answer for the one who asked.
    Passed {
        /// The final status.
        status: u16,
        /// Its fields.
        fields: Fields,
        /// Its content.
        body: PassedBody,
    },
    /// There is no answer.
    Failed {
        /// 502 or 504.
        status: u16,
        /// Why, for people.
        text: String,
    },
}
