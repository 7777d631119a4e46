//! Calls: what the source is to do, who asked for it, and what each was told.
//!
//! A call's body is its number, and the number decides what the source makes of it. One that may
//! not be repeated is executed at most once, whatever breaks, and never when its client was told
//! that it was not. Faults fall between arrival, execution and answer like anywhere else.

use super::checks::Check;
use super::client::Expected;
use super::cluster::World;
use super::events::Event;
use super::network::Host;
use super::plan::Mood;
use super::story::Stage;
use crate::node::client::{CallAnswer, CallRequest, Error};
use crate::node::server::{self, CallResponse, Called};
use crate::wire::Key;
use crate::wire::lane::{CALL_VERSION, ErrorCode};
use bytes::{Buf, Bytes};
use rand::RngExt;
use std::collections::BTreeMap;
use std::time::Duration;

/// The status of every answer.
const STATUS: u16 = 200;
/// Bytes of an answer that has a stream of its own.
const LONG_ANSWER: usize = 20_000;

/// What the source makes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// Executes it, and answers.
    Answered,
    /// Executes it, and fails.
    Failed,
    /// Does not execute it.
    Refused,
}

pub(super) fn nature(number: u64) -> Nature {
    match number % 16 {
        0 => Nature::Failed,
        1 => Nature::Refused,
        _ => Nature::Answered,
    }
}

/// What the source answers: the number, and much more for some.
pub(super) fn answer(number: u64) -> Bytes {
    let mut bytes = number.to_be_bytes().to_vec();
    if number % 16 < 4 {
        bytes.resize(LONG_ANSWER, number as u8);
    }
    bytes.into()
}

/// Whether the source answers a call with these bytes.
pub(super) fn is_answer(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|number| answer(u64::from_be_bytes(*number)) == bytes)
}

/// What became of a call.
#[derive(Clone, Copy, Debug, Default)]
struct Call {
    repeatable: bool,
    executions: u32,
    /// The client was told that it was not executed.
    disowned: bool,
}

/// All calls ever made.
#[derive(Debug, Default)]
pub(super) struct CallLedger {
    calls: BTreeMap<u64, Call>,
}

/// What a client was told of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It was executed, and this came back, if it is known yet.
    Answered,
    /// The source would not execute it.
    Refused,
    /// The source failed.
    Failed,
    /// Nothing was executed, because it reached no source.
    NotSent,
    /// Nobody knows.
    Nothing,
}

/// A call of a client's application that has not ended.
#[derive(Debug)]
pub(super) struct CallTicket {
    number: u64,
    pub(super) asked: crate::wire::Time,
    expected: Expected,
}

impl World {
    /// Notes a new call. Returns its number and its body, which says the same.
    pub(super) fn new_call(&mut self, repeatable: bool) -> (u64, Bytes) {
        let number = self.fresh_number();
        self.calls.calls.insert(number, Call { repeatable, ..Call::default() });
        (number, Bytes::copy_from_slice(&number.to_be_bytes()))
    }

    /// The key that calls name.
    pub(super) fn called_key() -> Key {
        "/do?something".parse().expect("a key")
    }

    /// A server hands a call to its source, which begins a little later.
    pub(super) fn give_call(
        &mut self,
        (place, worker): super::network::Seat,
        ticket: u64,
        request: &server::CallRequest,
    ) {
        let host = Host::Server(place);
        let (life, number) = (self.life(host), (&request.body[..]).get_u64());
        let delay = self.between(0, self.plan.source_ms);
        self.schedule(delay, Event::Execute { host, life, worker, ticket, number });
    }

    /// The source executes a call, and answers a little later.
    pub(super) fn execute(&mut self, host: Host, worker: usize, ticket: u64, number: u64) {
        let now = self.now;
        self.trace.line(now, || format!("{host:?} executes call {number}"));
        let called = match nature(number) {
            Nature::Answered => Called::Answered(CallResponse::new(STATUS, answer(number))),
            Nature::Failed => Called::Failed("it does not work".into()),
            Nature::Refused => Called::Refused("nobody may do that".into()),
        };
        if nature(number) != Nature::Refused {
            self.note_execution(number);
        }
        let life = self.life(host);
        let delay = self.between(0, self.plan.source_ms);
        self.schedule(delay, Event::Called { host, life, worker, ticket, called });
    }

    pub(super) fn hand_in_called(
        &mut self,
        host: Host,
        worker: usize,
        ticket: u64,
        called: Called,
    ) {
        if let Host::Server(place) = host {
            self.with_server((place, worker), |machine, now| {
                machine.handle_called(now, ticket, called);
            });
        }
    }

    /// Notes that the source does what it was asked to.
    pub(super) fn note_execution(&mut self, number: u64) {
        let Some(call) = self.calls.calls.get_mut(&number) else {
            return;
        };
        call.executions += 1;
        let call = *call;
        if !call.repeatable && call.executions > 1 {
            let what = format!("call {number} was executed {} times", call.executions);
            self.fail(Check::CallRepeated, what);
        }
        if !call.repeatable && call.disowned {
            let what = format!("call {number} was executed after its client was told it was not");
            self.fail(Check::CallDisowned, what);
        }
    }

