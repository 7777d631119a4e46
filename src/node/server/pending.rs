//! Requests on their way to the source and back.

use super::answer::Fresh;
use super::{Link, batch, prefetch};
use crate::mirror::Known;
use crate::wire::backplane::{Forward, How, Resume};
use crate::wire::http::HttpRequest;
use crate::wire::lane::Validator;
use crate::wire::{ClientId, HeaderBlock, Key, Time};
use std::sync::Arc;
use std::time::Duration;

/// A request between its frame and its reply.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) link: Link,
    pub(super) request_id: u64,
    pub(super) client: ClientId,
    /// The term and change that the router asked under, if it took this server for the primary.
    pub(super) asked: Option<(u64, u64)>,
    pub(super) standby: bool,
    pub(super) deadline: Time,
    /// The client's own number.
    pub(super) inner_id: u64,
    pub(super) slot: u64,
    pub(super) key: Key,
    pub(super) validator: Validator,
    /// Only the rest of a body is wanted.
    pub(super) resume: Option<Resume>,
    pub(super) takes_deltas: bool,
    /// It is one of many that share a reply.
    pub(super) batch: Option<batch::Place>,
    /// It came by HTTP, and is answered so.
    pub(super) http: Option<Box<HttpRequest>>,
}

/// One question to the source, and who waits for the answer.
#[derive(Debug)]
pub(super) struct Retrieval {
    pub(super) key: Key,
    pub(super) asked_at: Time,
    pub(super) known: Option<Arc<Known>>,
    pub(super) waiters: Vec<Pending>,
    /// The bytes are wanted, whoever waits.
    pub(super) wanted: Option<prefetch::Wanted>,
}

impl Pending {
    /// A GET without validator, of a slot and its key.
    pub(super) fn new(
        now: Time,
        link: &Link,
        forward: &Forward,
        (inner_id, asked): (u64, Option<(u64, u64)>),
        (slot, key): (u64, Key),
    ) -> Self {
        Self {
            link: link.clone(),
            request_id: forward.request_id,
            client: forward.client,
            asked,
            standby: forward.how == How::Standby,
            deadline: now + Duration::from_millis(forward.deadline_ms),
            inner_id,
            slot,
            key,
            validator: Validator::None,
            resume: None,
            takes_deltas: forward.takes_deltas,
            batch: None,
            http: None,
        }
    }
}

/// What the source has.
pub(super) enum Finding {
    /// This version.
    Fresh(Fresh),
    /// An item that is too large to be kept.
    Unmirrored { headers: HeaderBlock, length: u64 },
    /// No such item.
    NotFound,
    /// Something that the client may not have.
    Refused(String),
    /// Nothing that it can give now.
    Failed(String),
}
