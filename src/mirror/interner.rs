//! Values that many mirrors share, each kept once and named by a handle of 28 bits.

use crate::wire::{Fingerprint, Key};
use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU32;

/// Bits of a handle: two of them are seven bytes of a mirror.
pub(super) const HANDLE_BITS: u32 = 28;
/// Values in one [`Interner`]: their records alone would take some 20 GB.
const MAX_VALUES: usize = (1 << HANDLE_BITS) - 1;

/// Names a value in one [`Interner`]. Never zero, so that zero can stand for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(NonZeroU32);

impl Handle {
    /// The handle with this number, which an interner has given out; none for zero.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// Less than 2^[`HANDLE_BITS`].
    pub(super) fn number(self) -> u32 {
        self.0.get()
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// Counts the holders of each value, and forgets a value with its last holder.
#[derive(Debug)]
pub(super) struct Interner<T> {
    values: Slab<(T, u32)>,
    handles: HashTable<Handle>,
    hasher: DefaultHashBuilder,
    limit: usize,
    /// What all values take.
    bytes: usize,
}

/// What can be interned.
pub(super) trait Internable: Hash + Eq {
    /// A copy that keeps no larger buffer alive.
    fn detached(&self) -> Self;

    /// Bytes of memory that it takes: itself, its place in a table, and what it points to, roughly.
    fn bytes(&self) -> usize;
}

impl Internable for Key {
    fn detached(&self) -> Self {
        Key::detached(self)
    }

    fn bytes(&self) -> usize {
        96 + self.as_bytes().len()
    }
}

impl Internable for Fingerprint {
    fn detached(&self) -> Self {
        *self
    }

    fn bytes(&self) -> usize {
        64
    }
}

impl<T: Internable> Interner<T> {
    pub(super) fn new() -> Self {
        Self::with_limit(MAX_VALUES)
    }

    fn with_limit(limit: usize) -> Self {
        let hasher = DefaultHashBuilder::default();
        Self { values: Slab::new(), handles: HashTable::new(), hasher, limit, bytes: 0 }
    }

    /// One more holder of `value`; none if there are as many values as there are handles.
    pub(super) fn acquire(&mut self, value: &T) -> Option<Handle> {
        let hash = self.hasher.hash_one(value);
        if let Some(handle) = self.handles.find(hash, |at| self.values[at.index()].0 == *value) {
            self.values[handle.index()].1 += 1;
            return Some(*handle);
        }
        if self.values.len() >= self.limit {
            return None;
        }
        // Places are given out from the lowest on, so that each is below the limit.
        let number = self.values.insert((value.detached(), 1)) as u32 + 1;
        let handle = Handle::from_number(number)?;
        let rehash = |at: &Handle| self.hasher.hash_one(&self.values[at.index()].0);
        self.handles.insert_unique(hash, handle, rehash);
        self.bytes += value.bytes();
        Some(handle)
    }

    /// One holder less.
    pub(super) fn release(&mut self, handle: Handle) {
        let (value, holders) = &mut self.values[handle.index()];
        *holders -= 1;
        if *holders > 0 {
            return;
        }
        self.bytes -= value.bytes();
        let hash = self.hasher.hash_one(value);
        let found = self.handles.find_entry(hash, |at| *at == handle);
        found.expect("every value has its handle in the table").remove();
        self.values.remove(handle.index());
    }

    pub(super) fn value(&self, handle: Handle) -> &T {
        &self.values[handle.index()].0
    }

    /// Bytes of memory that all values take, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_interner_takes_what_it_has_and_nothing_new() {
        let mut interner = Interner::with_limit(2);
        let key = |text: &str| text.parse::<Key>().unwrap();
        let first = interner.acquire(&key("/1")).unwrap();
        let second = interner.acquire(&key("/2")).unwrap();
        assert_eq!(interner.acquire(&key("/3")), None);
        assert_eq!(interner.acquire(&key("/1")), Some(first));
        interner.release(second);
        let third = interner.acquire(&key("/3")).unwrap();
        assert_eq!((third, interner.value(third)), (second, &key("/3")));
        assert!(third.number() >> HANDLE_BITS == 0 && interner.len() == 2);
    }
}
