//! The bytes of versions, by digest, in an arena.
//!
//! Those not used lately go first. Where their places do not make room because they do not lie
//! together, those go that lie where it is cheapest.

use super::arena::{Arena, MAX_PAYLOAD};
use super::clock::Clock;
use crate::wire::Digest;
use bytes::Bytes;
use hashbrown::HashMap;

/// Payloads not used lately make room for a new one up to so many times its length; then its
/// neighbours do.
const CHOSEN_BY_AGE: usize = 2;

#[derive(Debug)]
struct Payload {
    digest: Digest,
    bytes: Bytes,
}

#[derive(Debug)]
pub(super) struct Payloads {
    places: HashMap<Digest, usize>,
    payloads: Clock<Payload>,
    arena: Arena,
    budget: usize,
}

impl Payloads {
    pub(super) fn new(budget: usize) -> Self {
        let (places, payloads) = (HashMap::new(), Clock::default());
        Self { places, payloads, arena: Arena::new(budget), budget }
    }

    pub(super) fn set_budget(&mut self, budget: usize) {
        if budget == self.budget {
            return;
        }
        self.budget = budget;
        self.arena.set_budget(budget);
        while self.arena.committed() > budget
            && let Some(owners) = self.arena.vacate(1).filter(|owners| !owners.is_empty())
        {
            owners.into_iter().for_each(|owner| self.drop_owned(owner));
            self.arena.reclaim();
        }
    }

    /// Keeps a payload, if it fits at all, and makes room for it. Returns the bytes as they are
    /// kept, or as they came if they are not.
    pub(super) fn insert(&mut self, digest: &Digest, bytes: &Bytes) -> Bytes {
        if let Some(kept) = self.find(digest) {
            return kept;
        }
        if bytes.len() > self.budget.min(MAX_PAYLOAD) {
            return bytes.clone();
        }
        let Some(kept) = self.store(bytes) else {
            return bytes.clone();
        };
        let place = self.payloads.insert(Payload { digest: *digest, bytes: kept.clone() });
        self.places.insert(*digest, place);
        kept
    }

    /// Copies bytes into the arena, for the place that the next payload will have.
    fn store(&mut self, bytes: &Bytes) -> Option<Bytes> {
        let mut dropped = 0;
        loop {
            let owner = u32::try_from(self.payloads.next_place()).ok()?;
            if let Some(kept) = self.arena.store(bytes, owner) {
                return Some(kept);
            }
            if dropped < CHOSEN_BY_AGE * bytes.len()
                && let Some(payload) = self.payloads.evict()
            {
                dropped += payload.bytes.len().max(1);
                self.places.remove(&payload.digest);
                continue;
            }
            let owners = self.arena.vacate(bytes.len()).filter(|owners| !owners.is_empty())?;
            owners.into_iter().for_each(|owner| self.drop_owned(owner));
        }
    }

    /// Drops what lies under an owner's number. It may have been dropped before, and live by what
    /// is being sent of it; then another one may have the number, and is the price.
    fn drop_owned(&mut self, owner: u32) {
        if let Some(payload) = self.payloads.take(owner as usize) {
            self.places.remove(&payload.digest);
        }
    }

    pub(super) fn find(&mut self, digest: &Digest) -> Option<Bytes> {
        let place = *self.places.get(digest)?;
        Some(self.payloads.touch(place).bytes.clone())
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.places.contains_key(digest)
    }

    /// Bytes of memory that they take.
    pub(super) fn committed(&self) -> usize {
        self.arena.committed()
    }

    /// Bytes of the payloads themselves.
    pub(super) fn live(&self) -> usize {
        self.arena.live()
    }

    pub(super) fn len(&self) -> usize {
        self.payloads.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(number: u32, length: usize) -> (Digest, Bytes) {
        let mut digest = [0; 16];
        digest[..4].copy_from_slice(&number.to_be_bytes());
        (Digest(digest), Bytes::from(vec![number as u8; length]))
    }

    #[test]
    fn room_is_made_for_payloads_of_all_lengths_within_the_budget() {
        let mut payloads = Payloads::new(4 << 20);
        let mut sending = Vec::new();
        for number in 0..3000 {
            let length = [100, 3_000, 70_000, 20, 900_000][number as usize % 5];
            let (digest, bytes) = payload(number, length);
            let kept = payloads.insert(&digest, &bytes);
            assert_eq!(kept, bytes);
            assert!(payloads.committed() <= 4 << 20);
            // Some are being sent for a while.
            if number % 7 == 0 {
                sending.push((number, kept));
            }
            if sending.len() > 10 {
                let (number, kept) = sending.remove(0);
                assert!(kept.iter().all(|byte| *byte == number as u8));
            }
        }
        assert!(payloads.contains(&payload(2999, 0).0) && payloads.len() > 5);
    }

    #[test]
    fn a_smaller_budget_holds_at_once() {
        let mut payloads = Payloads::new(4 << 20);
        for number in 0..1000 {
            let (digest, bytes) = payload(number, 3_000);
            payloads.insert(&digest, &bytes);
        }
        payloads.set_budget(1 << 20);
        assert!(payloads.committed() <= 1 << 20);
        for number in 0..1000 {
            let (digest, bytes) = payload(number, 3_000);
            payloads.insert(&digest, &bytes);
        }
        assert!(payloads.committed() <= 1 << 20 && payloads.len() > 200);
        payloads.set_budget(0);
        assert_eq!((payloads.committed(), payloads.live()), (0, 0));
    }
}
