//! One array of slots: an open-addressing hash table of fixed size, searched by linear probing.
//!
//! A slot is three words, and goes one way only:
//!
//! 1. *Free*: all are zero.
//! 2. *Taken*: the halves of an id are put in by compare-exchange, the first, then the second. A
//!    half never changes again in this array. Whoever meets a slot whose first half is its own and
//!    whose second half is missing puts its own in, so nobody waits for the one that began: whoever
//!    comes second either finds its id complete or goes on to the next slot. All who look for an id
//!    pass the same slots in the same order and learn the same about each, so an id has one slot.
//! 3. From then on only the *value* word changes, by compare-exchange. Zero: nothing is known of
//!    the client. A removed client leaves its taken slot behind, and may come back to it.
//! 4. *Frozen*: a bit of the value word says that nothing of it changes any more. An array all of
//!    whose values are frozen, free slots included, can be copied. Readers look past the bit.

use super::entry::{ENTRY_BITS, Entry};
use super::id::Id;
use super::sync::{AtomicU32, AtomicU64, Ordering, peek};
use std::hint::select_unpredictable;

const FROZEN: u64 = 1 << (u64::BITS - 1);
const _: () = assert!(ENTRY_BITS < u64::BITS);

/// Arrays up to this many slots may be full; a search looks at all of them.
const SMALL: usize = 16;
/// Larger arrays leave one slot in so many free, or searches would be long.
const FREE_OF: usize = 6;
/// A search looks at so many slots at once before it decides anything, without a branch: which of
/// them an id has, nobody can predict, and a wrong prediction costs as much as several slots. Most
/// ids are among the first eight of their search, which are three or four lines of memory in a row.
/// Models have small arrays, which need a window too.
const WINDOW: usize = if cfg!(all(test, understudy_loom)) { 2 } else { 8 };
/// A new array has room for one more client in so many, then it has to be replaced. Small steps
/// cost writers time and save memory.
const ROOM_OF: usize = 16;

#[derive(Debug)]
pub(super) struct Slot {
    /// Halves of an [`Id`]; zero until they are known.
    ///
    /// They are read and taken without ordering: no other memory is reached through them, and they
    /// change once. Who saw a half set, and orders something after that, has it seen there too.
    first: AtomicU64,
    second: AtomicU64,
    /// The word of an [`Entry`] or zero, and perhaps [`FROZEN`].
    ///
    /// Read by acquire and written by release: what a writer knew when it wrote, such as names that
    /// it added, the reader of the word knows too.
    value: AtomicU64,
}

/// Why a change could not be made in this array.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MustReplace;

#[derive(Debug)]
pub(super) struct Slots {
    slots: Box<[Slot]>,
    /// Slots that are taken, or about to be. Never above [`most_taken`].
    taken: AtomicU32,
    /// Clients that are known. Counted before they can be found and until they no longer can.
    known: AtomicU32,
}

impl Slot {
    fn new(first: u64, second: u64, value: u64) -> Self {
        Self {
            first: AtomicU64::new(first),
            second: AtomicU64::new(second),
            value: AtomicU64::new(value),
        }
    }

    fn is(&self, id: Id) -> bool {
        self.first.load(Ordering::Relaxed) == id.first
            && self.second.load(Ordering::Relaxed) == id.second
    }

    fn is_free(&self) -> bool {
        self.first.load(Ordering::Relaxed) == 0
    }
}

/// Slots of an array of `slots` that may be taken.
fn most_taken(slots: usize) -> usize {
    if slots <= SMALL { slots } else { slots - slots / FREE_OF }
}

/// Slots of a new array for so many clients. It has room for one more at least.
fn slots_for(known: usize) -> usize {
    let most = known + known / ROOM_OF + 1;
    if most <= SMALL { most } else { (most * FREE_OF).div_ceil(FREE_OF - 1) }
}

/// Whether so few clients are left that a smaller array is due: slots are to take no more than 32
/// bytes a client. Not so soon that a few that come and go would have it replaced each time.
fn is_wasteful(slots: usize, known: usize) -> bool {
    known == 0 || (slots * 3 > known * 4 && slots > slots_for(known + known / 32 + 2))
}

