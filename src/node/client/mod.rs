//! The client machine: a cache with numbered slots, one session, and gets that end exactly once.
//!
//! A get becomes a request, the request becomes one or more attempts, and only an answer whose tag
//! is the one of the client's own key and own bytes is handed out (the end-to-end argument: the
//! server may be wrong, the client never is). Whatever else comes, the item is asked for again:
//! with the key where the server may have meant another one, with the strong validator where it may
//! have meant another version.
//!
//! The driver calls `handle_*` with what happened, then drains [`Client::poll_output`], then waits
//! until [`Client::poll_timeout`] at the latest and calls [`Client::handle_timeout`].

mod asking;
mod backoff;
mod batch;
mod bodies;
mod cache;
mod calling;
mod calls;
mod delta;
mod error;
mod inventory;
mod pulse;
mod replies;
mod request;
mod requests;
mod session;
#[cfg(test)]
mod tests;
mod types;
mod view;

pub use crate::wire::session::CloseCode;
pub use calls::{CallAnswer, CallReply, CallRequest};
pub use error::Error;
#[cfg(feature = "client")]
pub(crate) use replies::printable;
pub use types::{
    Answer, Config, Details, Failure, Item, Output, Reply, ReplyKind, Saved, SavedItem, Statistics,
    ValidatorKind, ValidatorPolicy,
};

use crate::wire::session::{Assigned, GoawayReason, Ping, Welcome};
use crate::wire::{Frame, FrameType, Tag, Time};
use cache::Cache;
use calls::Calls;
use pulse::Pulse;
use request::Stage;
use requests::Requests;
use session::{Due, Session};
use std::collections::VecDeque;

/// A client of one pool. See the module's own words.
pub struct Client {
    config: Config,
    session: Session,
    pulse: Pulse,
    cache: Cache,
    requests: Requests,
    calls: Calls,
    inventory: inventory::Listing,
    /// What was sent last was a call.
    call_was_last: bool,
    outputs: VecDeque<Output>,
    statistics: Statistics,
    /// Why there will be no session any more.
    ended: Option<Error>,
}

impl Client {
    /// Makes a client, which wants to connect at once. `seed` is for the jitter of its waits.
    ///
    /// # Panics
    /// If `config` names no router, or allows no slot.
    pub fn new(config: Config, saved: Saved, seed: u64, now: Time) -> Self {
        assert!(config.max_slots > 0, "a client has at least one slot");
        let max_memory = if config.persist { config.max_memory_bytes } else { u64::MAX };
        let mut client = Self {
            session: Session::new(&config, saved.token, seed, now),
            pulse: Pulse::new(now),
            cache: Cache::new(config.max_cache_bytes, max_memory, config.persist),
            requests: Requests::default(),
            calls: Calls::default(),
            inventory: inventory::Listing::default(),
            call_was_last: false,
            outputs: VecDeque::new(),
            statistics: Statistics::default(),
            ended: None,
            config,
        };
        for item in saved.items {
            client.cache.restore(item, client.config.max_slots, &mut client.outputs);
        }
        client.handle_timeout(now);
        client
    }

    /// The connection that was asked for stands; the session stream and the lane are open.
    pub fn handle_connected(&mut self, now: Time) {
        if self.session.is_open() {
            self.change_router(now);
        }
        if let Some(hello) = self.session.connected(now) {
            self.outputs.push_back(Output::SendSession(hello));
            self.send();
        }
    }

    /// The connection is gone, or could not be made.
    pub fn handle_disconnected(&mut self, reason: &str, now: Time) {
        self.lose_session(reason, now);
    }

    /// The router closed the connection, with the application's code and reason.
    pub fn handle_closed(&mut self, code: u64, reason: &str, now: Time) {
        match CloseCode::from_code(code) {
            Some(CloseCode::Superseded) => self.end(Error::Superseded),
            Some(CloseCode::NotWelcome) if self.session.refused() => {
                self.end(Error::NotWelcome { reason: reason.to_owned() });
            }
            _ => self.lose_session(reason, now),
        }
    }

    /// The router's bytes are no frames, or otherwise against the protocol.
    pub fn handle_violation(&mut self, reason: &str, now: Time) {
        if self.session.is_open() {
            self.statistics.violations += 1;
            let reason = format!("the router broke the protocol: {reason}");
            self.close(CloseCode::ProtocolViolation, reason, now);
        }
    }

    /// A frame came on the session stream.
    pub fn handle_session_frame(&mut self, frame: &Frame, now: Time) {
        if !self.session.is_open() {
            return;
        }
        if let Err(why) = self.session_frame(frame, now) {
            self.handle_violation(&why, now);
        }
    }

