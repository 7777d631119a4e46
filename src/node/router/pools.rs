//! The pools of a router: what each is told, and what is known of its servers.

use super::{CannotLink, PoolConfig, PoolIndex, Request, Router, SessionId};
use crate::assign::ServerIndex;
use crate::cluster::{Board, Member};
use crate::wire::{Name, Time};
use std::time::Duration;

/// Pools of one router, at the most.
pub const MAX_POOLS: usize = 64;

/// One pool.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) config: PoolConfig,
    /// The statuses of its servers.
    pub(super) board: Board,
}

/// All pools of a router, in the order of its configuration.
#[derive(Debug)]
pub(super) struct Pools(Vec<Pool>);

impl Pools {
    pub(super) fn new(configs: Vec<PoolConfig>) -> Self {
        assert!((1..=MAX_POOLS).contains(&configs.len()), "a router has one to {MAX_POOLS} pools");
        let pool = |config| Pool { config, board: Board::default() };
        Self(configs.into_iter().map(pool).collect())
    }

    /// The place of the pool with this name.
    pub(super) fn find(&self, name: &Name) -> Option<PoolIndex> {
        self.0.iter().position(|pool| pool.config.name == *name)
    }

    pub(super) fn get(&self, pool: PoolIndex) -> &Pool {
        &self.0[pool]
    }

    pub(super) fn get_mut(&mut self, pool: PoolIndex) -> &mut Pool {
        &mut self.0[pool]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.0.iter()
    }

    /// Time passed: notes whose status is too old to go by.
    pub(super) fn expire(&mut self, now: Time) {
        self.0.iter_mut().for_each(|pool| pool.board.expire(now));
    }

    /// The router stood still for so long.
    pub(super) fn excuse(&mut self, stood_still: Duration) {
        self.0.iter_mut().for_each(|pool| pool.board.excuse(stood_still));
    }

    /// A server was started anew for another pool than it was of: it is not of that one any more.
    fn forget_elsewhere(&mut self, name: &Name, except: PoolIndex) {
        let others = self.0.iter_mut().enumerate().filter(|(place, _)| *place != except);
        others.for_each(|(_, pool)| pool.board.forget(name));
    }
}

impl Router {
    /// The pool that a server says it is of, or the first one if it says nothing.
    pub(super) fn pool_named(&self, name: Option<&Name>) -> Result<PoolIndex, CannotLink> {
        let Some(name) = name else {
            return Ok(0);
        };
        self.pools.find(name).ok_or_else(|| CannotLink::NoSuchPool(name.clone()))
    }

    /// Whether there is a pool that a server says it is of.
    pub fn has_pool(&self, name: Option<&Name>) -> Result<(), CannotLink> {
        self.pool_named(name).map(|_| ())
    }

    /// A server is of this pool from now on.
    pub(super) fn place_in_pool(&mut self, name: &Name, pool: PoolIndex) {
        self.pools.forget_elsewhere(name, pool);
        self.pools.get_mut(pool).board.set_reachable(name, true);
    }

    /// The pool of a session. A session that has ended is of the first one: nobody hears of it.
    pub(super) fn session_pool(&self, session: SessionId) -> PoolIndex {
        self.sessions.get(session.0).map_or(0, |known| known.pool)
    }

    /// Whether a client of a pool can be served by a server now.
    pub(super) fn can_serve(&self, pool: PoolIndex, server: ServerIndex) -> bool {
        self.servers.is_usable(server) && self.is_of(pool, server)
    }

    /// The same for a request.
    pub(super) fn can_be_asked(&self, request: &Request, server: ServerIndex) -> bool {
        self.can_serve(self.session_pool(request.session), server)
    }

    /// Whether a server is of a pool, as far as this worker has been told.
    pub(super) fn is_of(&self, pool: PoolIndex, server: ServerIndex) -> bool {
        self.servers.get(server).is_some_and(|known| known.pool == pool)
    }

    /// Notes whether a server can be reached.
    pub(super) fn set_reachable(&mut self, server: ServerIndex, reachable: bool) {
        if let Some(known) = self.servers.get(server) {
            let board = &mut self.pools.get_mut(known.pool).board;
            board.set_reachable(self.assignments.name(server), reachable);
        }
    }

    /// Counts a client that is sent to a server.
    pub(super) fn count_sent(&mut self, server: ServerIndex) {
        if let Some(known) = self.servers.get(server) {
            let board = &mut self.pools.get_mut(known.pool).board;
            board.count_sent(self.assignments.name(server));
        }
    }

    /// What a server has said of itself.
    pub(super) fn member(&self, server: ServerIndex) -> Option<&Member> {
        let pool = self.servers.get(server)?.pool;
        self.pools.get(pool).board.member(self.assignments.name(server))
    }

    /// How long a request of a pool may go unanswered.
    pub(super) fn request_timeout(&self, pool: PoolIndex) -> Duration {
        self.pools.get(pool).config.request_timeout.unwrap_or(self.config.request_timeout)
    }
}
