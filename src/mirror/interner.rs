//! Values that many mirrors share, each kept once and named by a 32-bit handle.

use crate::wire::{Fingerprint, Key};
use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroU32;

/// Names a value in one [`Interner`]. Never zero, so that an optional handle takes four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(NonZeroU32);

impl Handle {
    fn new(index: usize) -> Self {
        let number = u32::try_from(index + 1).ok().and_then(NonZeroU32::new);
        Self(number.expect("fewer than 2^32 - 1 distinct values fit in memory"))
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
}

/// What can be interned.
pub(super) trait Internable: Hash + Eq {
    /// A copy that keeps no larger buffer alive.
    fn detached(&self) -> Self;
}

impl Internable for Key {
    fn detached(&self) -> Self {
        Key::detached(self)
    }
}

impl Internable for Fingerprint {
    fn detached(&self) -> Self {
        *self
    }
}

impl<T: Internable> Interner<T> {
    pub(super) fn new() -> Self {
        let hasher = DefaultHashBuilder::default();
        Self { values: Slab::new(), handles: HashTable::new(), hasher }
    }

    /// One more holder of `value`.
    pub(super) fn acquire(&mut self, value: &T) -> Handle {
        let hash = self.hasher.hash_one(value);
        if let Some(handle) = self.handles.find(hash, |at| self.values[at.index()].0 == *value) {
            self.values[handle.index()].1 += 1;
            return *handle;
        }
        let handle = Handle::new(self.values.insert((value.detached(), 1)));
        let rehash = |at: &Handle| self.hasher.hash_one(&self.values[at.index()].0);
        self.handles.insert_unique(hash, handle, rehash);
        handle
    }

    /// One holder less.
    pub(super) fn release(&mut self, handle: Handle) {
        let (value, holders) = &mut self.values[handle.index()];
        *holders -= 1;
        if *holders > 0 {
            return;
        }
        let hash = self.hasher.hash_one(value);
        let found = self.handles.find_entry(hash, |at| *at == handle);
        found.expect("every value has its handle in the table").remove();
        self.values.remove(handle.index());
    }

    pub(super) fn value(&self, handle: Handle) -> &T {
        &self.values[handle.index()].0
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}
