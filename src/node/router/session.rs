//! A client's arrival, its token, its requests.

use super::http::Current;
use super::{Output, PoolIndex, Router, SessionId};
use crate::assign::{Entry, ServerIndex, Title};
use crate::node::Fault;
use crate::wire::session::{CloseCode, GoawayReason, Hello, Ping, Welcome};
use crate::wire::token::Token;
use crate::wire::{ClientId, Frame, FrameType, Time};
use rand::Rng;
use std::time::Duration;

/// How long a router remembers a client that has no session. The client has its token.
pub(super) const DEPARTED_MEMORY: Duration = Duration::from_secs(600);

/// One client's connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) state: SessionState,
    /// The pool that it is of.
    pub(super) pool: PoolIndex,
    pub(super) in_flight: u64,
    /// The version of the protocol that it was welcomed in.
    pub(super) version: u64,
    /// What the table last said of the client.
    pub(super) entry: Option<Entry>,
    /// What the client was told last, as a known entry.
    pub(super) told: Option<Entry>,
    /// Of a client that speaks HTTP: its requests.
    pub(super) http: Option<Box<Current>>,
    /// Later sessions of a client have higher ones, on whichever worker.
    admission: u64,
}

#[derive(Debug)]
pub(super) enum SessionState {
    /// Nothing was heard yet.
    New,
    /// HELLO came, and no server is known that the client could be given.
    Waiting { hello: Hello, until: Time },
    /// The client is known.
    Open { client: ClientId },
}

impl Session {
    pub(super) fn client(&self) -> Option<ClientId> {
        match self.state {
            SessionState::Open { client } => Some(client),
            _ => None,
        }
    }
}

impl Router {
    /// A client connected that is of the first pool unless it names another one. Returns by what
    /// number it is called from now on.
    pub fn handle_connected(&mut self) -> SessionId {
        self.handle_connected_for(0)
    }

    /// A client connected that is of this pool unless it names another one.
    pub fn handle_connected_for(&mut self, pool: PoolIndex) -> SessionId {
        let state = SessionState::New;
        let (in_flight, version, entry, told, http, admission) = (0, 0, None, None, None, 0);
        let session = Session { state, pool, in_flight, version, entry, told, http, admission };
        SessionId(self.sessions.insert(session))
    }

    /// A client's connection is gone; its answers are no longer wanted.
    pub fn handle_disconnected(&mut self, now: Time, session: SessionId) {
        self.cancel_all(session);
        self.forget_session(now, session);
    }

    fn forget_session(&mut self, now: Time, session: SessionId) {
        self.queue.remove(&session);
        let Some(known) = self.sessions.remove(session.0) else {
            return;
        };
        if known.in_flight > 0 {
            self.forget_bodies(session);
            self.requests.retain(|request| request.session != session);
        }
        let Some(client) = known.client() else {
            return;
        };
        if self.session_of.get(&client) == Some(&session) {
            self.session_of.remove(&client);
            self.departed.push_back((now + DEPARTED_MEMORY, client));
        }
    }

    /// Forgets clients that have been away for long.
    pub(super) fn forget_departed(&mut self, now: Time) {
        while let Some((_, client)) = self.departed.pop_front_if(|(at, _)| *at <= now) {
            if !self.session_of.contains_key(&client) {
                self.assignments.remove(&client);
            }
        }
    }

    /// A frame came on the session's first stream.
    pub fn handle_session_frame(&mut self, now: Time, session: SessionId, frame: &Frame) {
        let Some(known) = self.sessions.get(session.0) else {
            return;
        };
        if frame.kind() == FrameType::Ping && !matches!(known.state, SessionState::New) {
            return self.handle_ping(now, session, frame);
        }
        if !matches!((&known.state, frame.kind()), (SessionState::New, FrameType::Hello)) {
            let reason = format!("a {:?} frame does not belong here", frame.kind());
            return self.close(now, session, CloseCode::ProtocolViolation, reason);
        }
        match Hello::decode(frame.payload()) {
            Ok(hello) => self.handle_hello(now, session, hello),
            Err(error) => self.close(now, session, CloseCode::ProtocolViolation, error.to_string()),
        }
    }

    /// A client asks whether this router lives: at once, whatever else the client waits for.
    fn handle_ping(&mut self, now: Time, session: SessionId, frame: &Frame) {
        match Ping::decode(frame.payload()) {
            Ok(_) if self.config.planted.is(Fault::NoPong) => {}
            Ok(ping) => {
                self.outputs.push_back(Output::ToSession { session, frame: ping.answer() });
            }
            Err(error) => {
                self.close(now, session, CloseCode::ProtocolViolation, error.to_string());
            }
        }
    }

    fn handle_hello(&mut self, now: Time, session: SessionId, hello: Hello) {
        let ours = self.config.versions;
        if ours.common(hello.oldest, hello.newest).is_none() {
            let (oldest, newest) = (hello.oldest, hello.newest);
            let spoken = format!("{} to {}", ours.oldest, ours.newest);
            let reason = format!("versions {oldest} to {newest} are offered, {spoken} spoken");
            return self.close(now, session, CloseCode::NotWelcome, reason);
        }
        if let Some(name) = &hello.pool {
            let Some(pool) = self.pools.find(name) else {
                let reason = format!("there is no pool {name}");
                return self.close(now, session, CloseCode::NotWelcome, reason);
            };
            if let Some(known) = self.sessions.get_mut(session.0) {
                known.pool = pool;
            }
        }
        self.admit(now, session, hello);
    }

