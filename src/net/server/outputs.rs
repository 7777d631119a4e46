//! What the machine wants done.

use super::exchanges::{self, Asked};
use super::retrieval::{Calling, Retrieval};
use super::{Shell, bodies, differences};
use crate::node::server::{Link, Output};
use crate::wire::backplane::{Message, gather_reply, use_cached_frame};
use crate::wire::lane::BodyStart;
use std::rc::Rc;

impl Shell {
    /// Does it.
    pub(super) fn carry_out(self: &Rc<Self>, output: Output) {
        match output {
            Output::Send { to, message } => self.send(&to, &message),
            Output::UseCached { to, request_id, by, inner_id, tag } => {
                if let Some(outbox) = self.outboxes.borrow().get(&to) {
                    outbox.push(&use_cached_frame(request_id, by, inner_id, &tag));
                }
            }
            Output::Reply { to, request_id, assignment, by, reply } => {
                if let Some(outbox) = self.outboxes.borrow().get(&to) {
                    outbox.fill(|out| {
                        gather_reply(out, request_id, assignment.as_deref(), by, &reply);
                    });
                }
            }
            Output::SendBody { to, request_id, offset, pieces } => {
                let start = BodyStart { request_id, offset };
                tokio::task::spawn_local(bodies::send(Rc::clone(self), to, start, pieces));
            }
            Output::Differ { pair, old, new } => {
                tokio::task::spawn_local(differences::make(Rc::clone(self), pair, old, new));
            }
            Output::Compress { coding, bytes } => {
                tokio::task::spawn_local(differences::compress(Rc::clone(self), coding, bytes));
            }
            Output::Call { ticket, request } => {
                let calling = Calling::new(Rc::clone(self), ticket);
                tokio::task::spawn_local(async move {
                    let source = calling.source();
                    let answer = source.call(*request).await;
                    calling.answer(answer);
                });
            }
            Output::SendUnmirrored { to, request_id, key, ticket } => {
                if let Some(item) = self.opened.borrow_mut().remove(&ticket) {
                    let shell = Rc::clone(self);
                    tokio::task::spawn_local(bodies::send_unmirrored(
                        shell, to, request_id, key, item,
                    ));
                }
            }
            Output::Exchange { ticket, request, known, shared, content, deadline_ms } => {
                let asked = Asked { ticket, request, known, shared, content, deadline_ms };
                exchanges::start(self, asked);
            }
            Output::CancelExchange { ticket } => exchanges::cancel(self, ticket),
            Output::SendOpen { to, request_id, ticket } => {
                if let Some(body) = self.answering.borrow_mut().remove(&ticket) {
                    let shell = Rc::clone(self);
                    tokio::task::spawn_local(bodies::send_open(shell, to, request_id, body));
                }
            }
            Output::Retrieve { ticket, key, known } => {
                let retrieval = Retrieval::new(Rc::clone(self), ticket);
                tokio::task::spawn_local(async move {
                    let source = retrieval.source();
                    let answer = source.retrieve(&key, known.as_deref()).await;
                    retrieval.answer(answer);
                });
            }
        }
    }

    /// Sends a message if the link is there.
    fn send(&self, to: &Link, message: &Message) {
        if let Some(outbox) = self.outboxes.borrow().get(to) {
            outbox.fill(|out| message.gather(out));
        }
    }
}
