//! The versions that a server has at hand, so that an unchanged item is not read again.
//!
//! Bounded by bytes. Which item goes first is decided by a clock: a hand walks over the items in a
//! ring, passes over those used since it last came by, and takes the first one that was not.

use super::{Freshness, Version};
use crate::wire::{Key, Tag, Time};
use hashbrown::HashMap;
use slab::Slab;
use std::sync::Arc;

/// What an item costs beside its bytes: key, headers and records, roughly.
const OVERHEAD: usize = 512;

#[derive(Debug)]
struct Item {
    key: Key,
    version: Arc<Version>,
    /// The version's tag under this key: hashed once, sent with every reply.
    tag: Tag,
    /// The source need not be asked before, as long as its answer was not taken back.
    fresh_until: Time,
    freshness: Freshness,
    used: bool,
}

impl Item {
    fn cost(&self) -> usize {
        self.version.body().len() + OVERHEAD
    }
}

/// The current version of each of many keys, as far as the budget goes.
#[derive(Debug)]
pub struct Items {
    places: HashMap<Key, usize>,
    items: Slab<Item>,
    hand: usize,
    bytes: usize,
    budget: usize,
}

impl Items {
    /// Keeps at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        Self { places: HashMap::new(), items: Slab::new(), hand: 0, bytes: 0, budget }
    }

    /// The version last put under `key`, if it is still here.
    pub fn find(&mut self, key: &Key) -> Option<Arc<Version>> {
        let item = &mut self.items[*self.places.get(key)?];
        item.used = true;
        Some(Arc::clone(&item.version))
    }

    /// The version under `key` and its tag, if the source need not be asked again now.
    pub fn current(&mut self, key: &Key, now: Time) -> Option<(&Arc<Version>, Tag)> {
        let item = &mut self.items[*self.places.get(key)?];
        if item.fresh_until <= now || !item.freshness.holds() {
            return None;
        }
        item.used = true;
        Some((&item.version, item.tag))
    }

    /// The tag of a version under `key`, if that version is here.
    pub fn tag(&self, key: &Key, version: &Arc<Version>) -> Option<Tag> {
        let item = &self.items[*self.places.get(key)?];
        Arc::ptr_eq(&item.version, version).then_some(item.tag)
    }

    /// Puts a version under its key, and makes room for it. One that is larger than the whole
    /// budget is not kept. `freshness` is what the source said of it when it was asked.
    pub fn insert(
        &mut self,
        key: &Key,
        version: Arc<Version>,
        asked_at: Time,
        freshness: Freshness,
    ) {
        let fresh_until = asked_at + freshness.lasts();
        if let Some(place) = self.places.get(key) {
            let item = &mut self.items[*place];
            if Arc::ptr_eq(&item.version, &version) {
                (item.fresh_until, item.freshness) = (fresh_until, freshness);
                return;
            }
        }
        self.remove(key);
        // What is kept for long does not keep the buffer that the key arrived in.
        let key = key.detached();
        let tag = key.tag(&version.fingerprint().digest);
        let item = Item { key: key.clone(), version, tag, fresh_until, freshness, used: false };
        if item.cost() > self.budget {
            return;
        }
        while self.bytes + item.cost() > self.budget {
            self.evict_one();
        }
        self.bytes += item.cost();
        let place = self.items.insert(item);
        self.places.insert(key, place);
    }

    /// Forgets the version under `key`.
    pub fn remove(&mut self, key: &Key) {
        if let Some(place) = self.places.remove(key) {
            self.bytes -= self.items.remove(place).cost();
        }
    }

    /// Bytes kept now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn evict_one(&mut self) {
        assert!(!self.items.is_empty(), "nothing is kept, yet {} bytes are counted", self.bytes);
        loop {
            if self.hand >= self.items.capacity() {
                self.hand = 0;
            }
            let place = self.hand;
            self.hand += 1;
            match self.items.get_mut(place) {
                Some(item) if item.used => item.used = false,
                Some(item) => {
                    let key = item.key.clone();
                    return self.remove(&key);
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::Lease;
    use crate::wire::HeaderBlock;
    use bytes::Bytes;
    use std::time::Duration;

    fn version(size: usize) -> Arc<Version> {
        Arc::new(Version::new(HeaderBlock::default(), Bytes::from(vec![0; size])))
    }

    #[test]
    fn the_budget_is_never_exceeded_and_used_items_stay() {
        let mut items = Items::new(10 * (OVERHEAD + 100));
        let key = |number: usize| -> Key { format!("/{number}").parse().unwrap() };
        for number in 0..100 {
            items.insert(&key(number), version(100), Time::default(), Freshness::default());
            assert!(items.bytes() <= 10 * (OVERHEAD + 100));
            assert!(items.find(&key(0)).is_some(), "used all the time, gone at {number}");
        }
        assert!(items.find(&key(99)).is_some());
        assert!(items.find(&key(50)).is_none());
        items.insert(&key(1), version(100_000), Time::default(), Freshness::default());
        assert!(items.find(&key(1)).is_none(), "larger than the budget");
    }

    #[test]
    fn an_item_is_current_until_the_source_must_be_asked_again() {
        let mut items = Items::new(1 << 20);
        let (key, version): (Key, _) = ("/a".parse().unwrap(), version(1));
        let at = Time::from_micros;
        let lasting = |micros| Freshness::lasting(Duration::from_micros(micros));
        items.insert(&key, Arc::clone(&version), at(2), lasting(8));
        let (current, tag) = items.current(&key, at(9)).unwrap();
        assert!(Arc::ptr_eq(current, &version));
        assert_eq!(tag, key.tag(&version.fingerprint().digest));
        assert!(items.current(&key, at(10)).is_none() && items.find(&key).is_some());
        items.insert(&key, Arc::clone(&version), at(10), lasting(10));
        assert!(items.current(&key, at(19)).is_some(), "it was found unchanged");
        items.insert(&key, version, at(20), Freshness::default());
        assert!(items.current(&key, at(20)).is_none(), "the source said nothing");
    }

    #[test]
    fn an_item_is_current_until_its_lease_is_revoked() {
        let mut items = Items::new(1 << 20);
        let (key, version): (Key, _) = ("/a".parse().unwrap(), version(1));
        let (start, hour) = (Time::default(), Duration::from_secs(3600));
        let lease = Lease::new();
        let insert = |items: &mut Items, lease: &Lease| {
            let freshness = Freshness::leased(hour, lease.clone());
            items.insert(&key, Arc::clone(&version), start, freshness);
        };
        insert(&mut items, &lease);
        assert!(items.current(&key, start + Duration::from_secs(3599)).is_some());
        lease.revoke();
        assert!(items.current(&key, start).is_none() && items.find(&key).is_some());
        insert(&mut items, &lease);
        assert!(items.current(&key, start).is_none(), "it was taken back while it was read");
        let next = Lease::new();
        insert(&mut items, &next);
        assert!(items.current(&key, start).is_some() && next.is_shared());
        assert!(items.current(&key, start + hour).is_none(), "a lease does not last for ever");
        items.remove(&key);
        assert!(!next.is_shared(), "what is forgotten holds no lease");
    }
}
