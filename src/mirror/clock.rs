//! Values of which the ones not used lately go first.
//!
//! A hand walks over the values in a ring, passes over those used since it last came by, and takes
//! the first one that was not: nearly the least recently used one, for one bit a value.

use slab::Slab;

#[derive(Debug)]
pub(super) struct Clock<T> {
    values: Slab<(T, bool)>,
    hand: usize,
}

impl<T> Default for Clock<T> {
    fn default() -> Self {
        Self { values: Slab::new(), hand: 0 }
    }
}

impl<T> Clock<T> {
    /// Where the next value will be.
    pub(super) fn next_place(&self) -> usize {
        self.values.vacant_key()
    }

    pub(super) fn insert(&mut self, value: T) -> usize {
        self.values.insert((value, false))
    }

    /// The value at a place that is in use, without using it.
    pub(super) fn peek(&self, place: usize) -> &T {
        &self.values[place].0
    }

    /// Uses the value at a place that is in use.
    pub(super) fn touch(&mut self, place: usize) -> &mut T {
        let (value, used) = &mut self.values[place];
        *used = true;
        value
    }

    /// The same, if the value is one that is `wanted`.
    pub(super) fn touch_if(
        &mut self,
        place: usize,
        wanted: impl FnOnce(&T) -> bool,
    ) -> Option<&mut T> {
        let (value, used) = &mut self.values[place];
        if !wanted(value) {
            return None;
        }
        *used = true;
        Some(value)
    }

    pub(super) fn remove(&mut self, place: usize) -> T {
        self.values.remove(place).0
    }

    /// The same, where there may be none.
    pub(super) fn take(&mut self, place: usize) -> Option<T> {
        self.values.try_remove(place).map(|(value, _)| value)
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Takes the value that goes first; `None` if there is none.
    pub(super) fn evict(&mut self) -> Option<T> {
        if self.values.is_empty() {
            return None;
        }
        loop {
            if self.hand >= self.values.capacity() {
                self.hand = 0;
            }
            let place = self.hand;
            self.hand += 1;
            match self.values.get_mut(place) {
                Some((_, used)) if *used => *used = false,
                Some(_) => return Some(self.values.remove(place).0),
                None => {}
            }
        }
    }
}
