//! What a shell keeps beside a machine's table: by the same numbers, found in one step.

use crate::node::slots::place_of;

/// Things by the numbers of a [`crate::node::slots::Slots`].
pub(crate) struct Beside<T>(Vec<Option<(u64, T)>>);

impl<T> Default for Beside<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Beside<T> {
    /// Whoever had the place before is gone from the machine too.
    pub(crate) fn insert(&mut self, number: u64, value: T) {
        let place = place_of(number);
        if self.0.len() <= place {
            self.0.resize_with(place + 1, || None);
        }
        self.0[place] = Some((number, value));
    }

    pub(crate) fn get(&self, number: u64) -> Option<&T> {
        let found = self.0.get(place_of(number))?.as_ref();
        found.filter(|(own, _)| *own == number).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let found = self.0.get_mut(place_of(number))?.as_mut();
        found.filter(|(own, _)| *own == number).map(|(_, value)| value)
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        self.get(number)?;
        self.0[place_of(number)].take().map(|(_, value)| value)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten().map(|(_, value)| value)
    }
}