impl Slots {
    /// An empty array with room for so many clients, and at least one more.
    pub(super) fn new(known: usize) -> Self {
        let slots = (0..slots_for(known)).map(|_| Slot::new(0, 0, 0)).collect();
        Self { slots, taken: AtomicU32::new(0), known: AtomicU32::new(0) }
    }

    #[inline]
    pub(super) fn get(&self, id: Id) -> Option<Entry> {
        let slot = self.find(id)?;
        Entry::from_word(slot.value.load(Ordering::Acquire) & !FROZEN)
    }

    /// Changes what is known of a client to what `change` makes of it; `None` changes nothing.
    /// Gives what was known before and what is known after.
    pub(super) fn update(
        &self,
        id: Id,
        change: &mut impl FnMut(Option<Entry>) -> Option<Entry>,
    ) -> Result<(Option<Entry>, Option<Entry>), MustReplace> {
        let mut slot = self.find(id);
        loop {
            let word = slot.map_or(0, |slot| slot.value.load(Ordering::Acquire));
            let before = Entry::from_word(word & !FROZEN);
            let Some(after) = change(before) else {
                return Ok((before, before));
            };
            let target = match slot {
                Some(slot) => slot,
                None => self.take(id)?,
            };
            slot = Some(target);
            if self.exchange(target, word, after.word())? {
                return Ok((before, Some(after)));
            }
        }
    }

    /// Forgets a client if `condition` holds for what is known of it, which is what it gives.
    pub(super) fn remove_if(
        &self,
        id: Id,
        condition: &mut impl FnMut(Entry) -> bool,
    ) -> Result<Option<Entry>, MustReplace> {
        let Some(slot) = self.find(id) else {
            return Ok(None);
        };
        loop {
            let word = slot.value.load(Ordering::Acquire);
            let Some(before) = Entry::from_word(word & !FROZEN) else {
                return Ok(None);
            };
            if !condition(before) {
                return Ok(None);
            }
            if self.exchange(slot, word, 0)? {
                return Ok(Some(before));
            }
        }
    }

    /// Clients that are known; those that come or go at this moment may be counted or not.
    pub(super) fn known(&self) -> usize {
        self.known.load(Ordering::Relaxed) as usize
    }

