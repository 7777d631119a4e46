//! The list of server names that all workers of a process share.

use super::entry::{Entry, MAX_SERVERS, ServerIndex, Title};
use crate::wire::{Assignment, Epoch, Name};
use std::cmp::Ordering;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Release};

/// Append-only: a name keeps its place as long as the process lives, and places have no gaps.
///
/// Reading waits for nobody. To add a name is to take the first free place, so two workers that add
/// the same name meet there and agree.
pub struct Names {
    places: Box<[Place]>,
}

#[derive(Default)]
struct Place {
    /// Checksum of the name, odd; zero until the name can be found. Set from the first place on, so
    /// that whoever meets a zero has seen all names. Here so that a search follows one pointer, not
    /// one for each name.
    checksum: AtomicU32,
    name: OnceLock<Name>,
}

fn checksum(name: &Name) -> u32 {
    crc32fast::hash(name.as_str().as_bytes()) | 1
}

impl Names {
    /// An empty list.
    pub fn new() -> Self {
        Self { places: (0..MAX_SERVERS).map(|_| Place::default()).collect() }
    }

    /// The place of a name, if it was ever added.
    pub fn find(&self, name: &Name) -> Option<ServerIndex> {
        let wanted = checksum(name);
        for (index, place) in self.places.iter().enumerate() {
            match place.checksum.load(Acquire) {
                0 => return None,
                found if found == wanted && place.name.get() == Some(name) => {
                    return ServerIndex::new(index);
                }
                _ => {}
            }
        }
        None
    }

    /// The place of a name, which is added if it is new. `None` if the list is full.
    pub fn add(&self, name: &Name) -> Option<ServerIndex> {
        if let Some(known) = self.find(name) {
            return Some(known);
        }
        for (index, place) in self.places.iter().enumerate() {
            let holder = place.name.get_or_init(|| name.clone());
            // Also for others that have not come to it yet: no later place is found before this
            // one.
            place.checksum.store(checksum(holder), Release);
            if holder == name {
                return ServerIndex::new(index);
            }
        }
        None
    }

    /// The name at a place.
    ///
    /// # Panics
    /// If the place is not one that this list gave out.
    pub fn name(&self, index: ServerIndex) -> &Name {
        let name = self.places[index.get()].name.get();
        name.expect("a place comes from the list that is asked for its name")
    }

    /// All names, each with its place, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (ServerIndex, &Name)> {
        let named = self.places.iter().take_while(|place| place.checksum.load(Acquire) != 0);
        named
            .enumerate()
            .filter_map(|(index, place)| Some((ServerIndex::new(index)?, place.name.get()?)))
    }

    /// Names in the list.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether no name was added yet.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Which of two entries has the higher epoch. Equal only if term, change and primary are.
    ///
    /// # Panics
    /// As [`Names::name`].
    pub fn compare(&self, one: Entry, other: Entry) -> Ordering {
        let counters = |entry: Entry| (entry.term(), entry.change());
        counters(one).cmp(&counters(other)).then_with(|| {
            if one.primary() == other.primary() {
                return Ordering::Equal;
            }
            self.name(one.primary()).cmp(self.name(other.primary()))
        })
    }

    /// An assignment as an entry; its servers are added to the list. `None` if the list is full, or
    /// if term or change are none that [`Epoch::decode`] takes.
    pub fn pack(&self, assignment: &Assignment, title: Title) -> Option<Entry> {
        let Epoch { term, change, primary } = &assignment.epoch;
        let primary = self.add(primary)?;
        let alternate = match &assignment.alternate {
            Some(alternate) => Some(self.add(alternate)?),
            None => None,
        };
        Entry::new(*term, *change, primary, alternate, title)
    }

    /// What an entry says, with names.
    ///
    /// # Panics
    /// As [`Names::name`].
    pub fn assignment(&self, entry: Entry) -> Assignment {
        let primary = self.name(entry.primary()).clone();
        let epoch = Epoch { term: entry.term(), change: entry.change(), primary };
        Assignment { epoch, alternate: entry.alternate().map(|index| self.name(index).clone()) }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(_, name)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::strategies;
    use proptest::prelude::*;
    use std::thread;

    fn name(number: usize) -> Name {
        Name::new(&format!("server-{number}")).unwrap()
    }

    #[test]
    fn a_name_keeps_its_place() {
        let names = Names::new();
        assert!(names.is_empty());
        assert_eq!(names.find(&name(0)), None);
        for number in 0..MAX_SERVERS {
            assert_eq!(names.add(&name(number)), ServerIndex::new(number));
            assert_eq!(names.len(), number + 1);
        }
        assert_eq!(names.add(&name(MAX_SERVERS)), None, "the list is full");
        for number in 0..MAX_SERVERS {
            let place = names.find(&name(number)).unwrap();
            assert_eq!((place.get(), names.name(place)), (number, &name(number)));
            assert_eq!(names.add(&name(number)), Some(place));
        }
        assert_eq!(names.find(&name(MAX_SERVERS)), None);
    }

    #[test]
    fn workers_that_add_the_same_names_agree() {
        for _ in 0..20 {
            let names = Names::new();
            let add = |step: usize| {
                // Each worker adds all of them in an order of its own; 101 is prime.
                let numbers = (0..101).map(|at| (at * step) % 101);
                for number in numbers {
                    let place = names.add(&name(number)).unwrap();
                    assert_eq!(names.find(&name(number)), Some(place));
                    assert_eq!(names.name(place), &name(number));
                }
            };
            thread::scope(|scope| {
                for step in [1, 7, 50, 100] {
                    scope.spawn(move || add(step));
                }
            });
            let mut listed: Vec<_> = names.iter().map(|(_, name)| name.clone()).collect();
            assert_eq!(listed.len(), 101);
            listed.sort();
            listed.dedup();
            assert_eq!(listed.len(), 101, "each name has one place");
        }
    }

    proptest! {
        #[test]
        fn an_assignment_survives_the_table_and_epochs_keep_their_order(
            one in strategies::assignment(),
            other in strategies::assignment(),
            same_counters: bool,
        ) {
            let mut other = other;
            if same_counters {
                other.epoch.term = one.epoch.term;
                other.epoch.change = one.epoch.change;
            }
            let names = Names::new();
            // The order of the list is not the order of the names.
            let other_entry = names.pack(&other, Title::Takeover).unwrap();
            let one_entry = names.pack(&one, Title::Known).unwrap();
            prop_assert_eq!(&names.assignment(one_entry), &one);
            prop_assert_eq!(&names.assignment(other_entry), &other);
            prop_assert_eq!(names.compare(one_entry, other_entry), one.epoch.cmp(&other.epoch));
            prop_assert_eq!(names.compare(one_entry, one_entry), Ordering::Equal);
        }
    }
}
