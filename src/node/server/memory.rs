//! One budget for all that a worker keeps for its clients' sake.
//!
//! It goes in eighths: one for what is made of versions, half of it differences and half what is
//! compressed for HTTP clients; at least one for mirrors; the rest for items. Mirrors
//! that grow take more of it, and payloads go first: use-cached works without them. When mirrors
//! have half of it, those of clients that have asked for nothing for long are emptied; such a
//! client tells what it holds when it is asked.

use super::{Record, Server};

/// Into so many parts the budget goes.
const PARTS: usize = 8;
/// So many of them mirrors may take at the most.
const MOST_FOR_MIRRORS: usize = 4;
/// So many bytes they may take however small the budget is.
const LEAST_FOR_MIRRORS: usize = 1 << 20;
/// Among so many clients the one is looked for whose mirror is missed least: by its age times its
/// size, so that nobody who fills slots without end does so at the cost of all others.
const SAMPLE: u32 = 16;

/// How the budget is shared now.
#[derive(Debug, Default)]
pub(super) struct Balance {
    /// Parts that mirrors have.
    mirror_parts: usize,
    /// Where a mirror that is missed little is looked for next.
    cold_hand: u32,
}

/// What of a budget is for what, in bytes.
pub(super) struct Shares {
    /// As long as mirrors are small.
    pub(super) items: usize,
    pub(super) deltas: usize,
    pub(super) codings: usize,
}

pub(super) fn shares(memory: usize) -> Shares {
    let part = memory / PARTS;
    Shares { items: memory - 2 * part, deltas: part - part / 2, codings: part / 2 }
}

impl Server {
    /// Mirrors have grown, or may have: what they take is taken from others.
    pub(super) fn balance_memory(&mut self) {
        let mut looks = self.clients.len();
        while self.mirrors_are_large() && looks > 0 {
            looks -= 1;
            self.empty_cold_mirror();
        }
        let part = (self.config.memory / PARTS).max(1);
        let needed = |bytes: usize| bytes.div_ceil(part).clamp(1, MOST_FOR_MIRRORS);
        let bytes = self.store.bytes();
        // Not given back for a little: payloads would go each time that it is taken again.
        let parts = self.balance.mirror_parts.min(needed(bytes + part / 4)).max(needed(bytes));
        self.balance.mirror_parts = parts;
        let Shares { items, .. } = shares(self.config.memory);
        self.items.set_budget(items - (parts - 1) * part);
    }

    /// Whether mirrors take more than they may.
    pub(super) fn mirrors_are_large(&self) -> bool {
        let most = self.config.memory / PARTS * MOST_FOR_MIRRORS;
        self.store.bytes() > most.max(LEAST_FOR_MIRRORS)
    }

    /// Empties the mirror of a client that has asked for nothing for long, or whose mirror is
    /// large.
    fn empty_cold_mirror(&mut self) {
        let now = self.last_turn.unwrap_or_default();
        let some = self.clients.sample(&mut self.balance.cold_hand, SAMPLE);
        let weigh = |record: &Record| {
            let age = now.since(record.asked(now)).as_millis() as u64 + 1;
            age.saturating_mul(record.mirror.bytes() as u64)
        };
        let some = some.filter(|(_, record)| record.mirror.bytes() > 0);
        let client = some.max_by_key(|(_, record)| weigh(record)).map(|(client, _)| *client);
        if let Some(record) = client.and_then(|client| self.clients.get_mut(&client)) {
            self.store.clear(&mut record.mirror);
            self.counters.emptied_mirrors += 1;
        }
    }
}
