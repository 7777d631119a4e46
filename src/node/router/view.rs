//! What a router shows of itself.

use super::pools::Pool;
use super::{HealthState, Router, SessionId};
use crate::assign::Title;
use crate::wire::backplane::{Status, UseCachedBy};
use crate::wire::{Assignment, ClientId, FrameType, Name};

/// Replies that went to clients, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyCounters {
    /// USE_CACHED.
    pub use_cached: u64,
    /// FULL.
    pub full: u64,
    /// DELTA.
    pub delta: u64,
    /// BATCH_REPLY.
    pub batch: u64,
    /// NOTED.
    pub noted: u64,
    /// NOT_FOUND.
    pub not_found: u64,
    /// BUSY.
    pub busy: u64,
    /// CALL_REPLY.
    pub called: u64,
    /// FATE_UNKNOWN.
    pub fate_unknown: u64,
    /// ERROR.
    pub error: u64,
    /// UNKNOWN_SLOT.
    pub unknown_slot: u64,
    /// USE_CACHED because of the mirror alone.
    pub by_mirror: u64,
    /// USE_CACHED because of the client's CRC.
    pub by_crc: u64,
    /// USE_CACHED because of the client's digest.
    pub by_strong: u64,
}

impl ReplyCounters {
    pub(super) fn count(&mut self, kind: FrameType) {
        let counter = match kind {
            FrameType::UseCached => &mut self.use_cached,
            FrameType::Full => &mut self.full,
            FrameType::Delta => &mut self.delta,
            FrameType::BatchReply => &mut self.batch,
            FrameType::Noted => &mut self.noted,
            FrameType::NotFound => &mut self.not_found,
            FrameType::Busy => &mut self.busy,
            FrameType::UnknownSlot => &mut self.unknown_slot,
            FrameType::CallReply => &mut self.called,
            FrameType::FateUnknown => &mut self.fate_unknown,
            FrameType::Error => &mut self.error,
            _ => return,
        };
        *counter += 1;
    }

    pub(super) fn count_use_cached(&mut self, by: Option<UseCachedBy>) {
        match by {
            Some(UseCachedBy::Mirror) => self.by_mirror += 1,
            Some(UseCachedBy::Crc) => self.by_crc += 1,
            Some(UseCachedBy::Strong) => self.by_strong += 1,
            None => {}
        }
    }
}

/// Counts what one worker of a router did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Takeovers it asked for.
    pub takeovers: u64,
    /// Requests that it sent to servers, hedges not counted.
    pub forwarded: u64,
    /// Requests that it also sent to an alternate.
    pub hedges: u64,
    /// Of these, those that the alternate answered first.
    pub hedge_wins: u64,
    /// Bodies that broke off at one server and went on at another.
    pub resumed_bodies: u64,
    /// Bodies that broke off and could not go on.
    pub abandoned_bodies: u64,
}

impl Counters {
    fn add(&mut self, other: &Self) {
        self.takeovers += other.takeovers;
        self.forwarded += other.forwarded;
        self.hedges += other.hedges;
        self.hedge_wins += other.hedge_wins;
        self.resumed_bodies += other.resumed_bodies;
        self.abandoned_bodies += other.abandoned_bodies;
    }
}

/// A server, as a router sees it.
#[derive(Clone, Debug)]
pub struct ServerRow {
    /// Which.
    pub name: Name,
    /// The pool that it is of.
    pub pool: Name,
    /// What the router thinks of it.
    pub health: HealthState,
    /// The protocol version that is spoken with it.
    pub version: u64,
    /// Its newest status.
    pub status: Option<Status>,
}

/// A router's numbers.
#[derive(Clone, Debug)]
pub struct RouterView {
    /// All servers it knows, in order.
    pub servers: Vec<ServerRow>,
    /// Clients in its table.
    pub clients: usize,
    /// Clients that are connected.
    pub sessions: usize,
    /// Requests that are not answered yet.
    pub requests: usize,
    /// The same, as the sessions count them.
    pub in_flight: u64,
    /// What it did.
    pub counters: Counters,
    /// Replies that went to clients.
    pub replies: ReplyCounters,
}

impl ReplyCounters {
    fn add(&mut self, other: &Self) {
        self.use_cached += other.use_cached;
        self.full += other.full;
        self.delta += other.delta;
        self.batch += other.batch;
        self.noted += other.noted;
        self.not_found += other.not_found;
        self.busy += other.busy;
        self.error += other.error;
        self.called += other.called;
        self.fate_unknown += other.fate_unknown;
        self.unknown_slot += other.unknown_slot;
        self.by_mirror += other.by_mirror;
        self.by_crc += other.by_crc;
        self.by_strong += other.by_strong;
    }
}

impl RouterView {
    /// Adds the numbers of another worker of the same router. A server is as well as the worker
    /// says that thinks worst of it, and one that has not met it thinks worse than any.
    pub fn add(&mut self, other: &Self) {
        self.sessions += other.sessions;
        self.requests += other.requests;
        self.in_flight += other.in_flight;
        self.counters.add(&other.counters);
        self.replies.add(&other.replies);
        for ours in &mut self.servers {
            let theirs = other.servers.iter().find(|theirs| theirs.name == ours.name);
            ours.health = theirs.map_or(HealthState::Down, |it| ours.health.max(it.health));
            if theirs.is_none_or(|it| it.status.is_none()) {
                ours.status = None;
            }
        }
        for theirs in &other.servers {
            if self.servers.iter().all(|ours| ours.name != theirs.name) {
                let (health, status) = (HealthState::Down, None);
                self.servers.push(ServerRow { health, status, ..theirs.clone() });
            }
        }
        self.servers.sort_by(|one, other| one.name.cmp(&other.name));
    }
}

impl Router {
    /// Its numbers now.
    pub fn view(&self) -> RouterView {
        let row = |(server, known): (_, &super::servers::Server)| {
            let name = self.assignments.name(server).clone();
            let status = self.member(server).and_then(|member| member.status.clone());
            let pool = self.pools.get(known.pool).config.name.clone();
            ServerRow { name, pool, health: known.state, version: known.version, status }
        };
        let mut servers: Vec<_> = self.servers.iter().map(row).collect();
        servers.sort_by(|one, other| one.name.cmp(&other.name));
        RouterView {
            servers,
            clients: self.assignments.len(),
            sessions: self.session_of.len(),
            requests: self.requests.len(),
            in_flight: self.sessions.iter().map(|(_, session)| session.in_flight).sum(),
            counters: self.counters,
            replies: self.replies,
        }
    }

    /// Whose a session is, once that is known.
    pub fn session_client(&self, session: SessionId) -> Option<ClientId> {
        self.sessions.get(session.0)?.client()
    }

    /// Of each pool, whether a client that comes now would be served.
    pub fn ready_pools(&self) -> Vec<(Name, bool)> {
        let is_ready = |pool: &Pool| pool.board.members().any(|(_, member)| member.is_ready());
        self.pools.iter().map(|pool| (pool.config.name.clone(), is_ready(pool))).collect()
    }

    /// Who services a client, as far as this router knows.
    pub fn assignment(&self, client: &ClientId) -> Option<(Assignment, Title)> {
        let entry = self.assignments.find(client)?;
        Some((self.assignments.spell(entry), entry.title()))
    }
}