    fn session_frame(&mut self, frame: &Frame, now: Time) -> Result<(), String> {
        if frame.kind() == FrameType::Pong {
            self.pong(Ping::decode(frame.payload()).map_err(|error| error.to_string())?, now);
            return Ok(());
        }
        self.heard(now);
        match frame.kind() {
            FrameType::Welcome => self
                .welcome(Welcome::decode(frame.payload()).map_err(|error| error.to_string())?, now),
            FrameType::Assigned => self.assigned(frame),
            FrameType::Goaway => {
                match GoawayReason::decode(frame.payload()).map_err(|error| error.to_string())? {
                    GoawayReason::Shutdown => self.session.drain(now),
                    GoawayReason::Superseded => {
                        let (code, reason) = (CloseCode::Done, Error::Superseded.to_string());
                        self.outputs.push_back(Output::Close { code, reason });
                        self.end(Error::Superseded);
                    }
                }
                self.end_drain(now);
                Ok(())
            }
            other => Err(format!("{other:?} has no place on the session stream")),
        }
    }

    fn welcome(&mut self, welcome: Welcome, now: Time) -> Result<(), String> {
        let greeting = self.session.welcomed(welcome, now)?;
        self.pulse.begin(greeting, now);
        let (_, slots) = self.session.allowance().expect("a welcomed client may ask");
        for index in self.requests.indexes(|request| request.slot.is_some()) {
            let slot = self.requests[index].slot.expect("it was asked for");
            // Neither reads from disk nor requests may hold on to what must be given up.
            if u64::from(slot) >= slots {
                self.abandon_attempt(index);
                self.cache.release(slot, &mut self.outputs);
                self.requests[index].slot = None;
                self.requests.set_stage(index, Stage::Queued);
            }
        }
        self.cache.truncate(slots, &mut self.outputs);
        self.emit_token();
        self.send();
        Ok(())
    }

    fn assigned(&mut self, frame: &Frame) -> Result<(), String> {
        let assigned = Assigned::decode(frame.payload()).map_err(|error| error.to_string())?;
        if self.session.assigned(assigned) {
            self.emit_token();
        }
        Ok(())
    }

    fn emit_token(&mut self) {
        if let Some(token) = self.session.token().filter(|_| self.config.persist) {
            self.outputs.push_back(Output::TokenChanged(token.clone()));
        }
    }

    /// There will be no session any more.
    fn end(&mut self, error: Error) {
        self.forget_session();
        self.end_attempt();
        self.session.end();
        for index in self.requests.indexes(|_| true) {
            self.finish(index, Err(error.clone()));
        }
        self.end_calls(&error);
        self.ended = Some(error);
    }

    /// What [`poll_timeout`](Self::poll_timeout) waited for is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((ticket, index, wanted)) = self.requests.pop_expired(now) {
            if wanted {
                let failure = Failure { error: self.timed_out(), details: self.details(index) };
                self.outputs.push_back(Output::Answer(Answer { ticket, result: Err(failure) }));
            }
            let loading = matches!(self.requests[index].stage, Stage::Loading { .. });
            if self.requests.is_orphan(index) && !loading {
                self.drop_request(index);
            }
        }
        self.requests.end_waits(now);
        self.expire_calls(now);
        match self.session.due(now) {
            Some(Due::Connect) => self.connect(now),
            Some(Due::GiveUp(why)) => self.close(CloseCode::Done, why.to_owned(), now),
            None => {}
        }
        self.give_up_silent_router(now);
        self.rest_unless_waiting(now);
        self.send();
        self.beat(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        let requests = self.requests.deadline().into_iter().chain(self.calls.deadline());
        let session = self.session.deadline().into_iter().chain(self.beat_deadline());
        session.chain(requests).min()
    }

    /// A version is on disk, so that its bytes may leave memory; or it could not be written, and is
    /// kept while there is room for it in memory.
    pub fn handle_written(&mut self, slot: u32, tag: Tag, on_disk: bool) {
        self.cache.written(slot, tag, on_disk, &mut self.outputs);
    }

    fn connect(&mut self, now: Time) {
        let router = self.session.connect(now);
        self.outputs.push_back(Output::Connect { router });
    }

    fn close(&mut self, code: CloseCode, reason: String, now: Time) {
        self.outputs.push_back(Output::Close { code, reason: reason.clone() });
        self.lose_session(&reason, now);
    }

    fn lose_session(&mut self, reason: &str, now: Time) {
        self.forget_session();
        if !self.go_on_with_attempt(reason, now) && self.session.lost(reason, now) {
            self.connect(now);
        }
    }

    fn forget_session(&mut self) {
        // What was to be done for it is done again for the next one.
        self.outputs.retain(|output| {
            let of_session = matches!(output, Output::SendSession(_) | Output::SendLane(_));
            !of_session && !matches!(output, Output::Connect { .. })
        });
        self.statistics.lost_sessions += u64::from(self.session.is_open());
        self.requests.requeue_all();
        self.inventory.forget_session();
        self.lose_calls();
        for index in self.requests.indexes(|request| request.waiting().next().is_none()) {
            if !matches!(self.requests[index].stage, Stage::Loading { .. }) {
                self.drop_request(index);
            }
        }
    }

    /// Ends a session that the router wants to end, once nothing is open in it.
    fn end_drain(&mut self, now: Time) {
        let open = self.in_flight() - self.requests.abandoned();
        if self.session.is_draining() && open == 0 {
            self.close(CloseCode::Done, "the router is shutting down".to_owned(), now);
        }
    }
}
