//! What a server knows of items, and the payloads that it has at hand.
//!
//! Of an item it knows the current version: tag, fingerprint and stamp tell that it is unchanged
//! without its bytes. Payloads are kept apart, by digest: those of current versions to be sent,
//! those of earlier ones to make differences from. The budget is for both. Payloads go first, those
//! not used lately; what is known of items stays, so that use-cached goes on working. Only where
//! that takes more than its share do items go as well.

use super::clock::Clock;
use super::payloads::Payloads;
use super::{Freshness, Known, Response, Version};
use crate::wire::{Digest, Key, Tag, Time};
use bytes::Bytes;
use hashbrown::HashMap;
use std::sync::Arc;

/// What an item costs beside its key and headers: records and their places, roughly.
const OVERHEAD: usize = 256;
/// What is known of items takes at most one part in so many of the budget.
const KNOWN_SHARE: usize = 8;

#[derive(Debug)]
struct Item {
    key: Key,
    known: Arc<Known>,
    /// The version's tag under this key: hashed once, sent with every reply.
    tag: Tag,
    /// The source need not be asked before, as long as its answer was not taken back.
    fresh_until: Time,
    freshness: Freshness,
}

impl Item {
    fn cost(&self) -> usize {
        let stamp = self.known.stamp().map_or(0, Bytes::len);
        let response = self.known.response();
        let response = response.map_or(0, |it| it.fields.as_bytes().len() + size_of::<Response>());
        let headers = self.known.headers().as_bytes().len();
        self.key.as_bytes().len() + headers + stamp + response + OVERHEAD
    }
}

/// The current version of each of many keys, and payloads, as far as the budget goes.
#[derive(Debug)]
pub struct Items {
    places: HashMap<Key, usize>,
    items: Clock<Item>,
    /// What the items cost without their payloads.
    known_bytes: usize,
    payloads: Payloads,
    budget: usize,
}

impl Items {
    /// Keeps at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        Self {
            places: HashMap::new(),
            items: Clock::default(),
            known_bytes: 0,
            payloads: Payloads::new(for_payloads(budget)),
            budget,
        }
    }

    /// Keeps at most so many bytes from now on.
    pub fn set_budget(&mut self, budget: usize) {
        if self.budget != budget {
            self.budget = budget;
            self.make_room(0);
            self.payloads.set_budget(for_payloads(budget));
        }
    }

    /// What is known of the version last put under `key`.
    pub fn known(&mut self, key: &Key) -> Option<Arc<Known>> {
        let item = self.items.touch(*self.places.get(key)?);
        Some(Arc::clone(&item.known))
    }

    /// The same and its tag, if the source need not be asked again now.
    pub fn current(&mut self, key: &Key, now: Time) -> Option<(&Arc<Known>, Tag)> {
        let place = *self.places.get(key)?;
        let fresh = |item: &Item| item.fresh_until > now && item.freshness.holds();
        self.items.touch_if(place, fresh).map(|item| (&item.known, item.tag))
    }

    /// The tag of a version under `key`, if that is its current one.
    pub fn tag(&self, key: &Key, known: &Arc<Known>) -> Option<Tag> {
        let item = self.items.peek(*self.places.get(key)?);
        Arc::ptr_eq(&item.known, known).then_some(item.tag)
    }

    /// The current version of `key` is the known one still; `freshness` is what the source said of
    /// it when it was asked.
    pub fn renew(&mut self, key: &Key, known: &Arc<Known>, asked_at: Time, freshness: Freshness) {
        let same = |item: &Item| Arc::ptr_eq(&item.known, known);
        if let Some(place) = self.places.get(key)
            && let Some(item) = self.items.touch_if(*place, same)
        {
            (item.fresh_until, item.freshness) = (asked_at + freshness.lasts(), freshness);
        }
    }

    /// The same, where the source has said something new of the version.
    pub fn renew_as(&mut self, key: &Key, known: Arc<Known>, asked_at: Time, freshness: Freshness) {
        let Some(place) = self.places.get(key).copied() else {
            return;
        };
        let item = self.items.touch(place);
        self.known_bytes -= item.cost();
        item.known = known;
        self.known_bytes += item.cost();
        (item.fresh_until, item.freshness) = (asked_at + freshness.lasts(), freshness);
    }

    /// Puts a version under its key, and makes room for it. `freshness` is what the source said of
    /// it when it was asked. Returns its bytes as they are kept, or those of `version` if they are
    /// not.
    pub fn insert(
        &mut self,
        key: &Key,
        version: &Version,
        asked_at: Time,
        freshness: Freshness,
    ) -> Bytes {
        let fresh_until = asked_at + freshness.lasts();
        self.remove(key);
        // What is kept for long does not keep the buffer that the key arrived in.
        let key = key.detached();
        let tag = key.tag(&version.fingerprint().digest);
        let known = Arc::clone(version.known());
        let item = Item { key: key.clone(), known, tag, fresh_until, freshness };
        if item.cost() > self.budget / KNOWN_SHARE {
            return version.body().clone();
        }
        self.make_room(item.cost());
        self.known_bytes += item.cost();
        self.places.insert(key, self.items.insert(item));
        self.payloads.insert(&version.fingerprint().digest, version.body())
    }

    /// Forgets what is known of `key`. Its payload stays as one of an earlier version.
    pub fn remove(&mut self, key: &Key) {
        if let Some(place) = self.places.remove(key) {
            self.known_bytes -= self.items.remove(place).cost();
        }
    }

    /// The bytes of the version with this digest, if they are at hand.
    pub fn payload(&mut self, digest: &Digest) -> Option<Bytes> {
        self.payloads.find(digest)
    }

    /// Whether the bytes of the version with this digest are at hand.
    pub fn has_payload(&self, digest: &Digest) -> bool {
        self.payloads.contains(digest)
    }

    /// Keeps the bytes of a version that may be no key's current one.
    pub fn keep_payload(&mut self, digest: &Digest, bytes: &Bytes) {
        self.payloads.insert(digest, bytes);
    }

    /// Bytes of memory that are taken now, by payloads and what is known of items together.
    pub fn bytes(&self) -> usize {
        self.known_bytes + self.payloads.committed()
    }

    /// Bytes of the payloads alone, without what lies unused between them.
    pub fn payload_bytes(&self) -> usize {
        self.payloads.live()
    }

    /// Items of which something is known, and payloads.
    pub fn count(&self) -> (usize, usize) {
        (self.items.len(), self.payloads.len())
    }

    /// Forgets items until so much more may be known of others.
    fn make_room(&mut self, cost: usize) {
        while self.known_bytes + cost > self.budget / KNOWN_SHARE
            && let Some(item) = self.items.evict()
        {
            self.known_bytes -= item.cost();
            self.places.remove(&item.key);
        }
    }
}

