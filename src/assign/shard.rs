//! One shard of the table: a pointer to an array of slots, which is replaced when it is full of
//! clients, full of slots that removed ones left, or too large.
//!
//! To replace an array is to freeze it, to copy it and to exchange the pointer. Whoever finds that
//! it is due does all of it, also when another has begun: nobody waits. It makes its own change in
//! its copy before it puts that in place. So where one has to try again, another has come to its
//! end: two that grow a shard at once cannot for ever freeze what the other is about to fill.

use super::entry::Entry;
use super::id::Id;
use super::pointer::{Guard, Pointer, pin};
use super::slots::{MustReplace, Slots};

const ROOM: &str = "a copy that nobody else has is not frozen, and has room";

pub(super) struct Shard {
    /// Null: no client, which costs no memory.
    slots: Pointer<Slots>,
}

impl Shard {
    pub(super) fn new() -> Self {
        Self { slots: Pointer::null() }
    }

    /// What is known of a client. A reader that still has a replaced array gets what was true when
    /// it was replaced, which was after the reader began.
    #[inline]
    pub(super) fn get(&self, id: Id, guard: &Guard) -> Option<Entry> {
        self.slots.load(guard)?.get(id)
    }

    /// As [`Slots::update`].
    pub(super) fn update(
        &self,
        id: Id,
        mut change: impl FnMut(Option<Entry>) -> Option<Entry>,
    ) -> (Option<Entry>, Option<Entry>) {
        let guard = pin();
        loop {
            let slots = self.slots.load(&guard);
            match slots.map(|slots| slots.update(id, &mut change)) {
                Some(Ok(changed)) => return changed,
                // No memory for a client that is not to be known.
                None if change(None).is_none() => return (None, None),
                None | Some(Err(MustReplace)) => {}
            }
            let new = slots.map_or_else(|| Slots::new(0), Slots::successor);
            let changed = new.update(id, &mut change).expect(ROOM);
            if self.replace(slots, new, &guard) {
                return changed;
            }
        }
    }

    /// As [`Slots::remove_if`].
    pub(super) fn remove_if(
        &self,
        id: Id,
        mut condition: impl FnMut(Entry) -> bool,
    ) -> Option<Entry> {
        let guard = pin();
        loop {
            let slots = self.slots.load(&guard)?;
            if let Ok(removed) = slots.remove_if(id, &mut condition) {
                if removed.is_some() && slots.is_wasteful() {
                    // If another was faster, what it put in place will do.
                    self.replace(Some(slots), slots.successor(), &guard);
                }
                return removed;
            }
            let new = slots.successor();
            let removed = new.remove_if(id, &mut condition).expect(ROOM);
            if self.replace(Some(slots), new, &guard) {
                return removed;
            }
        }
    }

    /// Clients that are known, and bytes of memory.
    pub(super) fn size(&self) -> (usize, usize) {
        let guard = pin();
        self.slots.load(&guard).map_or((0, 0), |slots| (slots.known(), slots.bytes()))
    }

    fn replace(&self, old: Option<&Slots>, new: Slots, guard: &Guard) -> bool {
        let new = (new.known() > 0).then_some(new);
        self.slots.replace(old, new, guard)
    }
}

#[cfg(all(test, not(understudy_loom)))]
mod tests {
    use super::super::entry::{ServerIndex, Title};
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Ids whose searches cross: from the first slot, from the last, from all over, each alone or
    /// with others that share its first half.
    fn id() -> impl Strategy<Value = (u64, u64)> {
        let number = || 0..60u64;
        prop_oneof![
            number().prop_map(|number| (number, 1)),
            number().prop_map(|number| (u64::MAX - number, 1)),
            number().prop_map(|number| (number << 50, 1)),
            (0..4u64, 1..20u64),
            (0..4u64, 1..20u64).prop_map(|(first, second)| (u64::MAX - first, second)),
        ]
    }

    fn entry(term: u64) -> Entry {
        let server = ServerIndex::new(0).unwrap();
        Entry::new(term, 0, server, None, Title::Known).unwrap()
    }

    proptest! {
        #[test]
        fn a_shard_is_a_map(
            // Mostly growing, mostly shrinking, and both by turns.
            phases in prop::collection::vec(
                (1..10u32, prop::collection::vec((id(), 1..99u64, 0..10u32), 0..300)),
                1..6,
            )
        ) {
            let shard = Shard::new();
            let mut model = HashMap::new();
            for (removals_in_ten, steps) in phases {
                for ((first, second), term, draw) in steps {
                    let id = Id { first: first | 1 << 63, second };
                    let known = model.get(&(first | 1 << 63, second)).copied();
                    prop_assert_eq!(shard.get(id, &pin()), known);
                    if draw < removals_in_ten {
                        prop_assert_eq!(shard.remove_if(id, |_| true), known);
                        model.remove(&(first | 1 << 63, second));
                    } else {
                        let changed = shard.update(id, |_| Some(entry(term)));
                        prop_assert_eq!(changed, (known, Some(entry(term))));
                        model.insert((first | 1 << 63, second), entry(term));
                    }
                    prop_assert_eq!(shard.size().0, model.len());
                }
            }
            for ((first, second), known) in model {
                prop_assert_eq!(shard.get(Id { first, second }, &pin()), Some(known));
            }
        }
    }
}
