//! What a client shows of itself.

use super::{Client, Statistics};
use crate::wire::{Assignment, ClientId, Key};
use bytes::Bytes;

impl Client {
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

    /// Gets and calls that wait for their answer.
    pub fn waiting(&self) -> usize {
        self.requests.tickets() + self.calls.len()
    }

    /// Items that are held, and what they cost against
    /// [`Config::max_cache_bytes`](super::Config::max_cache_bytes).
    pub fn cache_size(&self) -> (usize, u64) {
        self.cache.size()
    }

    /// The keys of all items that are held, in the order of their slots.
    pub fn held_keys(&self) -> Vec<Key> {
        self.cache.held_keys().cloned().collect()
    }

    /// What was counted since the start.
    pub fn statistics(&self) -> Statistics {
        Statistics { evictions: self.cache.evictions(), ..self.statistics }
    }
}
