//! What an application asks of the task that owns its client machine.

use super::{Answered, CallAnswered};
use crate::node::client::{CallRequest, ValidatorPolicy};
use crate::wire::Key;
use std::time::Instant;
use tokio::sync::oneshot;

/// What the application wants.
pub(super) enum Command {
    /// An item.
    Get { ticket: u64, key: Key, policy: ValidatorPolicy, answer: oneshot::Sender<Answered> },
    /// Many items, of which those that are held are asked about together.
    GetMany { gets: Vec<(u64, Key, oneshot::Sender<Answered>)> },
    /// The keys of all items that are held.
    Keys { answer: oneshot::Sender<Vec<Key>> },
    /// Something done by the source.
    Call { ticket: u64, key: Key, request: CallRequest, answer: oneshot::Sender<CallAnswered> },
    /// An item, or something done, no longer.
    Cancel { ticket: u64 },
    /// The end; said when everything is written.
    Close { done: oneshot::Sender<()> },
}

/// A get that has not ended.
pub(super) struct Open {
    pub(super) answer: oneshot::Sender<Answered>,
    pub(super) since: Instant,
}

/// A call that has not ended.
pub(super) struct OpenCall {
    pub(super) answer: oneshot::Sender<CallAnswered>,
    pub(super) since: Instant,
}
