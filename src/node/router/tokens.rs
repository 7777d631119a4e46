//! Token keys that change while clients are connected.

use super::Router;
use crate::wire::Time;
use crate::wire::token::TokenKeys;

/// Clients that get a new token in one turn: a few milliseconds of work, and a router with a
/// hundred thousand clients is through in seconds.
const RENEWALS_A_TURN: usize = 500;

impl Router {
    /// Takes other keys. Every client with a session gets a token that the first of them seals, in
    /// the next turns: the key that sealed its old one may be gone when it comes back.
    pub fn set_token_keys(&mut self, keys: TokenKeys) {
        self.keys = keys;
        self.renewals = self.session_of.keys().copied().collect();
    }

    /// Gives some of the clients their new tokens.
    pub(super) fn renew_tokens(&mut self, now: Time) {
        let count = self.renewals.len().min(RENEWALS_A_TURN);
        for client in self.renewals.split_off(self.renewals.len() - count) {
            self.announce(now, client, None);
        }
    }
}
