//! What goes into the client machine and what comes out of it.

use super::calls::CallAnswer;
use super::error::Error;
use crate::node::Planted;
use crate::wire::lane::Validator;
use crate::wire::session::CloseCode;
use crate::wire::{Assignment, ClientId, Fingerprint, Frame, HeaderBlock, Key, Name, Tag};
use bytes::Bytes;
use std::time::Duration;

/// What the client says of its copy when it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ValidatorPolicy {
    /// Nothing: the server's mirror alone decides.
    None,
    /// CRC and length.
    Crc,
    /// CRC and digest.
    Strong,
    /// Nothing where the server has confirmed the copy in this session, else CRC and digest.
    #[default]
    Auto,
}

/// What a request said of the client's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValidatorKind {
    /// Nothing.
    None,
    /// CRC and length.
    Crc,
    /// CRC and digest.
    Strong,
}

impl ValidatorKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Crc => "crc",
            Self::Strong => "strong",
        }
    }
}

impl From<&Validator> for ValidatorKind {
    fn from(validator: &Validator) -> Self {
        match validator {
            Validator::None => Self::None,
            Validator::Crc { .. } => Self::Crc,
            Validator::Strong { .. } => Self::Strong,
        }
    }
}

/// What the machine is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many routers there are to choose from; at least one.
    pub routers: usize,
    /// The pool that is asked for; the router's first where there is none.
    pub pool: Option<Name>,
    /// Bytes of items that are kept, in memory and on disk together. Those that were asked for once
    /// go first, then those that were not asked for again for longest.
    pub max_cache_bytes: u64,
    /// Bytes of items that stay in memory once [`Client::handle_written`] was told that they are on
    /// disk, or cannot be.
    ///
    /// [`Client::handle_written`]: super::Client::handle_written
    pub max_memory_bytes: u64,
    /// Slots that are used, should the router allow as many.
    pub max_slots: u64,
    /// Items with more bytes than this are refused.
    pub max_body: u64,
    /// Gets that may be waiting for their answer; a further one fails at once.
    pub max_waiting: usize,
    /// How long a get may take in all, reconnecting and asking again included.
    pub request_timeout: Duration,
    /// How long a connection may take to stand.
    pub connect_timeout: Duration,
    /// Asks again by itself when the pool is at its capacity, until the time of the get is up.
    pub retry_busy: bool,
    /// Emits [`Output::Stored`], [`Output::Removed`] and [`Output::TokenChanged`].
    pub persist: bool,
    /// A mistake to make, in tests of the simulator.
    pub planted: Planted,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            routers: 1,
            pool: None,
            max_cache_bytes: 256 << 20,
            max_memory_bytes: 64 << 20,
            max_slots: 65_536,
            max_body: 1 << 30,
            max_waiting: 65_536,
            request_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(3),
            retry_busy: false,
            persist: false,
            planted: Planted::default(),
        }
    }
}

/// An item on its way to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key.
    pub key: Key,
    /// Its headers.
    pub headers: HeaderBlock,
    /// CRC, digest and length of headers and bytes.
    pub fingerprint: Fingerprint,
    /// Its bytes.
    pub bytes: Bytes,
}

/// An item that is on disk from an earlier run; its bytes are read when they are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedItem {
    /// The slot it was kept in.
    pub slot: u32,
    /// Its key.
    pub key: Key,
    /// Its headers.
    pub headers: HeaderBlock,
    /// CRC, digest and length of headers and bytes.
    pub fingerprint: Fingerprint,
}

/// What an earlier run left.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    /// The token that a router gave.
    pub token: Option<Bytes>,
    /// The items, least recently used first.
    pub items: Vec<SavedItem>,
}

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Connect to the router with this index. Answered by `handle_connected` or
    /// `handle_unreachable`. A connection that stands goes on meanwhile; once the new one stands it
    /// is forgotten, and nothing of it may be handed in any more.
    Connect {
        /// Which of [`Config::routers`].
        router: usize,
    },
    /// Give up the attempt to connect that is under way beside a connection that stands: nothing of
    /// it may be handed in any more.
    StopConnecting,
    /// Send on the session stream.
    SendSession(Frame),
    /// Send on the lane.
    SendLane(Frame),
    /// Close the connection that stands, and forget it; if none does, give up the attempt to make
    /// one. Nothing of it may be handed in any more.
    Close {
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people.
        reason: String,
    },
    /// A get has ended.
    Answer(Answer),
    /// A call has ended.
    Called(CallAnswer),
    /// Read the bytes of an item from disk. Answered by `handle_loaded`.
    Load {
        /// Where it is.
        slot: u32,
    },
    /// Keep this on disk, in place of what is in that slot. Answered by `handle_written`.
    Stored {
        /// Where.
        slot: u32,
        /// What.
        item: Item,
    },
    /// Drop what is on disk for this slot.
    Removed {
        /// Where.
        slot: u32,
    },
    /// Keep this token on disk.
    TokenChanged(Bytes),
}

/// The end of a get: exactly one for each, unless it was cancelled.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The caller's name for the get.
    pub ticket: u64,
    /// What it got.
    pub result: Result<Reply, Failure>,
}

/// What the server said of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyKind {
    /// The bytes came whole.
    Full,
    /// The client's own copy is the fresh version.
    UseCached,
    /// The bytes came as a difference.
    Delta,
}

impl ReplyKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::UseCached => "use_cached",
            Self::Delta => "delta",
        }
    }
}

/// A fresh item. Its bytes and headers carry the tag that the server gave: this was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its headers.
    pub headers: HeaderBlock,
    /// How it came.
    pub kind: ReplyKind,
    /// Names this version of this key.
    pub version: Tag,
    /// CRC, digest and length.
    pub fingerprint: Fingerprint,
    /// What it took.
    pub details: Details,
}

/// A get that brought no item.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Why.
    pub error: Error,
    /// What it took.
    pub details: Details,
}

/// What a get took, and who answered it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Bytes of all its frames and bodies, both ways, all attempts together.
    pub wire_bytes: u64,
    /// How often it was asked.
    pub attempts: u32,
    /// What the last attempt said of the client's copy; none where nothing was sent.
    pub validator: Option<ValidatorKind>,
    /// Who the client is, as the router says.
    pub client: Option<ClientId>,
    /// Who services the client.
    pub assignment: Option<Assignment>,
}

/// What the machine has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Requests answered by use-cached.
    pub use_cached: u64,
    /// Requests answered in full.
    pub full: u64,
    /// Requests answered by a difference.
    pub deltas: u64,
    /// Items that a server was told of, because it had forgotten them.
    pub listed_items: u64,
    /// Calls that were executed and answered.
    pub called: u64,
    /// Replies whose tag was not that of the bytes at hand; each cost a round trip.
    pub tag_mismatches: u64,
    /// Replies and bodies for requests that were over, given up or asked again.
    pub late_replies: u64,
    /// Replies and bodies for requests that were never made: the router's fault.
    pub unknown_replies: u64,
    /// Bodies that broke off.
    pub broken_bodies: u64,
    /// Items whose bytes on disk were not what they should have been.
    pub damaged_items: u64,
    /// Items that made room for others.
    pub evictions: u64,
    /// Sessions that were lost or closed.
    pub lost_sessions: u64,
    /// Sessions that were closed because the router broke the protocol.
    pub violations: u64,
    /// Times when the router was silent for so long that another connection was tried.
    pub suspicions: u64,
}
