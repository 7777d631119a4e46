//! Things that come and go, by numbers that do not come again for a long time.
//!
//! A number is a place in a dense array and, above it, a count that tells apart those who had the
//! place one after the other: a late answer to the former one finds nobody. It fits a QUIC varint.

use slab::Slab;

/// Bits of a number that are the place.
const PLACE_BITS: u32 = 24;
/// Bits of a number that are the count. At a million things a second it comes round after three
/// days.
const COUNT_BITS: u32 = 38;

const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;

const _: () = assert!(PLACE_BITS + COUNT_BITS == 62, "a number fits a QUIC varint");

/// The place that a number names: dense, so that others can keep arrays beside this one.
pub fn place_of(number: u64) -> usize {
    (number & ((1 << PLACE_BITS) - 1)) as usize
}

/// A table of things by number.
#[derive(Debug)]
pub struct Slots<T> {
    slab: Slab<(u64, T)>,
    count: u64,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slab: Slab::new(), count: 0 }
    }
}

impl<T> Slots<T> {
    /// How many there may be at one time.
    pub const LIMIT: usize = 1 << PLACE_BITS;

    /// Adds one; its number is never zero.
    ///
    /// # Panics
    /// If there are [`Slots::LIMIT`] already: the caller has a lower limit of its own.
    pub fn insert(&mut self, value: T) -> u64 {
        assert!(self.slab.len() < Self::LIMIT, "the caller's limit is below {}", Self::LIMIT);
        self.count = if self.count == MAX_COUNT { 1 } else { self.count + 1 };
        let entry = self.slab.vacant_entry();
        let number = self.count << PLACE_BITS | entry.key() as u64;
        entry.insert((number, value));
        number
    }

    /// The one with this number.
    pub fn get(&self, number: u64) -> Option<&T> {
        self.slab.get(place_of(number)).filter(|(own, _)| *own == number).map(|(_, value)| value)
    }

    /// The one with this number.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let found = self.slab.get_mut(place_of(number)).filter(|(own, _)| *own == number);
        found.map(|(_, value)| value)
    }

    /// Takes the one with this number away.
    pub fn remove(&mut self, number: u64) -> Option<T> {
        self.get(number)?;
        Some(self.slab.remove(place_of(number)).1)
    }

    /// Keeps only those that `wanted` approves of.
    pub fn retain(&mut self, mut wanted: impl FnMut(&T) -> bool) {
        self.slab.retain(|_, (_, value)| wanted(value));
    }

    /// All, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.slab.iter().map(|(_, (number, value))| (*number, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_had_the_place_before_is_not_found_by_its_number() {
        let mut slots = Slots::default();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(place_of(first), place_of(second));
        assert_ne!(first, second);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&'b'));
        assert_eq!(slots.get(second + 1), None);
        assert!(second <= crate::wire::codec::MAX_VARINT);
    }

    #[test]
    fn the_count_comes_round_within_its_bits() {
        let mut slots = Slots { slab: Slab::new(), count: MAX_COUNT };
        let number = slots.insert('a');
        assert_eq!(number >> PLACE_BITS, 1, "and no number is zero");
        assert_eq!(slots.get(number), Some(&'a'));
    }
}
