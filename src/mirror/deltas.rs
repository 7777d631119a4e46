//! Differences between versions, each made once and shared by all clients that hold the old one.

use super::clock::Clock;
use crate::wire::Digest;
use bytes::Bytes;
use hashbrown::HashMap;

/// What a difference costs beside its bytes, roughly; also one that was not worth it.
const OVERHEAD: usize = 128;
/// Differences that are being made, or wait to be, for one worker.
const MAX_IN_WORK: usize = 64;

/// From which version to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// What the client holds.
    pub old: Digest,
    /// What it is to have.
    pub new: Digest,
}

/// What is known of a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Here it is.
    Made(Bytes),
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
struct Entry {
    pair: Pair,
    made: Option<Bytes>,
}

impl Entry {
    fn cost(&self) -> usize {
        self.made.as_ref().map_or(0, Bytes::len) + OVERHEAD
    }
}

/// Differences as far as the budget goes, and those in work.
#[derive(Debug)]
pub struct Deltas {
    places: HashMap<Pair, usize>,
    entries: Clock<Entry>,
    in_work: Vec<Pair>,
    bytes: usize,
    budget: usize,
}

impl Deltas {
    /// Keeps at most `budget` bytes.
    pub fn new(budget: usize) -> Self {
        let (entries, in_work) = (Clock::default(), Vec::new());
        Self { places: HashMap::new(), entries, in_work, bytes: 0, budget }
    }

    /// What is known of the difference between two versions.
    pub fn find(&mut self, pair: &Pair) -> Difference {
        if let Some(place) = self.places.get(pair) {
            let entry = self.entries.touch(*place);
            return entry.made.clone().map_or(Difference::NotWorthIt, Difference::Made);
        }
        match self.in_work.contains(pair) {
            true => Difference::InWork,
            false if self.in_work.len() < MAX_IN_WORK => Difference::Unknown,
            false => Difference::Busy,
        }
    }

    /// Somebody begins to make it.
    pub fn begin(&mut self, pair: Pair) {
        assert!(!self.in_work.contains(&pair), "it is being made already");
        self.in_work.push(pair);
    }

    /// It was made, or is not worth it. What is larger than the budget is not kept.
    pub fn finish(&mut self, pair: Pair, made: Option<Bytes>) {
        self.in_work.retain(|other| *other != pair);
        let entry = Entry { pair, made };
        if entry.cost() > self.budget || self.places.contains_key(&pair) {
            return;
        }
        while self.bytes + entry.cost() > self.budget
            && let Some(evicted) = self.entries.evict()
        {
            self.bytes -= evicted.cost();
            self.places.remove(&evicted.pair);
        }
        self.bytes += entry.cost();
        self.places.insert(pair, self.entries.insert(entry));
    }

    /// Bytes that are kept now.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