    /// Welcomes a client, or lets it wait until there is a server.
    pub(super) fn admit(&mut self, now: Time, session: SessionId, hello: Hello) {
        let ours = self.config.versions;
        let version = ours.common(hello.oldest, hello.newest).unwrap_or(ours.newest);
        let pool = self.session_pool(session);
        // A token that is not good any more is no fault of the client's: it becomes a fresh one.
        let token = hello.token.as_ref().and_then(|sealed| {
            let token = self.keys.open(sealed, now.as_secs()).ok()?;
            (token.pool == self.pools.get(pool).config.name).then_some(token)
        });
        let client = match token {
            Some(token) => {
                if let Some(entry) = self.assignments.pack(&token.assignment, Title::Known) {
                    self.assignments.raise(token.client, entry);
                }
                // It is not fresh any more: another router may have found a server for it
                // meanwhile.
                self.assignments.forget_fresh(&token.client);
                token.client
            }
            None => {
                match self.choose_primary(pool).and_then(|primary| self.assign_fresh(primary)) {
                    Some(client) => client,
                    None => return self.wait_for_server(now, session, hello),
                }
            }
        };
        self.supersede(now, client, session);
        let Some(entry) = self.assignments.find(&client) else {
            return self.wait_for_server(now, session, hello);
        };
        let admission = self.assignments.shared().next_admission();
        if let Some(known) = self.sessions.get_mut(session.0) {
            known.state = SessionState::Open { client };
            known.entry = Some(entry);
            known.told = Some(entry.with_title(Title::Known));
            known.admission = admission;
            known.version = version;
        }
        if hello.token.is_some() && !self.is_http(session) {
            self.outputs.push_back(Output::Admitted { client, admission });
        }
        let welcome = Welcome {
            version,
            client,
            token: self.seal(now, (client, pool), entry),
            assignment: self.assignments.spell(entry),
            limits: self.pools.get(pool).config.limits,
        };
        self.outputs.push_back(Output::ToSession { session, frame: welcome.encode() });
        self.outputs.push_back(Output::Welcomed { session });
    }

    fn wait_for_server(&mut self, now: Time, session: SessionId, hello: Hello) {
        let until = now + self.request_timeout(self.session_pool(session));
        if let Some(known) = self.sessions.get_mut(session.0) {
            // Since when it has waited stays as it was.
            if !matches!(known.state, SessionState::Waiting { .. }) {
                known.state = SessionState::Waiting { hello, until };
            }
            self.queue.insert(session);
        }
    }

    fn assign_fresh(&mut self, primary: ServerIndex) -> Option<ClientId> {
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        let client = ClientId(id);
        self.assignments.set(client, Entry::new(1, 0, primary, None, Title::Assign)?);
        Some(client)
    }

    /// One live session a client: the newer one wins. One that speaks HTTP may have several.
    fn supersede(&mut self, now: Time, client: ClientId, session: SessionId) {
        let old = self.session_of.insert(client, session).filter(|old| *old != session);
        if let Some(old) = old.filter(|old| !self.is_http(*old) && !self.is_http(session)) {
            self.close_superseded(now, old);
        }
    }

    /// Another worker has admitted a client that may have a session here.
    pub fn handle_admitted_elsewhere(&mut self, now: Time, client: ClientId, admission: u64) {
        let Some(session) = self.session_of.get(&client).copied() else {
            return;
        };
        let is_older = |known: &Session| known.admission < admission && known.http.is_none();
        if self.sessions.get(session.0).is_some_and(is_older) {
            self.close_superseded(now, session);
        }
    }

    fn close_superseded(&mut self, now: Time, old: SessionId) {
        let frame = GoawayReason::Superseded.encode();
        self.outputs.push_back(Output::ToSession { session: old, frame });
        let reason = "a newer session with the same token took over".to_owned();
        self.close(now, old, CloseCode::Superseded, reason);
    }

    /// Admits clients that waited for a server; gives up on those that waited too long.
    pub(super) fn admit_waiting(&mut self, now: Time) {
        for session in std::mem::take(&mut self.queue) {
            let known = self.sessions.get(session.0).map(|known| &known.state);
            let Some(SessionState::Waiting { hello, until }) = known else {
                continue;
            };
            let (hello, until) = (hello.clone(), *until);
            if now >= until {
                let reason = "no server can be reached: try again later".to_owned();
                self.close(now, session, CloseCode::TooBusy, reason);
            } else {
                self.admit(now, session, hello);
            }
        }
    }

    pub(super) fn close(&mut self, now: Time, session: SessionId, code: CloseCode, reason: String) {
        self.forget_session(now, session);
        self.outputs.push_back(Output::CloseSession { session, code, reason });
    }

    pub(super) fn seal(
        &mut self,
        now: Time,
        (client, pool): (ClientId, PoolIndex),
        entry: Entry,
    ) -> bytes::Bytes {
        let mut nonce = [0; 12];
        self.rng.fill_bytes(&mut nonce);
        let expires_s = (now + self.config.token_lifetime).as_secs();
        let pool = self.pools.get(pool).config.name.clone();
        let assignment = self.assignments.spell(entry);
        self.keys.seal(&Token { client, pool, assignment, expires_s }, nonce)
    }
}
