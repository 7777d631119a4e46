//! One shard of the table: a pointer to an array of slots, which is replaced when it is full of
//! clients, full of slots that removed ones left, or too large.
//!
//! To replace an array is to freeze it, to copy it and to exchange the pointer. Whoever finds that
//! it is due does all of it, also when another has begun: nobody waits. Both get the same copy, one
//! of them puts its own in place, the other one drops its own and goes on with what is there.

use super::entry::Entry;
use super::id::Id;
use super::pointer::{Guard, Pointer, pin};
use super::slots::{MustReplace, Slots};

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
                Some(Err(MustReplace)) => self.replace(slots, &guard),
                None if change(None).is_none() => return (None, None),
                None => {
                    self.slots.replace(None, Some(Slots::new(0)), &guard);
                }
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
            match slots.remove_if(id, &mut condition) {
                Ok(removed) => {
                    if removed.is_some() && slots.is_wasteful() {
                        self.replace(Some(slots), &guard);
                    }
                    return removed;
                }
                Err(MustReplace) => self.replace(Some(slots), &guard),
            }
        }
    }

    /// Clients that are known, and bytes of memory.
    pub(super) fn size(&self) -> (usize, usize) {
        let guard = pin();
        self.slots.load(&guard).map_or((0, 0), |slots| (slots.known(), slots.bytes()))
    }

    fn replace(&self, slots: Option<&Slots>, guard: &Guard) {
        let successor = slots.and_then(Slots::successor);
        // If another was faster, what it put in place is as good.
        self.slots.replace(slots, successor, guard);
    }
}
