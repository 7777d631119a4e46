//! Calls: what a source is to do, and is to do once.
//!
//! A call has no slot, is not cached, and is not joined with others. One that is not idempotent is
//! sent at most once: when its session is lost, or its time is up, after it was sent, the caller is
//! told that its fate is unknown. What the router says was not sent on, or not executed, may be
//! sent again; and so may an idempotent call, always.

use super::calls::{Head, Stage};
use super::replies::{FIRST_RETRY, MAX_SETBACKS, SHORTEST_BUSY_WAIT, printable};
use super::{CallAnswer, CallReply, CallRequest, Client, Details, Error, Failure, Output};
use crate::wire::frame::MAX_INLINE_BODY;
use crate::wire::lane::{Body, BodyStart, CALL_VERSION, Call, ErrorCode, Outcome};
use crate::wire::{HeaderBlock, Key, Time};
use bytes::Bytes;
use std::time::Duration;

impl Client {
    /// Has the source do something. Ends in one [`Output::Called`] with this ticket, which must be
    /// in use neither by a get nor by a call.
    pub fn call(&mut self, ticket: u64, key: Key, request: CallRequest, now: Time) {
        let length = request.body.len();
        let refused = if length > MAX_INLINE_BODY {
            Some(Error::CallTooLarge { length: length as u64, limit: MAX_INLINE_BODY as u64 })
        } else {
            self.refusal()
        };
        if let Some(error) = refused {
            let result = Err(Failure { error, details: Details::default() });
            return self.outputs.push_back(Output::Called(CallAnswer { ticket, result }));
        }
        self.rest_unless_waiting(now);
        self.calls.add(ticket, key, request, now + self.config.request_timeout);
        self.send();
    }

    /// Gives up a call, if there is one with this ticket. One that was not sent is never sent.
    pub(super) fn cancel_call(&mut self, ticket: u64) {
        if self.calls.get(ticket).is_some() {
            self.remove_call(ticket);
            self.send();
        }
    }

    /// Sends the next call that is queued, once the router has said that it knows calls. `false`
    /// if there is none to send.
    pub(super) fn send_call(&mut self) -> bool {
        let Some(version) = self.session.version().filter(|_| self.session.is_ready()) else {
            return false;
        };
        while let Some(ticket) = self.calls.next_queued() {
            if version < CALL_VERSION {
                self.end_call(ticket, Err(Error::NoCalls { version }));
                continue;
            }
            let id = self.requests.fresh_id();
            let call = self.calls.get_mut(ticket);
            let CallRequest { headers, body, idempotent } = call.request.clone();
            let key = call.key.clone();
            let frame = Call { request_id: id, idempotent, key, headers, body }.encode();
            call.attempts += 1;
            call.wire_bytes += frame.bytes().len() as u64;
            self.calls.set_stage(ticket, Stage::Asked { id, body: None });
            self.outputs.push_back(Output::SendLane(frame));
            return true;
        }
        false
    }

    /// An answer to a call came on the lane.
    pub(super) fn call_reply(&mut self, ticket: u64, outcome: Outcome, size: usize, now: Time) {
        let call = self.calls.get_mut(ticket);
        call.wire_bytes += size as u64;
        let lost = matches!(
            outcome,
            Outcome::FateUnknown | Outcome::Error { code: ErrorCode::Unavailable, .. }
        );
        if matches!(call.stage, Stage::Receiving { .. }) {
            match lost {
                true => self.broken_answer(ticket, now),
                false => self.statistics.unknown_replies += 1,
            }
            return;
        }
        match outcome {
            Outcome::Called { status, headers, body } => {
                self.called(ticket, (status, headers, body), now);
            }
            Outcome::Busy { retry_after_ms } => {
                let retry_after = Duration::from_millis(retry_after_ms);
                if !self.config.retry_busy {
                    return self.end_call(ticket, Err(Error::Busy { retry_after }));
                }
                let until = now + retry_after.max(SHORTEST_BUSY_WAIT);
                self.calls.set_stage(ticket, Stage::Waiting { until });
            }
            // Nothing was executed.
            Outcome::Error { code: ErrorCode::Unavailable, text } => {
                let text = printable(&text);
                let error = Error::Failed { code: ErrorCode::Unavailable, text };
                self.call_again_later(ticket, error, now);
            }
            Outcome::Error { code, text } => {
                let text = printable(&text);
                self.end_call(ticket, Err(Error::Failed { code, text }));
            }
            // Those that no call gets leave it as unknown what became of this one.
            Outcome::FateUnknown
            | Outcome::UseCached { .. }
            | Outcome::Full { .. }
            | Outcome::Delta { .. }
            | Outcome::Batch { .. }
            | Outcome::Http(_)
            | Outcome::Noted
            | Outcome::NotFound
            | Outcome::UnknownSlot => match self.calls.get_mut(ticket).request.idempotent {
                true => self.call_again_later(ticket, Error::FateUnknown, now),
                false => self.end_call(ticket, Err(Error::FateUnknown)),
            },
        }
    }

    fn called(
        &mut self,
        ticket: u64,
        (status, headers, body): (u16, HeaderBlock, Body),
        now: Time,
    ) {
        let headers = HeaderBlock::parse(Bytes::copy_from_slice(headers.as_bytes()));
        let headers = headers.expect("it was parsed before");
        let (length, limit) = (body.length(), self.config.max_body);
        if length > limit {
            return self.end_call(ticket, Err(Error::TooLarge { length, limit }));
        }
        if let Body::Inline(bytes) = body {
            // A slice of the frame would keep alive whatever was read with it.
            return self.hand_out(ticket, status, headers, Bytes::copy_from_slice(&bytes));
        }
        let Stage::Asked { id, body } = &mut self.calls.get_mut(ticket).stage else {
            unreachable!("the caller looked for a call that was sent");
        };
        let (id, early) = (*id, body.take());
        let head = Head { status, headers, length };
        self.calls.set_stage(ticket, Stage::Receiving { id, head });
        if let Some(bytes) = early {
            self.complete_answer(ticket, bytes, now);
        }
    }

