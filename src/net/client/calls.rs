//! Calls: what the source is to do for an application.

use super::command::Command;
use super::{Client, Details, Error, Failure, parse};
use crate::node::client::{CallReply, CallRequest};
use crate::wire::Key;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// The end of a call, with the time that it took.
#[derive(Clone, Debug, PartialEq)]
pub struct CallAnswered {
    /// What it brought back.
    pub result: Result<CallReply, Failure>,
    /// From the moment the client took it on to its end.
    pub elapsed: Duration,
}

impl Client {
    /// Has the pool's source do something, and brings back its answer, which is never cached.
    ///
    /// A call that is not [`idempotent`](CallRequest::idempotent) is sent at most once. May be
    /// dropped at any time, and is then not sent again; what was sent by then may be executed.
    ///
    /// # Errors
    /// [`Error::FateUnknown`] where the call was sent and the answer was lost: it was executed
    /// once, or not at all. [`Error::TooLarge`] where it was executed and its answer has more bytes
    /// than the client takes. [`Error::Failed`] with code `Source` where the source itself failed;
    /// what it did by then is for the source to say. After any other error nothing was executed.
    pub async fn call(&self, key: &str, request: CallRequest) -> Result<CallReply, Error> {
        let answered = self.call_with(parse(key)?, request).await;
        answered.result.map_err(|failure| failure.error)
    }

    /// The same, with what it took also where it failed.
    pub async fn call_with(&self, key: Key, request: CallRequest) -> CallAnswered {
        let lost = |error| {
            let failure = Failure { error, details: Details::default() };
            CallAnswered { result: Err(failure), elapsed: Duration::ZERO }
        };
        let ticket = self.shared.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let fate = if request.idempotent { Error::Closed } else { Error::FateUnknown };
        let mut guard = GivesUp { client: self, ticket, armed: false };
        let command = Command::Call { ticket, key, request, answer };
        if self.shared.commands.send(command).await.is_err() {
            return lost(Error::Closed);
        }
        guard.armed = true;
        let answered = answered.await;
        guard.armed = false;
        // The task has ended without a word: perhaps after it had sent the call.
        answered.unwrap_or_else(|_| lost(fate))
    }
}

/// Gives a call up, should the future that waits for it be dropped.
struct GivesUp<'a> {
    client: &'a Client,
    ticket: u64,
    armed: bool,
}

impl Drop for GivesUp<'_> {
    fn drop(&mut self) {
        if self.armed {
            // Where there is no room to say so, the answer comes to nobody.
            let _ = self.client.shared.commands.try_send(Command::Cancel { ticket: self.ticket });
        }
    }
}
