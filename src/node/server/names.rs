//! The names of servers that a worker's records use, each by a number of 16 bits.
//!
//! Servers are few, and come back under their names. Those that do not leave a name that nobody
//! uses; such names are dropped when there have come to be many.

use super::{Record, Server};
use crate::wire::Name;
use hashbrown::HashMap;
use std::num::NonZeroU16;

/// Names that are kept without asking whether a record uses them.
const KEPT_UNUSED: usize = 1024;

/// Names a server in one [`Names`]. An optional one takes two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NameIndex(NonZeroU16);

impl NameIndex {
    fn new(place: usize) -> Option<Self> {
        u16::try_from(place + 1).ok().and_then(NonZeroU16::new).map(Self)
    }

    fn place(self) -> usize {
        usize::from(self.0.get()) - 1
    }

    /// The number that is never zero.
    pub(super) fn number(self) -> u16 {
        self.0.get()
    }

    /// The index with this number.
    pub(super) fn from_number(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }
}

/// Names by number and numbers by name.
#[derive(Debug)]
pub(super) struct Names {
    /// The first one is the server's own.
    names: Vec<Option<Name>>,
    indexes: HashMap<Name, NameIndex>,
    vacant: Vec<NameIndex>,
    /// With so many names it is time to look which ones are used.
    sweep_at: usize,
}

impl Names {
    /// The server's own name alone.
    pub(super) fn new(own: &Name) -> Self {
        let (names, vacant) = (Vec::new(), Vec::new());
        let mut all = Self { names, indexes: HashMap::new(), vacant, sweep_at: KEPT_UNUSED };
        all.add(own);
        all
    }

    /// The index of the server's own name.
    pub(super) fn own(&self) -> NameIndex {
        NameIndex(NonZeroU16::MIN)
    }

    /// The index of a name, which is added if it is new. `None` if there are 65,535 already: then
    /// whoever asks does without that server.
    pub(super) fn add(&mut self, name: &Name) -> Option<NameIndex> {
        if let Some(known) = self.indexes.get(name) {
            return Some(*known);
        }
        let index = match self.vacant.pop() {
            Some(index) => {
                self.names[index.place()] = Some(name.clone());
                index
            }
            None => {
                let index = NameIndex::new(self.names.len())?;
                self.names.push(Some(name.clone()));
                index
            }
        };
        self.indexes.insert(name.clone(), index);
        Some(index)
    }

    /// The index of a name, if a record may use it.
    pub(super) fn find(&self, name: &Name) -> Option<NameIndex> {
        self.indexes.get(name).copied()
    }

    /// The name of an index.
    ///
    /// # Panics
    /// If no record used it when unused names were dropped.
    pub(super) fn name(&self, index: NameIndex) -> &Name {
        self.names[index.place()].as_ref().expect("records keep the names that they use")
    }

    /// Whether there have come to be many, of which some may not be used any more.
    pub(super) fn is_due(&self) -> bool {
        self.indexes.len() >= self.sweep_at
    }

    /// Drops all names but the used ones and our own.
    fn keep_only(&mut self, used: impl Iterator<Item = NameIndex>) {
        let mut keep = vec![false; self.names.len()];
        used.chain([self.own()]).for_each(|index| keep[index.place()] = true);
        self.indexes.retain(|_, index| keep[index.place()]);
        for (place, name) in self.names.iter_mut().enumerate() {
            if !keep[place] && name.take().is_some() {
                self.vacant.extend(NameIndex::new(place));
            }
        }
        self.sweep_at = KEPT_UNUSED.max(2 * self.indexes.len());
    }
}

impl Server {
    /// Drops the names that no record uses, when there have come to be many.
    pub(super) fn forget_names(&mut self) {
        if self.names.is_due() {
            self.names.keep_only(self.clients.values().flat_map(Record::names_used));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Name {
        Name::new(&format!("server-{number}")).expect("a name")
    }

    #[test]
    fn numbers_run_out_and_come_back_with_names_that_nobody_uses() {
        let mut names = Names::new(&name(0));
        let all: Vec<_> = (0..65_535).map(|number| names.add(&name(number)).unwrap()).collect();
        assert_eq!(names.add(&name(65_535)), None);
        assert_eq!(names.add(&name(7)), Some(all[7]));
        assert!(names.is_due() && all[0] == names.own());
        names.keep_only([all[7], all[9]].into_iter());
        assert!(!names.is_due());
        assert_eq!((names.find(&name(7)), names.find(&name(8))), (Some(all[7]), None));
        assert_eq!(names.find(&name(0)), Some(names.own()));
        let new = names.add(&name(65_535)).unwrap();
        assert!(![0, 7, 9].map(|kept| all[kept]).contains(&new));
        assert_eq!([names.name(all[9]), names.name(new)], [&name(9), &name(65_535)]);
    }
}
