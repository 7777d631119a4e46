//! Which parts of pages are free, and which payload has each of the others.
//!
//! The places of a page are a list in the order of their addresses, in which no two neighbours are
//! both free. A payload gets the shortest free place that it fits in, and the rest of that becomes
//! a place of its own.

mod runs;

use super::page::Space;
use slab::Slab;
use std::collections::BTreeSet;

/// Where a list ends.
const NONE: u32 = u32::MAX;

enum Content {
    Free(Space),
    Payload {
        bytes: u32,
        owner: u32,
        /// Its owner was told to drop it.
        named: bool,
    },
}

struct Place {
    content: Content,
    length: u32,
    page: u32,
    before: u32,
    after: u32,
}

impl Place {
    fn is_free(&self) -> bool {
        matches!(self.content, Content::Free(_))
    }

    /// Bytes that are lost if it is vacated; nothing for one that its owner cannot vacate.
    fn cost(&self) -> Option<u64> {
        match self.content {
            Content::Free(_) => Some(0),
            Content::Payload { bytes, named: false, .. } => Some(u64::from(bytes)),
            Content::Payload { named: true, .. } => None,
        }
    }
}

struct Page {
    /// The place at its start, which stays the same.
    first: u32,
    length: u32,
    /// Bytes of its payloads.
    live: u64,
    payloads: u32,
    /// Of those, how many were named.
    named: u32,
}

/// All places of all pages.
pub(super) struct Places {
    places: Slab<Place>,
    pages: Slab<Page>,
    /// The free places by length.
    free: BTreeSet<(u32, u32)>,
    /// The place that is weighed next.
    hand: u32,
}

impl Places {
    pub(super) fn new() -> Self {
        let (places, pages, free) = (Slab::new(), Slab::new(), BTreeSet::new());
        Self { places, pages, free, hand: NONE }
    }

    /// Adds a page, as one free place.
    pub(super) fn add(&mut self, space: Space) {
        let length = space.length();
        let page = number(self.pages.vacant_key());
        let first = self.insert(space, page, NONE, NONE);
        self.pages.insert(Page { first, length, live: 0, payloads: 0, named: 0 });
    }

    /// Removes a page without payloads, and gives its space.
    pub(super) fn remove(&mut self, page: u32) -> Space {
        let first = self.pages.remove(page as usize).first;
        let place = self.places.remove(first as usize);
        self.free.remove(&(place.length, first));
        if self.hand == first {
            self.hand = NONE;
        }
        match place.content {
            Content::Free(space) if space.length() == place.length => space,
            _ => panic!("page {page} was not empty"),
        }
    }

    /// How long a page is.
    pub(super) fn page_length(&self, page: u32) -> u32 {
        self.pages[page as usize].length
    }

    /// Whether some free place is that long.
    pub(super) fn fits(&self, length: u32) -> bool {
        self.free.range((length, 0)..).next().is_some()
    }

    /// Gives a payload a place of `length` bytes: its number, its page, and the space.
    pub(super) fn take(
        &mut self,
        length: u32,
        bytes: u32,
        owner: u32,
    ) -> Option<(u32, u32, Space)> {
        let (found, taken) = *self.free.range((length, 0)..).next()?;
        self.free.remove(&(found, taken));
        let place = &mut self.places[taken as usize];
        let content = Content::Payload { bytes, owner, named: false };
        let Content::Free(mut space) = std::mem::replace(&mut place.content, content) else {
            panic!("place {taken} was listed as free");
        };
        place.length = length;
        let (page, after) = (place.page, place.after);
        if found > length {
            let rest = self.insert(space.split_off(length), page, taken, after);
            self.places[taken as usize].after = rest;
            if after != NONE {
                self.places[after as usize].before = rest;
            }
        }
        let record = &mut self.pages[page as usize];
        record.live += u64::from(bytes);
        record.payloads += 1;
        Some((taken, page, space))
    }

    /// Takes back the space of a payload: the bytes that the payload had, and its page if that is
    /// empty now.
    pub(super) fn free(&mut self, freed: u32, space: Space) -> (u32, Option<u32>) {
        let place = &mut self.places[freed as usize];
        let content = std::mem::replace(&mut place.content, Content::Free(space));
        let Content::Payload { bytes, named, .. } = content else {
            panic!("place {freed} was free");
        };
        let (page, before, after) = (place.page, place.before, place.after);
        let record = &mut self.pages[page as usize];
        record.live -= u64::from(bytes);
        record.payloads -= 1;
        record.named -= u32::from(named);
        let empty = (record.payloads == 0).then_some(page);
        if self.is_free(after) {
            self.unlist(after);
            self.absorb(freed, after);
        }
        let mut merged = freed;
        if self.is_free(before) {
            self.unlist(before);
            self.absorb(before, freed);
            merged = before;
        }
        self.free.insert((self.places[merged as usize].length, merged));
        (bytes, empty)
    }

    fn insert(&mut self, space: Space, page: u32, before: u32, after: u32) -> u32 {
        let length = space.length();
        let content = Content::Free(space);
        let at = number(self.places.insert(Place { content, length, page, before, after }));
        self.free.insert((length, at));
        at
    }

    fn is_free(&self, at: u32) -> bool {
        at != NONE && self.places[at as usize].is_free()
    }

    fn unlist(&mut self, at: u32) {
        self.free.remove(&(self.places[at as usize].length, at));
    }

    /// Makes two free neighbours one, under the number of the first.
    fn absorb(&mut self, first: u32, second: u32) {
        let Place { content, length, after, .. } = self.places.remove(second as usize);
        let place = &mut self.places[first as usize];
        match (&mut place.content, content) {
            (Content::Free(space), Content::Free(next)) => space.join(next),
            _ => panic!("places {first} and {second} were to be free"),
        }
        place.length += length;
        place.after = after;
        if self.hand == second {
            self.hand = first;
        }
        if after != NONE {
            self.places[after as usize].before = first;
        }
    }
}

fn number(key: usize) -> u32 {
    u32::try_from(key).ok().filter(|key| *key != NONE).expect("memory has no room for as many")
}

#[cfg(test)]
impl Places {
    /// Checks that all records agree, and gives the length of all pages and the bytes of payloads.
    pub(super) fn check(&self) -> (usize, usize) {
        let (mut lengths, mut live, mut listed, mut free) = (0, 0, 0, 0);
        for (number, page) in &self.pages {
            let (mut before, mut at, mut last_was_free) = (NONE, page.first, false);
            let (mut length, mut bytes, mut payloads, mut named_payloads) = (0, 0, 0, 0);
            while at != NONE {
                let place = &self.places[at as usize];
                assert_eq!((place.page as usize, place.before), (number, before));
                match &place.content {
                    Content::Free(space) => {
                        assert_eq!(space.length(), place.length);
                        assert!(!last_was_free && self.free.contains(&(place.length, at)));
                        free += 1;
                    }
                    Content::Payload { bytes: used, named, .. } => {
                        assert!(*used <= place.length);
                        bytes += u64::from(*used);
                        payloads += 1;
                        named_payloads += u32::from(*named);
                    }
                }
                last_was_free = place.is_free();
                length += place.length;
                listed += 1;
                (before, at) = (at, place.after);
            }
            assert_eq!((length, bytes, payloads), (page.length, page.live, page.payloads));
            assert_eq!(named_payloads, page.named);
            lengths += length as usize;
            live += bytes as usize;
        }
        assert_eq!((listed, free), (self.places.len(), self.free.len()));
        (lengths, live)
    }
}
