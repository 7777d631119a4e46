//! Numbers found by a hash: one piece of memory is read for that, and few bytes are kept.
//!
//! Open addressing with linear probing. A slot holds 32 bits of the hash beside the number. They
//! say where a search starts, so that growing reads nothing else, and a search that meets other
//! clients' slots does not have to look at those clients. It grows by quarters: between 10 and 13
//! bytes a number.

/// What one slot holds: a hash and above it one more than a number, or zero.
type Slot = u64;

fn slot(hash: u32, number: u32) -> Slot {
    u64::from(number + 1) << 32 | u64::from(hash)
}

/// Numbers by hash. Several may have the same hash.
#[derive(Debug, Default)]
pub(super) struct Places {
    slots: Box<[Slot]>,
    len: usize,
}

impl Places {
    /// Where a search for a hash starts. It keeps the order of hashes, so that growing reads and
    /// writes memory from one end to the other.
    #[inline]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    /// The slot and the number of the first one with this hash that is the wanted one.
    #[inline]
    fn search(&self, hash: u32, wanted: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            let number = ((slot >> 32) as u32).checked_sub(1)?;
            if slot as u32 == hash && wanted(number) {
                return Some((at, number));
            }
            at = self.after(at);
        }
    }

    /// The number with this hash that is the wanted one.
    #[inline]
    pub(super) fn find(&self, hash: u32, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        self.search(hash, wanted).map(|(_, number)| number)
    }

    /// Adds a number, below 2^32 - 1, that is not here yet.
    pub(super) fn insert(&mut self, hash: u32, number: u32) {
        // There is always an empty slot, which ends every search.
        if (self.len + 1) * 5 > self.slots.len() * 4 {
            let room = (self.slots.len() * 5 / 4).max(8);
            let old = std::mem::replace(&mut self.slots, vec![0; room].into_boxed_slice());
            old.into_iter().filter(|slot| *slot != 0).for_each(|slot| self.put(slot));
        }
        self.put(slot(hash, number));
        self.len += 1;
    }

    fn put(&mut self, slot: Slot) {
        let mut at = self.home(slot as u32);
        while self.slots[at] != 0 {
            at = self.after(at);
        }
        self.slots[at] = slot;
    }

    /// Takes a number away; whether it was here. What stands behind it moves up, as if it had never
    /// been here.
    pub(super) fn remove(&mut self, hash: u32, number: u32) -> bool {
        let Some((mut hole, _)) = self.search(hash, |found| found == number) else {
            return false;
        };
        self.len -= 1;
        let mut at = self.after(hole);
        while self.slots[at] != 0 {
            let home = self.home(self.slots[at] as u32);
            // Whether the hole lies between its home and where it stands, round the end.
            let size = self.slots.len();
            let (from_home, from_hole) = ((at + size - home) % size, (at + size - hole) % size);
            if from_home >= from_hole {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.slots[hole] = 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Few distinct hashes, whose searches cross: at the start, at the end, and in between.
    fn hash() -> impl Strategy<Value = u32> {
        prop_oneof![0..9u32, (0..9u32).prop_map(|low| u32::MAX - low), any::<u32>()]
    }

    proptest! {
        #[test]
        fn numbers_are_found_under_their_hashes_until_they_are_removed(
            steps in prop::collection::vec((hash(), 0..20u32, 0..3u8), 0..400)
        ) {
            let (mut places, mut model) = (Places::default(), BTreeSet::new());
            for (hash, number, what) in steps {
                if what == 0 {
                    prop_assert_eq!(places.remove(hash, number), model.remove(&(hash, number)));
                } else if model.insert((hash, number)) {
                    places.insert(hash, number);
                }
                prop_assert_eq!(places.len, model.len());
                for number in 0..20 {
                    let found = places.find(hash, |found| found == number);
                    prop_assert_eq!(found.is_some(), model.contains(&(hash, number)));
                }
            }
            for (hash, number) in &model {
                prop_assert!(places.remove(*hash, *number));
            }
            prop_assert!(places.slots.iter().all(|slot| *slot == 0));
        }
    }

    #[test]
    fn a_number_takes_at_most_thirteen_bytes() {
        let mut places = Places::default();
        for number in 0..100_000u32 {
            places.insert(number.wrapping_mul(0x9e37_79b9), number);
            let bytes = places.slots.len() * size_of::<Slot>();
            assert!(number < 1000 || bytes <= 13 * (number as usize + 1), "{number}: {bytes}");
        }
    }
}
