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

mod cache;
mod replies;
mod requests;
mod session;
#[cfg(test)]
mod tests;
mod types;

pub use crate::wire::session::CloseCode;
pub use types::{
    Answer, Config, Details, Error, Failure, Item, Output, Reply, ReplyKind, Saved, SavedItem,
    Statistics, ValidatorKind, ValidatorPolicy,
};

use crate::wire::lane::{Get, Validator};
use crate::wire::session::{Assigned, GoawayReason, Welcome};
use crate::wire::{Assignment, ClientId, DecodeError, Frame, FrameType, Key, Tag, Time};
use bytes::Bytes;
use cache::{Cache, HOLDS_NOTHING, Room};
use requests::{Requests, Stage};
use session::{Due, Session};
use std::collections::VecDeque;

/// A client of one pool. See the module's own words.
pub struct Client {
    config: Config,
    session: Session,
    cache: Cache,
    requests: Requests,
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
            cache: Cache::new(config.max_cache_bytes, max_memory, config.persist),
            requests: Requests::default(),
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

    /// Asks for an item. Ends in one [`Output::Answer`] with this ticket, which must not be in use.
    ///
    /// Where the key is being asked for already, this get shares the answer, whatever its policy.
    pub fn get(&mut self, ticket: u64, key: Key, policy: ValidatorPolicy, now: Time) {
        let refused = if self.ended.is_some() {
            self.ended.clone()
        } else if self.requests.tickets() >= self.config.max_waiting {
            Some(Error::TooManyWaiting { limit: self.config.max_waiting })
        } else {
            None
        };
        if let Some(error) = refused {
            let failure = Failure { error, details: Details::default() };
            return self.outputs.push_back(Output::Answer(Answer { ticket, result: Err(failure) }));
        }
        self.requests.add(ticket, key, policy, now + self.config.request_timeout);
        self.send();
    }

    /// Gives up a get: there will be no answer. What was sent is still answered to the cache.
    pub fn cancel(&mut self, ticket: u64) {
        let Some(index) = self.requests.cancel(ticket) else {
            return;
        };
        if let Stage::Queued | Stage::Waiting { .. } = self.requests[index].stage {
            self.drop_request(index);
            self.send();
        }
    }

