//! The bytes of versions, by digest, as far as a budget goes.

use super::clock::Clock;
use crate::wire::Digest;
use bytes::Bytes;
use hashbrown::HashMap;

#[derive(Debug)]
struct Payload {
    digest: Digest,
    bytes: Bytes,
}

#[derive(Debug)]
pub(super) struct Payloads {
    places: HashMap<Digest, usize>,
    payloads: Clock<Payload>,
    bytes: usize,
    budget: usize,
}

impl Payloads {
    pub(super) fn new(budget: usize) -> Self {
        Self { places: HashMap::new(), payloads: Clock::default(), bytes: 0, budget }
    }

    pub(super) fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
        while self.bytes > self.budget && self.evict() {}
    }

    /// Keeps a payload, if it fits at all, and makes room for it. Returns the bytes as they are
    /// kept, or as they came if they are not.
    pub(super) fn insert(&mut self, digest: &Digest, bytes: &Bytes) -> Bytes {
        if let Some(kept) = self.find(digest) {
            return kept;
        }
        if bytes.len() > self.budget {
            return bytes.clone();
        }
        while self.bytes + bytes.len() > self.budget && self.evict() {}
        self.bytes += bytes.len();
        let place = self.payloads.insert(Payload { digest: *digest, bytes: bytes.clone() });
        self.places.insert(*digest, place);
        bytes.clone()
    }

    pub(super) fn find(&mut self, digest: &Digest) -> Option<Bytes> {
        let place = *self.places.get(digest)?;
        Some(self.payloads.touch(place).bytes.clone())
    }

    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.places.contains_key(digest)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.payloads.len()
    }

    fn evict(&mut self) -> bool {
        let Some(payload) = self.payloads.evict() else {
            return false;
        };
        self.places.remove(&payload.digest);
        self.bytes -= payload.bytes.len();
        true
    }
}
