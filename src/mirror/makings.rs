//! What is made of versions off the event loop, each thing once, and shared by all who need it.

use super::clock::Clock;
use hashbrown::HashMap;
use std::hash::Hash;

/// What a made thing costs beside its bytes, roughly; also one that was not worth it.
const OVERHEAD: usize = 128;
/// Things of one kind that are being made, or wait to be, for one worker.
const MAX_IN_WORK: usize = 64;

/// How many bytes a thing has.
pub trait Size {
    /// So many.
    fn size(&self) -> usize;
}

/// What is known of a thing that can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Making<V> {
    /// Here it is.
    Made(V),
    /// It would not save enough.
    NotWorthIt,
    /// It is being made.
    InWork,
    /// Nobody has asked for it, and there is room to make it.
    Unknown,
    /// Nobody has asked for it, and there is no room to make it now.
    Busy,
}

#[derive(Debug)]
struct Entry<K, V> {
    key: K,
    made: Option<V>,
}

impl<K, V: Size> Entry<K, V> {
    fn cost(&self) -> usize {
        self.made.as_ref().map_or(0, V::size) + OVERHEAD
    }
}

/// Made things as far as the budget goes, and those in work.
#[derive(Debug)]
pub struct Makings<K, V> {
    places: HashMap<K, usize>,
    entries: Clock<Entry<K, V>>,
    in_work: Vec<K>,
    bytes: usize,
    budget: usize,
}

impl<K: Copy + Eq + Hash, V: Clone + Size> Makings<K, V> {
    /// Keeps at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        let (entries, in_work) = (Clock::default(), Vec::new());
        Self { places: HashMap::new(), entries, in_work, bytes: 0, budget }
    }

    /// Whether what is made of so many bytes is kept, if it is not longer than they are.
    pub fn fits(&self, length: u64) -> bool {
        length.saturating_add(OVERHEAD as u64) <= self.budget as u64
    }

    /// What is known of one.
    pub fn find(&mut self, key: &K) -> Making<V> {
        if let Some(place) = self.places.get(key) {
            let entry = self.entries.touch(*place);
            return entry.made.clone().map_or(Making::NotWorthIt, Making::Made);
        }
        match self.in_work.contains(key) {
            true => Making::InWork,
            false if self.in_work.len() < MAX_IN_WORK => Making::Unknown,
            false => Making::Busy,
        }
    }

    /// Somebody begins to make it.
    pub fn begin(&mut self, key: K) {
        assert!(!self.in_work.contains(&key), "it is being made already");
        self.in_work.push(key);
    }

    /// It was made, or is not worth it. What is larger than the budget is not kept.
    pub fn finish(&mut self, key: K, made: Option<V>) {
        self.in_work.retain(|other| *other != key);
        let entry = Entry { key, made };
        if entry.cost() > self.budget || self.places.contains_key(&key) {
            return;
        }
        while self.bytes + entry.cost() > self.budget
            && let Some(evicted) = self.entries.evict()
        {
            self.bytes -= evicted.cost();
            self.places.remove(&evicted.key);
        }
        self.bytes += entry.cost();
        self.places.insert(key, self.entries.insert(entry));
    }

    /// Bytes that are kept now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Deltas, Difference, Pair};
    use super::*;
    use crate::wire::Digest;
    use bytes::Bytes;

    fn pair(number: u8) -> Pair {
        Pair { old: Digest([number; 16]), new: Digest([0; 16]) }
    }

    #[test]
    fn a_difference_is_made_once_and_few_at_one_time() {
        let mut deltas = Deltas::new(1 << 20);
        for number in 0..MAX_IN_WORK as u8 {
            assert_eq!(deltas.find(&pair(number)), Difference::Unknown);
            deltas.begin(pair(number));
            assert_eq!(deltas.find(&pair(number)), Difference::InWork);
        }
        assert_eq!(deltas.find(&pair(200)), Difference::Busy);
        deltas.finish(pair(0), Some(Bytes::from_static(b"difference")));
        deltas.finish(pair(1), None);
        assert_eq!(deltas.find(&pair(0)), Difference::Made(Bytes::from_static(b"difference")));
        assert_eq!(deltas.find(&pair(1)), Difference::NotWorthIt);
        assert_eq!(deltas.find(&pair(200)), Difference::Unknown);
    }

    #[test]
    fn the_budget_is_never_exceeded() {
        let mut deltas = Deltas::new(10 * (OVERHEAD + 100));
        for number in 0..99 {
            deltas.begin(pair(number));
            deltas.finish(pair(number), Some(Bytes::from(vec![0; 100])));
            assert!(deltas.bytes() <= 10 * (OVERHEAD + 100));
            assert_ne!(deltas.find(&pair(0)), Difference::Unknown, "it is used all the time");
        }
        deltas.begin(pair(200));
        deltas.finish(pair(200), Some(Bytes::from(vec![0; 10_000])));
        assert_eq!(deltas.find(&pair(200)), Difference::Unknown, "larger than the budget");
    }
}