    /// The body of an answer came, whole: what followed the BODY frame.
    pub(super) fn call_body(&mut self, ticket: u64, start: BodyStart, bytes: Bytes, now: Time) {
        let call = self.calls.get_mut(ticket);
        call.wire_bytes += (start.encode().bytes().len() + bytes.len()) as u64;
        if start.offset != 0 {
            self.broken_answer(ticket, now);
        } else if let Stage::Asked { body, .. } = &mut call.stage {
            *body = Some(bytes);
        } else {
            self.complete_answer(ticket, bytes, now);
        }
    }

    /// How many bytes the body of an answer may have.
    pub(super) fn call_body_limit(&self, ticket: u64) -> u64 {
        match self.calls.get(ticket).map(|call| &call.stage) {
            Some(Stage::Receiving { head, .. }) => head.length,
            _ => self.config.max_body,
        }
    }

    /// Calls whose bodies broke off, should the one under this id have one; without an id, all that
    /// wait for one.
    pub(super) fn fail_call_bodies(&mut self, id: Option<u64>, received: u64, now: Time) {
        let tickets = match id {
            Some(id) => Vec::from_iter(self.calls.find(id)),
            None => self.calls.receiving(),
        };
        for ticket in tickets {
            self.calls.get_mut(ticket).wire_bytes += received;
            self.broken_answer(ticket, now);
        }
    }

    fn complete_answer(&mut self, ticket: u64, bytes: Bytes, now: Time) {
        let Stage::Receiving { head, .. } = &self.calls.get_mut(ticket).stage else {
            unreachable!("a body belongs to a call that was sent or is receiving");
        };
        if bytes.len() as u64 != head.length {
            return self.broken_answer(ticket, now);
        }
        let (status, headers) = (head.status, head.headers.clone());
        self.hand_out(ticket, status, headers, bytes);
    }

    /// The call was executed, and what it brought back is lost.
    fn broken_answer(&mut self, ticket: u64, now: Time) {
        self.statistics.broken_bodies += 1;
        let call = self.calls.get_mut(ticket);
        if call.request.idempotent {
            if let Stage::Asked { id, .. } = call.stage {
                self.requests.abandon_id(id);
            }
            self.call_again_later(ticket, Error::BodyLost { times: MAX_SETBACKS }, now);
        } else {
            self.end_call(ticket, Err(Error::FateUnknown));
        }
    }

    fn hand_out(&mut self, ticket: u64, status: u16, headers: HeaderBlock, bytes: Bytes) {
        self.statistics.called += 1;
        let details = Details::default();
        self.end_call(ticket, Ok(CallReply { status, headers, bytes, details }));
    }

    /// Sends a call again a little later; a few times, then it ends with `error`.
    fn call_again_later(&mut self, ticket: u64, error: Error, now: Time) {
        let call = self.calls.get_mut(ticket);
        call.setbacks += 1;
        let setbacks = call.setbacks;
        if setbacks >= MAX_SETBACKS {
            return self.end_call(ticket, Err(error));
        }
        let wait = self.session.jitter(FIRST_RETRY * (1 << (setbacks - 1)));
        self.calls.set_stage(ticket, Stage::Waiting { until: now + wait });
    }

    /// The session is gone: what was sent is sent again if that does no harm, or has ended.
    pub(super) fn lose_calls(&mut self) {
        for ticket in self.calls.sent() {
            if self.calls.get_mut(ticket).is_out_of_hand() {
                self.end_call(ticket, Err(Error::FateUnknown));
            } else {
                self.calls.set_stage(ticket, Stage::Queued);
            }
        }
    }

    /// There will be no session any more.
    pub(super) fn end_calls(&mut self, error: &Error) {
        while let Some(ticket) = self.calls.first() {
            self.end_call(ticket, Err(error.clone()));
        }
    }

    /// Ends what has waited long enough.
    pub(super) fn expire_calls(&mut self, now: Time) {
        while let Some(ticket) = self.calls.next_expired(now) {
            let error = match self.calls.get_mut(ticket).is_out_of_hand() {
                true => Error::FateUnknown,
                false => self.timed_out(),
            };
            if let Stage::Asked { id, .. } = self.calls.get_mut(ticket).stage {
                self.requests.abandon_id(id);
            }
            self.end_call(ticket, Err(error));
        }
        self.calls.end_waits(now);
    }

    fn end_call(&mut self, ticket: u64, result: Result<CallReply, Error>) {
        let call = self.calls.remove(ticket);
        let details = Details {
            wire_bytes: call.wire_bytes,
            attempts: call.attempts,
            validator: None,
            client: self.session.client(),
            assignment: self.session.assignment().cloned(),
        };
        let result = match result {
            Ok(reply) => Ok(CallReply { details, ..reply }),
            Err(error) => Err(Failure { error, details }),
        };
        self.outputs.push_back(Output::Called(CallAnswer { ticket, result }));
    }

    /// Forgets a call that nobody waits for. Its answer will come too late.
    fn remove_call(&mut self, ticket: u64) {
        let call = self.calls.remove(ticket);
        if let Stage::Asked { id, .. } = call.stage {
            self.requests.abandon_id(id);
        }
    }
}