    /// The connection that was asked for stands; the session stream and the lane are open.
    pub fn handle_connected(&mut self, now: Time) {
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
        match frame.kind() {
            FrameType::Welcome => self.welcome(Welcome::decode(frame.payload()).map_err(say)?, now),
            FrameType::Assigned => self.assigned(frame),
            FrameType::Goaway => {
                match GoawayReason::decode(frame.payload()).map_err(say)? {
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
        self.session.welcomed(welcome, now)?;
        let (_, slots) = self.session.allowance().expect("a welcomed client may ask");
        for index in self.requests.indexes(|request| request.slot.is_some()) {
            let slot = self.requests[index].slot.expect("it was asked for");
            // Neither reads from disk nor requests may hold on to what must be given up.
            if u64::from(slot) >= slots {
                self.abandon_attempt(index);
                self.cache.release(slot);
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
        let assigned = Assigned::decode(frame.payload()).map_err(say)?;
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
        self.session.end();
        for index in self.requests.indexes(|_| true) {
            self.finish(index, Err(error.clone()));
        }
        self.ended = Some(error);
    }

    /// What [`poll_timeout`](Self::poll_timeout) waited for is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((ticket, index, wanted)) = self.requests.pop_expired(now) {
            if wanted {
                let trouble = self.session.trouble().filter(|_| !self.session.is_ready());
                let after = self.config.request_timeout;
                let error = Error::TimedOut { after, trouble: trouble.map(str::to_owned) };
                let failure = Failure { error, details: self.details(index) };
                self.outputs.push_back(Output::Answer(Answer { ticket, result: Err(failure) }));
            }
            let loading = matches!(self.requests[index].stage, Stage::Loading);
            if self.requests.is_orphan(index) && !loading {
                self.drop_request(index);
            }
        }
        self.requests.end_waits(now);
        match self.session.due(now) {
            Some(Due::Connect) => self.connect(now),
            Some(Due::GiveUp(why)) => self.close(CloseCode::Done, why.to_owned(), now),
            None => {}
        }
        self.give_up_silent_router(now);
        self.send();
    }

    /// Half of all that the router allows is taken by requests that it never answered.
    fn give_up_silent_router(&mut self, now: Time) {
        let Some((in_flight, _)) = self.session.allowance() else {
            return;
        };
        if self.requests.abandoned() * 2 > in_flight {
            self.close(CloseCode::Done, "the router leaves requests unanswered".to_owned(), now);
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.session.deadline().into_iter().chain(self.requests.deadline()).min()
    }

    /// A version is on disk, so that its bytes may leave memory.
    pub fn handle_persisted(&mut self, slot: u32, tag: Tag) {
        self.cache.persisted(slot, tag);
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
        if self.session.lost(reason, now) {
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
        for index in self.requests.indexes(|request| request.waiting().next().is_none()) {
            if !matches!(self.requests[index].stage, Stage::Loading) {
                self.drop_request(index);
            }
        }
    }

    /// Ends a session that the router wants to end, once nothing is open in it.
    fn end_drain(&mut self, now: Time) {
        let open = self.requests.in_flight() - self.requests.abandoned();
        if self.session.is_draining() && open == 0 {
            self.close(CloseCode::Done, "the router is shutting down".to_owned(), now);
        }
    }

    /// Sends what is queued, as far as router and cache allow.
    fn send(&mut self) {
        let Some((in_flight, slots)) = self.session.allowance() else {
            return;
        };
        // A slot changes its key only when the router has said how many slots there are.
        let room = Room { slots, may_evict: self.session.is_ready() };
        while self.requests.in_flight() < in_flight {
            let Some(index) = self.requests.next_queued() else {
                return;
            };
            let request = &mut self.requests[index];
            let slot = match request.slot.filter(|slot| u64::from(*slot) < slots) {
                Some(slot) => slot,
                None if request.slot.is_some() => return,
                None => {
                    let out = &mut self.outputs;
                    let Some(slot) = self.cache.bind(&request.key, index, room, out) else {
                        return;
                    };
                    request.slot = Some(slot);
                    slot
                }
            };
            self.ask(index, slot);
        }
    }

    fn ask(&mut self, index: usize, slot: u32) {
        let (keyed, validator) = self.validator(index, slot);
        let id = self.requests.fresh_id();
        let request = &mut self.requests[index];
        request.attempts += 1;
        request.validator = Some((&validator).into());
        let key = keyed.then(|| request.key.clone());
        let frame = Get { request_id: id, slot: u64::from(slot), key, validator }.encode();
        request.wire_bytes += frame.bytes().len() as u64;
        self.requests.set_stage(index, Stage::Asked { id, keyed, body: None });
        self.outputs.push_back(Output::SendLane(frame));
    }

    /// Whether the key goes along, and what is said of the copy.
    fn validator(&mut self, index: usize, slot: u32) -> (bool, Validator) {
        let request = &self.requests[index];
        let asked_before = self.cache.ask(slot);
        let Some(held) = self.cache.held(slot) else {
            // A mirror may believe in a copy that never arrived, or that was too large to keep.
            let nothing = Validator::Strong { crc: 0, digest: HOLDS_NOTHING };
            return (true, if asked_before { nothing } else { Validator::None });
        };
        let print = &held.fingerprint;
        let strong = Validator::Strong { crc: print.crc, digest: print.digest };
        let session = self.session.number();
        let keyed = request.needs_key || !self.cache.is_named(slot, session);
        match request.policy {
            _ if request.needs_strong => (true, strong),
            ValidatorPolicy::None => (keyed, Validator::None),
            ValidatorPolicy::Crc => {
                (keyed, Validator::Crc { crc: print.crc, length: print.length })
            }
            ValidatorPolicy::Strong => (keyed, strong),
            ValidatorPolicy::Auto if !keyed && self.cache.is_confirmed(slot, session) => {
                (false, Validator::None)
            }
            ValidatorPolicy::Auto => (true, strong),
        }
    }

    /// Ends a request, and answers every get that belongs to it.
    fn finish(&mut self, index: usize, result: Result<Reply, Error>) {
        let details = self.details(index);
        let request = self.requests.remove(index);
        if let Some(slot) = request.slot {
            self.cache.release(slot);
        }
        let result = match result {
            Ok(reply) => Ok(Reply { details, ..reply }),
            Err(error) => Err(Failure { error, details }),
        };
        for ticket in request.waiting() {
            let result = result.clone();
            self.outputs.push_back(Output::Answer(Answer { ticket, result }));
        }
    }

    /// Ends a request that nobody waits for.
    fn drop_request(&mut self, index: usize) {
        self.abandon_attempt(index);
        let request = self.requests.remove(index);
        if let Some(slot) = request.slot {
            self.cache.release(slot);
        }
    }

    /// Gives up an attempt that may be under way.
    fn abandon_attempt(&mut self, index: usize) {
        self.requests.abandon_attempt(index);
        if let Some(slot) = self.requests[index].slot {
            self.cache.doubt(slot);
        }
    }

    fn details(&self, index: usize) -> Details {
        let request = &self.requests[index];
        Details {
            wire_bytes: request.wire_bytes,
            attempts: request.attempts,
            validator: request.validator,
            client: self.session.client(),
            assignment: self.session.assignment().cloned(),
        }
    }

    /// Who the client is; none before the first WELCOME.
    pub fn client_id(&self) -> Option<ClientId> {
        self.session.client()
    }

    /// Who services the client; none before the first WELCOME.
    pub fn assignment(&self) -> Option<&Assignment> {
        self.session.assignment()
    }

    /// The newest token.
    pub fn token(&self) -> Option<&Bytes> {
        self.session.token()
    }

    /// Whether the router has welcomed the client in the present session.
    pub fn is_ready(&self) -> bool {
        self.session.is_ready()
    }

    /// Gets that wait for their answer.
    pub fn waiting(&self) -> usize {
        self.requests.tickets()
    }

    /// Items that are held, and what they cost against [`Config::max_cache_bytes`].
    pub fn cache_size(&self) -> (usize, u64) {
        self.cache.size()
    }

    /// What was counted since the start.
    pub fn statistics(&self) -> Statistics {
        Statistics { evictions: self.cache.evictions(), ..self.statistics }
    }
}

fn say(error: DecodeError) -> String {
    error.to_string()
}