    /// Whether a smaller array would do.
    pub(super) fn is_wasteful(&self) -> bool {
        is_wasteful(self.slots.len(), self.known())
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.slots)
    }

    /// Ends all change, and gives a new array with the clients that are known, and room for at
    /// least one more. Many may do this at once, and all get the same.
    pub(super) fn successor(&self) -> Self {
        let mut known = 0;
        for slot in &self.slots {
            // Acquired: what the writers of all words knew is to be known to readers of the copy.
            // Released: this word may still be read here.
            let word = slot.value.fetch_or(FROZEN, Ordering::AcqRel);
            known += usize::from(word & !FROZEN != 0);
        }
        let mut new = Self::new(known);
        for slot in &self.slots {
            let word = slot.value.load(Ordering::Relaxed) & !FROZEN;
            if word != 0 {
                let first = slot.first.load(Ordering::Relaxed);
                let second = slot.second.load(Ordering::Relaxed);
                new.place(Id { first, second }, word);
            }
        }
        new.taken = AtomicU32::new(known as u32);
        new.known = AtomicU32::new(known as u32);
        new
    }

    /// Puts a client in an array that nobody else sees yet and that has room.
    fn place(&mut self, id: Id, word: u64) {
        let mut place = self.home(id);
        while peek(&mut self.slots[place].first) != 0 {
            place = if place + 1 < self.slots.len() { place + 1 } else { 0 };
        }
        self.slots[place] = Slot::new(id.first, id.second, word);
    }

    /// Replaces a value word; `false` if it is not `old` any more. Counts who comes and who goes.
    fn exchange(&self, slot: &Slot, old: u64, new: u64) -> Result<bool, MustReplace> {
        if old & FROZEN != 0 {
            return Err(MustReplace);
        }
        let (comes, goes) = (old == 0, new == 0);
        if comes {
            self.known.fetch_add(1, Ordering::Relaxed);
        }
        let exchanged =
            slot.value.compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if (comes && !exchanged) || (goes && exchanged) {
            self.known.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(exchanged)
    }

    /// Where the search for an id starts: not among the last slots, so that a window always fits.
    fn home(&self, id: Id) -> usize {
        id.home(self.slots.len().saturating_sub(WINDOW - 1).max(1))
    }

    /// All slots, in the order in which an id is searched.
    fn search(&self, id: Id) -> impl Iterator<Item = &Slot> {
        let (before, after) = self.slots.split_at(self.home(id));
        after.iter().chain(before)
    }

    /// The slot that an id has. Another that takes one at this moment may not have got there yet.
    #[inline]
    fn find(&self, id: Id) -> Option<&Slot> {
        let Some(window) = self.slots[self.home(id)..].first_chunk::<WINDOW>() else {
            return self.slots.iter().find(|slot| slot.is(id));
        };
        let mut at = WINDOW;
        for (index, slot) in window.iter().enumerate() {
            let is_it = slot.first.load(Ordering::Relaxed) == id.first;
            at = select_unpredictable(is_it, index, at);
        }
        match window.get(at) {
            Some(slot) if slot.is(id) => Some(slot),
            // Another id that shares the first half. This one's slot may be further on.
            Some(_) => self.find_far(id),
            // The id's slot would be before the first that is free. If it was taken only after it
            // was looked at above, the client was not known while the search was under way.
            None if window.iter().any(Slot::is_free) => None,
            None => self.find_far(id),
        }
    }

    /// As [`Slots::find`], slot by slot from home on.
    #[cold]
    fn find_far(&self, id: Id) -> Option<&Slot> {
        for slot in self.search(id) {
            if slot.is(id) {
                return Some(slot);
            }
            if slot.is_free() {
                return None;
            }
        }
        None
    }

    /// The slot that an id has from now on.
    fn take(&self, id: Id) -> Result<&Slot, MustReplace> {
        for slot in self.search(id) {
            let mut first = slot.first.load(Ordering::Relaxed);
            if first == 0 {
                // Each slot is paid for by the one that puts the first half in.
                self.reserve()?;
                first = put(&slot.first, id.first).unwrap_or_else(|found| {
                    self.taken.fetch_sub(1, Ordering::Relaxed);
                    found
                });
            }
            if first == id.first {
                let second = put(&slot.second, id.second).unwrap_or_else(|found| found);
                if second == id.second {
                    return Ok(slot);
                }
            }
        }
        // Only a small array has no free slot at the end of a search.
        Err(MustReplace)
    }

    fn reserve(&self) -> Result<(), MustReplace> {
        if self.taken.fetch_add(1, Ordering::Relaxed) as usize >= most_taken(self.slots.len()) {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(MustReplace);
        }
        Ok(())
    }
}

/// Puts a half in its place; fails with the half that is there already.
fn put(place: &AtomicU64, half: u64) -> Result<u64, u64> {
    place.compare_exchange(0, half, Ordering::Relaxed, Ordering::Relaxed).map(|_| half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_array_has_room_and_none_is_replaced_twice_in_a_row() {
        for known in (1..5000).chain([100_000, 1 << 20]) {
            let slots = slots_for(known);
            assert!(most_taken(slots) > known, "{known}: room for one more");
            assert!(slots <= SMALL || most_taken(slots) < slots, "{known}: searches end");
            assert!(!is_wasteful(slots, known), "{known}: not to be replaced at once");
            assert!(known == 1 || !is_wasteful(slots, known - 1), "{known}: nor at the next turn");
            if known >= 100 {
                let bytes = |slots: usize| slots * size_of::<Slot>();
                assert!(bytes(slots) <= 32 * known, "{known}: {} bytes", bytes(slots));
                let most = (slots..).take_while(|slots| !is_wasteful(*slots, known)).last();
                let most = bytes(most.unwrap());
                assert!(most <= 33 * known, "{known}: at most {most} bytes");
            }
        }
    }
}
