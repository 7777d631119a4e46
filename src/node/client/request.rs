//! One key that is asked for, and where it is on its way.

use super::delta::{Delta, DeltaHead};
use super::types::{ValidatorKind, ValidatorPolicy};
use crate::wire::{HeaderBlock, Key, Tag, Time};
use bytes::Bytes;

/// Where a request is on its way.
pub(super) enum Stage {
    /// It is to be sent.
    Queued,
    /// It is to be sent later.
    Waiting {
        /// When.
        until: Time,
    },
    /// It was sent.
    Asked {
        /// Under this id.
        id: u64,
        /// With its key.
        keyed: bool,
        /// Its body, should that come before the frame that speaks of it.
        body: Option<Bytes>,
    },
    /// It was answered, and its body is on the way.
    Receiving {
        /// Under this id.
        id: u64,
        /// What the answer said.
        head: Head,
    },
    /// It was asked among others.
    Batched {
        /// Under this id.
        id: u64,
    },
    /// The bytes that are held are being read from disk: to be handed out, or to be what a
    /// difference starts from.
    Loading {
        /// The difference.
        delta: Option<Box<Delta>>,
    },
}

impl Stage {
    /// The id under which a reply or a body may come.
    pub(super) fn id(&self) -> Option<u64> {
        match self {
            Self::Asked { id, .. } | Self::Receiving { id, .. } | Self::Batched { id } => Some(*id),
            Self::Queued | Self::Waiting { .. } | Self::Loading { .. } => None,
        }
    }
}

/// What a reply says of a body that comes on its own stream.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) headers: HeaderBlock,
    /// How many bytes the body has.
    pub(super) length: u64,
    /// `None` when the tag follows the bytes, and the item is not mirrored.
    pub(super) tag: Option<Tag>,
    /// Given if the body is a difference.
    pub(super) delta: Option<DeltaHead>,
}

/// One get.
pub(super) struct Ticket {
    pub(super) number: u64,
    pub(super) deadline: Time,
    pub(super) cancelled: bool,
}

/// One key that is asked for.
pub(super) struct Request {
    pub(super) key: Key,
    pub(super) policy: ValidatorPolicy,
    /// Bound at the first attempt, kept to the end.
    pub(super) slot: Option<u32>,
    /// The next attempt must carry the key.
    pub(super) needs_key: bool,
    /// The next attempt must carry the strong validator.
    pub(super) needs_strong: bool,
    /// The next attempt must bring the item whole: a difference led nowhere.
    pub(super) needs_whole: bool,
    pub(super) mismatches: u32,
    pub(super) setbacks: u32,
    pub(super) attempts: u32,
    pub(super) wire_bytes: u64,
    pub(super) validator: Option<ValidatorKind>,
    pub(super) stage: Stage,
    /// When it first came, among others.
    pub(super) sequence: u64,
    pub(super) tickets: Vec<Ticket>,
}

impl Request {
    /// The gets that want to hear of the end.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u64> + '_ {
        self.tickets.iter().filter(|ticket| !ticket.cancelled).map(|ticket| ticket.number)
    }
}