    /// Notes what a client was told.
    pub(super) fn note_told(&mut self, number: u64, told: Told) {
        let Some(call) = self.calls.calls.get_mut(&number) else {
            return;
        };
        call.disowned |= matches!(told, Told::NotSent | Told::Refused);
        let (call, nature) = (*call, nature(number));
        let possible = match told {
            Told::Answered => nature == Nature::Answered && call.executions > 0,
            Told::Failed => nature == Nature::Failed && call.executions > 0,
            Told::Refused => nature == Nature::Refused,
            Told::NotSent => call.repeatable || call.executions == 0,
            Told::Nothing => true,
        };
        if !possible {
            let what = format!("{call:?} {number}, {nature:?}, and its client was told {told:?}");
            self.fail(Check::CallDisowned, what);
        }
    }

    /// A client's application has the source do something.
    pub(super) fn call_of_client(&mut self, place: usize, expected: Expected) {
        let idempotent = self.random.random_bool(0.3);
        let (number, body) = self.new_call(idempotent);
        let (ticket, asked) = (self.fresh_number(), self.now);
        let process = &mut self.clients[place];
        process.calls.insert(ticket, CallTicket { number, asked, expected });
        self.trace.line(asked, || format!("client {place} calls {number} as {ticket}"));
        let request = CallRequest { body, idempotent, ..CallRequest::default() };
        let key = Self::called_key();
        self.with_client(place, |machine, now| machine.call(ticket, key, request, now));
    }

    /// A call of a client's application ended.
    pub(super) fn take_call_answer(&mut self, place: usize, answered: &CallAnswer) {
        let CallAnswer { ticket, result } = answered;
        let Some(call) = self.clients[place].calls.remove(ticket) else {
            let what = format!("client {place}, call {ticket}: a second end");
            return self.fail(Check::EndsOnce, what);
        };
        let CallTicket { number, expected, .. } = call;
        let now = self.now;
        self.trace.line(now, || match result {
            Ok(reply) => format!("client {place}: call {number} brought {}", reply.status),
            Err(failure) => format!("client {place}: call {number}: {}", failure.error),
        });
        let told = match result {
            Ok(reply) => {
                if (reply.status, &reply.bytes) != (STATUS, &answer(number)) {
                    let length = reply.bytes.len();
                    let what = format!("client {place}, call {number}: {length} other bytes");
                    self.fail(Check::WrongBytes, what);
                }
                Told::Answered
            }
            Err(failure) => match self.told_by(place, &failure.error, expected) {
                Some(told) => told,
                None => {
                    let rest = self.stage.is_rest();
                    let check = if rest { Check::Rest } else { Check::WrongError };
                    let what = format!("client {place}, call {number}: {}", failure.error);
                    return self.fail(check, what);
                }
            },
        };
        self.note_told(number, told);
    }

    /// What an error says of a call. `None` if it cannot be true here.
    fn told_by(&self, place: usize, error: &Error, expected: Expected) -> Option<Told> {
        let may_fail = expected == Expected::Anything && self.plan.mood == Mood::Rough;
        match error {
            Error::Failed { code: ErrorCode::Refused, .. } => Some(Told::Refused),
            Error::Failed { code: ErrorCode::Source, .. } => Some(Told::Failed),
            Error::Failed { code: ErrorCode::Unavailable, .. } => may_fail.then_some(Told::NotSent),
            Error::TimedOut { .. } => (may_fail || self.plan.is_tight()).then_some(Told::NotSent),
            Error::BodyLost { .. } => may_fail.then_some(Told::Nothing),
            // The other process with this token ends the session, at any time.
            Error::FateUnknown => (may_fail || self.clients[place].cloned).then_some(Told::Nothing),
            Error::NoCalls { .. } | Error::Failed { code: ErrorCode::NotSupported, .. } => {
                self.somebody_is_older().then_some(Told::NotSent)
            }
            Error::Superseded => self.clients[place].cloned.then_some(Told::NotSent),
            _ => None,
        }
    }

    /// Whether a router or server runs that speaks no version with calls, or may have run.
    fn somebody_is_older(&self) -> bool {
        if self.plan.mixed_versions {
            return true;
        }
        let routers = (0..self.routers.len()).map(Host::Router);
        let mut members = routers.chain((0..self.servers.len()).map(Host::Server));
        members.any(|router| self.versions(router).newest < CALL_VERSION)
    }

    /// Looks for calls of a client that should have ended.
    pub(super) fn check_overdue_calls(&mut self, place: usize) {
        let limit = super::client::GET_TIMEOUT + Duration::from_millis(100);
        let now = self.now;
        let calls = &self.clients[place].calls;
        let late = calls.values().find(|call| now.since(call.asked) > limit);
        if let Some(CallTicket { number, .. }) = late {
            let what = format!("client {place}, call {number}: no end");
            self.fail(Check::EndsOnce, what);
        }
    }

    /// Calls of the application beside its gets, while things break.
    pub(super) fn call_now_and_then(&mut self, place: usize) {
        if matches!(self.stage, Stage::Begin | Stage::Rough) && self.random.random_bool(0.3) {
            self.call_of_client(place, Expected::Anything);
        }
    }
}
