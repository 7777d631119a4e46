//! The pools of a router, as its shell knows them: which clients and servers are of which.

use crate::config::{self, RouterConfig};
use crate::http::routes::Routes;
use crate::node::Planted;
use crate::node::router::{self, PoolConfig, PoolIndex};
use crate::wire::Name;
use quinn::crypto::rustls::HandshakeData;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Which clients and servers are of which pool.
pub(super) struct Pools {
    routes: Routes,
    /// The names of the cookies, one for each pool.
    cookies: Vec<String>,
    /// Servers of pools that there are not, and what those are called.
    strangers: RefCell<BTreeMap<Name, Name>>,
}

impl Pools {
    pub(super) fn new(config: &RouterConfig) -> Self {
        let cookie = |pool: &config::RouterPool| match config.pools.len() {
            1 => super::http::COOKIE.to_owned(),
            _ => format!("{}-{}", super::http::COOKIE, pool.name),
        };
        Self {
            routes: config::routes(&config.pools),
            cookies: config.pools.iter().map(cookie).collect(),
            strangers: RefCell::default(),
        }
    }

    /// The pool of a request, by its authority and the path of its target.
    pub(super) fn of_request(&self, authority: &str, path: &str) -> Option<PoolIndex> {
        self.routes.find(authority, path)
    }

    /// The pool of a native client that names none: by the host that it named in the handshake.
    pub(super) fn of_connection(&self, connection: &quinn::Connection) -> PoolIndex {
        let data = connection.handshake_data();
        let data = data.and_then(|data| data.downcast::<HandshakeData>().ok());
        self.routes.of_host(data.and_then(|data| data.server_name).as_deref())
    }

    /// The name of the cookie that holds the tokens of a pool.
    pub(super) fn cookie(&self, pool: PoolIndex) -> &str {
        &self.cookies[pool]
    }

    /// Notes a server of a pool that there is not. `false` if that is known.
    pub(super) fn note_stranger(&self, server: &Name, pool: &Name) -> bool {
        let known = self.strangers.borrow_mut().insert(server.clone(), pool.clone());
        known.as_ref() != Some(pool)
    }

    /// A server is of one of the pools.
    pub(super) fn forget_stranger(&self, server: &Name) {
        self.strangers.borrow_mut().remove(server);
    }

    /// How many servers are of pools that there are not.
    pub(super) fn strangers(&self) -> usize {
        self.strangers.borrow().len()
    }
}

/// What the machine of one worker is told.
pub(super) fn machine_config(config: &RouterConfig, seed: [u8; 32]) -> router::RouterConfig {
    let pool = |pool: &config::RouterPool| PoolConfig {
        name: pool.name.clone(),
        policy: pool.policy,
        limits: pool.limits,
        request_timeout: pool.request_timeout,
    };
    router::RouterConfig {
        pools: config.pools.iter().map(pool).collect(),
        request_timeout: config.request_timeout,
        token_lifetime: super::TOKEN_LIFETIME,
        versions: config.versions,
        seed,
        planted: Planted::default(),
    }
}
