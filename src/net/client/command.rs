//! What an application asks of the task that owns its client machine.

use super::driver::Driver;
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

impl Driver {
    /// Does what the application wants; returns who waits to hear that all is over, if it should
    /// be.
    pub(super) fn obey(&mut self, command: Command) -> Option<oneshot::Sender<()>> {
        match command {
            Command::Get { ticket, key, policy, answer } => {
                self.open.insert(ticket, Open { answer, since: Instant::now() });
                self.node.get(ticket, key, policy, self.clock.now());
            }
            Command::GetMany { gets } => {
                let since = Instant::now();
                let mut tickets = Vec::with_capacity(gets.len());
                for (ticket, key, answer) in gets {
                    self.open.insert(ticket, Open { answer, since });
                    tickets.push((ticket, key));
                }
                self.node.get_many(tickets, self.clock.now());
            }
            // Whoever asked may have gone away meanwhile.
            Command::Keys { answer } => drop(answer.send(self.node.held_keys())),
            // Whom nobody waits for any more is not sent.
            Command::Call { answer, .. } if answer.is_closed() => {}
            Command::Call { ticket, key, request, answer } => {
                self.calls.insert(ticket, OpenCall { answer, since: Instant::now() });
                self.node.call(ticket, key, request, self.clock.now());
            }
            Command::Cancel { ticket } => {
                self.open.remove(&ticket);
                self.calls.remove(&ticket);
                self.node.cancel(ticket);
            }
            Command::Close { done } => return Some(done),
        }
        None
    }
}