/// What is left for payloads, whether or not the rest is used: an arena that has to give back a
/// page loses all that lies on it.
fn for_payloads(budget: usize) -> usize {
    budget - budget / KNOWN_SHARE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::Lease;
    use crate::wire::HeaderBlock;
    use std::time::Duration;

    fn version(number: usize, size: usize) -> Version {
        let mut body = vec![0; size];
        body[..8].copy_from_slice(&number.to_be_bytes());
        Version::new(HeaderBlock::default(), Bytes::from(body))
    }

    fn key(number: usize) -> Key {
        format!("/{number}").parse().unwrap()
    }

    #[test]
    fn the_budget_is_never_exceeded_and_payloads_go_before_what_is_known() {
        const BUDGET: usize = 4 << 20;
        let mut items = Items::new(BUDGET);
        let digest = |number| version(number, 10_000).fingerprint().digest;
        let mut gone = 0;
        for number in 0..1000 {
            items.insert(
                &key(number),
                &version(number, 10_000),
                Time::default(),
                Freshness::default(),
            );
            assert!(items.bytes() <= BUDGET);
            if items.payload(&digest(0)).is_none() {
                gone += 1;
                items.insert(&key(0), &version(0, 10_000), Time::default(), Freshness::default());
            }
        }
        assert!(gone < 4, "it is used all the time, and goes only with its page: {gone} times");
        assert!(items.payload(&digest(999)).is_some() && items.payload(&digest(500)).is_none());
        assert!((0..1000).all(|number| items.known(&key(number)).is_some()), "that is little");
        for number in 0..20_000 {
            items.insert(&key(number), &version(number, 8), Time::default(), Freshness::default());
            assert!(items.bytes() <= BUDGET && items.known(&key(number)).is_some());
        }
        assert!(items.count().0 < 20_000, "there are bounds to what is known as well");
    }

    #[test]
    fn what_is_larger_than_the_budget_is_known_and_not_kept() {
        let mut items = Items::new(1 << 20);
        let large = version(1, 2 << 20);
        let bytes = items.insert(&key(1), &large, Time::default(), Freshness::default());
        assert_eq!(bytes, large.body());
        assert!(items.known(&key(1)).is_some() && !items.has_payload(&large.fingerprint().digest));
    }

    #[test]
    fn payloads_of_earlier_versions_stay_as_long_as_there_is_room() {
        let mut items = Items::new(1 << 20);
        let versions: Vec<_> = (0..3).map(|number| version(number, 1000)).collect();
        for version in &versions {
            items.insert(&key(1), version, Time::default(), Freshness::default());
        }
        let kept = |items: &mut Items, version: &Version| {
            items.payload(&version.fingerprint().digest).as_ref() == Some(version.body())
        };
        assert!(versions.iter().all(|version| kept(&mut items, version)));
        items.set_budget(0);
        assert!(items.bytes() == 0 && items.known(&key(1)).is_none());
    }

    #[test]
    fn an_item_is_current_until_the_source_must_be_asked_again() {
        let mut items = Items::new(1 << 20);
        let (key, version) = (key(1), version(1, 10));
        let at = Time::from_micros;
        let lasting = |micros| Freshness::lasting(Duration::from_micros(micros));
        items.insert(&key, &version, at(2), lasting(8));
        let (current, tag) = items.current(&key, at(9)).unwrap();
        assert!(Arc::ptr_eq(current, version.known()));
        assert_eq!(tag, key.tag(&version.fingerprint().digest));
        assert!(items.current(&key, at(10)).is_none() && items.known(&key).is_some());
        items.renew(&key, version.known(), at(10), lasting(10));
        assert!(items.current(&key, at(19)).is_some(), "it was found unchanged");
        let lease = Lease::new();
        let leased = Freshness::leased(Duration::from_secs(1), lease.clone());
        items.renew(&key, version.known(), at(20), leased);
        assert!(items.current(&key, at(30)).is_some());
        lease.revoke();
        assert!(items.current(&key, at(30)).is_none(), "the source has taken it back");
    }
}
