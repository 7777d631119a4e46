//! A call from its frame to its reply.
//!
//! A call has the source do something, and passes by mirror and items. Whether its client is served
//! here was settled before: nothing is executed for a client that is not. What was executed is
//! answered in any case, also when the client was taken over meanwhile: a refusal would let the
//! router have it executed once more.

use super::http::{fields_of, told};
use super::pending::Pending;
use super::serve::malformed;
use super::{CallRequest, CallResponse, Called, Link, Output, Server};
use crate::node::Fault;
use crate::wire::backplane::{Forward, How};
use crate::wire::frame::MAX_INLINE_BODY;
use crate::wire::http::{HttpAnswer, HttpBody};
use crate::wire::lane::{Body, Call, ErrorCode, MAX_STATUS, MIN_STATUS, Outcome, Reply};
use crate::wire::{ClientId, Time};
use bytes::Bytes;

/// A call that the source executes.
#[derive(Debug)]
pub(super) struct PendingCall {
    link: Link,
    request_id: u64,
    client: ClientId,
    /// The term and change that the router asked under, if it took this server for the primary.
    asked: Option<(u64, u64)>,
    /// The client's own number.
    inner_id: u64,
    /// It came by HTTP, and is answered so.
    by_http: bool,
}

impl Server {
    /// Has the source execute a call of a client that is served here.
    pub(super) fn serve_call(
        &mut self,
        link: &Link,
        forward: &Forward,
        inner_id: u64,
        asked: Option<(u64, u64)>,
    ) {
        if forward.deadline_ms == 0 {
            // The router has told the client already that nobody answered.
            return;
        }
        let (request_id, client) = (forward.request_id, forward.client);
        let call = match Call::decode(forward.inner.payload()) {
            Ok(call) => call,
            Err(error) => {
                let reply = Reply { request_id: inner_id, outcome: malformed(error) };
                return self.send_reply(link, (request_id, &client, asked), reply, None);
            }
        };
        let repeatable = call.idempotent || self.config.planted.is(Fault::HedgedCall);
        if forward.how == How::Standby && !repeatable {
            // A hedge is a second execution.
            return self.refuse_ownership(link, forward);
        }
        let link = link.clone();
        let pending = PendingCall { link, request_id, client, asked, inner_id, by_http: false };
        let Call { key, headers, body, idempotent, .. } = call;
        self.give_call(pending, CallRequest { key, headers, body, idempotent });
    }

    /// The same for a POST.
    pub(super) fn begin_call(&mut self, pending: Pending, request: CallRequest) {
        let Pending { link, request_id, client, asked, inner_id, .. } = pending;
        let pending = PendingCall { link, request_id, client, asked, inner_id, by_http: true };
        self.give_call(pending, request);
    }

    fn give_call(&mut self, pending: PendingCall, request: CallRequest) {
        self.counters.calls += 1;
        let ticket = self.calls.insert(pending) as u64;
        self.outputs.push_back(Output::Call { ticket, request: Box::new(request) });
    }

    /// The source has executed a call, or could not.
    pub fn handle_called(&mut self, now: Time, ticket: u64, called: Called) {
        self.turn(now);
        let Some(pending) = self.calls.try_remove(ticket as usize) else {
            return;
        };
        let (outcome, streamed) = match called {
            called if pending.by_http => answer_by_http(called),
            Called::Answered(response) => answer(response),
            Called::Refused(text) => (Outcome::error(ErrorCode::Refused, text), None),
            Called::Failed(text) => (Outcome::error(ErrorCode::Source, text), None),
        };
        let PendingCall { link, request_id, client, asked, inner_id, .. } = pending;
        let reply = Reply { request_id: inner_id, outcome };
        self.send_reply(&link, (request_id, &client, asked), reply, None);
        if let Some(body) = streamed {
            let (to, pieces) = (link, vec![body]);
            self.outputs.push_back(Output::SendBody { to, request_id, offset: 0, pieces });
        }
    }
}

/// The same in HTTP's words.
fn answer_by_http(called: Called) -> (Outcome, Option<Bytes>) {
    let CallResponse { status, headers, body } = match called {
        Called::Answered(response) => response,
        Called::Refused(text) => return (told(405, &text), None),
        Called::Failed(text) => return (told(502, &text), None),
    };
    if !(MIN_STATUS..=MAX_STATUS).contains(&status) {
        return (told(502, &format!("the source answered with status {status}")), None);
    }
    let fields = fields_of(&headers);
    let length = body.len() as u64;
    if body.len() <= HttpAnswer::room_inline(&fields) {
        let body = HttpBody::Inline(body);
        return (Outcome::Http(HttpAnswer { status, fields, body }), None);
    }
    let announced = HttpBody::Stream { length, tag: None };
    (Outcome::Http(HttpAnswer { status, fields, body: announced }), Some(body))
}

/// What a response is on the wire, and the bytes that go on a stream of their own.
fn answer(response: CallResponse) -> (Outcome, Option<Bytes>) {
    let CallResponse { status, headers, body } = response;
    if !(MIN_STATUS..=MAX_STATUS).contains(&status) {
        let text = format!(
            "the source answered with status {status}, and not {MIN_STATUS} to {MAX_STATUS}"
        );
        return (Outcome::error(ErrorCode::Source, text), None);
    }
    if body.len() <= MAX_INLINE_BODY {
        return (Outcome::Called { status, headers, body: Body::Inline(body) }, None);
    }
    let length = body.len() as u64;
    (Outcome::Called { status, headers, body: Body::Stream { length } }, Some(body))
}
